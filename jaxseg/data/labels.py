"""Label files that hold no plain class indices: colors, and MATLAB arrays."""

import dataclasses
import functools
import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8

from jaxseg import errors
from jaxseg.data import archives, images, matlab


@dataclasses.dataclass(frozen=True)
class ColorCode:
    """Reads a label image in which color number i stands for the raw value i."""

    colors: Sequence[tuple[int, int, int]]  # RGB, each another

    def __call__(self, file: archives.File) -> UInt8[np.ndarray, "h w"]:
        """Raw values. Raises UserError for a color that is not among them."""
        picture = images.decode(file)
        if picture.mode not in ("RGB", "RGBA", "P"):
            raise errors.UserError(
                f"{file} has mode {picture.mode}; a label of this data set must be an "
                "RGB image of its class colors"
            )
        pixels = np.asarray(picture.convert("RGB")).astype(np.int32) @ _PLACES
        found = np.minimum(np.searchsorted(self._codes, pixels), len(self.colors) - 1)
        unknown = pixels[self._codes[found] != pixels]
        if unknown.size:
            color = tuple(int(unknown[0]) >> shift & 255 for shift in (16, 8, 0))
            raise errors.UserError(
                f"{file}: color {color} is of no class; is it resized, or a JPEG?"
            )
        return self._order[found].astype(np.uint8)

    @functools.cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(np.array(self.colors) @ _PLACES)

    @functools.cached_property
    def _codes(self) -> np.ndarray:
        return (np.array(self.colors) @ _PLACES)[self._order]


_PLACES = np.array([1 << 16, 1 << 8, 1], np.int32)


def read_matlab(
    file: archives.File, variable: str, field: str | None = None, *, high: int
) -> Integer[np.ndarray, "h w"]:
    """A MATLAB file's array, or that of a struct's field, of values 0..`high`.

    Raises UserError for a file that is damaged or holds no such array.
    """
    try:
        array = matlab.read(archives.read(file), variable, field)
    except (OSError, ValueError, struct.error) as error:
        raise errors.UserError(
            f"{file} holds no array of labels {variable!r} that can be read "
            f"({errors.one_line(str(error))}); get it again"
        ) from error
    if array.min(initial=0) < 0 or array.max(initial=0) > high:
        raise errors.UserError(
            f"{file}: label values reach from {array.min()} to {array.max()}; the data "
            f"set has 0-{high}"
        )
    return array
