"""The command line: `python -m jaxseg.main --config=FILE --workdir=DIR`."""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from jaxseg import errors, validate, xla

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe, a .py file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_MODE = flags.DEFINE_enum(
    "mode", "train", ("train", "eval", "predict", "export"), "What to do."
)
_INPUT = flags.DEFINE_string("input", None, "predict: an image or a folder of them.")
_OUTPUT = flags.DEFINE_string("output", None, "predict, export: where to write.")
_FORCE = flags.DEFINE_list(
    "force", [], "train: settings that may differ from those the run began with."
)
_STEP = flags.DEFINE_integer("step", None, "Checkpoint to use; the best by default.")


_BAD_FLAGS = (
    *(flags.Error, errors.UserError, AttributeError, KeyError, OSError, TypeError),
)


def main(argv: list[str]) -> int:
    """Runs the mode; 0 if done or preempted with all saved, 1 at the user's mistake."""
    logging.set_verbosity(logging.WARNING)  # JAX tells of every backend it lacks
    try:
        _run()
    except errors.UserError as error:
        return _tell(str(error))
    except OSError as error:  # a full disk, a file where a folder should be, no right
        if error.filename is None and error.errno is None:
            raise
        return _tell(str(error))
    return 0


def _tell(error: str) -> int:
    print(f"error: {' '.join(error.split())}", file=sys.stderr)
    return 1


def _run() -> None:
    config, workdir = _CONFIG.value, pathlib.Path(_WORKDIR.value)
    validate.validate(config)
    xla.set_flags()
    from jaxseg import evaluate, export, predict, train  # JAX starts here

    match _MODE.value:
        case "train":
            train.run(config, workdir, force=_FORCE.value)
        case "eval":
            evaluate.run(config, workdir, step=_STEP.value)
        case "predict":
            predict.run(
                config,
                workdir,
                input_path=_needed("input", _INPUT.value),
                output=_needed("output", _OUTPUT.value),
                step=_STEP.value,
            )
        case "export":
            output = _needed("output", _OUTPUT.value or workdir / "export")
            export.run(config, workdir, output=output, step=_STEP.value)


def _needed(flag: str, value: str | pathlib.Path | None) -> pathlib.Path:
    if not value:
        raise errors.UserError(f"--mode={_MODE.value} needs --{flag}")
    return pathlib.Path(value)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; a bad one ends the program with status 2 and one line."""
    try:
        rest = flags.FLAGS(argv)
        if flags.FLAGS["config"].value is None:
            raise flags.Error("--config=FILE is missing, for example configs/folder.py")
        _CONFIG.value.seed  # noqa: B018  config_flags tells of a missing file here
        if len(rest) > 1:
            raise flags.Error(f"unknown argument {rest[1]!r}; flags begin with --")
    except _BAD_FLAGS as error:
        _tell(str(error.args[0] if error.args else error))
        sys.exit(2)
    return rest


if __name__ == "__main__":
    xla.use_huge_pages()
    app.run(main, flags_parser=_parse)
