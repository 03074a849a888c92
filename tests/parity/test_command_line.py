"""Three steps through the command line against torch: folder in, safetensors out."""

import json

import numpy as np
import program
import pytest
from PIL import Image
from safetensors import numpy as safetensors

from jaxseg import config
from parity import helpers, test_training

torch = helpers.torch


def write_folder(root, images, labels):
    """The four images as both splits of a folder data set, losslessly."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(root / split / "images" / f"{i}.png")
            label = Image.fromarray(label.astype(np.uint8))
            label.save(root / split / "labels" / f"{i}.png")
    facts = {"names": list("abcde"), "ignore": [255]}
    (root / "classes.json").write_text(json.dumps(facts))


def test_three_steps_and_export(tmp_path):
    images, labels = test_training.make_batch(test_training.SIZE)
    write_folder(tmp_path / "data", images, labels)
    torch.manual_seed(0)
    theirs = test_training.fcn_resnet18(5, dropout=0.0)
    test_training.affine(theirs, 0)
    torch.save(theirs.state_dict(), tmp_path / "fcn.pth")
    before = test_training.state_of(theirs)
    flags = (
        "--config=configs/folder.py:fcn",
        "--config.model.backbone=resnet18",
        "--config.model.output_stride=32",
        "--config.model.aux_head=True",
        "--config.model.dropout=0.0",
        f"--config.pretrained.path={tmp_path / 'fcn.pth'}",
        f"--config.data.root={tmp_path / 'data'}",
        "--config.data.augment=none",
        "--config.train.steps=3",
        "--config.train.batch_size=4",
        "--config.train.log_every=1",
        "--config.optim.lr=0.02",
        "--config.optim.head_lr_multiplier=1.0",
        "--config.optim.warmup_steps=0",
    )
    done = program.run(tmp_path / "run", base=flags)
    assert done.returncode == 0, done.stderr
    exported = tmp_path / "fcn.safetensors"
    export = ("--mode=export", "--step=3", f"--output={exported}")
    done = program.run(tmp_path / "run", *export, base=flags)
    assert done.returncode == 0, done.stderr
    data = config.Data()
    normal = ((images - np.array(data.mean)) / np.array(data.std)).astype(np.float32)
    expected = test_training.torch_steps(theirs, normal, labels)
    rows = [row for row in program.rows(tmp_path / "run") if row["split"] == "train"]
    assert [row["loss"] for row in rows] == pytest.approx(expected, rel=1e-4)
    ours = safetensors.load_file(exported)
    module = test_training.fcn_resnet18(5, dropout=0.0)
    module.load_state_dict({k: torch.tensor(v) for k, v in ours.items()}, strict=True)
    for name, parameter in theirs.named_parameters():
        new, old = parameter.detach().numpy(), before[name]
        # Float32 itself is off by 1e-2 of the change: see test_training.
        assert np.linalg.norm(ours[name] - new) < 5e-2 * np.linalg.norm(new - old), name
