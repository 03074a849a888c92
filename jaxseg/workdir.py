"""What a run's folder holds besides checkpoints: its config and its classes."""

import contextlib
import difflib
import fnmatch
import json
import pathlib
import re
import time
from collections.abc import Iterator, Sequence

from jaxseg import agreement, errors, lock, pictures
from jaxseg import config as config_lib
from jaxseg.data import datasets

# What may differ when a run goes on: it changes nothing of what is trained.
_FREE_IN_TRAINING = (
    *("train.log_every", "train.nonfinite", "train.keep", "train.deterministic"),
    *("sharding.*", "eval.*", "checkpoint.*", "export.*", "pretrained.*"),
    *("data.root", "data.workers", "data.timeout", "data.check_first"),
)
# What must not differ when a trained model is used: no array's shape tells of these.
_BOUND_IN_USE = ("model.*", "data.mean", "data.std", "train.ema")
_FREE_IN_USE = ("model.dtype", "model.dropout")
# Files that none but the run that holds the lock writes, again and again.
_WRITTEN_IN_TRAINING = (
    *("config.json", "classes.json", "metrics.jsonl", "class_counts.npy"),
)
# Orbax takes these for patterns, TensorStore for the ends of folders or for a scheme:
# what they write there cannot be read.
_NOT_IN_PATHS = re.compile(r"[\[\]*?\\]|:(?=/|$)")


def check_path(workdir: pathlib.Path) -> None:
    """Raises UserError if checkpoints cannot be kept in a folder of this name."""
    if found := _NOT_IN_PATHS.search(str(workdir.absolute())):
        raise errors.UserError(
            f"checkpoints cannot be kept in {workdir.absolute()}, for the {found[0]!r} "
            "in its name; choose another --workdir"
        )


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it while training goes on.

    The processes of one run share the lock, which process 0 holds. Raises UserError in
    all of them if another run has it.
    """

    def take() -> None:
        stack.enter_context(lock.held(workdir))
        for name in _WRITTEN_IN_TRAINING:  # pictures.atomic_path, in a killed run
            for unfinished in workdir.glob(f".*-{name}"):
                unfinished.unlink()

    with contextlib.ExitStack() as stack:
        agreement.decided(take)
        _check_shared(workdir)
        yield


def _check_shared(workdir: pathlib.Path) -> None:
    """Raises UserError unless all processes see what process 0 wrote."""
    for _ in range(20):  # a network disk tells late
        if lock.is_held(workdir):
            break
        time.sleep(0.5)
    agreement.check_same(
        str(lock.is_held(workdir)),
        f"{workdir} is not on a disk that all processes of this run share; choose "
        "another --workdir",
    )


def write_facts(
    workdir: pathlib.Path, config: config_lib.Config, dataset: datasets.Dataset
) -> None:
    """Saves what the checkpoints are trained with: resolved config and classes."""
    with pictures.atomic_path(workdir / "config.json") as path:
        path.write_text(config_lib.to_json(config))
    datasets.write_classes(workdir / "classes.json", dataset)


def check_to_train(
    workdir: pathlib.Path, config: config_lib.Config, *, force: Sequence[str]
) -> None:
    """Raises UserError if a run would go on with other settings than it began with.

    `force` names those that may differ all the same, such as "optim.lr".
    """
    agreement.decided(lambda: _check_to_train(workdir, config, force))


def _check_to_train(
    workdir: pathlib.Path, config: config_lib.Config, force: Sequence[str]
) -> None:
    _check_force(force, config)
    differing = {
        name: values
        for name, values in _differences(workdir, config).items()
        if not _matches(name, (*_FREE_IN_TRAINING, *force))
    }
    if differing:
        raise errors.UserError(
            f"{workdir} began with {_told(differing)}; take these back, choose another "
            f"--workdir, or go on with --force={','.join(differing)}"
        )


def _check_force(force: Sequence[str], config: config_lib.Config) -> None:
    settings = config_lib.flatten(config)
    for rule in force:
        if not any(_matches(name, (rule,)) for name in settings):
            near = difflib.get_close_matches(rule, settings, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise errors.UserError(f"--force={rule} names no setting{hint}")


def check_to_use(workdir: pathlib.Path, config: config_lib.Config) -> None:
    """Raises UserError if a trained model would be used as another than it is."""
    differing = {
        name: values
        for name, values in _differences(workdir, config).items()
        if _matches(name, _BOUND_IN_USE) and name not in _FREE_IN_USE
    }
    if differing:
        raise errors.UserError(
            f"{workdir} was trained with {_told(differing)}; give the same --config "
            "and flags as in training"
        )


def _differences(
    workdir: pathlib.Path, config: config_lib.Config
) -> dict[str, tuple[object, object]]:
    """{name: (value in the workdir's config.json, value in the config)}."""
    path = workdir / "config.json"
    try:
        saved = config_lib.flatten(_settings(json.loads(path.read_text())))
    except FileNotFoundError as error:
        raise errors.UserError(f"{workdir} holds no run; train there first") from error
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(f"{path} cannot be read: {error}") from error
    # A file of an earlier version lacks what was added since, at its default.
    old, new = _as_saved(config_lib.Config()) | saved, _as_saved(config)
    return {name: (old[name], new[name]) for name in new if old[name] != new[name]}


def _settings(found: object) -> dict[str, object]:
    if not isinstance(found, dict):
        raise ValueError("it holds no settings")
    return found


def _as_saved(config: config_lib.Config) -> dict[str, object]:
    """The settings by name as they come back from JSON, which has no tuples."""
    return config_lib.flatten(json.loads(config_lib.to_json(config)))


def _matches(name: str, rules: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, rule) for rule in rules)


def _told(differing: dict[str, tuple[object, object]]) -> str:
    return ", ".join(
        f"config.{name}={old!r} (now {new!r})" for name, (old, new) in differing.items()
    )
