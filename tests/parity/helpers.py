"""Networks of torch's libraries with random weights, and ours to hold the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import weights

from jaxseg.models import names

_REASON = "parity tests need torch, torchvision, timm and segmentation_models_pytorch"
torch = pytest.importorskip("torch", reason=_REASON)


def import_torchvision():
    """torchvision, also where its compiled operators (not needed here) do not load."""
    try:
        return pytest.importorskip("torchvision", reason=_REASON)
    except RuntimeError:  # operator torchvision::nms does not exist
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", schema)
        return pytest.importorskip("torchvision", reason=_REASON)


torchvision = import_torchvision()
safetensors = pytest.importorskip("safetensors.torch", reason=_REASON)
timm = pytest.importorskip("timm", reason=_REASON)
smp = pytest.importorskip("segmentation_models_pytorch", reason=_REASON)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_images(*shape, seed=0):
    """Normalized images [B H W 3]."""
    return draw(*shape, 3, seed=seed)


def to_torch(images):
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()


def to_torch64(x):
    """The same in float64, whose rounding does not count."""
    return to_torch(x).double()


def to_numpy(maps):
    return maps.detach().permute(0, 2, 3, 1).numpy()


def relative_error(ours, theirs):
    """Norm of the difference over the norm of theirs, after comparing the shapes."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def assert_close(ours, theirs, tolerance=1e-6):
    if isinstance(theirs, torch.Tensor):
        theirs = to_numpy(theirs)
    assert relative_error(ours, theirs) < tolerance


def randomize(module, seed=0):
    """Gives every BatchNorm statistics and affine terms of its own; evaluation mode.

    Its statistics are those of what reaches it from random images, disturbed: so the
    activations keep their size through any number of layers. The floor is for image
    pooling, which gives much the same in every random image. The last one of each
    bottleneck is small, as in trained networks: else rounding errors grow with depth.
    """
    generator = torch.Generator().manual_seed(seed)

    def set_statistics(norm, inputs):
        x, noise = inputs[0], torch.empty_like(norm.running_var)
        noise.normal_(0, 0.1, generator=generator)
        norm.running_mean.copy_(x.mean((0, 2, 3)) + noise)
        noise.uniform_(0.5, 1.5, generator=generator)
        norm.running_var.copy_(x.var((0, 2, 3)).clamp(min=0.1) * noise)

    handles = []
    for name, norm in module.named_modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            size = 0.25 if name.endswith("bn3") else 1.0
            norm.weight.data.uniform_(0.5 * size, 1.5 * size, generator=generator)
            norm.bias.data.normal_(0, 0.1, generator=generator)
            handles.append(norm.register_forward_pre_hook(set_statistics))
    with torch.no_grad():
        module.eval()(to_torch(make_images(2, 64, 64, seed=seed)))
    for handle in handles:
        handle.remove()
    return module


def make_blank(**settings):
    """Our network in evaluation mode, every variable 0: what a file must fill."""
    model = weights.make_model(**settings)
    model.eval()
    return model


def make_forward(model, part=lambda model: model):
    """`part` of the model as a compiled function of images."""
    graphdef, params, stats = names.split(model)
    run = jax.jit(lambda variables, x: part(names.merge(graphdef, variables))(x))
    return lambda images: run(params | stats, jnp.asarray(images))


def tap(module, taps, images):
    """The outputs of submodules: {key: name} -> {key: [B h w c]}."""
    outputs = {}
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, key=key: outputs.update({key: output})
        )
        for key, name in taps.items()
    ]
    with torch.no_grad():
        module(to_torch(images))
    for handle in handles:
        handle.remove()
    return {key: to_numpy(output) for key, output in outputs.items()}
