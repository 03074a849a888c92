"""Who may import whom: each layer of the package only what lies above it."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "jaxseg"

# A name stands for a module or for a folder; DESIGN.md draws the same picture.
LAYERS = (
    (
        *("errors", "cache", "config", "validate", "xla", "command", "pictures"),
        *("sharding", "hosts", "signals", "resize", "agreement", "appended"),
    ),
    (
        *("models", "data", "losses", "ohem", "dice", "metrics", "optim"),
        *("augment", "augment_color", "augment_mix", "augment_policy"),
    ),
    ("pretrained", "inference", "manifest", "lock", "tensorboard", "orbax_errors"),
    (
        *("state", "step", "watch", "memory", "saved", "writing", "checkpoint"),
        *("workdir", "report", "report_html"),
    ),
    ("programs", "start", "log", "evaluate", "predict", "export"),
    ("trainer",),
    ("train",),
    ("main",),
)
# What is imported within a layer, besides modules of one folder: (who, whom).
WITHIN = {
    ("config", "errors"),
    ("xla", "cache"),
    ("validate", "errors"),
    ("validate", "config"),
    ("command", "config"),
    ("command", "errors"),
    ("command", "validate"),
    ("command", "xla"),
    ("pictures", "errors"),
    ("sharding", "errors"),
    ("sharding", "config"),
    ("hosts", "errors"),
    ("step", "state"),
    ("agreement", "errors"),
    ("checkpoint", "saved"),
    ("checkpoint", "writing"),
    ("writing", "saved"),
    ("losses", "ohem"),
    ("losses", "dice"),
    ("data.browse", "augment"),
    ("augment", "augment_color"),
    ("augment", "augment_mix"),
    ("augment", "augment_policy"),
    ("optim", "models.names"),
    ("report_html", "report"),
}

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = [name for name in FILES if name != "__init__"]
LAYER_OF = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(name):
    """Dotted names of all that a module imports, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imports_within(name):
    """The package's own modules among them, as in FILES: `models.names`."""
    found = set()
    for each in imports(name):
        if each.split(".")[0] == "jaxseg":
            parts = each.split(".")[1:]
            while ".".join(parts) not in FILES and not is_folder(parts):
                parts = parts[:-1]  # a name out of a module
            found.add(".".join(parts))
    return found


def is_folder(parts):
    return ".".join([*parts, "__init__"]) in FILES


def imports_whole(name, *roots):
    """Whether a module imports one of these, or something of theirs."""
    return {
        each
        for each in imports(name)
        if any(each == root or each.startswith(root + ".") for root in roots)
    }


def test_every_module_has_a_layer():
    assert {name.split(".")[0] for name in MODULES} == set(LAYER_OF)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_up(name):
    top = name.split(".")[0]
    for other in imports_within(name):
        other_top = other.split(".")[0]
        assert LAYER_OF[other_top] <= LAYER_OF[top], f"{name} imports {other}"
        if other_top != top and LAYER_OF[other_top] == LAYER_OF[top]:
            assert (name, other) in WITHIN, f"{name} imports {other} of its layer"


def test_every_exception_is_in_use():
    for name, other in WITHIN:
        assert other in imports_within(name), f"{name} does not import {other}"


@pytest.mark.parametrize("folder", ["models", "data", "pretrained"])
def test_no_circle_within_a_folder(folder):
    waiting = {
        name: {other for other in imports_within(name) if other.startswith(folder)}
        for name in MODULES
        if name.startswith(folder + ".")
    }
    while waiting:
        free = [name for name, others in waiting.items() if not others & set(waiting)]
        assert free, f"a circle in {sorted(waiting)}"
        for name in free:
            del waiting[name]


@pytest.mark.parametrize(
    "name",
    [
        *("errors", "config", "validate", "command", "xla", "pictures"),
        *("report", "report_html", "data.ahead", "data.balance", "data.check"),
        *("data.examine", "data.findings", "data.png", "data.shards"),
        *("manifest", "saved", "lock", "appended", "tensorboard", "orbax_errors"),
    ],
)
def test_without_jax(name):
    assert not imports_whole(name, "jax", "jaxlib", "flax", "optax", "grain")


def test_main_imports_jax_late():
    """`python -m jaxseg.main --help` and a bad config are answered without JAX."""
    tree = ast.parse(FILES["main"].read_text())
    tops = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    early = {alias.name for node in tops for alias in node.names}
    assert not early & {"jax", "flax", "train", "evaluate", "predict", "export"}


@pytest.mark.parametrize("name", MODULES)
def test_no_other_framework(name):
    assert not imports_whole(name, "torch", "torchvision", "tensorflow", "timm")


@pytest.mark.parametrize("name", MODULES)
def test_one_file_downloads(name):
    network = ("urllib", "http", "ssl", "requests", "huggingface_hub")
    found = imports_whole(name, *network)
    assert bool(found) == (name == "pretrained.hub"), found


def test_one_file_opens_sockets():
    """It only asks whether process 0 of a run answers."""
    assert [n for n in MODULES if imports_whole(n, "socket")] == ["hosts"]


def test_one_file_knows_orbax():
    assert [n for n in MODULES if imports_whole(n, "orbax")] == ["checkpoint"]


def test_two_files_know_tfds():
    found = [n for n in MODULES if imports_whole(n, "tensorflow_datasets")]
    assert found == ["data.builder", "data.records"]
    users = [n for n in MODULES if "data.builder" in imports_within(n)]
    assert users == ["data.prepare"]
