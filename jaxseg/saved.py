"""The checkpoints that lie in a workdir: which there are, which are whole, which go.

`checkpoints/` holds a folder for each, named by its step. All other names are of no
checkpoint: `damaged-STEP` was set aside, `STEP.unfinished` is being written, and
`STEP.removed` deleted, or was when the process died.
"""

import contextlib
import logging
import os
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any

from jaxseg import errors, manifest


def steps(folder: pathlib.Path) -> list[int]:
    """The steps of the checkpoints, rising."""
    names = [path.name for path in folder.glob("*")]
    return sorted(int(n) for n in names if n.isdecimal() and n == str(int(n)))


def exist(folder: pathlib.Path) -> bool:
    """Whether a run has saved anything here, be it damaged."""
    return bool(steps(folder)) or any(folder.glob("damaged-*"))


def miou(folder: pathlib.Path, step: int) -> float | None:
    """What a checkpoint was rated; None if it was not, or is damaged."""
    with contextlib.suppress(manifest.DamagedError):
        return manifest.read(folder / str(step)).get("miou")
    return None


def best_first(folder: pathlib.Path) -> list[int]:
    """The steps from the highest mIoU down (of equal ones the latest); then the rest.

    The rest was not evaluated, or cannot tell; the latest of it comes first.
    """

    def rank(step: int) -> tuple[float, int]:
        found = miou(folder, step)
        return -1.0 if found is None else found, step

    return sorted(steps(folder), key=rank, reverse=True)


def choose(folder: pathlib.Path, step: int | None) -> int:
    """The step of the checkpoint to use: the best that is whole, unless `step` says.

    Changes nothing on disk. A damaged checkpoint is passed over with a warning. Raises
    UserError if that of `step` is damaged or missing, or if none is whole.
    """
    if not exist(folder):
        raise errors.UserError(f"{folder.parent} has no checkpoints; train there first")
    if step is not None:
        _check(folder, step)
        return step
    step, damaged = _first_whole(folder, best_first(folder))
    for each, why in damaged.items():
        logging.warning(
            "checkpoint %d is damaged (%s); that of step %d is used", each, why, step
        )
    return step


def settle(folder: pathlib.Path) -> int:
    """The newest step that is whole; damaged ones after it are set aside for good.

    They are checkpoints no longer, but can be looked at. Where none is whole, raises
    UserError and changes nothing.
    """
    step, damaged = _first_whole(folder, reversed(steps(folder)))
    for each, why in damaged.items():
        target = folder / f"damaged-{each}"
        _remove(target)
        os.replace(folder / str(each), target)
        logging.warning(
            "checkpoint %d is damaged (%s); it is now %s, and training goes on from "
            "that of step %d",
            *(each, why, target, step),
        )
    if changed := _changed_versions(manifest.read(folder / str(step))):
        logging.warning("checkpoint %d was saved with %s", step, ", ".join(changed))
    return step


def unfinished(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Where a checkpoint is written."""
    return folder / f"{step}.unfinished"


def commit(folder: pathlib.Path, step: int) -> None:
    """Makes what was written a checkpoint, at once; one of this step is replaced."""
    final = folder / str(step)
    if final.exists():
        _remove(final)
    os.replace(unfinished(folder, step), final)


def keep_only(folder: pathlib.Path, latest: int) -> None:
    """Removes all but the latest checkpoints, so many, and the best by mIoU."""
    best = best_first(folder)[:1]
    for step in steps(folder)[:-latest]:
        if [step] != best:
            _remove(folder / str(step))


def remove_unfinished(folder: pathlib.Path) -> None:
    """Removes what a dead process was writing or deleting, or a save that failed."""
    for pattern in ("*.unfinished*", "*.removed"):  # orbax adds an ending of its own
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):  # if it is no folder
                path.unlink()


def _remove(checkpoint: pathlib.Path) -> None:
    """Deletes a folder, if it is there; one half deleted is never taken for whole."""
    doomed = checkpoint.with_name(f"{checkpoint.name}.removed")
    with contextlib.suppress(FileNotFoundError):
        os.replace(checkpoint, doomed)
        _delete(doomed)


def _delete(path: pathlib.Path) -> None:
    """Whatever it is, as a damaged disk may bring up."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _first_whole(
    folder: pathlib.Path, order: Iterable[int]
) -> tuple[int, dict[int, str]]:
    """The first of the steps that is as it was saved, and {damaged before it: why}.

    Raises UserError if none is.
    """
    damaged = {}
    for step in order:
        try:
            manifest.check(folder / str(step), step)
        except manifest.DamagedError as error:
            damaged[step] = str(error)
        else:
            return step, damaged
    found = "; ".join(f"{step}: {why}" for step, why in damaged.items())
    raise errors.UserError(
        f"{folder} has no checkpoint that is whole ({found or 'all were set aside'}); "
        "bring one back from a copy, or begin anew in another --workdir"
    )


def _check(folder: pathlib.Path, step: int) -> None:
    """Raises UserError if there is no checkpoint of this step, or it is damaged."""
    known = steps(folder)
    others = ", ".join(str(other) for other in known if other != step) or "none"
    if step not in known:
        raise errors.UserError(
            f"{folder} has no checkpoint of step {step}; it has {others}"
        )
    try:
        manifest.check(folder / str(step), step)
    except manifest.DamagedError as error:
        raise errors.UserError(
            f"checkpoint {step} in {folder} is damaged ({error}); the others are "
            f"{others}: choose one with --step"
        ) from error


def _changed_versions(content: dict[str, Any]) -> list[str]:
    """With other versions a run does not end bit for bit as it would have."""
    saved, now = content["versions"], manifest.versions()
    return [
        f"{name} {saved.get(name)} (now {now[name]})"
        for name in now
        if saved.get(name) != now[name]
    ]
