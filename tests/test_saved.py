"""Which checkpoints there are and which is used, on folders without orbax."""

import os

import pytest

from jaxseg import errors, manifest, saved


def put(folder, scores):
    for step, miou in scores.items():
        path = saved.unfinished(folder, step)
        path.mkdir(parents=True)
        (path / "array").write_bytes(b"data")
        manifest.write(path, step=step, config={})
        manifest.rate(path, miou)
        saved.commit(folder, step)


def harm(folder, step):
    (folder / str(step) / "array").write_bytes(b"date")


def found(folder):
    return sorted(path.name for path in folder.iterdir())


def test_order(tmp_path):
    put(tmp_path, {1: 0.2, 10: None, 9: 0.5, 2: 0.5, 11: 0.0})
    assert saved.steps(tmp_path) == [1, 2, 9, 10, 11]
    assert saved.best_first(tmp_path) == [9, 2, 1, 11, 10]
    (tmp_path / "9" / "manifest.json").unlink()
    assert saved.best_first(tmp_path) == [2, 1, 11, 10, 9]


def test_the_latest_and_the_best_are_kept(tmp_path):
    put(tmp_path, {1: 0.2, 2: 0.5, 3: 0.5, 4: None, 5: None})
    saved.keep_only(tmp_path, 2)
    assert found(tmp_path) == ["3", "4", "5"]
    saved.keep_only(tmp_path, 2)
    assert found(tmp_path) == ["3", "4", "5"]


def test_use_passes_over_damage_and_changes_nothing(tmp_path, caplog):
    put(tmp_path, {4: 0.5, 8: 0.25})
    assert saved.choose(tmp_path, None) == 4
    harm(tmp_path, 4)
    assert saved.choose(tmp_path, None) == saved.choose(tmp_path, 8) == 8
    assert len(caplog.messages) == 1
    assert "checkpoint 4 is damaged (array is not as it was wri" in caplog.text
    with pytest.raises(errors.UserError, match=r"checkpoint 4 in .* others are 8"):
        saved.choose(tmp_path, 4)
    with pytest.raises(errors.UserError, match="no checkpoint of step 5; it has 4, 8"):
        saved.choose(tmp_path, 5)
    with pytest.raises(errors.UserError, match="has no checkpoints; train there"):
        saved.choose(tmp_path / "elsewhere", None)
    assert found(tmp_path) == ["4", "8"]


def test_training_sets_damage_aside(tmp_path, caplog):
    put(tmp_path, {2: None, 4: None, 6: None, 8: None})
    for step in (8, 6, 2):
        harm(tmp_path, step)
    assert saved.settle(tmp_path) == 4
    assert found(tmp_path) == ["2", "4", "damaged-6", "damaged-8"]
    assert len(caplog.messages) == 2
    put(tmp_path, {8: None})
    harm(tmp_path, 8)  # once more
    harm(tmp_path, 4)
    with pytest.raises(errors.UserError, match=r"whole \(8: array is .*; 4: .*; 2: "):
        saved.settle(tmp_path)
    assert found(tmp_path) == ["2", "4", "8", "damaged-6", "damaged-8"]
    put(tmp_path, {4: None})
    assert saved.settle(tmp_path) == 4
    assert found(tmp_path) == ["2", "4", "damaged-6", "damaged-8"]


def test_other_versions_are_told(tmp_path, monkeypatch, caplog):
    put(tmp_path, {2: None})
    assert saved.settle(tmp_path) == 2
    assert not caplog.messages
    versions = manifest.versions() | {"jax": "99.0"}
    now = manifest.versions()["jax"]
    monkeypatch.setattr(manifest, "versions", lambda: versions)
    assert saved.settle(tmp_path) == 2
    assert caplog.messages == [f"checkpoint 2 was saved with jax {now} (now 99.0)"]


def test_only_damage_is_left(tmp_path):
    (tmp_path / "damaged-6").mkdir()
    assert saved.exist(tmp_path)  # or training would begin anew
    with pytest.raises(errors.UserError, match="all were set aside"):
        saved.settle(tmp_path)
    with pytest.raises(errors.UserError, match="all were set aside"):
        saved.choose(tmp_path, None)


def test_a_failing_disk_is_damage_and_a_missing_right_is_not(tmp_path, monkeypatch):
    put(tmp_path, {4: None, 8: None})

    def fail(code, path):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(manifest, "_crc32", lambda path: fail(5, path))
    with pytest.raises(errors.UserError, match="cannot be read: Input/output error"):
        saved.settle(tmp_path)
    monkeypatch.setattr(manifest, "_crc32", lambda path: fail(13, path))
    with pytest.raises(PermissionError):
        saved.settle(tmp_path)


def test_what_was_not_finished_is_removed(tmp_path):
    put(tmp_path, {4: None})
    for name in ("8.unfinished.orbax-checkpoint-tmp", "8.unfinished", "3.removed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    assert saved.steps(tmp_path) == [4]
    saved.remove_unfinished(tmp_path)
    assert found(tmp_path) == ["4"]


def test_what_a_damaged_disk_brings_up(tmp_path):
    put(tmp_path, {4: None, 8: None})
    for name in ("9", "damaged-9", "damaged-9.removed", "10.unfinished", "012", "٣"):
        (tmp_path / name).write_text("no folder")
    saved.remove_unfinished(tmp_path)
    assert saved.settle(tmp_path) == 8
    (tmp_path / "8").rename(tmp_path / "11")
    assert saved.settle(tmp_path) == 4
    left = ["012", "4", "damaged-11", "damaged-9", "٣"]
    assert found(tmp_path) == left
