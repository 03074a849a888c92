"""Training steps against torch: the same weights, batch, loss and schedule."""

import contextlib
import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import config, losses, optim, pretrained, sharding, step
from jaxseg import state as state_lib
from jaxseg.data import synthetic
from jaxseg.models import names
from jaxseg.pretrained import rules
from parity import helpers

torch, torchvision = helpers.torch, helpers.torchvision

STEPS, LR, MOMENTUM, DECAY, AUX = 3, 0.02, 0.9, 1e-4, 0.5
SIZE = 96  # pixels
LAYOUT = next(each for each in rules.LAYOUTS if each.name == "torchvision")


def fcn_resnet18(num_classes: int, dropout: float):
    """Torchvision's FCN on a ResNet-18 at output stride 32, with auxiliary head."""
    segmentation = torchvision.models.segmentation
    backbone = torchvision.models._utils.IntermediateLayerGetter(
        torchvision.models.resnet18(), {"layer4": "out", "layer3": "aux"}
    )
    model = segmentation.fcn.FCN(
        backbone,
        segmentation.fcn.FCNHead(512, num_classes),
        segmentation.fcn.FCNHead(256, num_classes),
    )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model


def total_loss(out, labels):
    loss = torch.nn.functional.cross_entropy(out["out"], labels, ignore_index=255)
    aux = torch.nn.functional.cross_entropy(out["aux"], labels, ignore_index=255)
    return loss + AUX * aux


def torch_steps(model, images, labels) -> list[float]:
    """SGD with momentum, decay and a polynomial schedule; images normalized NHWC."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY
    )
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, STEPS, power=0.9)
    images = torch.tensor(images).permute(0, 3, 1, 2)
    labels = torch.tensor(labels).long()
    model.train()
    found = []
    for _ in range(STEPS):
        loss = total_loss(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        found.append(loss.item())
    return found


def our_steps(model, settings: config.Config, images, labels):
    """(losses, variables after) of the jitted step on the same batch."""
    schedule = optim.make_schedule(settings.optim, STEPS)
    model.train()
    graphdef, params, stats = names.split(model)
    tx = optim.make_optimizer(settings.optim, schedule, params)
    state = state_lib.make_train_state(params, {}, stats, tx, num_classes=5)
    train_step = step.make_train_step(
        graphdef,
        tx,
        schedule,
        sharding.make_mesh(),
        settings,
    )
    found = []
    for _ in range(STEPS):
        state, metrics = train_step(
            state, {"images": jnp.asarray(images), "labels": jnp.asarray(labels)}
        )
        found.append(float(metrics["loss"]))
    return found, state.variables


def as_torch(value: np.ndarray) -> np.ndarray:
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value


def make_batch(size: int):
    """(uint8 images, int32 labels in 0..4 or 255) of rendered streets."""
    scenes = [
        synthetic.render(index, seed=0, size=(size, size), domain="day")
        for index in range(4)
    ]
    labels = np.stack([label for _, label in scenes]).astype(np.int32)
    return np.stack([image for image, _ in scenes]), np.where(labels > 4, 255, labels)


def affine(module, seed: int) -> None:
    """Gives every BatchNorm statistics and affine terms of its own."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.normal_(0, 0.1, generator=generator)
            norm.running_mean.normal_(0, 0.1, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory):
    """A function of the dtype giving losses and variables, theirs and ours."""
    torch.manual_seed(0)
    theirs = fcn_resnet18(5, dropout=0.0)
    affine(theirs, 0)
    path = tmp_path_factory.mktemp("weights") / "fcn.pth"
    torch.save(theirs.state_dict(), path)
    images, labels = make_batch(SIZE)
    settings = config.Config()
    settings.data.augment = "none"
    settings.train.log_every = 1
    settings.optim.lr, settings.optim.weight_decay = LR, DECAY
    settings.loss.aux_weight = AUX
    normal = (images - np.array(settings.data.mean)) / np.array(settings.data.std)

    def run(dtype: str):
        module = copy.deepcopy(theirs).to(getattr(torch, dtype))
        before = state_of(module)
        expected = torch_steps(module, normal.astype(dtype), labels)
        with in_float64() if dtype == "float64" else contextlib.nullcontext():
            ours = load_fcn(path, dtype)
            found, variables = our_steps(ours, settings, images, labels)
            variables = {k: as_torch(np.asarray(v)) for k, v in variables.items()}
        return expected, found, before, state_of(module), variables

    return run


def state_of(module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def load_fcn(path, dtype: str):
    model = helpers.make_blank(
        head="fcn",
        backbone="resnet18",
        output_stride=32,
        num_classes=5,
        aux_head=True,
        dropout=0.0,
        dtype=dtype,
    )
    pretrained.load(model, path)
    graphdef, params, stats = names.split(model)
    return names.merge(
        graphdef, {k: v.astype(dtype) for k, v in {**params, **stats}.items()}
    )


def test_three_sgd_steps_in_float64(three_steps):
    """Every parameter to 1e-6 of its change; float32 itself is off by up to 0.1 of it.

    (The sign of an activation next to 0 decides about its gradient, so rounding errors
    enter by their square root: torch's float32 and float64 differ as much.)
    """
    expected, found, before, after, variables = three_steps("float64")
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    for name, value in variables.items():
        new, old = (state[LAYOUT.theirs(name)] for state in (after, before))
        if name.endswith(".var"):
            new = allow_for_bias(name, new, old)
        assert np.linalg.norm(value - new) < 1e-6 * np.linalg.norm(new - old), name


def test_three_sgd_steps_in_float32(three_steps):
    """As near as float32 allows: torch's own is up to 0.1 of the change off float64."""
    expected, found, before, after, variables = three_steps("float32")
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    for name, value in variables.items():
        new, old = (state[LAYOUT.theirs(name)] for state in (after, before))
        if name.endswith(".var"):
            new = allow_for_bias(name, new, old)
        assert np.linalg.norm(value - new) < 0.2 * np.linalg.norm(new - old), name


def allow_for_bias(name: str, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Torch's running variance as if it had not been multiplied by n / (n - 1).

    After 3 steps new = 0.9^3 old + r * (what the biased one added), r = n / (n - 1).
    """
    stride = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
    part = name.split(".")[1]
    by_head = {"head": 32, "aux_head": 16}
    at = by_head.get(name.split(".")[0]) or stride.get(part, 2)
    n = 4 * (SIZE // at) ** 2
    kept = 0.9**STEPS * old
    return kept + (new - kept) * (n - 1) / n


def test_deeplabv3_resnet50_gradients_in_float64(tmp_path):
    theirs = torchvision.models.segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=5, aux_loss=True
    )
    helpers.randomize(theirs, 1)
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.save(theirs.state_dict(), tmp_path / "deeplab.pth")
    images, labels = make_batch(64)
    images = (images / 127.5 - 1).astype(np.float64)
    theirs = theirs.double().train()
    total_loss(
        theirs(torch.tensor(images).permute(0, 3, 1, 2)), torch.tensor(labels).long()
    ).backward()
    expected = {k: p.grad.numpy() for k, p in theirs.named_parameters()}
    with in_float64():
        found = float64_gradients(tmp_path / "deeplab.pth", images, labels)
    for name, value in found.items():
        reference = expected[LAYOUT.theirs(name)]
        error = np.linalg.norm(as_torch(value) - reference)
        assert error < 1e-6 * np.linalg.norm(reference), name


@contextlib.contextmanager
def in_float64():
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def float64_gradients(path, images, labels) -> dict[str, np.ndarray]:
    model = helpers.make_blank(
        head="deeplabv3",
        backbone="resnet50",
        num_classes=5,
        aux_head=True,
        dropout=0.0,
        dtype="float64",
    )
    pretrained.load(model, path)
    model.train()
    graphdef, params, stats = names.split(model)
    params, stats = jax.tree.map(lambda x: x.astype("float64"), (params, stats))

    def loss_of(params):
        out = names.merge(graphdef, {**params, **stats})(jnp.asarray(images))
        both = [losses.cross_entropy(x, jnp.asarray(labels))[0] for x in out]
        return both[0] + AUX * both[1]

    return {k: np.asarray(v) for k, v in jax.jit(jax.grad(loss_of))(params).items()}
