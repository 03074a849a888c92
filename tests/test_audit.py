"""What no line of the package may do, whatever it reads."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "jaxseg"
FILES = sorted(PACKAGE.rglob("*.py"))
# Calls that run what they are given, or unpack where an archive says.
NAMES = {"eval", "exec", "compile", "__import__"}
METHODS = {
    *("system", "popen", "extract", "extractall", "unpack_archive", "import_module"),
    *("load_module", "exec_module", "literal_eval"),
}
MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
MODULES |= {"yaml", "code", "runpy"}


def dotted(node):
    """The text of a name such as `np.load`, as far as it is one."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def offences(source):
    """(line, what) of each thing that may not be done."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            for name in [module] if module else [alias.name for alias in node.names]:
                if name.split(".")[0] in MODULES:
                    yield node.lineno, f"import {name}"
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in NAMES or name.rpartition(".")[2] in METHODS:
            yield node.lineno, name
        given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        if given.get("shell") or given.get("allow_pickle"):
            yield node.lineno, f"{name} with {given}"
        if name in ("np.load", "numpy.load") and given.get("allow_pickle") is not False:
            yield node.lineno, name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_run_or_unpacked(path):
    assert not list(offences(path.read_text()))


@pytest.mark.parametrize(
    "line",
    [
        "eval('1')",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "import os, pickle",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "archive.extractall(folder)",
        "shutil.unpack_archive(path)",
        "import yaml",
        "importlib.import_module(name)",
        "__import__(name)",
    ],
)
def test_the_audit_would_tell(line):
    assert list(offences(line))


def test_the_audit_spares_what_is_harmless():
    for line in (
        "np.load(path, allow_pickle=False)",
        "model.eval()",
        "re.compile('a')",
        "nnx.eval_shape(f)",
        "json.load(f)",
    ):
        assert not list(offences(line))
