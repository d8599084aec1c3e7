"""Every example in a docstring and on a page, such as README.md, runs and is right."""

import doctest
import importlib
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(
    path
    for suffix in ("py", "pyx")
    for path in (ROOT / "tape").rglob(f"*.{suffix}")
    if ">>> " in path.read_text()
)


def doctests_of(module):
    """The doctests of a module, those of callable objects such as ops included."""
    finder, parser = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestParser()
    found = finder.find(module)
    yield from found
    names = {test.name for test in found}
    known = types.ModuleType, type, types.FunctionType
    for name, value in vars(module).items():
        text = getattr(value, "__doc__", None)
        is_object = not isinstance(value, known) and not doctest.inspect.isroutine(value)
        if is_object and isinstance(text, str) and text != type(value).__doc__:
            label = f"{module.__name__}.{name}"
            if getattr(value, "__module__", None) == module.__name__ and label not in names:
                yield parser.get_doctest(text, dict(vars(module)), label, None, None)


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(ROOT)) for p in SOURCES])
def test_examples_of_docstrings_run(path):
    tests = [t for t in doctests_of(importlib.import_module(module_name(path))) if t.examples]
    # Not one is missed: an example that never runs may say anything.
    assert sum(len(t.examples) for t in tests) == path.read_text().count(">>> ")
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    report = []
    for test in tests:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


@pytest.mark.parametrize("name", ["README.md", "CONVENTIONS.md", "CONTRIBUTING.md"])
def test_examples_of_a_page_run(name):
    report = []
    text = (ROOT / name).read_text()
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert not report, "".join(report)
