"""The features of every stage against torchvision's and timm's backbones."""

import pytest

from jaxseg import pretrained
from parity import helpers

torchvision, timm = helpers.torchvision, helpers.timm

SLOW = pytest.mark.slow
RESNET_TAPS = {4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"}
MOBILENET_TAPS = {
    torchvision: {2: 1, 4: 3, 8: 6, 16: 13, 32: 17},  # features.1, ...
    timm: {2: 0, 4: 1, 8: 2, 16: 4, 32: 6},  # blocks.0, ...
}
CASES = [
    (torchvision, "resnet18", 32),
    (torchvision, "mobilenet_v2", 32),
    (timm, "resnet18d", 32),
    *(
        pytest.param(*case, marks=SLOW)
        for case in (
            (torchvision, "resnet34", 32),
            *((torchvision, "resnet50", stride) for stride in (32, 16, 8)),
            (torchvision, "resnet101", 32),
            (torchvision, "resnet152", 32),
            *((timm, "resnet50", stride) for stride in (32, 16, 8)),
            *((timm, name, 16) for name in ("resnet18", "resnet34")),
            *((timm, "resnet50c", stride) for stride in (32, 8)),
            # Below stride 32 the shortcuts of timm's ResNet-D still average over 2x2
            # pixels, at stride 1; ours have nothing to average there.
            *((timm, name, 32) for name in ("resnet34d", "resnet50d")),
            *((timm, "mobilenet_v2", stride) for stride in (32, 16, 8)),
        )
    ),
]


def make_theirs(library, name, output_stride):
    if library is timm:
        name = "mobilenetv2_100" if name == "mobilenet_v2" else name
        return timm.create_model(name, output_stride=output_stride)
    options = {}
    if output_stride < 32:
        dilated = [stride > output_stride for stride in (8, 16, 32)]
        options["replace_stride_with_dilation"] = dilated
    return torchvision.models.get_model(name, weights=None, **options)


def state_of(theirs, library, name):
    """The state dict, by torchvision's names where timm has the same in that order."""
    state = theirs.state_dict()
    if library is timm and name == "mobilenet_v2":
        names = make_theirs(torchvision, name, 32).state_dict()
        return dict(zip(names, state.values(), strict=True))
    return state


def taps_of(library, name):
    if name != "mobilenet_v2":
        return RESNET_TAPS
    part = "blocks" if library is timm else "features"
    return {k: f"{part}.{i}" for k, i in MOBILENET_TAPS[library].items()}


def settings(name, output_stride):
    """What gives a network of ours with the backbone of that name."""
    stem = name[-1] if name[-1] in "cd" else "7x7"
    return {
        "head": "fcn",
        "backbone": name.rstrip("cd"),
        "num_classes": 2,
        "output_stride": output_stride,
        "stem": stem,
    }


def label(value):
    return value.__name__ if value in (torchvision, timm) else str(value)


@pytest.mark.parametrize(("library", "name", "output_stride"), CASES, ids=label)
def test_features_of_every_stage_equal(library, name, output_stride, tmp_path):
    helpers.torch.manual_seed(0)
    theirs = helpers.randomize(make_theirs(library, name, output_stride))
    path = tmp_path / "weights.pth"
    helpers.torch.save(state_of(theirs, library, name), path)
    ours = helpers.make_blank(**settings(name, output_stride))
    report = pretrained.load(ours, path)
    assert all(left.startswith("head.") for left in report.initial)

    images = 3 * helpers.make_images(2, 97, 65, seed=1)  # to reach the end of ReLU6
    expected = helpers.tap(theirs, taps_of(library, name), images)
    features = helpers.make_forward(ours, lambda model: model.backbone)(images)
    assert set(features) == set(expected)
    for stride, found in features.items():
        assert helpers.relative_error(found, expected[stride]) < 1e-4, stride
