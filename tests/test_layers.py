"""Who may import whom, and how long a file may be (the picture is in CONTRIBUTING.md)."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Bottom first. A module imports from lower layers only; names of one layer are siblings.
LAYERS = [
    ["errors", "_compiled", "_kernels"],
    ["_core"],
    ["op", "shapes"],
    ["ops"],
    ["fft", "flow", "grad", "linalg", "namespace", "random"],
    ["nn"],
    ["optim", "data", "graph", "serialize"],
    ["netopt"],
    ["testing"],
]
# A family of ops may use those before it.
FAMILIES = [
    "naming",
    "cases",
    "bitwise",
    "logic",
    "elementwise",
    "trig",
    "rounding",
    "arithmetic",
    "dtype",
    "activation",
    "smooth",
    "shape",
    "scan",
    "reduce",
    "extremes",
    "softmax",
    "arrange",
    "join",
    "key",
    "index",
    "lookup",
    "sort",
    "difference",
    "scatter",
    "rank",
    "running",
    "elu",
    "rectifiers",
    "shrink",
    "polygamma",
    "special",
    "bessel",
    "pad",
    "activated",
    "linalg",
    "linear",
    "recurrent",
    "gru",
    "contract",
    "einsum",
    "geometry",
    "channels",
    "conv",
    "depth",
    "conv_nd",
    "conv_transpose",
    "pool",
    "pool1d",
    "resample",
    "adaptive",
    "interpolate",
    "patches",
    "signs",
    "linear_bits",
    "binary",
    "binary_conv",
    "int8",
    "int8_conv",
    "norm",
    "group_norm",
    "loss",
    "distance",
    "regression",
    "likelihood",
    "margin",
    "ctc",
    "create",
    "diagonal",
    "packed",
    "solve",
    "powers",
    "decompose",
    "orthogonal",
    "determinant",
    "magnitude",
    "pseudo",
    "fourier",
    "transform",
    "convolve",
    "random",
    "dropout",
    "attention",
    "bags",
    "ufunc",
]
MAX_LINES = 400

IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import[ \t]+(.+)|c?import[ \t]+(.+))", re.M
)


def imports_of_python(text, package):
    """Absolute dotted names a Python file imports, wherever in the file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = [*above, *filter(None, [node.module])] if node.level else [node.module]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def imports_of_cython(text, package):
    """The same of a Cython file, by its lines that start with (c)import or from."""
    for source, names, modules in IMPORT.findall(text):
        dots = len(source) - len(source.lstrip("."))
        above = package.split(".")[: len(package.split(".")) + 1 - dots] if dots else []
        base = [*above, *filter(None, [source.lstrip(".")])]
        for name in re.split(r"\s*,\s*", (names or modules).split("#")[0].strip(" ()\\")):
            yield ".".join([*base, name.split(" as ")[0].strip()])


def place(module):
    """Layer, name in the layer and family of a module, or None outside of tape's own modules."""
    root, _, rest = module.partition(".")
    if root != "tape":
        return None
    name, _, rest = rest.partition(".")
    for layer, names in enumerate(LAYERS):
        if name in names:
            family = rest.partition(".")[0]
            return layer, name, FAMILIES.index(family) if family in FAMILIES else None
    raise AssertionError(f"{module} has no place in LAYERS")


def is_allowed(importer, imported):
    """Whether module `importer` may import module (or name) `imported`."""
    if importer == "tape":
        return True
    mine, other = place(importer), place(imported)
    if other is None:
        return True
    if mine[:2] != other[:2]:
        return mine[0] > other[0]
    if mine[1] == "ops" and importer != "tape.ops":
        return mine[2] is not None and other[2] is not None and mine[2] > other[2]
    return True


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(
    path
    for suffix in ("py", "pyx", "pxd")
    for path in (ROOT / "tape").rglob(f"*.{suffix}")
    if "__pycache__" not in path.parts
)
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_imports_point_downwards(path):
    module = module_of(path)
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    read = imports_of_python if path.suffix == ".py" else imports_of_cython
    wrong = [name for name in read(path.read_text(), package) if not is_allowed(module, name)]
    assert not wrong, f"{module} must not import {', '.join(wrong)}"


# The reader of imports is tested as well: one that finds nothing would allow everything.


def test_python_imports_are_found_wherever_they_stand():
    text = (
        "import os, tape.grad as g\nfrom tape import nn\nfrom . import shape\n"
        "def f():\n    from .reduce import sum\n    from ..op import op, Op\n"
    )
    assert sorted(imports_of_python(text, "tape.ops")) == [
        *["os", "tape.grad", "tape.nn", "tape.op.Op", "tape.op.op"],
        *["tape.ops.reduce.sum", "tape.ops.shape"],
    ]


def test_cython_imports_are_found_wherever_they_stand():
    text = (
        "from cpython.object cimport PyObject  # why\ncimport numpy as cnp\n"
        "from tape._core.node cimport Node, new_node\nfrom .table import Table as T\n"
        "def f():\n    from tape.ops import (add, mul)\n    '''we import nothing from here'''\n"
    )
    assert sorted(imports_of_cython(text, "tape._core")) == [
        *["cpython.object.PyObject", "numpy", "tape._core.node.Node", "tape._core.node.new_node"],
        *["tape._core.table.Table", "tape.ops.add", "tape.ops.mul"],
    ]


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("tape.op", "tape._core.Tensor", True),
        ("tape._core.tensor", "tape.op.Op", False),
        ("tape._core.tensor", "tape._core.node.Node", True),
        ("tape.ops.shape", "tape.ops.elementwise.add", True),
        ("tape.ops.elementwise", "tape.ops.shape.reshape", False),
        ("tape.ops.elementwise", "tape.ops.elementwise.add", False),
        ("tape.ops", "tape.ops.random", True),
        ("tape.nn.dense", "tape.nn.module.Module", True),
        ("tape.nn.dense", "tape.optim.SGD", False),
        ("tape.data.loader", "tape.serialize.load", False),
        ("tape.optim.sgd", "tape.nn.Parameter", True),
        ("tape.errors", "tape._kernels.dispatch", False),
        ("tape.grad", "numpy", True),
        ("tape", "tape.testing", True),
    ],
)
def test_the_rule_itself(importer, imported, allowed):
    assert is_allowed(importer, imported) == allowed


def test_a_module_without_a_layer_is_noticed():
    with pytest.raises(AssertionError, match=r"tape\.wonder has no place in LAYERS"):
        is_allowed("tape.wonder", "tape.errors")
    with pytest.raises(AssertionError, match=r"tape\.asarray has no place"):
        is_allowed("tape.data.loader", "tape.asarray")


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("name", [name for names in LAYERS for name in names])
def test_the_picture_shows_each_layer(name):
    picture = CONTRIBUTING.split("## Layers")[1].split("```")[1]
    assert re.search(rf"\b{name}\b", picture)


@pytest.mark.parametrize("name", sorted({p.stem for p in ROOT.glob("tape/_core/[!_]*.py*")}))
def test_the_map_says_what_each_module_of_the_core_is_for(name):
    assert f"`{name}`" in CONTRIBUTING


def test_every_file_can_be_read_in_a_sitting():
    kinds = "py", "pyi", "pyx", "pxd", "c", "h"
    files = [path for kind in kinds for path in (ROOT / "tape").rglob(f"*.{kind}")]
    assert len(files) > 10
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}
