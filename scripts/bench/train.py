"""A step of training beside PyTorch's: time, memory, share of the matrix peak.

    python scripts/bench/train.py > train.jsonl

Without --network all cases of the table in docs/performance.md. Both train by SGD on
one batch of noise; ours also normalizes the uint8 images and counts the confusion
matrix. Where PyTorch is not installed only our own figures appear. `--parts` tells
what forward pass, loss, backward pass and the rest of our step take, `--profile=DIR`
writes a trace for xprof or Perfetto.
"""

import argparse
import time

from jaxseg import xla

xla.use_huge_pages()
xla.set_flags()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import networks  # noqa: E402
import peers  # noqa: E402
import timing  # noqa: E402

CASES = [
    *(("deeplabv3_resnet50", 2, (size, size)) for size in (129, 257)),
    *(("deeplabv3_resnet18", 2, (size, size)) for size in (129, 257)),
    ("deeplabv3plus_mobilenet_v2", 2, (192, 256)),
]


def main() -> None:
    """Prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=networks.NETWORKS)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(129, 129))
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--dtype", help="ours; bfloat16 by default but on the CPU")
    parser.add_argument("--keep", default="auto", help="config.train.keep")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", metavar="DIR")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--memory-of", choices=("ours", "torch", "torch_last"))
    args = parser.parse_args()
    gpu = jax.default_backend() != "cpu"
    args.dtype = args.dtype or ("bfloat16" if gpu else "float32")
    if args.memory_of:
        timing.emit(mib=memory(args))
        return
    cases = CASES
    if args.network:
        cases = [(args.network, args.batch, tuple(args.size))]
    peak = matrix_peak(args.dtype)
    for name, batch, size in cases:
        timing.emit(**compare(name, batch, size, peak, args), **timing.machine())


def compare(name: str, batch: int, size: tuple[int, int], peak: float, args) -> dict:
    """The figures of a case."""
    data = networks.make_batch(batch, size, args.classes)
    network = networks.Ours(name, args.classes, dtype=args.dtype, keep=args.keep)
    begin = time.perf_counter()
    ours = network.train_step(data)
    seconds = time.perf_counter() - begin
    contestants, flops = {"ours": ours}, None
    if peers.torch:
        images = networks.normalized(data["images"])
        for key, last in (("torch", False), ("torch_last", True)):
            if last or jax.default_backend() == "cpu":
                peer = peers.Peer(name, args.classes, channels_last=last)
                contestants[key] = peer.train_step(images, data["labels"])
        flops = 3 * peers.Peer(name, args.classes, channels_last=False).flops(images)
    times = timing.interleave(contestants, rounds=args.rounds)
    if args.profile:
        with jax.profiler.trace(args.profile):
            ours()
    row = {"network": name, "batch": batch, "size": size, "dtype": args.dtype}
    row |= {"compile_s": round(seconds, 1), "ms": times}
    if args.parts:
        row["parts_ms"] = parts(network, data, ours, args.rounds)
    row["images_per_s"] = round(1e3 * batch / times["ours"], 2)
    if flops:
        best = min(time for key, time in times.items() if key != "ours")
        row["ratio"] = round(times["ours"] / best, 3)
        row["share_of_peak"] = round(flops / times["ours"] / 1e9 / peak, 3)
        row["peak_tflops"] = round(peak, 3)
    if jax.default_backend() == "cpu":
        flags = (f"--network={name}", f"--batch={batch}", f"--keep={args.keep}")
        flags = (*flags, f"--classes={args.classes}", f"--dtype={args.dtype}")
        flags = (*flags, "--size", *map(str, size))
        row["memory_mib"] = {
            key: timing.alone(*flags, f"--memory-of={key}")["mib"]
            for key in contestants
        }
    else:
        row["memory_mib"] = gpu_memory()
    return row


def parts(network: networks.Ours, data: dict, step, rounds: int) -> dict[str, float]:
    """Milliseconds of our step; backward and the rest are what is left over."""
    whole = network.parts(data) | {"step": step}
    times = timing.interleave(whole, rounds=rounds)
    forward, loss = times["forward"], times["loss"]
    backward = times["gradient"] - forward - loss
    rest = times["step"] - times["gradient"]
    found = {"forward": forward, "loss": loss, "backward": backward, "rest": rest}
    return {name: round(time, 2) for name, time in found.items()}


def memory(args) -> float:
    """Peak MiB of three steps with all they need, programs and libraries aside."""
    data = networks.make_batch(args.batch, tuple(args.size), args.classes)
    if args.memory_of == "ours":
        ours = networks.Ours(
            args.network, args.classes, dtype=args.dtype, keep=args.keep
        )
        make_step = ours.prepare_train_step(data)
    else:
        last = args.memory_of == "torch_last"
        images = networks.normalized(data["images"])

        def make_step():
            peer = peers.Peer(args.network, args.classes, channels_last=last)
            return peer.train_step(images, data["labels"])

    with timing.Memory() as found:
        step = make_step()
        found.trim()
        for _ in range(3):
            step()
    return found.mib


def gpu_memory() -> dict[str, float]:
    """Peak MiB of each library's allocator so far: run one case at a time for these."""
    stats = jax.local_devices()[0].memory_stats() or {}
    found = {"ours": stats.get("peak_bytes_in_use", 0) / 2**20}
    if peers.torch:
        found["torch_last"] = peers.torch.cuda.max_memory_allocated() / 2**20
    return {name: round(mib, 1) for name, mib in found.items()}


def matrix_peak(dtype: str) -> float:
    """TFLOP/s of a large matrix product."""
    n = 1 << (11 if jax.default_backend() == "cpu" else 13)
    x = jnp.ones((n, n), dtype)
    product = jax.jit(lambda x: x @ x)
    run = {"product": lambda: product(x).block_until_ready()}
    return 2 * n**3 / timing.interleave(run, rounds=5)["product"] / 1e9


if __name__ == "__main__":
    main()
