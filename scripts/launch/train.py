"""Trains, and tells a scheduler by its status whether the run is to be started again.

    python scripts/launch/train.py --config=FILE --workdir=DIR [jaxseg.main's flags]

A run that was told to stop ends with status 0, all saved, or of the signal if it had
not begun; here that is 75 (temporary failure) unless the run came to its last step.
SIGTERM and SIGINT are passed on.
"""

import json
import pathlib
import signal
import subprocess
import sys

TO_GO_ON = 75
STOPPING = (signal.SIGTERM, signal.SIGINT)


def main(arguments: list[str]) -> int:
    """The status to end with."""
    workdirs = [a.partition("=")[2] for a in arguments if a.startswith("--workdir=")]
    if len(workdirs) != 1:
        print("error: --workdir=DIR is needed, once", file=sys.stderr)
        return 2
    run = subprocess.Popen([sys.executable, "-m", "jaxseg.main", *arguments])
    for number in STOPPING:
        signal.signal(number, lambda number, frame: run.send_signal(number))
    status = run.wait()
    stopped = status == 0 or -status in STOPPING
    if stopped and not is_done(pathlib.Path(workdirs[0])):
        return TO_GO_ON
    return status if status >= 0 else 128 - status


def is_done(workdir: pathlib.Path) -> bool:
    """Whether the last evaluation, which writes result.json, is of the last step."""
    try:
        result = json.loads((workdir / "result.json").read_text())
        config = json.loads((workdir / "config.json").read_text())
    except FileNotFoundError:
        return False
    return result["step"] >= config["train"]["steps"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
