"""Weights of other libraries, read without them, filled in strictly, written back."""

from jaxseg.pretrained.port import Report, load, save

__all__ = ["Report", "load", "save"]
