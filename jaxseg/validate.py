"""Checks of a config before any work: types, names, ranges, contradictions."""

import dataclasses
import difflib
import math
import types
import typing
from typing import Any

from jaxseg import config as config_lib
from jaxseg import errors

_LARGEST_FLOAT = 3.4e38  # of float32, in which JAX computes


def validate(config: config_lib.Config) -> None:
    """Raises UserError for the first setting that cannot work, naming it."""
    _check_section(config, "config.")
    _check_optim(config)
    _check_model(config)
    _check_loss(config)
    _check_data(config)


def _check_section(section: Any, prefix: str) -> None:
    for field in dataclasses.fields(section):
        value, name = getattr(section, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            _check_section(value, name + ".")
        else:
            _check_type(name, value, field.type)
            for item in value if isinstance(value, tuple) else (value,):
                _check_rules(name, item, field.metadata)


def _check_type(name: str, value: Any, expected: Any) -> None:
    if not _has_type(value, expected):
        shown = expected.__name__ if isinstance(expected, type) else expected
        if isinstance(expected, types.GenericAlias):
            shown = expected
        raise errors.UserError(f"{name}={value!r} is not of type {shown}")


def _has_type(value: Any, expected: Any) -> bool:
    """Whether a value fits bool, int, float, str, a tuple of these or a union."""
    if isinstance(expected, types.UnionType):
        return any(_has_type(value, each) for each in typing.get_args(expected))
    if typing.get_origin(expected) is tuple:
        items = typing.get_args(expected)
        if not isinstance(value, tuple):
            return False
        if items[-1] is Ellipsis:
            return all(_has_type(v, items[0]) for v in value)
        return len(value) == len(items) and all(map(_has_type, value, items))
    if expected is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and abs(value) <= _LARGEST_FLOAT  # which NaN is not either
    return type(value) is expected


def _check_rules(name: str, value: Any, rules: typing.Mapping[str, Any]) -> None:
    if value is None:
        return
    if "choices" in rules and value not in rules["choices"]:
        known = [str(choice) for choice in rules["choices"]]
        near = difflib.get_close_matches(str(value).lower(), known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise errors.UserError(
            f"{name}={value!r} is not one of {', '.join(known)}{hint}"
        )
    if "low" in rules and value < rules["low"]:
        raise errors.UserError(f"{name}={value} must be at least {rules['low']}")
    if "above" in rules and value <= rules["above"]:
        raise errors.UserError(f"{name}={value} must be greater than {rules['above']}")
    if "high" in rules and value > rules["high"]:
        raise errors.UserError(f"{name}={value} must be at most {rules['high']}")
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        raise errors.UserError(f"{name}={value} does not fit into 32 bits")
    if isinstance(value, str) and "\0" in value:
        raise errors.UserError(f"{name}={value!r} has a character that no name has")


def _check_optim(config: config_lib.Config) -> None:
    optim, steps = config.optim, config.train.steps
    if optim.warmup_steps and optim.warmup_steps >= steps:
        raise errors.UserError(
            f"config.optim.warmup_steps={optim.warmup_steps} leaves nothing of "
            f"config.train.steps={steps}; make it smaller"
        )
    if optim.schedule == "exponential" and optim.end_lr == 0:
        raise errors.UserError(
            "config.optim.end_lr=0 cannot be reached by schedule=exponential; "
            "set an end_lr above 0 or choose another schedule"
        )
    if optim.schedule == "step" and not optim.milestones:
        raise errors.UserError(
            "config.optim.schedule='step' needs config.optim.milestones, "
            "the steps where the rate is multiplied by gamma"
        )
    if list(optim.milestones) != sorted(set(optim.milestones)):
        raise errors.UserError(
            f"config.optim.milestones={optim.milestones} must rise strictly"
        )
    if optim.end_lr > optim.lr:
        raise errors.UserError(
            f"config.optim.end_lr={optim.end_lr} exceeds config.optim.lr={optim.lr}"
        )


def _check_model(config: config_lib.Config) -> None:
    model = config.model
    if model.backbone == "mobilenet_v2" and model.stem != "7x7":
        raise errors.UserError(
            f"config.model.stem={model.stem!r} is a ResNet's; "
            "leave it at '7x7' for mobilenet_v2"
        )
    if model.num_classes == 1:
        raise errors.UserError(
            "config.model.num_classes=1 leaves nothing to tell apart; count the "
            "background as a class"
        )


def _check_loss(config: config_lib.Config) -> None:
    model, loss, crop = config.model, config.loss, config.data.crop
    if model.num_classes and len(loss.class_weights) not in (0, model.num_classes):
        raise errors.UserError(
            f"config.loss.class_weights has {len(loss.class_weights)} values for "
            f"{model.num_classes} classes; give one a class"
        )
    if loss.class_weights and not any(loss.class_weights):
        raise errors.UserError("config.loss.class_weights are all 0: nothing to learn")
    if loss.ohem_threshold and loss.ohem_min_kept >= math.prod(crop):
        raise errors.UserError(
            f"config.loss.ohem_min_kept={loss.ohem_min_kept} leaves out nothing of a "
            f"config.data.crop={crop}; make it smaller, such as a sixteenth of the crop"
        )


def _check_data(config: config_lib.Config) -> None:
    data, batch_size = config.data, config.train.batch_size
    for name in ("scale", "blur_sigma", "cutout_size"):
        low, high = getattr(data, name)
        if low > high:
            raise errors.UserError(
                f"config.data.{name}={low, high} must be (smallest, largest)"
            )
    if data.scale_step > data.scale[1] - data.scale[0]:
        raise errors.UserError(
            f"config.data.scale_step={data.scale_step} leaves one scale of "
            f"config.data.scale={data.scale}; make it smaller, or 0 for any between"
        )
    if data.mix and data.name == "synthetic":
        raise errors.UserError("config.data.mix: synthetic data cannot be mixed")
    weighed = (0, len(data.mix) + 1) if data.mix else (0,)
    if len(data.mix_weights) not in weighed:
        raise errors.UserError(
            f"config.data.mix_weights has {len(data.mix_weights)} values; give one for "
            f"config.data.root and one for each of config.data.mix={data.mix}"
        )
    if len(data.resize) > 2 or (data.keep_ratio and len(data.resize) < 2):
        wanted = "(height, width)" if data.keep_ratio else "(side,) or (height, width)"
        raise errors.UserError(
            f"config.data.resize={data.resize} must be {wanted} "
            f"with config.data.keep_ratio={data.keep_ratio}"
        )
    for name, needed in (("mosaic", 4), ("classmix", 2)):
        if getattr(data, name) and data.augment != "none" and batch_size < needed:
            raise errors.UserError(
                f"config.data.{name}={getattr(data, name)} mixes {needed} images of a "
                f"batch, but config.train.batch_size={batch_size}"
            )
