"""Files that are to fill a part of a model only."""

import numpy as np
import pytest
import weights

from jaxseg import pretrained


@pytest.mark.parametrize(
    "rule",
    ["backbone.layer2", "backbone.layer2.*", "backbone.layer[2]", "backbone.layer2.1"],
)
@pytest.mark.parametrize("where", ["missing", "present"])
def test_skip(tmp_path, rule, where):
    model = weights.make_tiny()
    before = weights.variables_of(model)
    part = "backbone.layer2.1" if rule.endswith(".1") else "backbone.layer2"
    tensors = weights.saved()
    if where == "missing":
        tensors = {
            k: v for k, v in weights.saved().items() if not k.startswith(part + ".")
        }
    report = pretrained.load(model, weights.write(tmp_path, tensors), skip=(rule,))
    assert set(report.initial) == {k for k in before if k.startswith(part + ".")}
    for name, value in weights.variables_of(model).items():
        assert np.array_equal(value, before[name]) == (name in report.initial), name


@pytest.mark.parametrize(
    "rules",
    [
        ("classifier.4", "aux_classifier.4"),  # the file's names
        ("head.classifier", "aux_head.classifier"),  # ours
    ],
)
def test_other_classes(tmp_path, rules):
    model = weights.make_tiny(num_classes=7)
    before = weights.variables_of(model)
    path = weights.write(tmp_path, weights.saved())
    message = weights.refuse(model, path)
    assert "classifier.4.weight (3, 8, 1, 1) for (7, 8, 1, 1)" in message
    assert "skip" in message
    assert "aux_classifier.4.bias" in weights.refuse(model, path, skip=rules[:1])
    report = pretrained.load(model, path, skip=rules)
    fresh = {
        f"{head}.classifier.{leaf}"
        for head in ("head", "aux_head")
        for leaf in ("kernel", "bias")
    }
    assert set(report.initial) == fresh
    assert len(report.unused) == 4
    found = weights.variables_of(model)
    assert all(np.array_equal(found[name], before[name]) for name in fresh)


def test_file_with_auxiliary_head_for_a_model_without(tmp_path):
    model, path = (
        weights.make_tiny(aux_head=False),
        weights.write(tmp_path, weights.saved()),
    )
    message = weights.refuse(model, path)
    assert "7 unexpected in the file: aux_classifier.0.weight" in message
    assert "skip" in message
    assert "'aux_classifier'" in message
    report = pretrained.load(model, path, skip=("aux_classifier",))
    assert not report.initial
    assert len(report.unused) == 7


def test_bare_backbone(tmp_path):
    model = weights.make_tiny()
    before = weights.variables_of(model)
    report = pretrained.load(
        model, weights.write(tmp_path, weights.as_backbone(weights.saved()))
    )
    assert report.layout == "ResNet backbone"
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    assert {name.split(".")[0] for name in report.initial} == {"head", "aux_head"}
    assert "(aux_head, head)" in str(report)
    for name, value in weights.variables_of(model).items():
        assert np.array_equal(value, before[name]) == (name in report.initial), name


def test_partial_backbone(tmp_path):
    tensors = {
        name: value
        for name, value in weights.as_backbone(weights.saved()).items()
        if not name.startswith(("layer4", "fc"))
    }
    model, path = weights.make_tiny(), weights.write(tmp_path, tensors)
    assert "layer4.1.conv2.weight" in weights.refuse(model, path)
    report = pretrained.load(model, path, skip=("layer4", "fc"))
    parts = {".".join(name.split(".")[:2]) for name in report.initial}
    assert {part for part in parts if part.startswith("backbone")} == {
        "backbone.layer4"
    }
