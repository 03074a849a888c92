"""Whole networks against torchvision's and segmentation_models.pytorch's."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from jaxseg import pretrained
from jaxseg.models import build, names
from parity import helpers

SLOW = pytest.mark.slow
NETWORKS = (
    "deeplabv3_resnet50",
    "smp_resnet18",
    *(
        pytest.param(name, marks=SLOW)
        for name in ("fcn_resnet50", "deeplabv3_resnet101", "smp_resnet50")
    ),
)
SHAPES = [
    (1, 17, 641),  # wide enough for all dilations: 81 pixels at stride 8, 41 at 16
    *(
        pytest.param((batch, *size), marks=SLOW)
        for batch in (1, 3)
        for size in ((65, 65), (97, 161), (224, 224))
    ),
]


def layout_of(name):
    return "smp" if name.startswith("smp") else "torchvision"


def make_theirs(name):
    if layout_of(name) == "smp":
        backbone = name.removeprefix("smp_")
        return helpers.smp.DeepLabV3Plus(backbone, encoder_weights=None, classes=11)
    return helpers.torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )


def settings(name):
    """What gives our network of that name."""
    head, backbone = name.split("_")
    if head == "smp":
        return {
            "head": "deeplabv3plus",
            "backbone": backbone,
            "num_classes": 11,
            "output_stride": 16,
            "contract_dilation": False,
            "align_corners": True,
            "atrous_rates": (12, 24, 36),
        }
    return {
        "head": head,
        "backbone": backbone,
        "num_classes": 21,
        "output_stride": 8,
        "aux_head": True,
    }


class Network(NamedTuple):
    """A network of theirs, ours with its weights, and ours compiled."""

    name: str
    theirs: helpers.torch.nn.Module
    ours: build.Segmenter
    forward: Callable


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, tmp_path_factory):
    helpers.torch.manual_seed(0)
    theirs = helpers.randomize(make_theirs(request.param))
    path = tmp_path_factory.mktemp(request.param) / "weights.pth"
    helpers.torch.save(theirs.state_dict(), path)
    ours = helpers.make_blank(**settings(request.param))
    report = pretrained.load(ours, path)
    path.unlink()
    assert report.layout == layout_of(request.param)
    assert report.initial == report.unused == ()
    return Network(request.param, theirs, ours, helpers.make_forward(ours))


def run(module, images):
    """Their (logits, auxiliary logits or None), [B H W C]."""
    with helpers.torch.no_grad():
        output = module(helpers.to_torch(images))
    if isinstance(output, dict):
        return helpers.to_numpy(output["out"]), helpers.to_numpy(output["aux"])
    return helpers.to_numpy(output), None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_equal(network, shape):
    batch, *size = shape
    if layout_of(network.name) == "smp":  # which takes multiples of 16 alone
        size = [-(-pixels // 16) * 16 for pixels in size]
    images = helpers.make_images(batch, *size, seed=1)
    ours, theirs = network.forward(images), run(network.theirs, images)
    for mine, reference in zip(ours, theirs, strict=True):
        if reference is None:
            assert mine is None
        else:
            assert helpers.relative_error(mine, reference) < 1e-4


def test_their_library_reads_what_we_save(network, tmp_path):
    path = tmp_path / "saved.safetensors"
    pretrained.save(network.ours, path, layout=layout_of(network.name))
    with helpers.torch.device("meta"):  # no need for initial values
        copy = make_theirs(network.name)
    copy.load_state_dict(helpers.safetensors.load_file(path), strict=True, assign=True)
    found, expected = copy.state_dict(), network.theirs.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        if not name.endswith("num_batches_tracked"):
            assert helpers.torch.equal(found[name], value), name


def test_we_read_what_we_save_bit_for_bit(network, tmp_path):
    path = tmp_path / "saved.safetensors"
    pretrained.save(network.ours, path, layout=layout_of(network.name))
    copy = helpers.make_blank(**settings(network.name))
    pretrained.load(copy, path)
    _, *expected = names.split(network.ours)
    _, *found = names.split(copy)
    for ours, theirs in zip(found, expected, strict=True):
        assert list(ours) == list(theirs)
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
