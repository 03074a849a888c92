"""Kills a run again and again, and compares its end with that of one left in peace.

    python scripts/soak.py [KILLS [FOLDER]]

50 kills (SIGKILL, to the main process alone) by default, half of them with 2 data
workers. Of four, one falls into the start of the process, one between steps and two
into the writing of a checkpoint. About 5 minutes on 2 CPU cores.
Ends with status 1 if anything differs or the folder has grown.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time
import warnings

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 100
FLAGS = (
    *("--config=configs/quickstart.py:scratch", "--config.model.head=fcn"),
    *("--config.model.width=8", "--config.model.output_stride=32"),
    *("--config.model.dropout=0.3", "--config.data.size=(32,32)"),
    *("--config.data.crop=(32,32)", "--config.data.train_images=24"),
    *("--config.data.eval_images=5", "--config.eval.batch_size=4"),
    *("--config.train.batch_size=4", f"--config.train.steps={STEPS}"),
    *("--config.train.log_every=1", "--config.eval.every=25"),
    *("--config.checkpoint.every=2", "--config.checkpoint.keep=2"),
    *("--config.optim.warmup_steps=0", "--config.optim.name=sgd"),
)
warnings.filterwarnings("ignore", message="Sharding info not provided")
TIMED = ("images_per_second", "data_wait", "data_wait_share")


def main(kills: int, folder: pathlib.Path) -> bool:
    """Whether all is as it should be; prints what was found."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"a run of {STEPS} steps, a checkpoint every 2, left in peace", flush=True)
    with start(folder / "whole", workers=0) as process:
        process.communicate()
    expected, right = outcome(folder / "whole"), process.returncode == 0
    for workers, count in ((0, kills - kills // 2), (2, kills // 2)):
        right &= soak(folder / f"workers{workers}", workers, count, expected)
    print("all as it should be" if right else "NOT as it should be")
    return right


def soak(workdir: pathlib.Path, workers: int, kills: int, expected: dict) -> bool:
    """Kills one run `kills` times, lets it end and compares."""
    chance, begin = random.Random(workers), time.perf_counter()
    reached, in_save, largest = [], 0, 0
    for number in range(kills):
        with start(workdir, workers) as process:
            step = number * STEPS // (kills + 1)
            kill_at_random(process, workdir, chance, kind=number % 4, step=step)
        left = [path.name for path in (workdir / "checkpoints").glob("*")]
        in_save += any("." in name for name in left)
        reached.append(max((int(name) for name in left if name.isdecimal()), default=0))
        largest = max(largest, size(workdir / "checkpoints"))
    with start(workdir, workers) as process:
        output, _ = process.communicate()
    found = outcome(workdir)
    same = {name: found[name] == expected[name] for name in expected}
    same["bytes"] = abs(found["bytes"] / expected["bytes"] - 1) < 0.01
    print(
        f"workers={workers}: {kills} kills in {time.perf_counter() - begin:.0f} s, "
        f"{in_save} of them left an unfinished checkpoint; newest after each: {reached}"
    )
    print(f"  the last start ended with status {process.returncode}, no step by hand")
    print(f"  the same as in peace: {same}")
    print(
        f"  checkpoints/: {size(workdir / 'checkpoints'):,} bytes at the end, "
        f"{largest:,} at most after a kill, {expected['bytes']:,} of the run in peace"
    )
    if process.returncode or not all(same.values()):
        print(output[-2000:])
    return process.returncode == 0 and all(same.values())


def start(workdir: pathlib.Path, workers: int) -> subprocess.Popen:
    """The training command, running."""
    command = [sys.executable, "-m", "jaxseg.main", *FLAGS, f"--workdir={workdir}"]
    return subprocess.Popen(
        [*command, f"--config.data.workers={workers}"],
        cwd=ROOT,
        env=os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_at_random(process, workdir, chance: random.Random, kind: int, step: int):
    """Waits for a moment of that kind, kills and waits until the workers are gone."""
    if kind == 0:  # before the first step
        time.sleep(chance.uniform(0.0, 5.0))
    else:  # at this step or soon after
        lines = (line for line in process.stdout if line.startswith("step "))
        while int(next(lines)[5:].partition("/")[0]) < step:
            pass
        time.sleep(chance.uniform(0.0, 0.2))
    if kind >= 2:  # while a checkpoint is written
        writing = workdir / "checkpoints"
        while process.poll() is None and not any(writing.glob("*.unfinished*")):
            time.sleep(0.0005)
        time.sleep(chance.uniform(0.0, 0.05))
    assert process.poll() is None, "it ended before it was killed"
    process.kill()
    process.communicate()


def outcome(workdir: pathlib.Path) -> dict:
    """What must be the same however often a run was killed."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    checkpoints = workdir / "checkpoints"
    return {
        "state": digest(ocp.load_checkpointables(str(checkpoints / str(STEPS)))),
        "rows": [{k: v for k, v in row.items() if k not in TIMED} for row in rows],
        "result": json.loads((workdir / "result.json").read_text()),
        "checkpoints": sorted(path.name for path in checkpoints.iterdir()),
        "files": sorted(path.name for path in workdir.iterdir()),
        "bytes": size(checkpoints),
    }


def digest(state) -> dict[str, bytes]:
    """The bytes of every array of a checkpoint by its name."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(x).tobytes() for path, x in leaves}


def size(folder: pathlib.Path) -> int:
    """Bytes in all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(
        not main(
            int(sys.argv[1]) if len(sys.argv) > 1 else 50,
            pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "runs/soak").resolve(),
        )
    )
