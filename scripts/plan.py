"""What a recipe's step costs on 1 to 256 accelerators, from the program itself.

    python scripts/plan.py --config=configs/cityscapes.py [--config.a.b=value ...]

Prints tables in Markdown. The batch grows with the devices: each takes as many images
as --images says. Compiled for 8 simulated devices, the step tells how many values it
sums over all devices, and how often; its FLOP are XLA's count before optimization.
What the accelerators can do is taken from their data sheets; what share of it a step
reaches is assumed, as are the other numbers above the code.
"""

import functools
import os
import re
from unittest import mock

from absl import flags

from jaxseg import command, xla
from jaxseg import config as config_lib

_IMAGES = flags.DEFINE_integer("images", 2, "Images a device takes in a step.")
_WORKER = flags.DEFINE_float("worker", 70.0, "Images a second that one core reads.")

COUNTS = (1, 8, 64, 256)
A_HOST = 8  # devices
REACHED = 0.4  # of the peak, while a step computes
LATENCY = 20e-6  # seconds, of one sum over the devices, beside its bytes
WRITE = 1e9  # bytes a second, of a checkpoint to the shared disk
# Dense bfloat16 FLOP/s; bytes/s of a device to others within a fast network (NVLink,
# ICI), one way; how many devices that joins; bytes/s of a device beyond it.
ACCELERATORS = {
    "A100": (312e12, 300e9, 8, 25e9),
    "H100": (989e12, 450e9, 8, 50e9),
    "TPU v4": (275e12, 150e9, 4096, 6e9),
    "TPU v5e": (197e12, 100e9, 256, 3e9),
    "TPU v6e": (918e12, 224e9, 256, 6e9),
}
_REDUCE = re.compile(r"= (\S.*?) all-reduce(?:-start)?\(")
_ARRAY = re.compile(r"(f32|bf16|s32|u32|pred|f64)\[([\d,]*)\]")
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1, "f64": 8}


def main(config: config_lib.Config) -> None:
    """Prints the plan."""
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={A_HOST}"
    xla.set_flags()
    flop, sizes, state = costs(config)
    print(
        f"{config.model.head} {config.model.backbone}, crop {config.data.crop}, "
        f"{_IMAGES.value} images a device: {flop / 1e12:.2f} TFLOP a device and step; "
        f"{len(sizes)} sums over the devices of {sum(sizes) / 1e6:.1f} MB in all, the "
        f"largest {max(sizes) / 1e6:.1f} MB; a checkpoint has {state / 1e6:.0f} MB and "
        f"takes {state / WRITE:.1f} s to write, beside the steps"
    )
    for name, facts in ACCELERATORS.items():
        print(f"\n{name}\n")
        print(table(flop, sizes, *facts))


def costs(config: config_lib.Config) -> tuple[float, list[int], int]:
    """FLOP of a device's part of a step, bytes of each sum, bytes of the state."""
    import jax
    from flax import nnx

    from jaxseg import optim, sharding
    from jaxseg import state as state_lib
    from jaxseg import step as step_lib
    from jaxseg.data import datasets
    from jaxseg.models import build, names

    facts = datasets.FACTS.get(config.data.name)
    classes = config.model.num_classes or (len(facts.classes.names) if facts else 19)
    config.model = config_lib.with_classes(config.model, classes)
    config.train.batch_size = _IMAGES.value * A_HOST
    config.train.accumulate = 1  # a part costs what a batch of its size does
    model = nnx.eval_shape(lambda: build.build_model(config.model, rngs=nnx.Rngs(0)))
    model.train()
    graphdef, params, stats = names.split(model)
    trained, frozen = optim.split_frozen(params, config.freeze)
    schedule = optim.make_schedule(config.optim, config.train.steps)
    tx = optim.make_optimizer(config.optim, schedule, trained)
    mesh = sharding.make_mesh(config.sharding.mesh)
    make_state = functools.partial(
        state_lib.make_train_state,
        tx=tx,
        num_classes=classes,
        ema=config.train.ema > 0,
    )
    state = state_lib.abstract_on(mesh, make_state, trained, frozen, stats)
    shape = (config.train.batch_size, *config.data.crop)
    batch = {
        "images": ((*shape, 3), "uint8"),
        "labels": (shape, "uint8"),
    }
    batch = {
        name: jax.ShapeDtypeStruct(*each, sharding=sharding.of_images(mesh, each[0]))
        for name, each in batch.items()
    }
    train_step = step_lib.make_train_step(graphdef, tx, schedule, mesh, config)
    with mock.patch("jax.default_backend", return_value="gpu"):  # its forms, not ours
        lowered = train_step.lower(state, batch)
    return (
        lowered.cost_analysis()["flops"] / A_HOST,
        sums(lowered.compile().as_text()),
        sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)),
    )


def sums(program: str) -> list[int]:
    """Bytes of each sum over the devices in a compiled program."""
    found = []
    for kind in _REDUCE.findall(program):
        arrays = _ARRAY.findall(kind)
        found.append(sum(_BYTES[t] * _product(dims) for t, dims in arrays))
    return found


def _product(dims: str) -> int:
    result = 1
    for size in filter(None, dims.split(",")):
        result *= int(size)
    return result


def table(
    flop: float, sizes: list[int], peak: float, link: float, near: int, far_link: float
) -> str:
    """A row for each number of devices."""
    lines = [
        "| devices | batch | compute ms | sums ms | step ms | images/s | of linear | "
        "images/s a host | cores to read them |",
        "|---" * 9 + "|",
    ]
    compute = flop / (peak * REACHED)
    for count in COUNTS:
        speed = link if count <= near else far_link
        # A ring: each device sends and gets all bytes nearly twice.
        passed = 2 * (count - 1) / count * sum(sizes) / speed
        waited = LATENCY * len(sizes) * (count > 1)
        # Gradients are summed while those of the layers before are computed, two
        # thirds of the step; BatchNorm's small sums are waited for.
        step = max(compute, compute / 3 + passed) + waited
        images = count * _IMAGES.value / step
        host = min(count, A_HOST) * _IMAGES.value / step
        lines.append(
            f"| {count} | {count * _IMAGES.value} | {1e3 * compute:.0f} | "
            f"{1e3 * (passed + waited):.1f} | {1e3 * step:.0f} | {images:.0f} | "
            f"{compute / step:.0%} | {host:.0f} | {host / _WORKER.value:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
