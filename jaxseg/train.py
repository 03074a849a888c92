"""Training: build, restore, loop."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from jaxseg import (
    checkpoint,
    evaluate,
    memory,
    optim,
    pretrained,
    sharding,
)
from jaxseg import config as config_lib
from jaxseg import log as log_lib
from jaxseg import step as step_lib
from jaxseg import workdir as workdir_lib
from jaxseg.data import datasets, findings, loader, sampling
from jaxseg.models import build, names


def run(
    config: config_lib.Config, workdir: pathlib.Path, *, force: Sequence[str] = ()
) -> None:
    """Trains to config.train.steps, going on from the workdir's newest checkpoint.

    Ends with an evaluation and its report; at SIGTERM or SIGINT with a checkpoint.
    `force` names settings that may differ from those the run began with.
    """
    sharding.check_batch_size(config.train.batch_size)
    dataset = datasets.open_dataset(config.data, ignore=config.loss.ignore)
    config = datasets.with_num_classes(config, dataset)
    sources = {name: dataset.split(name) for name in ("train", "val")}
    findings.check_first(sources, config.data, dataset.num_classes)
    mesh = sharding.make_mesh()
    model = make_model(config.model, config.seed, mesh)
    optim.split_frozen(names.split(model)[1], config.freeze)  # a bad rule fails here
    _print_start(config, len(sources["train"]))
    with workdir_lib.locked(workdir):
        resuming = checkpoint.exists(workdir)
        if resuming:
            workdir_lib.check_to_train(workdir, config, force=force)
        elif config.pretrained.path:
            skip = config.pretrained.skip
            print(f"pretrained: {pretrained.load(model, config.pretrained.path, skip)}")
        trainer = _Trainer(config, workdir, dataset, sources, mesh, model)
        with checkpoint.open_all(workdir, config) as checkpoints:
            if resuming:
                trainer.restore(checkpoints)
            trainer.loop(checkpoints)


def make_model(model: config_lib.Model, seed: int, mesh: Mesh) -> nnx.Module:
    """A model with random weights, replicated over the mesh."""
    abstract = nnx.eval_shape(lambda: build.build_model(model, rngs=nnx.Rngs(seed)))

    def init():
        _, params, stats = names.split(build.build_model(model, rngs=nnx.Rngs(seed)))
        return params | stats

    variables = jax.jit(init, out_shardings=sharding.replicated(mesh))()
    return names.merge(names.split(abstract)[0], variables)


class _Trainer:
    """The programs and the state of a run."""

    def __init__(self, config, workdir, dataset, sources, mesh, model):
        self.config, self.workdir, self.dataset = config, workdir, dataset
        self.sources, self.mesh, self.model = sources, mesh, model
        schedule = optim.make_schedule(config.optim, config.train.steps)
        model.train()
        optim.freeze_statistics(model, ("*",) if config.freeze_bn else config.freeze)
        graphdef, params, stats = names.split(model)
        trained, frozen = optim.split_frozen(params, config.freeze)
        tx = optim.make_optimizer(config.optim, schedule, trained)
        state = step_lib.make_train_state(
            trained, frozen, stats, tx, num_classes=dataset.num_classes
        )
        everywhere = sharding.replicated(mesh)
        self.state = jax.jit(lambda x: x, out_shardings=everywhere)(state)
        self.train_step = step_lib.make_train_step(
            graphdef,
            tx,
            schedule,
            mesh,
            config,
        )
        model.eval()
        self.eval_step = step_lib.make_eval_step(
            names.split(model)[0],
            mesh,
            data=config.data,
            num_classes=dataset.num_classes,
            ignore=config.loss.ignore,
        )
        self.programs: dict[tuple[int, ...], Any] = {}  # by shape of the labels
        _print_parts(trained, frozen)

    def restore(self, checkpoints: checkpoint.Checkpoints) -> None:
        """Takes over the state that was saved last."""
        state, step = self.state, checkpoints.latest()
        saved = checkpoints.restore(step, _parts(state))
        model = saved["model"]
        self.state = dataclasses.replace(
            state,
            params={name: model[name] for name in state.params},
            frozen={name: model[name] for name in state.frozen},
            stats={name: model[name] for name in state.stats},
            **saved["training"],
        )
        print(f"resumed after step {step}")

    def loop(self, checkpoints: checkpoint.Checkpoints) -> None:
        """Steps, evaluations and checkpoints to the end, or to a signal to stop."""
        config, start = self.config, int(self.state.step)
        steps, result = config.train.steps, None
        self._check_images_fit()
        rates = sampling.make_rates(
            self.sources["train"],
            config.data,
            num_classes=self.dataset.num_classes,
            cache=self.workdir / "class_counts.npy",
        )
        batches = loader.train_batches(
            self.sources["train"],
            config.data,
            batch_size=config.train.batch_size,
            seed=config.seed,
            ignore=config.loss.ignore,
            start=start,
            rates=rates,
            put=functools.partial(sharding.put_batch, self.mesh),
        )
        with (
            contextlib.closing(batches),
            log_lib.Log(config, self.workdir, self.dataset, start) as log,
            _stop_signals() as stop,
            memory.explained(memory.step_too_large(config)),
        ):
            for step in range(start + 1, steps + 1):
                with log.waiting(ready=batches.ready()):
                    batch = next(batches)
                if batch["labels"].shape not in self.programs:
                    log.flush()  # a row must not count this time
                    self._compile(batch)
                    log.restart(step - 1)
                train_step = self.programs[batch["labels"].shape]
                self.state, step_metrics = train_step(self.state, batch)
                log.add(step, step_metrics)
                result = None
                if step == steps or _due(step, config.eval.every):
                    log.flush()
                    result = self._evaluate()
                    log.evaluated(step, result)
                if result or stop.is_set() or _due(step, config.checkpoint.every):
                    log.flush()  # a row may not be lost that a resumed run has passed
                    self._save(checkpoints, step, result)
                if stop.is_set() and step < steps:
                    log.print(f"stopped after step {step}; the same command goes on")
                    return
            if start >= steps:  # nothing was left to train
                steps, result = start, self._evaluate()
                if not checkpoints.has(start):
                    log.evaluated(start, result)
                    self._save(checkpoints, start, result)
        assert result is not None  # the last step is always evaluated
        names.update(self.model, self.state.variables)
        evaluate.write_report(
            self.workdir,
            {"step": steps, **result},
            self.model,
            self.dataset,
            config,
        )

    def _check_images_fit(self) -> None:
        """Refuses crops too large for images and labels, before any is made."""
        pixels = self.config.train.batch_size * math.prod(self.config.data.crop)
        values = 3 + 1  # float32 images, int32 labels
        memory.check(4 * values * pixels // jax.device_count(), self.config)

    def _compile(self, batch: step_lib.Batch) -> None:
        """Compiles the train step for batches of this shape and sees that it fits."""
        begin = time.perf_counter()
        compiled = self.train_step.lower(self.state, batch).compile()
        memory.check(memory.needed(compiled), self.config)
        seconds = time.perf_counter() - begin
        gib = memory.needed(compiled) / memory.GIB
        print(f"compiled in {seconds:.1f} s; a step needs {gib:.2f} GiB a device")
        self.programs[batch["labels"].shape] = compiled

    def _evaluate(self) -> dict:
        with memory.explained(memory.evaluation_too_large(self.config)):
            return evaluate.evaluate(
                self.eval_step,
                self.state.variables,
                self.dataset,
                self.config,
                self.mesh,
            )

    def _save(self, checkpoints, step: int, result: dict | None) -> None:
        miou = result["miou"] if result else None
        facts = functools.partial(
            workdir_lib.write_facts, self.workdir, self.config, self.dataset
        )
        checkpoints.save(step, _parts(self.state), miou=miou, before=facts)


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that the first SIGTERM or SIGINT sets; a second one acts as usual."""
    stop, before = threading.Event(), {}

    def handle(number, frame):
        stop.set()
        signal.signal(number, before[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parts(state: step_lib.TrainState) -> dict[str, Any]:
    """The state as a checkpoint holds it."""
    training = {name: getattr(state, name) for name in ("step", "opt_state", "window")}
    return {"model": state.variables, "training": training}


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _print_start(config: config_lib.Config, count: int) -> None:
    """Tells what differs from the defaults, and how long `count` images will last."""
    changes = config_lib.diff(config, config_lib.Config())
    for name, (default, value) in changes.items():
        print(f"config.{name} = {value!r} (default {default!r})")
    steps, batch = config.train.steps, config.train.batch_size
    print(
        f"{steps} steps x {batch} images = {steps * batch} images seen, "
        f"{steps * batch / count:.1f} epochs of {count}; lr is for batches of {batch}"
    )


def _print_parts(trained, frozen) -> None:
    for part in sorted({name.split(".")[0] for name in {**trained, **frozen}}):
        counts = [
            sum(v.size for name, v in params.items() if name.split(".")[0] == part)
            for params in (trained, frozen)
        ]
        print(f"{part}: {counts[0]:,} parameters trained, {counts[1]:,} frozen")
