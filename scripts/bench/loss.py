"""Upsampling with a loss, with argmax, and confusion matrices, beside others'.

python scripts/bench/loss.py > loss.jsonl
"""

import argparse
import functools

from jaxseg import xla

xla.use_huge_pages()
xla.set_flags()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import peer_losses  # noqa: E402
import timing  # noqa: E402

from jaxseg import config, inference, losses, metrics  # noqa: E402

torch = timing.import_torch()
SMALL, LARGE, BATCH = (65, 65), (513, 513), 2
LOSSES = {
    "loss": config.Loss(),
    "loss of hard examples": config.Loss(ohem_threshold=0.7, ohem_min_kept=16_000),
    "loss with Dice": config.Loss(dice_weight=1.0),
}


def main() -> None:
    """Prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory-of", choices=("ours", "torch", "torch_last"))
    parser.add_argument("--loss", choices=LOSSES, default="loss")
    parser.add_argument("--classes", type=int, nargs="+", default=(19, 150))
    args = parser.parse_args()
    if args.memory_of:
        measure_memory(args.memory_of, args.loss, args.classes[0])
        return
    cases = {name: functools.partial(compare_loss, name) for name in LOSSES}
    cases |= {"argmax": compare_argmax, "confusion matrix": compare_confusion}
    for num_classes in args.classes:
        for case, compare in cases.items():
            contestants = compare(num_classes)
            times = timing.interleave(contestants, rounds=args.rounds)
            row = {"case": case, "classes": num_classes, "ms": times}
            others = [time for key, time in times.items() if key != "ours"]
            row["ratio"] = round(times["ours"] / min(others), 3) if others else None
            if case in LOSSES and jax.default_backend() == "cpu":
                flags = f"--loss={case}", f"--classes={num_classes}"
                row["memory_mib"] = {
                    key: timing.alone(f"--memory-of={key}", *flags)["mib"]
                    for key in contestants
                }
            timing.emit(**row, **timing.machine())


def measure_memory(key: str, case: str, num_classes: int) -> None:
    """Prints the peak of a contestant alone in this process."""
    make = prepare_loss(key, LOSSES[case], *draw(num_classes))
    with timing.Memory() as found:
        run = make()
        for _ in range(3):
            run()
    timing.emit(mib=found.mib)


def draw(num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits [B h w C] and labels [B H W], one in 20 ignored."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(BATCH, *SMALL, num_classes)).astype(np.float32)
    labels = rng.integers(0, num_classes, (BATCH, *LARGE), np.int32)
    labels[rng.random(labels.shape) < 0.05] = 255
    return logits, labels


def compare_loss(case: str, num_classes: int) -> timing.Contestants:
    """Loss and gradient."""
    keys = ["ours", *(("torch", "torch_last") if torch else ())]
    data = draw(num_classes)
    return {key: prepare_loss(key, LOSSES[case], *data)() for key in keys}


def prepare_loss(
    key: str, settings: config.Loss, logits: np.ndarray, labels: np.ndarray
):
    """Compiles what gives loss and gradient; call the result to make its arrays."""
    if key == "ours":
        return _prepare_ours(settings, logits, labels)

    def make():
        last = key == "torch_last"
        memory_format = torch.channels_last if last else torch.contiguous_format
        x = torch.tensor(logits).permute(0, 3, 1, 2).to(_device())
        x = x.contiguous(memory_format=memory_format).requires_grad_()
        y = torch.tensor(labels).long().to(_device())

        def run():
            x.grad = None
            loss = peer_losses.upsampled_loss(x, y, settings)
            loss.backward()
            return loss.item()

        return run

    return make


def _prepare_ours(settings: config.Loss, logits: np.ndarray, labels: np.ndarray):
    def loss(x, y):
        return losses.segmentation_loss(x, y, settings)[0]

    compiled = jax.jit(jax.value_and_grad(loss)).lower(logits, labels).compile()

    def make():
        x, y = jnp.asarray(logits), jnp.asarray(labels)
        return lambda: jax.block_until_ready(compiled(x, y))

    return make


def compare_argmax(num_classes: int) -> timing.Contestants:
    """Classes at full size from small logits."""
    logits, _ = draw(num_classes)
    x = jnp.asarray(logits)
    ours = jax.jit(lambda x: inference.upsampled_argmax(x, LARGE))
    contestants: timing.Contestants = {"ours": lambda: jax.block_until_ready(ours(x))}
    if torch:
        theirs = torch.tensor(logits).permute(0, 3, 1, 2).contiguous().to(_device())

        def run():
            big = torch.nn.functional.interpolate(theirs, LARGE, mode="bilinear")
            result = big.argmax(1)
            _synchronize()
            return result

        contestants["torch"] = run
    return contestants


def compare_confusion(num_classes: int) -> timing.Contestants:
    """Counts of a label map of 1024x2048."""
    rng = np.random.default_rng(0)
    shape = (1, 1024, 2048)
    labels, predictions = rng.integers(0, num_classes, (2, *shape), np.int32)
    labels[rng.random(shape) < 0.05] = 255
    ours = jax.jit(lambda a, b: metrics.confusion_matrix(a, b, num_classes=num_classes))
    x, y = jnp.asarray(labels), jnp.asarray(predictions)

    def by_numpy():
        keep = labels != 255
        cells = labels[keep] * num_classes + predictions[keep]
        return np.bincount(cells, minlength=num_classes**2)

    contestants: timing.Contestants = {
        "ours": lambda: jax.block_until_ready(ours(x, y)),
        "numpy": by_numpy,
    }
    if torch:
        timing.import_torchvision()  # which torchmetrics imports
        from torchmetrics.functional.classification import (  # pyright: ignore
            multiclass_confusion_matrix,
        )

        a, b = (torch.tensor(x).to(_device()) for x in (predictions, labels))

        def by_torchmetrics():
            multiclass_confusion_matrix(a, b, num_classes, ignore_index=255)
            _synchronize()

        contestants["torchmetrics"] = by_torchmetrics
    return contestants


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
