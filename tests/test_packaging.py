"""What importing tape does to a process, and what may not stand in its sources."""

import ast
import importlib
import importlib.metadata
import json
import os
import pickle
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tape

ROOT = Path(__file__).parent.parent
# Slow to import, or none of a library's business at run time.
UNWANTED = {
    *["asyncio", "concurrent.futures", "doctest", "hypothesis", "inspect", "IPython", "jax"],
    *["matplotlib", "mlxtend", "multiprocessing", "pandas", "pdb", "pytest", "rich", "scipy"],
    *["sklearn", "ssl", "tkinter", "torch", "unittest"],
}

# Runs in a fresh interpreter: what the process is like, as something JSON can hold.
STATE = """
import json, gc, locale, os, random, signal, sys, threading, warnings
import numpy as np

def listed(folder):
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0

def state():
    tiny = np.array([5e-324, 1e-310])
    return {
        "errors of floating point": repr(np.geterr()),
        "subnormals": [(tiny * 1.0).tolist(), (tiny.astype("f8") + 0.0 != 0.0).tolist()],
        "float32 subnormals": (np.array([1e-45, 1e-40], "f4") * np.float32(1)).tolist(),
        "rounding": repr((1.0 + 2.0**-53, 1.0 + 2.0**-52 * 0.75, -1.0 - 2.0**-53)),
        "warnings": repr(warnings.filters),
        "showwarning": repr(warnings.showwarning),
        "signals": [repr(signal.getsignal(s)) for s in sorted(signal.valid_signals())],
        "threads": [t.name for t in threading.enumerate()],
        "threads of the system": listed("/proc/self/task"),
        "open files": listed("/proc/self/fd"),
        "environment": sorted(os.environ.items()),
        "directory": os.getcwd(),
        "path": sys.path,
        "hooks": repr((sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile())),
        "unraisable": repr((sys.unraisablehook, threading.excepthook)),
        "recursion": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "collector": [gc.isenabled(), gc.get_threshold()],
        "locale": locale.setlocale(locale.LC_ALL),
        "random": repr(random.getstate()),
        "NumPy's random": repr(np.random.get_state()),
        "NumPy's print": repr(np.get_printoptions()),
        "NumPy's scalar types": repr(sorted(map(repr, np.sctypeDict))),
    }
"""


def run(code):
    """Run `code` in an interpreter of its own, warnings as errors; what it printed, from JSON."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_importing_tape_changes_nothing_in_the_process():
    before, after = run(
        STATE + "np.random.get_state()\nbefore = state()\nimport tape\n"
        "print(json.dumps([before, state()]))"
    )
    assert after == before
    assert before["subnormals"][0] == [5e-324, 1e-310]


def test_a_changed_process_would_be_noticed():
    changes = {
        "np.seterr(all='ignore')": "errors of floating point",
        "warnings.simplefilter('ignore')": "warnings",
        "signal.signal(signal.SIGINT, signal.SIG_DFL)": "signals",
        "np.random.seed(1)": "NumPy's random",
        "sys.setrecursionlimit(12345)": "recursion",
        "os.environ['OMP_NUM_THREADS'] = '1'": "environment",
    }
    code = STATE + "befores, afters = [], []\n"
    for change in changes:
        code += f"befores.append(state())\n{change}\nafters.append(state())\n"
    befores, afters = run(code + "print(json.dumps([befores, afters]))")
    for before, after, name in zip(befores, afters, changes.values(), strict=True):
        assert [key for key in before if before[key] != after[key]] == [name]


def test_importing_tape_imports_nothing_unwanted():
    numpy_alone, with_tape = run(
        "import sys, json, numpy\nnumpy_alone = sorted(sys.modules)\nimport tape\n"
        "print(json.dumps([numpy_alone, sorted(sys.modules)]))"
    )
    assert "tape._core" in with_tape
    assert UNWANTED & (set(with_tape) - set(numpy_alone)) == set()


# All that is compiled is in one shared object.


def test_compiled_modules_are_in_one_object_under_their_own_names():
    places = tape._compiled.Loader.places
    assert {"tape._core.node", "tape._kernels.activation", "tape.ops.activation"} <= set(places)
    for name in places:
        module = importlib.import_module(name)
        assert module.__name__ == module.__spec__.name == name
        assert module.__file__ == tape._compiled.__file__
        assert module.__package__ == name.rpartition(".")[0]
        assert importlib.reload(module) is module
    assert pickle.loads(pickle.dumps(tape.ops.activation.relu_vjp)) is tape.ops.activation.relu_vjp


def test_a_module_missing_in_the_object_is_named(monkeypatch):
    missing = "tape._core.node"
    monkeypatch.delitem(tape._compiled.Loader.places, missing)
    monkeypatch.delitem(sys.modules, missing)
    monkeypatch.setattr(tape._compiled.os.path, "exists", lambda path: path.endswith("node.pyx"))
    with pytest.raises(
        ModuleNotFoundError, match=r"tape\._core\.node is not in .*_compiled.*: build"
    ):
        importlib.import_module(missing)
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'tape\._core\.wonder'"):
        importlib.import_module("tape._core.wonder")


# What may not stand in a source: a file's content is never run, only read.

UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


def unsafe_in_python(text):
    """Names of what could run a file's content as a program."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ({alias.name.partition(".")[0] for alias in node.names} & UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from ({(node.module or "").partition(".")[0]} & UNSAFE_MODULES)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield from ({node.func.id} & UNSAFE_CALLS)
            yield from ({k.arg for k in node.keywords} & {"allow_pickle"})


def unsafe_in_cython(text):
    """The same by words, as the syntax tree of Cython is not at hand."""
    yield from re.findall(rf"\bc?import[^\n]*\b({'|'.join(UNSAFE_MODULES)})\b", text)
    yield from re.findall(rf"\bfrom\s+({'|'.join(UNSAFE_MODULES)})\b", text)
    yield from re.findall(rf"(?<![\w.])({'|'.join(UNSAFE_CALLS)})\s*\(", text)
    yield from re.findall(r"\ballow_pickle\b", text)


READERS = {".py": unsafe_in_python, ".pyx": unsafe_in_cython, ".pxd": unsafe_in_cython}
# The rows of the benchmarks are statements, as those of timeit.
ALLOWED = {"benchmarks": {"eval", "exec"}}
SOURCES = [
    path
    for folder in ("tape", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in READERS
]


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(ROOT)) for p in SOURCES])
def test_no_source_runs_what_it_reads(path):
    found = set(READERS[path.suffix](path.read_text()))
    assert found - ALLOWED.get(path.relative_to(ROOT).parts[0], set()) == set()


@pytest.mark.parametrize("reader", [unsafe_in_python, unsafe_in_cython])
def test_the_reader_finds_what_it_looks_for(reader):
    text = (
        "import os, pickle\nfrom marshal import loads\nx = eval(text)\n"
        "np.load(f, allow_pickle=True)\nmodel.eval()\nre.compile('a')\n"
    )
    assert sorted(reader(text)) == ["allow_pickle", "eval", "marshal", "pickle"]


def test_the_version_is_that_of_the_distribution():
    assert tape.__version__ == importlib.metadata.version("tape-autodiff")
    with pytest.raises(AttributeError, match="no attribute '__versions__'"):
        tape.__versions__  # noqa: B018


def test_a_compiler_without_an_instruction_set_builds_the_others_and_says_so(tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\ncase "$*" in *avx512*) exit 1;; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    code = "import setup; print(*(name for name, _ in setup.libraries()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "CC": str(compiler)},
        capture_output=True,
        text=True,
    )
    if "No module named" in done.stderr:
        pytest.skip("setup.py needs Cython and setuptools")
    names = done.stdout.split()
    assert "tape_scalar" in names
    assert "tape_avx512" not in names
    if platform.machine() == "x86_64":
        assert "tape_avx2" in names
        assert re.search("the compiler does not know .*avx512.*: no avx512 kernels", done.stderr)
