"""Five training steps in float64 on all devices; writes what they give to a .npz."""

import sys

import jax
import numpy as np
from flax import nnx

from jaxseg import config, optim, sharding, step
from jaxseg.models import build, names

STEPS, BATCH, SIZE, CLASSES = 5, 8, 64, 3


def main(path: str) -> None:
    settings = config.Config()
    settings.data = config.Data(
        mosaic=0.5, classmix=0.5, brightness=0.2, photometric=True, blur=0.5, cutout=0.5
    )
    settings.optim.lr = 0.01
    settings.train.log_every = 1
    settings.loss.ohem_threshold, settings.loss.ohem_min_kept = 0.01, 1000
    settings.loss.dice_weight = 0.5
    model = build.build_model(
        config.Model(
            head="fcn",
            backbone="resnet18",
            num_classes=CLASSES,
            output_stride=8,
            width=8,
            dtype="float64",
        ),
        rngs=nnx.Rngs(0),
    )
    model.train()
    graphdef, *variables = names.split(model)
    params, stats = jax.tree.map(lambda x: x.astype("float64"), variables)
    schedule = optim.make_schedule(settings.optim, STEPS)
    tx = optim.make_optimizer(settings.optim, schedule, params)
    mesh = sharding.make_mesh()
    state = step.make_train_state(params, {}, stats, tx, num_classes=CLASSES)
    state = jax.device_put(state, sharding.replicated(mesh))
    train_step = step.make_train_step(
        graphdef,
        tx,
        schedule,
        mesh,
        settings,
    )
    rng = np.random.default_rng(0)
    found = {"losses": [], "grad_norms": []}
    for _ in range(STEPS):
        batch = {
            "images": rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8),
            "labels": rng.integers(0, CLASSES, (BATCH, SIZE, SIZE), np.int32),
        }
        batch["labels"][0, : SIZE // 2] = settings.loss.ignore
        state, metrics = train_step(state, sharding.put_batch(mesh, batch))
        found["losses"].append(metrics["loss"])
        found["grad_norms"].append(metrics["grad_norm"])
    np.savez(path, **found, **state.variables)


if __name__ == "__main__":
    main(sys.argv[1])
