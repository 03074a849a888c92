"""Training steps against torch: the same weights, batch, loss and schedule."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg import config, losses, optim, pretrained, sharding, step
from jaxseg.models import names
from jaxseg.pretrained import rules
from parity import helpers

torch, torchvision = helpers.torch, helpers.torchvision

STEPS, LR, MOMENTUM, DECAY, AUX = 3, 0.02, 0.9, 1e-4, 0.5
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
    state = step.make_train_state(params, {}, stats, tx, num_classes=5)
    train_step = step.make_train_step(
        graphdef,
        tx,
        schedule,
        sharding.make_mesh(),
        loss=settings.loss,
        data=settings.data,
        seed=0,
        log_every=1,
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


def make_batch(size: int, num_classes: int):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, size, size, 3), np.uint8)
    labels = rng.integers(0, num_classes, (4, size // 8, size // 8))
    labels = labels.repeat(8, 1).repeat(8, 2).astype(np.int32)
    labels[rng.random(labels.shape) < 0.1] = 255
    return images, labels


def test_three_sgd_steps_are_torchs(tmp_path):
    theirs = fcn_resnet18(5, dropout=0.0)
    helpers.randomize(theirs, 0)
    torch.save(theirs.state_dict(), tmp_path / "fcn.pth")
    before = {k: v.numpy().copy() for k, v in theirs.state_dict().items()}
    images, labels = make_batch(96, 5)
    settings = config.Config()
    settings.data.augment = "none"
    settings.optim.lr, settings.optim.weight_decay = LR, DECAY
    settings.loss.aux_weight = AUX
    ours = helpers.make_blank(
        head="fcn",
        backbone="resnet18",
        output_stride=32,
        num_classes=5,
        aux_head=True,
        dropout=0.0,
    )
    pretrained.load(ours, tmp_path / "fcn.pth")
    normal = (images - np.float32(settings.data.mean)) / np.float32(settings.data.std)
    expected = torch_steps(theirs, normal.astype(np.float32), labels)
    found, variables = our_steps(ours, settings, images, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    after = {k: v.numpy() for k, v in theirs.state_dict().items()}
    for ours_name, value in variables.items():
        theirs_name = LAYOUT.theirs(ours_name)
        new, old = after[theirs_name], before[theirs_name]
        if ours_name.endswith(".var"):
            new = allow_for_bias(ours_name, new, old)
        got = as_torch(np.asarray(value))
        change = np.linalg.norm(new - old)
        assert np.linalg.norm(got - new) < 1e-3 * change, ours_name


def allow_for_bias(name: str, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Torch's running variance as if it had not been multiplied by n / (n - 1).

    After 3 steps new = 0.9^3 old + r * (what the biased one added), r = n / (n - 1).
    """
    stride = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
    part = name.split(".")[1]
    by_head = {"head": 32, "aux_head": 16}
    at = by_head.get(name.split(".")[0]) or stride.get(part, 2)
    n = 4 * (96 // at) ** 2
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
    images, labels = make_batch(64, 5)
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
        both = [losses.cross_entropy(x, jnp.asarray(labels)) for x in out]
        return both[0] + AUX * both[1]

    return {k: np.asarray(v) for k, v in jax.jit(jax.grad(loss_of))(params).items()}
