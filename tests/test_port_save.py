import pathlib

import pytest
import weights
from safetensors import numpy as safetensors

from jaxseg import errors, pretrained

PLUS = {"head": "deeplabv3plus", "aux_head": False}


@pytest.mark.parametrize(
    ("layout", "settings"),
    [
        ("torchvision", {}),
        ("torchvision", {"backbone": "resnet50", "head": "fcn", "width": 4}),
        ("torchvision", {"stem": "c"}),
        ("torchvision", {"stem": "d"}),
        ("torchvision", {"backbone": "mobilenet_v2"}),
        ("torchvision", {"head": "deeplabv3plus"}),
        ("torchvision", {"head": "deeplabv3plus", "separable": False}),
        ("torchvision", {"atrous_rates": (1, 2)}),
        ("smp", PLUS),
        ("smp", {"backbone": "resnet50", "width": 4, **PLUS}),
    ],
)
def test_what_is_saved_is_read_back(tmp_path, layout, settings):
    path = tmp_path / "weights.safetensors"
    saved = weights.make_tiny(seed=1, **settings)
    pretrained.save(saved, path, layout=layout)
    copy = weights.make_tiny(seed=2, **settings)
    report = pretrained.load(copy, path)
    assert (report.layout, report.initial, report.unused) == (layout, (), ())
    weights.assert_same(copy, weights.variables_of(saved))


@pytest.mark.parametrize(
    ("layout", "settings"),
    [
        ("smp", {}),
        ("smp", {"head": "deeplabv3plus"}),  # with its auxiliary head
        ("smp", {"separable": False, **PLUS}),
        ("smp", {"backbone": "mobilenet_v2", **PLUS}),
        ("torchvision", {"atrous_rates": (1, 2, 3, 4)}),
    ],
)
def test_save_refuses_what_a_layout_cannot_name(tmp_path, layout, settings):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(errors.UserError, match=f"'{layout}' has no names for"):
        pretrained.save(weights.make_tiny(**settings), path, layout=layout)
    assert not path.exists()


def test_save_refuses_an_unknown_layout(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(errors.UserError, match="'mmseg' is not one of smp, torch"):
        pretrained.save(weights.make_tiny(), path, layout="mmseg")
    assert not path.exists()


def test_save_replaces_a_file_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "weights.safetensors"
    pretrained.save(weights.make_tiny(), path)
    before = path.read_bytes()

    def fail(_weights, part, **_options):
        pathlib.Path(part).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors, "save_file", fail)
    with pytest.raises(errors.UserError, match="No space left on device"):
        pretrained.save(weights.make_tiny(seed=1), path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
