"""The command on folders good and spoiled, and the check before a run."""

import json
import subprocess
import sys

import numpy as np
import program
import pytest
from PIL import Image
from test_bad_input import make_folder, value_outside_the_map
from test_examine import as_palette

from jaxseg import config, errors
from jaxseg.data import balance, check


def settings(root, **data):
    return config.Config(data=config.Data(name="folder", root=str(root), **data))


def duplicate(root):
    content = (root / "train" / "images" / "1.jpg").read_bytes()
    (root / "val" / "images" / "3.jpg").write_bytes(content)
    return "1.jpg and ", "3.jpg are the same image, in train and val"


def black_and_white(root):
    for path in (root / "val" / "labels").iterdir():
        label = np.asarray(Image.open(path))
        Image.fromarray(np.where(label, 255, 0).astype(np.uint8)).save(path)
    return ("0.jpg: the only label value that is not 0 is 255",)


def color_label(root):
    Image.new("RGB", (32, 32)).save(root / "train" / "labels" / "3.png")
    return ("3.png has mode RGB",)


def run_check(root, *flags):
    return subprocess.run(
        [
            *(sys.executable, "-m", "jaxseg.data.check", "--config=configs/folder.py"),
            *(f"--config.data.root={root}", *flags),
        ],
        cwd=program.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_command_on_good_data(tmp_path):
    root, output = make_folder(tmp_path / "data"), tmp_path / "new" / "check.json"
    done = run_check(root, f"--output={output}", "--config.data.workers=auto")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    facts = json.loads(output.read_text())
    assert facts["findings"] == {}
    labels = [Image.open(path) for path in sorted((root / "train/labels").iterdir())]
    counts = np.array([np.bincount(np.ravel(label), minlength=3) for label in labels])
    assert facts["raw_values"]["train"] == dict(
        zip("012", counts.sum(0).tolist(), strict=True)
    )
    for name in ("median_frequency", "inverse_log"):
        expected = getattr(balance, name)(counts)
        np.testing.assert_allclose(facts["class_weights"][name], expected, rtol=1e-3)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(name)]
        flag = line.partition("'")[2].rstrip("'")
        again = run_check(root, flag)  # a config takes what was printed
        assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    "spoil", [duplicate, black_and_white, color_label, value_outside_the_map]
)
def test_findings(tmp_path, spoil, capsys):
    root = make_folder(tmp_path / "data")
    told = spoil(root)
    output = tmp_path / "check.json"
    with pytest.raises(errors.UserError, match=r"train wrongly: 1 finding$"):
        check.run(settings(root), output)
    line = capsys.readouterr().out.splitlines()[-1]
    for words in (told,) if isinstance(told, str) else told:
        assert words in line
    (lines,) = json.loads(output.read_text())["findings"].values()
    assert lines == [line]


def test_command_on_spoiled_data(tmp_path):
    root = make_folder(tmp_path / "data")
    told = value_outside_the_map(root)
    done = run_check(root)
    assert done.returncode == 1
    assert told in done.stdout
    assert "train wrongly" in program.only_line(done)


def test_many_findings_are_told_in_part(tmp_path, capsys):
    root = make_folder(tmp_path / "data")
    for i in range(30):
        Image.new("RGB", (32, 32), (i, 0, 0)).save(root / f"train/images/n{i}.png")
        Image.new("L", (32, 32), 9).save(root / f"train/labels/n{i}.png")
    with pytest.raises(errors.UserError, match="30 findings"):
        check.run(settings(root), None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"... and {30 - check.MAX_TOLD} more like these"
    assert sum("label value 9" in line for line in lines) == check.MAX_TOLD


def test_turned_images(tmp_path, capsys):
    """A warning: their labels may be turned already."""
    root, exif = make_folder(tmp_path / "data"), Image.Exif()
    exif[0x0112] = 3
    paths = sorted((root / "train/images").iterdir())[:2]
    for path in paths:
        Image.open(path).save(path, exif=exif)
    check.run(settings(root), None)
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if line.startswith("warning: ")]
    assert told.startswith(f"warning: {paths[0]} and 1 more: turned as the EXIF")


def test_labels_of_another_order(tmp_path, capsys):
    """A warning: it may be right."""
    root = make_folder(tmp_path / "data")
    facts = {"names": ["a", "b", "c"], "palette": [[9, 0, 0], [0, 9, 0], [0, 0, 9]]}
    (root / "classes.json").write_text(json.dumps(facts))
    for path in root.glob("*/labels/*.png"):
        as_palette(path, [[0, 9, 0], [9, 0, 0], [0, 0, 9]])
    output = tmp_path / "check.json"
    check.run(settings(root), output)
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("warning: ")]
    assert len(told) == 2  # train and val
    assert (
        f"{root}/train/images/0.jpg: the label's own palette gives value 0" in told[0]
    )
    written = json.loads(output.read_text())
    assert [f"warning: {line}" for line in written["warnings"]] == told
    assert written["findings"] == {}
