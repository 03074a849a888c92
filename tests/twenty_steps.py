"""Training steps on all devices, then an evaluation; writes a .npz of them.

    twenty_steps.py PATH [NAME=VALUE ...] [PORT PROCESSES PROCESS]

NAME is that of a setting, such as sharding.mesh.fsdp, VALUE a Python literal.
"""

import ast
import functools
import pathlib
import sys

import jax
import numpy as np
from flax import nnx

from jaxseg import config, evaluate, hosts, optim, sharding, step
from jaxseg import state as state_lib
from jaxseg.data import datasets
from jaxseg.models import build, names

BATCH, SIZE, IMAGES = 8, 64, 37


def main(path: str, *arguments: str) -> None:
    settings = make_settings(a for a in arguments if "=" in a)
    port, *process = [int(a) for a in arguments if "=" not in a] or [0]
    if process:
        with hosts.joined(
            coordinator=f"localhost:{port}",
            num_processes=process[0],
            process_id=process[1],
        ):
            write(pathlib.Path(path), settings)
    else:
        write(pathlib.Path(path), settings)


def make_settings(changes) -> config.Config:
    settings = config.Config()
    settings.data = config.Data(
        mosaic=0.5, classmix=0.5, brightness=0.2, photometric=True, blur=0.5, cutout=0.5
    )
    settings.data.size, settings.data.eval_images = (32, 32), IMAGES
    settings.model = config.Model(
        head="fcn",
        backbone="resnet18",
        output_stride=8,
        width=8,
        dtype="float64",
    )
    settings.optim.lr = 0.01
    settings.train.steps, settings.train.batch_size = 20, BATCH
    settings.train.log_every = 1
    settings.loss.ohem_threshold, settings.loss.ohem_min_kept = 0.01, 1000
    settings.loss.dice_weight = 0.5
    for change in changes:
        name, value = change.split("=")
        *sections, field = name.split(".")
        section = settings
        for each in sections:
            section = getattr(section, each)
        setattr(section, field, ast.literal_eval(value))
    return settings


def write(path: pathlib.Path, settings: config.Config) -> None:
    dataset = datasets.open_dataset(settings.data, ignore=255)
    settings = datasets.with_num_classes(settings, dataset)
    mesh = sharding.make_mesh(settings.sharding.mesh)
    model = build.build_model(settings.model, rngs=nnx.Rngs(0))
    model.train()
    if settings.freeze_bn:
        optim.freeze_statistics(model, ("*",))
    graphdef, *variables = names.split(model)
    params, stats = jax.tree.map(lambda x: x.astype(settings.model.dtype), variables)
    schedule = optim.make_schedule(settings.optim, settings.train.steps)
    tx = optim.make_optimizer(settings.optim, schedule, params)
    make_state = functools.partial(
        state_lib.make_train_state, tx=tx, num_classes=dataset.num_classes, ema=True
    )
    state = state_lib.init_on(mesh, make_state, params, {}, stats)
    train_step = step.make_train_step(
        graphdef,
        tx,
        schedule,
        mesh,
        settings,
    )
    bytes_of = {"params": state.params, "opt_state": state.opt_state, "ema": state.ema}
    found = {f"bytes_of_{name}": on_a_device(x) for name, x in bytes_of.items()}
    found |= {"losses": [], "grad_norms": []}
    model.eval()
    here = sharding.local_mesh(mesh)
    eval_step = step.make_eval_step(
        names.split(model)[0],
        here,
        data=settings.data,
        num_classes=dataset.num_classes,
        ignore=255,
    )

    def count(variables):
        return evaluate.count(eval_step, variables, dataset, settings, here)

    found["first_confusion"] = count(sharding.gather(mesh, state.variables))
    rng = np.random.default_rng(0)
    for _ in range(settings.train.steps):
        labels = rng.integers(0, 3, (BATCH, SIZE, SIZE), np.int32)
        labels[0, : SIZE // 2] = settings.loss.ignore
        images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
        share = BATCH // jax.process_count()
        mine = slice(share * jax.process_index(), share * (jax.process_index() + 1))
        batch = {"images": images[mine], "labels": labels[mine]}
        state, metrics = train_step(state, sharding.put_batch(mesh, batch))
        found["losses"].append(metrics["loss"])
        found["grad_norms"].append(metrics["grad_norm"])
    variables = sharding.gather(mesh, state.variables)
    averaged = sharding.gather(mesh, state.averaged)
    found["confusion"] = count(averaged)
    if hosts.is_main():
        moved = {f"ema.{name}": value for name, value in averaged.items()}
        np.savez(path, **found, **variables, **moved)


def on_a_device(tree) -> int:
    """Bytes of the arrays on the first device."""
    return sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))


if __name__ == "__main__":
    main(*sys.argv[1:])
