"""The train step, compiled for each shape of batch before it runs."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxseg import config as config_lib
from jaxseg import memory
from jaxseg import step as step_lib
from jaxseg.state import TrainState


class Programs:
    """A `train_step` of step.make_train_step, compiled for shapes of labels."""

    def __init__(self, train_step: Any, config: config_lib.Config):
        self._train_step, self._config = train_step, config
        self._compiled: dict[tuple[int, ...], Callable] = {}

    def check_images_fit(self) -> None:
        """Refuses crops too large for images and labels, before any is made."""
        pixels = self._config.train.batch_size * math.prod(self._config.data.crop)
        values = 3 + 1  # float32 images, int32 labels
        memory.check(4 * values * pixels // jax.device_count(), self._config)

    def has(self, batch: step_lib.Batch) -> bool:
        """Whether the step is compiled for batches of this shape."""
        return batch["labels"].shape in self._compiled

    def compile(self, state: TrainState, batch: step_lib.Batch) -> None:
        """Compiles the step, tells how long that took, and sees that it fits."""
        begin, shape = time.perf_counter(), batch["labels"].shape
        compiled = self._train_step.lower(state, batch).compile()
        memory.check(memory.needed(compiled), self._config)
        seconds = time.perf_counter() - begin
        gib = memory.needed(compiled) / memory.GIB
        before = [*self._compiled][-1:]
        again = f" again, for labels {shape} after {before[0]}" if before else ""
        told = f"compiled{again} in {seconds:.1f} s; a step needs {gib:.2f} GiB"
        print(f"{told} on each device")
        self._compiled[shape] = compiled

    def run(
        self, state: TrainState, batch: step_lib.Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """A step, as of make_train_step."""
        return self._compiled[batch["labels"].shape](state, batch)
