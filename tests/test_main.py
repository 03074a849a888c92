"""The whole program from the command line, on images a few pixels wide."""

import json

import numpy as np
import program
import pytest
from PIL import Image

from jaxseg.data import synthetic


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir after two runs of 4 and then 8 steps, and what each printed."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    first = program.run(workdir, "--config.train.steps=4")
    second = program.run(workdir, "--config.train.steps=8", "--force=train.steps")
    return workdir, first, second


def test_train_then_go_on(trained):
    workdir, first, second = trained
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert "resumed after step 4" in second.stdout
    rows = program.rows(workdir)
    steps = [row["step"] for row in rows if row["split"] == "train"]
    assert steps == [2, 4, 6, 8]
    result = json.loads((workdir / "result.json").read_text())
    assert result["step"] == 8
    assert result["images"] == 5
    assert set(result["per_class"]) == set(synthetic.NAMES)
    assert sum(c["pixels"] for c in result["per_class"].values()) == 5 * 32 * 32
    assert (workdir / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert any((workdir / "tb").iterdir())
    saved = json.loads((workdir / "config.json").read_text())
    assert saved["model"]["num_classes"] == 9


@pytest.mark.slow
def test_a_finished_run_is_only_evaluated_again(trained):
    workdir, *_ = trained
    before = program.rows(workdir)
    done = program.run(workdir, "--config.train.steps=8")
    assert done.returncode == 0, done.stderr
    assert program.rows(workdir) == before


def test_eval_restores_and_agrees(trained):
    workdir, *_ = trained
    before = json.loads((workdir / "result.json").read_text())
    done = program.run(workdir, "--mode=eval", "--step=8")
    assert done.returncode == 0, done.stderr
    assert json.loads((workdir / "result.json").read_text()) == before
    absent = program.run(workdir, "--mode=eval", "--step=7")
    assert absent.returncode == 1
    assert "no checkpoint of step 7" in program.only_line(absent)


@pytest.mark.slow
def test_another_network_than_the_trained_one_is_refused(trained, tmp_path):
    workdir, *_ = trained
    (tmp_path / "in").mkdir()
    for mode in ("eval", "predict", "export"):
        flags = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
        flags = (*flags, f"--mode={mode}", "--config.data.mean=(1.,2.,3.)")
        Image.new("RGB", (32, 32)).save(tmp_path / "in" / "0.png")
        done = program.run(workdir, *flags)
        assert done.returncode == 1
        assert "config.data.mean" in program.only_line(done)
        assert not (tmp_path / "out").exists()


def test_other_settings_than_the_run_began_with_are_refused(trained):
    workdir, *_ = trained
    before = (workdir / "config.json").read_text()
    done = program.run(workdir, "--config.train.steps=9", "--config.optim.lr=0.5")
    assert done.returncode == 1
    assert "--force=train.steps,optim.lr" in program.only_line(done)
    assert (workdir / "config.json").read_text() == before


def test_inputs_are_not_overwritten(trained, tmp_path):
    workdir, *_ = trained
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    before = (tmp_path / "0.png").read_bytes()
    done = program.run(
        workdir, "--mode=predict", f"--input={tmp_path}", f"--output={tmp_path}"
    )
    assert done.returncode == 1
    assert "would overwrite the input" in program.only_line(done)
    assert (tmp_path / "0.png").read_bytes() == before


def test_predict(trained, tmp_path):
    workdir, *_ = trained
    (tmp_path / "in").mkdir()
    for index, size in enumerate([(40, 56), (32, 32)]):
        image, _ = synthetic.render(index, seed=5, size=size, domain="day")
        Image.fromarray(image).save(tmp_path / "in" / f"{index}.jpg")
    out = tmp_path / "out"
    done = program.run(
        workdir, "--mode=predict", f"--input={tmp_path / 'in'}", f"--output={out}"
    )
    assert done.returncode == 0, done.stderr
    with Image.open(out / "0.png") as picture:
        assert picture.mode == "P"
        assert picture.size == (56, 40)
        assert np.asarray(picture).max() < 9
    assert {p.name for p in out.iterdir()} == {
        *("0.png", "0_overlay.png", "1.png", "1_overlay.png")
    }


def test_export_loads_back(trained, tmp_path):
    workdir, *_ = trained
    done = program.run(workdir, "--mode=export", f"--output={tmp_path / 'w'}")
    assert done.returncode == 0, done.stderr
    again = program.run(
        tmp_path / "again",
        f"--config.pretrained.path={tmp_path / 'w' / 'model.safetensors'}",
        "--config.train.steps=0",
    )
    assert again.returncode == 0, again.stderr
    best = program.run(workdir, "--mode=eval")
    assert best.returncode == 0
    scores = [
        json.loads((folder / "result.json").read_text())["per_class"]
        for folder in (workdir, tmp_path / "again")
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--config.optim.lrr=1", "lrr"),
        ("--config.seed=x", "config.seed"),
        ("--nonsense=1", "nonsense"),
        ("--config=configs/quickstart.py:pretraned", "pretrained, scratch"),
        ("stray", "stray"),
    ],
)
def test_bad_flags_exit_2_with_one_line(tmp_path, flag, told):
    done = program.run(tmp_path / "w", flag)
    assert done.returncode == 2
    assert told in program.only_line(done)
    assert not (tmp_path / "w").exists()
