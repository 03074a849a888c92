"""Every form of every kind of convolution: forward, input gradient, weight gradient.

    python scripts/bench/conv.py [--dtype=bfloat16] [--only=aspp] > conv.jsonl

Times in ms; `torch` is the faster of contiguous and channels_last where PyTorch is
installed. `chosen` is the form that models/convolution.py takes for it here.
"""

import argparse
import functools

from jaxseg import xla

xla.use_huge_pages()
xla.set_flags()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import timing  # noqa: E402

from jaxseg.models import convolution  # noqa: E402

torch = timing.import_torch()

# name: (size, in, out, kernel, stride, dilation, groups)
CASES = {
    "stem 7x7 257": (257, 3, 64, 7, 2, 1, 1),
    "1x1 256-64 65": (65, 256, 64, 1, 1, 1, 1),
    "1x1 1024-256 33": (33, 1024, 256, 1, 1, 1, 1),
    "1x1 256-512 s2 65": (65, 256, 512, 1, 2, 1, 1),
    "3x3 64 65": (65, 64, 64, 3, 1, 1, 1),
    "3x3 128 s2 65": (65, 128, 128, 3, 2, 1, 1),
    "3x3 256 d2 33": (33, 256, 256, 3, 1, 2, 1),
    "3x3 512 d4 33": (33, 512, 512, 3, 1, 4, 1),
    "3x3 512 d4 17": (17, 512, 512, 3, 1, 4, 1),
    "depthwise 192 65": (65, 192, 192, 3, 1, 1, 192),
    "depthwise 192 s2 65": (65, 192, 192, 3, 2, 1, 192),
    "depthwise 576 d2 33": (33, 576, 576, 3, 1, 2, 576),
    "depthwise 320 d12 33": (33, 320, 320, 3, 1, 12, 320),
} | {
    f"aspp d{d} {size}": (size, 2048, 256, 3, 1, d, 1)
    for size, rates in (
        (17, (6, 12, 18, 24, 36)),
        (33, (6, 12, 18, 24, 36)),
        (65, (12, 24, 36)),
    )
    for d in rates
}


def ours(x, kernel, form, stride, dilation, groups, direction):
    """A call of one form in one direction, compiled."""
    pad = dilation * (kernel.shape[0] - 1) // 2
    convolve = functools.partial(
        convolution.FORMS[form],
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dilation=(dilation, dilation),
        groups=groups,
    )
    if direction == "forward":
        run = jax.jit(convolve)
    else:
        argument = {"dx": 0, "dw": 1}[direction]

        def run_backward(x, kernel, cotangent):
            if argument == 0:
                _, vjp = jax.vjp(lambda x: convolve(x, kernel), x)
            else:
                _, vjp = jax.vjp(lambda kernel: convolve(x, kernel), kernel)
            return vjp(cotangent)[0]

        shape = jax.eval_shape(convolve, x, kernel)
        run = functools.partial(
            jax.jit(run_backward), cotangent=jnp.ones(shape.shape, shape.dtype)
        )
    return lambda: jax.block_until_ready(run(x, kernel))


def theirs(x, kernel, layout, stride, dilation, groups, direction):
    """The same in torch."""
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    dtype = torch.bfloat16 if x.dtype == jnp.bfloat16 else torch.float32
    tensors = [
        torch.from_numpy(np.asarray(value, np.float32).transpose(axes).copy())
        .to(device, dtype)
        .contiguous(memory_format=layout)
        for value, axes in ((x, (0, 3, 1, 2)), (kernel, (3, 2, 0, 1)))
    ]
    pad = dilation * (kernel.shape[0] - 1) // 2
    options = {"stride": stride, "padding": pad, "dilation": dilation, "groups": groups}
    out = torch.nn.functional.conv2d(*tensors, **options)
    cotangent = torch.ones_like(out)
    sides = ([stride] * 2, [pad] * 2, [dilation] * 2, False, [0, 0], groups)
    mask = [direction == "dx", direction == "dw", False]

    def run():
        if direction == "forward":
            with torch.no_grad():
                torch.nn.functional.conv2d(*tensors, **options)
        else:
            torch.ops.aten.convolution_backward(cotangent, *tensors, None, *sides, mask)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def main() -> None:
    """Prints a line a case and direction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    for name, (size, cin, cout, k, stride, dilation, groups) in CASES.items():
        if args.only not in name:
            continue
        x = jnp.asarray(rng.normal(size=(args.batch, size, size, cin)), args.dtype)
        kernel = jnp.asarray(rng.normal(size=(k, k, cin // groups, cout)), args.dtype)
        shape = {"strides": (stride, stride), "groups": groups}
        forms = convolution.possible_forms(kernel.shape, **shape)
        chosen = convolution.choose_form(
            kernel.shape, (size, size), dilation=(dilation, dilation), **shape
        )
        for direction in ("forward", "dx", "dw"):
            settings = (stride, dilation, groups, direction)
            contestants = {form: ours(x, kernel, form, *settings) for form in forms}
            if torch:
                contestants |= {
                    f"torch {layout}": theirs(x, kernel, layout, *settings)
                    for layout in (torch.contiguous_format, torch.channels_last)
                }
            times = timing.interleave(contestants, rounds=args.rounds)
            torch_times = [t for key, t in times.items() if key.startswith("torch")]
            row = {form: times[form] for form in forms}
            if torch_times:
                row["torch"] = min(torch_times)
                row["ratio"] = round(times[chosen] / row["torch"], 2)
            timing.emit(case=name, direction=direction, chosen=chosen, **row)


if __name__ == "__main__":
    main()
