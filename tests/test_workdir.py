"""Who may go on in a workdir, and with which settings."""

import pathlib
import subprocess
import sys

import program
import pytest

from jaxseg import config, errors, workdir
from jaxseg.data import datasets


@pytest.fixture
def begun(tmp_path):
    """A workdir with the default config of 9 classes."""
    settings = config.Config()
    dataset = datasets.open_dataset(settings.data, ignore=255)
    workdir.write_facts(tmp_path, settings, dataset)
    return tmp_path


def changed(**settings):
    other = config.Config()
    for name, value in settings.items():
        section, field = name.split("__")
        setattr(getattr(other, section), field, value)
    return other


@pytest.mark.parametrize(
    "settings",
    [{"data__root": "elsewhere"}, {"eval__every": 7, "train__keep": "blocks"}],
)
def test_what_changes_nothing_may_differ(begun, settings):
    workdir.check_to_train(begun, changed(**settings), force=())
    workdir.check_to_use(begun, changed(**settings))


def test_training_goes_on_as_it_began(begun):
    other = changed(optim__lr=0.5, model__padding="same")
    with pytest.raises(errors.UserError) as raised:
        workdir.check_to_train(begun, other, force=())
    told = str(raised.value)
    assert "config.optim.lr=0.01 (now 0.5)" in told
    assert "--force=model.padding,optim.lr" in told
    workdir.check_to_train(begun, other, force=("model.padding", "optim.lr"))
    workdir.check_to_train(begun, other, force=("model.*", "optim.lr"))
    with pytest.raises(errors.UserError, match=r"no setting; did you mean optim\.lr\?"):
        workdir.check_to_train(begun, other, force=("model.padding", "optim.rl"))


def test_a_model_is_used_as_it_was_trained(begun):
    workdir.check_to_use(begun, changed(optim__lr=0.5, model__dtype="bfloat16"))
    with pytest.raises(errors.UserError, match=r"data\.mean"):
        workdir.check_to_use(begun, changed(data__mean=(1.0, 2.0, 3.0)))


def test_settings_added_since_are_at_their_defaults(begun):
    path = begun / "config.json"
    path.write_text(path.read_text().replace('"momentum"', '"gone"'))
    workdir.check_to_train(begun, config.Config(), force=())


def test_no_run_or_a_damaged_one(begun):
    path = begun / "config.json"
    path.write_text("{")
    with pytest.raises(errors.UserError, match="cannot be read"):
        workdir.check_to_use(begun, config.Config())
    path.unlink()
    with pytest.raises(errors.UserError, match="train there first"):
        workdir.check_to_use(begun, config.Config())


def test_one_run_at_a_time(tmp_path):
    code = (
        "import pathlib, sys; from jaxseg import workdir\n"
        "with workdir.locked(pathlib.Path(sys.argv[1])): pass"
    )
    other = [sys.executable, "-c", code, str(tmp_path)]
    with workdir.locked(tmp_path):
        (tmp_path / "config.json").write_text("{}")
        done = subprocess.run(other, capture_output=True, text=True, check=False)
        assert "another run is training" in done.stderr
    assert subprocess.run(other, check=False).returncode == 0


@pytest.mark.parametrize(
    "text", ["[]", "3", '"abc"', "[" * 5000, "null", "{", '[["a"]]']
)
def test_a_config_of_another_kind(begun, text):
    (begun / "config.json").write_text(text)
    with pytest.raises(errors.UserError, match=r"config\.json cannot be read"):
        workdir.check_to_use(begun, config.Config())


def test_a_hostile_value_is_shown_and_no_more(begun):
    saved = (begun / "config.json").read_text()
    text = saved.replace('"deeplabv3"', '"\\u001b[31m\\u202e"')
    assert text != saved
    (begun / "config.json").write_text(text)
    with pytest.raises(errors.UserError) as raised:
        workdir.check_to_use(begun, config.Config())
    assert errors.is_plain(str(raised.value))


def test_what_a_killed_run_was_writing_is_removed(tmp_path):
    names = {".12-config.json", ".3456-metrics.jsonl", ".12-report.html", "config.json"}
    for name in names:
        (tmp_path / name).touch()
    with workdir.locked(tmp_path):
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {".12-report.html", "config.json", ".lock", ".lock.json"}


@pytest.mark.parametrize("name", ["a [1]", "a*", "a?/b", "a\\b", "gs:/b", "a:"])
def test_a_folder_that_checkpoints_cannot_be_kept_in(name):
    with pytest.raises(errors.UserError, match="choose another --workdir"):
        workdir.check_path(pathlib.Path(name))


@pytest.mark.slow
def test_a_folder_of_any_other_name(tmp_path):
    folder = tmp_path / "é %20$x;#'\"&=:+~ 日本"
    workdir.check_path(folder)
    done = program.run(folder)
    assert done.returncode == 0, done.stderr
    more = ("--config.train.steps=6", "--force=train.steps")
    done = program.run(folder, *more)
    assert done.returncode == 0, done.stderr
    assert "resumed after step 4" in done.stdout
