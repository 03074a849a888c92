"""Forward passes beside PyTorch's: logits at full size, and classes (argmax).

python scripts/bench/infer.py > infer.jsonl
"""

import argparse

from jaxseg import xla

xla.use_huge_pages()
xla.set_flags()

import jax  # noqa: E402
import networks  # noqa: E402
import peers  # noqa: E402
import timing  # noqa: E402

CASES = [("deeplabv3_resnet50", 1, (size, size)) for size in (257, 513)]
GPU_CASES = [("deeplabv3_resnet50", 1, (1024, 2048))]


def main() -> None:
    """Prints two lines a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=networks.NETWORKS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, nargs=2, default=(257, 257))
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    gpu = jax.default_backend() != "cpu"
    cases = GPU_CASES if gpu else CASES
    if args.network:
        cases = [(args.network, args.batch, tuple(args.size))]
    for name, batch, size in cases:
        images = networks.make_batch(batch, size, args.classes)["images"]
        for argmax in (False, True):
            dtype = "bfloat16" if gpu else "float32"
            ours = networks.Ours(name, args.classes, dtype=dtype)
            contestants = {"ours": ours.forward(images, argmax=argmax)}
            if peers.torch:
                for key, last in (("torch", False), ("torch_last", True)):
                    peer = peers.Peer(name, args.classes, channels_last=last)
                    contestants[key] = peer.forward(
                        networks.normalized(images), argmax=argmax
                    )
            times = timing.interleave(contestants, rounds=args.rounds)
            row = {"network": name, "batch": batch, "size": size, "dtype": dtype}
            row |= {"gives": "classes" if argmax else "logits", "ms": times}
            if peers.torch:
                best = min(time for key, time in times.items() if key != "ours")
                row["ratio"] = round(times["ours"] / best, 3)
            timing.emit(**row, **timing.machine())


if __name__ == "__main__":
    main()
