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


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("clasifier.4", " classifier.4,"),
        ("head.clasifier", " head.classifier,"),
        ("classifier.4.", " classifier.4,"),
        ("4", "such as aux_classifier, aux_head, backbone, classifier, head"),
        ("", "such as aux_classifier, aux_head, backbone, classifier, head"),
    ],
)
def test_rule_that_names_nothing(tmp_path, rule, expected):
    path = weights.write(tmp_path, weights.saved())
    model = weights.make_tiny()
    message = weights.refuse(model, path, skip=("aux_classifier.4", rule))
    assert f"has {rule!r}, which names nothing" in message
    assert expected in message + ","
    assert "aux_classifier.4'" not in message


def test_every_rule_that_names_nothing_is_told(tmp_path):
    path = weights.write(tmp_path, weights.saved())
    message = weights.refuse(weights.make_tiny(), path, skip=("hed", "backbon", "head"))
    assert "has 'hed', 'backbon', which" in message
    message = weights.refuse(weights.make_tiny(), path, skip="zz")  # no list
    assert "has 'z', 'z', which" in message


def test_rules_that_name_something_somewhere(tmp_path):
    model = weights.make_tiny(aux_head=False)
    extra = {"backbone.bn1.num_batches_tracked": np.array(7)}
    path = weights.write(tmp_path, weights.saved() | extra)
    skip = ("aux_classifier.4", "aux_classifier", "*.num_batches_tracked")
    pretrained.load(model, path, skip=skip)  # the file's alone
    path = weights.write(tmp_path, weights.as_backbone(weights.saved()))
    whole = weights.make_tiny()
    skip = ("classifier.4", "aux_classifier.4", "head", "aux_head.classifier")
    report = pretrained.load(whole, path, skip=skip)  # the model's, by both names
    assert {name.split(".")[0] for name in report.initial} == {"head", "aux_head"}
    assert "'aux_classifier.4'" in weights.refuse(model, path, skip=skip)


def test_names_of_another_library_are_refused(tmp_path):
    """By torchvision's name the classifier of an smp file would not be skipped."""
    settings = {"head": "deeplabv3plus", "aux_head": False}
    path = tmp_path / "weights.safetensors"
    pretrained.save(weights.make_tiny(seed=1, **settings), path, layout="smp")
    model = weights.make_tiny(**settings)
    message = weights.refuse(model, path, skip=("classifier.4",))
    assert "has 'classifier.4', which" in message
    pretrained.load(model, path, skip=("segmentation_head",))


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
    report = pretrained.load(model, path, skip=("layer4",))
    parts = {".".join(name.split(".")[:2]) for name in report.initial}
    assert {part for part in parts if part.startswith("backbone")} == {
        "backbone.layer4"
    }
