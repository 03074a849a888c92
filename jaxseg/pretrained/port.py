"""Fills a model from a file of weights, strictly, and writes one back."""

import dataclasses
import difflib
import os
import pathlib
import re
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import numpy as safetensors

from jaxseg import errors, pictures
from jaxseg.models import names
from jaxseg.pretrained import hub, read, rules


@dataclasses.dataclass(frozen=True)
class Report:
    """What `load` did: our names of variables filled and left, the file's unused."""

    layout: str
    loaded: tuple[str, ...]
    initial: tuple[str, ...]  # stay at their initial value
    unused: tuple[str, ...]  # in the file, not wanted

    def __str__(self) -> str:
        parts = sorted({name.split(".")[0] for name in self.initial})
        left = f", {len(self.initial)} left as they were ({', '.join(parts)})"
        return f"{len(self.loaded)} variables from a {self.layout} file" + (
            left if self.initial else ""
        )


def load(
    model: nnx.Module, path: str | os.PathLike, skip: Iterable[str] = ()
) -> Report:
    """Fills `model` in place from a .safetensors or .pth file, or a hub name.

    The file's layout (whole torchvision or smp network, bare torchvision or timm
    backbone) is found from its names. Every variable must be found with its shape and
    everything in the file be used, but for what `skip` names (name rules, the file's
    names or ours) and, for a bare backbone, the heads and the ImageNet classifier.

    Raises UserError, listing in full what is missing, unexpected or of another shape,
    or which rule names nothing, and leaves the model untouched then.
    """
    skip = tuple(skip)
    file = hub.resolve(os.fspath(path))
    tensors = read.read_weights(file)
    weights = {
        name: value
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    layout = _find_layout(file, weights)
    _, params, stats = names.split(model)
    targets = params | stats
    sources = {ours: layout.theirs(ours) for ours in targets if layout.holds(ours)}
    # What the layout lacks keeps its initial value anyway: a recipe may name it still.
    lacking = {rules.TORCHVISION.theirs(k) for k in targets if k not in sources}
    _check_rules(file, skip, {*tensors, *targets, *sources.values(), *lacking})
    skipped = {theirs for k, theirs in sources.items() if names.matches(k, skip)} | {
        theirs
        for theirs in (*sources.values(), *weights)
        if names.matches(theirs, skip) or re.match(layout.classifier, theirs)
    }
    sources = {k: theirs for k, theirs in sources.items() if theirs not in skipped}
    _check_fit(file, weights, targets, sources, skipped)
    _check_finite(file, {theirs: weights[theirs] for theirs in sources.values()})
    values = {
        k: jnp.asarray(_from_torch(weights[theirs]), targets[k].dtype)
        for k, theirs in sources.items()
    }
    names.update(model, values)
    used = set(sources.values())
    return Report(
        layout=layout.name,
        loaded=tuple(sources),
        initial=tuple(k for k in targets if k not in sources),
        unused=tuple(theirs for theirs in weights if theirs not in used),
    )


def save(
    model: nnx.Module, path: str | os.PathLike, layout: str = "torchvision"
) -> None:
    """Writes the model's variables as safetensors with a library's names.

    `layout` is "torchvision" or "smp" (DeepLabV3+ alone). The file appears whole or not
    at all. Raises UserError for an unknown layout or a path that cannot be written.
    """
    layouts = {each.name: each for each in rules.LAYOUTS if each.heads is not None}
    if layout not in layouts:
        raise errors.UserError(f"layout {layout!r} is not one of {', '.join(layouts)}")
    _, params, stats = names.split(model)
    theirs = {ours: layouts[layout].theirs(ours) for ours in params | stats}
    _check_named(layout, theirs)
    weights = {
        theirs[ours]: np.ascontiguousarray(_to_torch(np.asarray(value)))
        for ours, value in (params | stats).items()
    }
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pictures.atomic_path(path) as part:
            safetensors.save_file(weights, part, metadata={"format": "pt"})
    except OSError as error:
        raise errors.UserError(f"{path} cannot be written: {error.strerror}") from error


def _from_torch(value: np.ndarray) -> np.ndarray:
    """Kernels from [out in h w] to [h w in out]; the rest as it is."""
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def _to_torch(value: np.ndarray) -> np.ndarray:
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[i] for i in (3, 2, 0, 1)) if len(shape) == 4 else shape


def _find_layout(file, weights) -> rules.Layout:
    layout = rules.find_layout(weights)
    if layout is None:
        sample = ", ".join(list(weights)[:5])
        raise errors.UserError(
            f"{file}: the names in this file ({sample}, ...) are not those of a "
            "torchvision, timm or segmentation_models.pytorch network"
        )
    return layout


def _check_rules(file, skip, known: set[str]) -> None:
    """One error for the rules that name nothing, with names that are like them."""
    idle = [rule for rule in skip if not any(names.matches(k, (rule,)) for k in known)]
    if not idle:
        return
    paths = [name.split(".") for name in sorted(known)]
    parts = {".".join(path[:i]): None for path in paths for i in range(1, len(path))}
    like = [part for rule in idle for part in difflib.get_close_matches(rule, parts)]
    examples = like or sorted({path[0] for path in paths})
    raise errors.UserError(
        f"{file}: skip (config.pretrained.skip) has {', '.join(map(repr, idle))}, "
        "which names nothing in this file or the model; expected names or their "
        f"leading parts, such as {', '.join(examples)}"
    )


def _check_fit(file, weights, targets, sources, skipped) -> None:
    """One error for all that does not fit, with the rule that would let it pass."""
    expected = {t: _torch_shape(targets[ours].shape) for ours, t in sources.items()}
    problems = {
        "missing from the file": [name for name in expected if name not in weights],
        "unexpected in the file": [
            name for name in weights if name not in expected and name not in skipped
        ],
        "of another shape (file's for model's)": [
            f"{name} {weights[name].shape} for {shape}"
            for name, shape in expected.items()
            if name in weights and weights[name].shape != shape
        ],
    }
    told = [f"{len(v)} {k}: {', '.join(v)}" for k, v in problems.items() if v]
    if told:
        raise errors.UserError(
            f"{file} does not fit the model; {'; '.join(told)}. If these parts are "
            "meant to keep their initial values, name them in skip "
            "(config.pretrained.skip), as 'classifier.4' or 'aux_classifier'; "
            "else choose the model that the file was made for"
        )


def _check_named(layout, theirs: dict[str, str]) -> None:
    """Whether the layout has a name of its own for every variable of the model."""
    # smp's MobileNetV2 ends in a convolution that ours does not have.
    foreign = ("head.", "aux_head.", "encoder.features.")
    given = set(theirs.values())
    if len(given) < len(theirs) or any(name.startswith(foreign) for name in given):
        raise errors.UserError(
            f"layout {layout!r} has no names for this model: 'smp' is for DeepLabV3+ "
            "on a ResNet, separable and without auxiliary head, and every layout for "
            "three atrous rates"
        )


def _check_finite(file, values: dict[str, np.ndarray]) -> None:
    bad = [name for name, value in values.items() if not np.isfinite(value).all()]
    if bad:
        raise errors.UserError(f"{file} holds NaN or infinity in {', '.join(bad)}")
