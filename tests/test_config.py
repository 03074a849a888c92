import ast
import dataclasses
import importlib.util
import json
import pathlib
import re

import pytest

from jaxseg import config, errors, validate
from jaxseg.data import datasets
from jaxseg.models import build

RECIPES = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return recipe


def variants():
    """(path, arguments of get_config): without any, and each `:name` of the text."""
    for path in RECIPES:
        text = ast.get_docstring(ast.parse(path.read_text()))
        names = dict.fromkeys(re.findall(r"`:([^`]+)`", text))
        for arguments in ((), *((name,) for name in names)):
            yield pytest.param(path, arguments, id=":".join((path.stem, *arguments)))


def test_flatten_names_every_leaf_once():
    settings = config.flatten(config.Config())
    assert settings["seed"] == 0
    assert settings["model.head"] == "deeplabv3"
    assert settings["data.crop"] == (128, 128)
    assert not any(dataclasses.is_dataclass(value) for value in settings.values())
    assert settings["sharding.mesh.data"] == -1

    def leaves(kind):
        if not dataclasses.is_dataclass(kind):
            return 1
        return sum(leaves(field.type) for field in dataclasses.fields(kind))

    assert len(settings) == leaves(config.Config)


def test_diff_lists_what_differs():
    base, changed = config.Config(), config.Config()
    assert config.diff(changed, base) == {}
    changed.optim.lr = 0.5
    changed.freeze = ("backbone",)
    assert config.diff(changed, base) == {
        "freeze": ((), ("backbone",)),
        "optim.lr": (0.01, 0.5),
    }
    assert base.optim.lr == 0.01  # sections are not shared between configs


def test_to_json_holds_every_setting():
    changed = config.Config()
    changed.data.crop = (3, 5)
    facts = json.loads(config.to_json(changed))
    assert facts["data"]["crop"] == [3, 5]
    assert facts["model"]["dropout"] is None
    for name, value in config.flatten(changed).items():
        found = facts
        for part in name.split("."):
            found = found[part]
        assert found == (list(value) if isinstance(value, tuple) else value), name


def test_unknown_fields_are_refused():
    with pytest.raises(AttributeError, match="learning_rate"):
        config.Config().optim.learning_rate = 0.1
    with pytest.raises(TypeError, match="depth"):
        config.Model(depth=50)


def test_with_classes():
    model = config.Model()
    assert config.with_classes(model, 19).num_classes == 19
    assert model.num_classes == 0
    assert config.with_classes(config.Model(num_classes=19), 19).num_classes == 19
    with pytest.raises(errors.UserError, match=r"num_classes=21.*19 classes"):
        config.with_classes(config.Model(num_classes=21), 19)


@pytest.mark.parametrize(
    ("section", "field", "table"),
    [
        (config.Model, "head", build.HEADS),
        (config.Model, "backbone", build.BACKBONES),
        (config.Data, "name", datasets.DATASETS),
    ],
)
def test_choices_are_what_can_be_built(section, field, table):
    fields = {each.name: each for each in dataclasses.fields(section)}
    assert fields[field].metadata["choices"] == tuple(table)


def test_every_default_is_valid():
    validate.validate(config.Config())


@pytest.mark.parametrize(("path", "arguments"), [*variants()])
def test_recipe_is_valid(path, arguments):
    recipe = load(path).get_config(*arguments)
    assert isinstance(recipe, config.Config)
    validate.validate(recipe)
    assert config.diff(recipe, config.Config())
    # Each call gives a config of its own.
    assert load(path).get_config(*arguments) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_imports_the_config_alone(path):
    tree = ast.parse(path.read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == [
        "from jaxseg import config as config_lib"
    ]
    assert ast.get_docstring(tree)
