"""Flags that a hostile script could hand over, and what the terminal gets to see."""

import pathlib
import sys

import pytest
from absl import flags

from jaxseg import command, errors

RECIPE = pathlib.Path(__file__).parents[1] / "configs/quickstart.py"
FIELDS = (
    *("data.crop", "data.mix", "data.root", "optim.lr", "train.steps", "freeze_bn"),
    *("model.dropout", "model.atrous_rates", "optim", "freeze", "none", "data.crop[0]"),
    *("__class__", "__class__.__init__", "data.__class__", "to_json.__globals__"),
)
VALUES = (
    "__import__('os').system('touch {witness}')",
    "(__import__('os').system('touch {witness}'),)",
    "(lambda: open('{witness}', 'w'))()",
    "[open('{witness}', 'w') for _ in (1,)]",
    "{{}}.__class__",
    *("(" * 3000, "-" * 20_000 + "1", "(1," * 3000, "[" * 20_000, "9" * 5000),
    *("1e999", "nan", "\0", "\x1b[31m", "((1,2),(3,4))", "'a'*9", ""),
)


@pytest.fixture
def parse(monkeypatch):
    """Parses flags as the command line does; forgets them in the end."""

    def act(*overrides):
        argv = ["jaxseg", f"--config={RECIPE}", *overrides]
        monkeypatch.setattr(sys, "argv", argv)  # config_flags looks for overrides there
        for name in [name for name in flags.FLAGS if name.startswith("config.")]:
            delattr(flags.FLAGS, name)
        command._parse(argv)
        command.validate.validate(command.CONFIG.value)
        return command.CONFIG.value

    yield act
    for name in [name for name in flags.FLAGS if name.startswith("config.")]:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


def test_overrides(parse):
    config = parse("--config.optim.lr=0.5", "--config.data.crop=(16,32)")
    assert (config.optim.lr, config.data.crop) == (0.5, (16, 32))


@pytest.mark.parametrize("field", FIELDS)
def test_overrides_are_values_and_never_run(parse, tmp_path, capsys, field):
    witness = tmp_path / "ran"
    for value in VALUES:
        told = "error: \n"
        try:
            parse(f"--config.{field}={value.format(witness=witness)}")
        except SystemExit:
            told = capsys.readouterr().err
        except errors.UserError:
            pass
        assert told.startswith("error: ")
        assert errors.is_plain(told.removesuffix("\n"))
        assert not witness.exists()


def test_an_error_shows_names_and_obeys_none(capsys):
    assert command._tell("weights \x1b[2J\u202e'a\nb'\r are none") == 1
    assert capsys.readouterr().err == "error: weights \\x1b[2J\\u202e'a b' are none\n"
