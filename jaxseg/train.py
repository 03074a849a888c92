"""A run of training: opens what it needs, then has the trainer train."""

import pathlib
from collections.abc import Sequence

import jax
from flax import nnx

from jaxseg import checkpoint, memory, optim, pretrained, sharding, signals
from jaxseg import config as config_lib
from jaxseg import start as start_lib
from jaxseg import trainer as trainer_lib
from jaxseg import workdir as workdir_lib
from jaxseg.data import datasets, findings
from jaxseg.models import build, names


def run(
    config: config_lib.Config, workdir: pathlib.Path, *, force: Sequence[str] = ()
) -> None:
    """Trains to config.train.steps, going on from the workdir's newest checkpoint.

    Ends with an evaluation and its report; at SIGTERM or SIGINT with a checkpoint.
    `force` names settings that may differ from those the run began with.
    """
    workdir_lib.check_path(workdir)
    mesh = sharding.make_mesh(config.sharding.mesh)
    sharding.check_batch(mesh, config)
    dataset = datasets.open_dataset(config.data, ignore=config.loss.ignore)
    config = datasets.with_num_classes(config, dataset)
    sources = {name: dataset.split(name) for name in ("train", "val")}
    findings.check_first(sources, config.data, dataset.num_classes)
    start_lib.check_processes(config, sources)
    model = make_model(config.model, config.seed)
    optim.split_frozen(names.split(model)[1], config.freeze)  # a bad rule fails here
    start_lib.print_settings(config, len(sources["train"]), mesh)
    with workdir_lib.locked(workdir), signals.watched() as stop:
        resuming = checkpoint.exists(workdir)
        if resuming:
            workdir_lib.check_to_train(workdir, config, force=force)
        elif config.pretrained.path:
            skip = config.pretrained.skip
            print(f"pretrained: {pretrained.load(model, config.pretrained.path, skip)}")
        with (
            memory.explained(memory.step_too_large(config)),
            checkpoint.open_all(workdir, config) as checkpoints,
        ):
            trainer = trainer_lib.Trainer(
                config, workdir, dataset, sources, mesh, model, checkpoints, stop
            )
            if resuming:
                trainer.restore()
            else:
                trainer.begin(model)
            del model  # the trainer holds its weights where the mesh says
            trainer.loop()


def make_model(model: config_lib.Model, seed: int) -> nnx.Module:
    """A model with random weights, on one device."""
    abstract = nnx.eval_shape(lambda: build.build_model(model, rngs=nnx.Rngs(seed)))

    def init():
        _, params, stats = names.split(build.build_model(model, rngs=nnx.Rngs(seed)))
        return params | stats

    # Random numbers for each layer: on the CPU half the time to compile, the same bits.
    cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 1} if cpu else None
    init = jax.jit(init, compiler_options=options)
    return names.merge(names.split(abstract)[0], init())
