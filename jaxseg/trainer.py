"""Training: state, steps, checkpoints and evaluations of a run, from first to last."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from jaxseg import (
    agreement,
    checkpoint,
    evaluate,
    memory,
    optim,
    programs,
    sharding,
    signals,
)
from jaxseg import config as config_lib
from jaxseg import log as log_lib
from jaxseg import start as start_lib
from jaxseg import state as state_lib
from jaxseg import step as step_lib
from jaxseg import watch as watch_lib
from jaxseg import workdir as workdir_lib
from jaxseg.data import ahead, datasets, loader, sampling
from jaxseg.data import sources as sources_lib
from jaxseg.models import names


class Trainer:
    """The programs and the state of a run."""

    def __init__(
        self,
        config: config_lib.Config,
        workdir: pathlib.Path,
        dataset: datasets.Dataset,
        sources: Mapping[str, sources_lib.Source],
        mesh: Mesh,
        model: nnx.Module,
        checkpoints: checkpoint.Checkpoints,
        stop: signals.Stop,
    ):
        self.config, self.workdir, self.dataset = config, workdir, dataset
        self.sources, self.mesh = sources, mesh
        self.checkpoints, self.stop = checkpoints, stop
        settings = optim.scaled(config.optim, config.train.batch_size)
        schedule = optim.make_schedule(settings, config.train.steps)
        model.train()
        optim.freeze_statistics(model, ("*",) if config.freeze_bn else config.freeze)
        graphdef, params, stats = names.split(model)
        trained, frozen = optim.split_frozen(params, config.freeze)
        tx = optim.make_optimizer(settings, schedule, trained)
        self.make_state = functools.partial(
            state_lib.make_train_state,
            tx=tx,
            num_classes=dataset.num_classes,
            ema=config.train.ema > 0,
        )
        self.state = state_lib.abstract_on(
            mesh, self.make_state, trained, frozen, stats
        )
        train_step = step_lib.make_train_step(graphdef, tx, schedule, mesh, config)
        self.programs = programs.Programs(train_step, config)
        model.eval()
        self.graphdef = names.split(model)[0]  # for evaluation
        self.eval_step = step_lib.make_eval_step(
            self.graphdef,
            sharding.local_mesh(mesh),
            data=config.data,
            num_classes=dataset.num_classes,
            ignore=config.loss.ignore,
        )
        start_lib.print_parts(trained, frozen)

    def begin(self, model: nnx.Module) -> None:
        """Takes the state before the first step, with this model's weights."""
        _, params, stats = names.split(model)
        trained, frozen = optim.split_frozen(params, self.config.freeze)
        self.state = state_lib.init_on(
            self.mesh, self.make_state, trained, frozen, stats
        )

    def restore(self) -> None:
        """Takes over the state that was saved last."""
        state, step = self.state, self.checkpoints.latest()
        parts, average = _parts(state), {}
        if state.ema and not self.checkpoints.has_average(step):  # it begins now
            asked = {"model": parts.pop("ema")}
            average = {"ema": self.checkpoints.restore(step, asked)["model"]}
        saved = self.checkpoints.restore(step, parts) | average
        model = saved["model"]
        self.state = dataclasses.replace(
            state,
            params={name: model[name] for name in state.params},
            frozen={name: model[name] for name in state.frozen},
            stats={name: model[name] for name in state.stats},
            ema={name: saved["ema"][name] for name in state.ema},
            **saved["training"],
        )
        print(f"resumed after step {step}, with batch {step + 1} of the data")

    def loop(self) -> None:
        """Steps, checkpoints and evaluations to the end, or until told to stop."""
        start = int(self.state.step)
        if start < self.config.train.steps and self.stop.agreed():
            if start:  # a scheduler looks there whether the run is done
                agreement.decided(self._write_facts)
            print(f"stopped before step {start + 1}; the same command goes on")
            return
        self.programs.check_images_fit()
        with (
            contextlib.closing(self._batches(start)) as batches,
            log_lib.Log(self.config, self.workdir, self.dataset, start) as log,
        ):
            log.look = self._watch(batches, start, log).look
            end, result = self._steps(start, batches, log)
            if result is None:
                log.print(f"stopped after step {end}; the same command goes on")
                return
        evaluate.write_report(
            self.workdir,
            {"step": end, **result},
            names.merge(self.graphdef, self._variables()),
            self.dataset,
            self.config,
        )

    def _steps(
        self, start: int, batches: ahead.ReadAhead, log: log_lib.Log
    ) -> tuple[int, dict | None]:
        """The last step done, and its evaluation unless the run was told to stop."""
        config, steps, result = self.config, self.config.train.steps, None
        due = 0 < start < steps and _due(start, config.eval.every)
        # Where the run was stopped before it was rated, and where nothing is left.
        if (due and not self.checkpoints.is_rated(start)) or start >= steps:
            if not self.checkpoints.has(start):
                self._save(start)
            result = self._evaluate(start, log)
            if result is None or start >= steps:
                return start, result
        for step in range(start + 1, steps + 1):
            self._step(step, batches, log)
            due = step == steps or _due(step, config.eval.every)
            told = self.stop.agreed() and step < steps
            if due or told or _due(step, config.checkpoint.every):
                log.flush()  # a row may not be lost that a resumed run has passed
                self._save(step)
            result = self._evaluate(step, log) if due and not told else None
            if told or (due and result is None):
                return step, None
        return steps, result

    def _batches(self, start: int) -> ahead.ReadAhead:
        """The share of this process in the batches after the first `start`."""
        make_rates = functools.partial(
            sampling.make_rates,
            self.sources["train"],
            self.config.data,
            num_classes=self.dataset.num_classes,
            cache=self.workdir / "class_counts.npy",
        )
        if jax.process_count() > 1:  # the first counts, the others read what it wrote
            agreement.decided(lambda: make_rates() is None)
        rates = make_rates()
        return loader.train_batches(
            self.sources["train"],
            self.config.data,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
            ignore=self.config.loss.ignore,
            start=start,
            rates=rates,
            share=(jax.process_index(), jax.process_count()),
            put=functools.partial(sharding.put_batch, self.mesh),
        )

    def _step(self, step: int, batches: ahead.ReadAhead, log: log_lib.Log) -> None:
        with log.waiting(ready=batches.ready()):
            batch = next(batches)
        if not self.programs.has(batch):
            log.flush()  # a row must not count this time
            self.programs.compile(self.state, batch)
            log.restart(step - 1)
        self.state, found = self.programs.run(self.state, batch)
        log.add(step, found, batch)

    def _watch(self, batches, start: int, log: log_lib.Log) -> watch_lib.Watch:
        is_finite = watch_lib.make_is_finite(self.graphdef, self.config.data)

        def explain(step: int, batch: step_lib.Batch) -> str:
            variables = sharding.gather(self.mesh, self.state.variables)
            process = f"_{jax.process_index()}" if jax.process_count() > 1 else ""
            return watch_lib.explain(
                sharding.fetch(self.mesh, batch["images"]),
                sharding.fetch(self.mesh, batch["labels"]),
                batches.names(step - 1 - start),
                is_finite=functools.partial(is_finite, variables),
                path=self.workdir / f"not_finite_{step}{process}.npz",
            )

        return watch_lib.Watch(
            self.config, self.state.params, explain=explain, tell=log.print
        )

    def _variables(self) -> dict[str, jax.Array]:
        """Those to evaluate, on this process's devices."""
        state, raw = self.state, self.config.eval.weights == "raw"
        return sharding.gather(self.mesh, state.variables if raw else state.averaged)

    def _evaluate(self, step: int, log: log_lib.Log) -> dict | None:
        """Evaluates what was just saved and rates it; None if told to stop."""
        with memory.explained(memory.evaluation_too_large(self.config)):
            result = evaluate.evaluate(
                self.eval_step,
                self._variables(),
                self.dataset,
                self.config,
                sharding.local_mesh(self.mesh),
                self.stop.heard,
            )
        if result is not None:
            log.evaluated(step, result)
            self.checkpoints.rate(step, result["miou"])
        return result

    def _save(self, step: int) -> None:
        self.checkpoints.save(step, _parts(self.state), before=self._write_facts)

    def _write_facts(self) -> None:
        workdir_lib.write_facts(self.workdir, self.config, self.dataset)


def _parts(state: state_lib.TrainState) -> dict[str, Any]:
    """The state as a checkpoint holds it."""
    training = {name: getattr(state, name) for name in ("step", "opt_state", "window")}
    parts = {"model": state.variables, "training": training}
    return parts | ({"ema": state.averaged} if state.ema else {})


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
