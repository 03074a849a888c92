"""The command line: `python -m jaxseg.main --config=FILE --workdir=DIR`."""

import pathlib

from absl import flags

from jaxseg import command, errors, xla
from jaxseg import config as config_lib

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_MODE = flags.DEFINE_enum(
    "mode", "train", ("train", "eval", "predict", "export"), "What to do."
)
_INPUT = flags.DEFINE_string("input", None, "predict: an image or a folder of them.")
_OUTPUT = flags.DEFINE_string("output", None, "predict, export: where to write.")
_FORCE = flags.DEFINE_list(
    "force", [], "train: settings that may differ from those the run began with."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "train, eval: HOST:PORT of process 0, for several processes."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which this is, from 0 up.")
_STEP = flags.DEFINE_integer("step", None, "Checkpoint to use; the best by default.")


def main(config: config_lib.Config) -> None:
    """Runs the mode."""
    xla.set_flags(deterministic=config.train.deterministic)
    from jaxseg import evaluate, export, hosts, predict, train  # JAX starts here

    workdir = pathlib.Path(_WORKDIR.value)
    others = hosts.joined(
        coordinator=_COORDINATOR.value,
        num_processes=_NUM_PROCESSES.value,
        process_id=_PROCESS_ID.value,
        stoppable=_MODE.value == "train",
    )
    match _MODE.value:
        case "train":
            with others:
                train.run(config, workdir, force=_FORCE.value)
        case "eval":
            with others:
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


if __name__ == "__main__":
    command.run(main)
