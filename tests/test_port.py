"""What `load` fills and what it refuses; `skip` has test_port_skip.py."""

import numpy as np
import pytest
import weights

from jaxseg import pretrained


def test_load_fills_everything(tmp_path):
    model = weights.make_tiny()
    counter = {"backbone.bn1.num_batches_tracked": np.array(7)}
    report = pretrained.load(model, weights.write(tmp_path, weights.saved() | counter))
    assert (report.layout, report.initial, report.unused) == ("torchvision", (), ())
    weights.assert_same(model, weights.variables_of(weights.make_tiny(seed=1)))
    found = weights.variables_of(model)
    kernel = weights.saved()["backbone.layer1.0.conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(found["backbone.layer1.0.conv2.kernel"], kernel)
    layer4 = "backbone.layer4.0"
    for ours, theirs in {
        f"{layer4}.downsample.bn.var": f"{layer4}.downsample.1.running_var",
        "head.aspp.pooling.bn.mean": "classifier.0.convs.4.2.running_mean",
        "head.classifier.bias": "classifier.4.bias",
        "aux_head.block.bn.scale": "aux_classifier.1.weight",
    }.items():
        np.testing.assert_array_equal(found[ours], weights.saved()[theirs])


def test_every_leftover_is_listed(tmp_path):
    missing = [name for name in weights.saved() if name.startswith("backbone.layer2")]
    unexpected = [f"classifier.9.part{i}" for i in range(20)]
    tensors = {
        name: value for name, value in weights.saved().items() if name not in missing
    }
    tensors |= {name: np.ones(1) for name in unexpected}
    tensors["classifier.4.bias"] = np.ones(5, np.float32)
    tensors["backbone.conv1.weight"] = np.ones((8, 4, 7, 7), np.float32)
    message = weights.refuse(weights.make_tiny(), weights.write(tmp_path, tensors))
    for name in missing + unexpected:
        assert f" {name}," in message or f" {name};" in message
    assert f"{len(missing)} missing from the file" in message
    assert "20 unexpected in the file" in message
    assert "2 of another shape" in message
    assert "classifier.4.bias (5,) for (3,)" in message
    assert "backbone.conv1.weight (8, 4, 7, 7) for (8, 3, 7, 7)" in message


def test_another_architecture(tmp_path):
    model = weights.make_tiny(backbone="resnet50", head="fcn", aux_head=False)
    message = weights.refuse(
        model, weights.write(tmp_path, weights.as_backbone(weights.saved()))
    )
    assert "layer1.0.conv3.weight" in message
    assert "layer1.0.conv1.weight (8, 8, 3, 3) for (8, 8, 1, 1)" in message
    assert "choose the model" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(tmp_path, bad):
    tensors = dict(weights.saved())
    for name in ("backbone.bn1.running_var", "classifier.4.weight"):
        tensors[name] = weights.saved()[name].copy()
        tensors[name].flat[1] = bad
    model, path = weights.make_tiny(), weights.write(tmp_path, tensors)
    message = weights.refuse(model, path)
    assert "NaN or infinity in classifier.4.weight, backbone.bn1.running_var" in message
    pretrained.load(model, path, skip=("backbone.bn1", "classifier.4"))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_dtypes_are_converted(tmp_path, dtype):
    model = weights.make_tiny()
    tensors = {k: v.astype(dtype) for k, v in weights.saved().items()}
    pretrained.load(model, weights.write(tmp_path, tensors))
    found = weights.variables_of(model)["head.classifier.bias"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensors["classifier.4.bias"])


def test_names_of_no_known_network(tmp_path):
    tensors = {"transformer.block.weight": np.ones(3), "head.weight": np.ones(3)}
    message = weights.refuse(weights.make_tiny(), weights.write(tmp_path, tensors))
    assert "transformer.block.weight" in message
    assert "torchvision" in message
