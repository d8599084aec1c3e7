"""An op added without rules, samples or documentation fails the suite."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
# Each op lacks one thing; `complete` lacks nothing but a line in tape/__init__.py.
LACKING = """
import numpy as np
from tape import shapes
from tape.errors import DTypeError
from tape.op import OPS, bad, op, sample

TEXT = bad("text", error=DTypeError, match="operand 0 is a str")

GIVEN = {"samples": [sample((2, 3))], "errors": [TEXT]}

def added(name, doc="Twice x.   Shapes: x (*s) -> y (*s)", vjp=True, jvp=True, **options):
    def forward(x, /):
        return x * 2
    forward.__doc__, forward.__name__ = doc, name
    declared = op(shape=shapes.same, **{**GIVEN, **options})(forward)
    if vjp:
        declared.defvjp(lambda g: g * 2.0)
    if jvp:
        declared.defjvp(lambda dx: dx * 2.0)
    declared.foreign = False
    OPS[name] = declared

added("guard_complete")
added("guard_no_doc", doc=None)
added("guard_no_shapes", doc="Twice x.")
added("guard_no_samples", samples=[])
added("guard_no_errors", errors=[])
added("guard_other_error", errors=[bad("text", error=DTypeError, match="no such words")])
added("guard_no_vjp", vjp=False)
added("guard_no_jvp", jvp=False)
added("guard_not_smooth_anywhere", samples=[sample((2, 3), smooth=False)])
added("guard_wrong_saves", saves="x")
"""
# What must fail for each, by name of the property or test.
EXPECTED = {
    "guard_complete": {"test_op_is_public_or_says_why_not"},
    "guard_no_doc": {"test_op_is_public_or_says_why_not", "is_described"},
    "guard_no_shapes": {"test_op_is_public_or_says_why_not", "is_described"},
    "guard_no_samples": {
        "test_op_is_public_or_says_why_not",
        "test_op_has_samples_that_reach_every_property_it_can_have",
    },
    "guard_no_errors": {"test_op_is_public_or_says_why_not", "test_op_says_what_it_refuses"},
    "guard_other_error": {"test_op_is_public_or_says_why_not", "test_bad_call_is_refused"},
    "guard_no_vjp": {"test_op_is_public_or_says_why_not", "has_both_rules"},
    "guard_no_jvp": {"test_op_is_public_or_says_why_not", "has_both_rules"},
    "guard_not_smooth_anywhere": {
        "test_op_is_public_or_says_why_not",
        "test_op_has_samples_that_reach_every_property_it_can_have",
    },
    "guard_wrong_saves": {"test_op_is_public_or_says_why_not", "saves_is_the_truth"},
}


def test_an_op_that_lacks_something_fails_the_suite(tmp_path):
    (tmp_path / "lacking_ops.py").write_text(LACKING)
    command = [
        *(sys.executable, "-m", "pytest", "-p", "lacking_ops", "-p", "no:xdist", "-q", "-k"),
        *("guard_", str(TESTS / "test_ops.py"), "-p", "no:cacheprovider", "--no-header"),
    ]
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pytest; "
    run = [sys.executable, "-c", path + f"sys.exit(pytest.main({command[3:]!r}))"]
    found = subprocess.run(run, capture_output=True, text=True, cwd=TESTS.parent)
    failed = [line for line in found.stdout.splitlines() if line.startswith("FAILED")]
    assert found.returncode == 1, found.stdout[-2000:] + found.stderr[-2000:]
    for name, expected in EXPECTED.items():
        of_it = [line for line in failed if f"{name}]" in line or f"[{name}-" in line]
        for what in expected:
            assert any(what in line for line in of_it), f"{name}: {what} passed; failed: {of_it}"
    complete = [line for line in failed if "guard_complete]" in line]
    assert len(complete) == 1
