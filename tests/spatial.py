"""One image of 1024x2048 on one device and with its rows on four: prints JSON.

How far apart the logits are, and what a step of training changes in the parameters, as
the norm of the difference over the norm; and the bytes that each device needs for them.
"""

import functools
import json

import jax
import numpy as np
from flax import nnx

from jaxseg import config, memory, optim, sharding, step
from jaxseg import state as state_lib
from jaxseg.models import build, names

SIZE, CLASSES = (1024, 2048), 19


def main() -> None:
    settings = config.Config(
        model=config.Model(
            head="deeplabv3", backbone="resnet18", width=8, head_channels=32, dropout=0
        ),
        data=config.Data(augment="none", crop=SIZE),
        train=config.Train(batch_size=1),
    )
    settings.model.num_classes = CLASSES
    model = build.build_model(settings.model, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.integers(0, 256, (1, *SIZE, 3), np.uint8),
        "labels": rng.integers(0, CLASSES, (1, *SIZE), np.int32),
    }
    meshes = [
        jax.sharding.Mesh(np.array(jax.devices()[:n]).reshape(1, 1, n), sharding.AXES)
        for n in (1, 4)
    ]
    one, four = (
        {**forward(model, mesh, batch), **train(model, mesh, batch, settings)}
        for mesh in meshes
    )
    told = {}
    for name, (value, needed) in one.items():
        other, needed_of_four = four[name]
        error = float(np.linalg.norm(value - other) / np.linalg.norm(value))
        told[name] = {"error": error, "bytes": [needed, needed_of_four]}
    print(json.dumps(told))


def forward(model, mesh, batch) -> dict:
    model.eval()
    graphdef, params, stats = names.split(model)

    def logits(variables, images):
        return names.merge(graphdef, variables).features(images / 255.0).logits

    variables = jax.device_put(params | stats, sharding.replicated(mesh))
    images = sharding.put_batch(mesh, batch)["images"]
    compiled = jax.jit(logits).lower(variables, images).compile()
    found = np.asarray(compiled(variables, images))
    return {"logits": (found, memory.needed(compiled))}


def train(model, mesh, batch, settings) -> dict:
    model.train()
    graphdef, params, stats = names.split(model)
    schedule = optim.make_schedule(settings.optim, 10)
    tx = optim.make_optimizer(settings.optim, schedule, params)
    make_state = functools.partial(
        state_lib.make_train_state, tx=tx, num_classes=CLASSES
    )
    state = state_lib.init_on(mesh, make_state, params, {}, stats)
    batch = sharding.put_batch(mesh, batch)
    train_step = step.make_train_step(graphdef, tx, schedule, mesh, settings)
    compiled = train_step.lower(state, batch).compile()
    before = {name: np.array(value) for name, value in state.params.items()}
    state, _ = compiled(state, batch)
    change = [np.ravel(value - before[name]) for name, value in state.params.items()]
    return {"change": (np.concatenate(change), memory.needed(compiled))}


if __name__ == "__main__":
    main()
