"""What one meets who comes from NumPy or PyTorch: names, and errors that say what to do."""

import subprocess
import sys

import numpy as np
import pytest

import tape
from tape import shapes
from tape.ops.ufunc import array_ufunc
from tape.testing import check_op, gradcheck

X = tape.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
Z = tape.fft.rfft(tape.ones(4))

HERE = """
import sys, tape
assert {"nn", "optim", "linalg", "fft", "testing", "save", "load", "tanh"} <= {*dir(tape)}
import tape.testing
assert {"tensors", "arrays", "broadcastable", "programs", "check"} <= {*dir(tape.testing)}
assert not {"hypothesis", "tape.nn", "tape.linalg"} & {*sys.modules}
"""


def test_names_that_are_loaded_later_can_be_completed():
    subprocess.run([sys.executable, "-c", HERE], check=True)


def declared(linear=False, rules=""):
    @tape.op(shape=shapes.same, linear=linear, samples=[tape.op.sample((3,))])
    def double(x):
        """2 x, elementwise.   Shapes: x (*s) -> y (*s)"""
        return x * 2

    if "vjp" in rules:
        double.defvjp(lambda g: g * 2)
    if "jvp only" in rules or "both" in rules:
        double.defjvp(lambda dx: dx * 2)
    return double


@pytest.mark.parametrize(
    ("op", "match"),
    [
        (declared(), "double: no vjp rule for x: add one by @double.defvjp"),
        (declared(rules="vjp"), "double: no jvp rule: add one by @double.defjvp, or say linear=T"),
        (
            declared(True, "vjp, both"),
            "double: linear=True is a jvp rule: take one of the two away",
        ),
    ],
)
def test_check_op_says_which_rule_is_missing_and_how_to_add_it(op, match):
    with pytest.raises(AssertionError, match=match):
        check_op(op)


@pytest.mark.parametrize("x", [X, np.array([1.0, 2.0])])
def test_gradcheck_takes_one_array_as_the_only_input(x):
    assert gradcheck(lambda x: x * x, x, order=2)
    with pytest.raises(TypeError, match="missing 1 required"):
        gradcheck(lambda a, b: a * b, x)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tape.grad(tape.sum, X), TypeError, r"not by a Tensor: call grad\(function\)\(x\)"),
        (
            lambda: tape.value_and_grad(tape.sum, X),
            *(TypeError, r"not by a Tensor: call value_and_grad\(function\)\(x\)"),
        ),
        (
            lambda: tape.grad(X.sum(), {"x": X}),
            *(TypeError, "grad: xs is a dict, not a tensor, or a list of tensors"),
        ),
        (
            lambda: tape.grad(tape.grad((X * X).sum(), X).sum(), X),
            *(tape.GradError, "or is a gradient taken without create_graph=True"),
        ),
        (lambda: f"{X:.3f}", TypeError, r"format: '.3f' is for one number, not \(2,\)"),
    ],
)
def test_an_error_says_what_to_write(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("erf", r"tape\.erf\(\.\.\.\)"),
        *(("gammaln", r"tape\.lgamma\(x\)"), ("psi", r"tape\.digamma\(x\)")),
        *(("expit", r"tape\.sigmoid\(x\)"), ("log_expit", r"tape\.logsigmoid\(x\)")),
    ],
)
def test_a_function_of_scipy_is_refused_with_tapes_name_of_it(name, instead):
    class Function:
        __name__ = name

    with pytest.raises(TypeError, match=f"{name}: a ufunc that tape does not take: use {instead}"):
        array_ufunc(X, Function(), "__call__", X)


def test_a_line_of_hundreds_of_characters_is_cut_in_the_message(tmp_path):
    program = tmp_path / "long.py"
    program.write_text("import tape; tape.ones(3) + tape.ones(4)  # " + "x" * 900)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    line = next(line for line in done.stderr.splitlines() if "called at" in line)
    assert "import tape; tape.ones(3) + tape.ones(4)  # xxx" in line
    assert line.endswith("xxx ...")
    assert len(line) < 200 + len(str(program))


def test_what_is_formatted_is_the_number_or_the_text():
    assert f"{X.sum():.2f}" == "3.00"
    assert f"{X}" == str(X)
    assert f"{X:>80}" == str(X).rjust(80)


@pytest.mark.parametrize(
    "call",
    [
        *(lambda: Z + Z, lambda: Z - Z, lambda: Z * 2, lambda: 2 * Z, lambda: Z * Z),
        *(lambda: Z / 2, lambda: 1 / Z, lambda: -Z, lambda: abs(Z), lambda: Z**2, lambda: 1 + Z),
        *(lambda: tape.ones(3) * Z, lambda: np.ones(3) * Z, lambda: Z * np.ones(3)),
        *(lambda: (1.0, 2.0) - Z, lambda: 2j * Z),
    ],
)
def test_a_spectrum_is_not_computed_with_as_if_it_were_a_number_or_a_tuple(call):
    with pytest.raises(TypeError, match="Spectrum"):
        call()
