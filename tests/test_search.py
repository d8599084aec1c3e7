"""`check` finds seeded faults and shrinks them; random programs have the right gradients."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tape
from tape import shapes
from tape.testing import Program, arrays, broadcastable, check, programs, tensors


def unary(forward, vjp, jvp=None, saves="x"):
    """An op of one operand with these rules."""
    declared = tape.op(name="faulty", shape=shapes.same, saves=saves)(lambda x, /: forward(x))
    declared.defvjp(vjp)
    if jvp is not None:
        declared.defjvp(jvp)
    return declared


def pair(forward, a, b):
    """An op of two operands that broadcast, with a vjp for each."""
    declared = tape.op(name="faulty", shape=shapes.broadcast, saves="a b")(
        lambda a, b, /: forward(a, b)
    )
    declared.defvjp("a")(a)
    declared.defvjp("b")(b)
    return declared


def is_backwards(x):
    return any(step < 0 for step in x.strides)


def square(x):
    return x * x


def squared(g, x):
    return g * x * 2.0


def spoiling(x):
    """Writes to the memory of what it is given."""
    y, owner = x * 1.0, x.numpy()
    while owner.base is not None:
        owner = owner.base
    if isinstance(owner, np.ndarray) and owner.flags.writeable:
        owner += 1
    return y


@tape.op(shape=shapes.same, saves="x")
def halfway(x, /):
    """max(x, 0), whose slope at 0 is said to be 1."""
    return np.maximum(x, 0)


halfway.defvjp(lambda g, x: g * (x >= 0.0).astype(g.dtype))


@tape.op(shape=shapes.same, saves="x")
def leaning(x, /):
    """abs(x), whose slope below 0 is said to be 1."""
    return np.abs(x)


leaning.defvjp(lambda g, x: g * (x == x).astype(g.dtype))


def own_sum(x, axis):
    """A sum along an axis; the gradient along the last one is that of the first."""
    y = tape.sum(x.detach(), axis=axis, keepdims=True)
    wrong = 0 if axis == -1 else axis
    right = tape.sum(x, axis=wrong, keepdims=True)
    return y + tape.sum(right - right.detach()) / 3.0


def sums(x, axis):
    return tape.sum(x, axis=axis) if axis != -1 else own_sum(x, axis)


MATRIX = arrays(st.tuples(st.integers(1, 3), st.integers(1, 3)))
FAULTS = {
    "a wrong sign": (unary(square, lambda g, x: g * x * -2.0), [tensors()], "gradient by"),
    "a factor of 1.001": (unary(square, lambda g, x: g * x * 2.002), [tensors()], "gradient by"),
    "a missing sum over what is broadcast": (
        pair(np.multiply, lambda g, b: g * b, lambda g, a, b: mean_over(g * a, b)),
        [broadcastable(2, min_side=1)],
        "gradient by argument 1",
    ),
    "an error on empty arrays": (
        unary(square, lambda g, x: squared(g, x) if x.size else x[3]),
        [tensors()],
        r"zeros\(\(",
    ),
    "a wrong shape of empty arrays": (
        lambda x: tape.sum(x) if x.size == 0 and x.ndim > 1 and x.shape[0] == 2 else bad_axis(x),
        [arrays(st.sampled_from([(0, 2), (2, 3)]))],
        r"zeros\(\(0, 2\)\)",
    ),
    "negative strides in the value": (
        unary(lambda x: x * x * (1 + 1e-3 * is_backwards(x)), squared),
        [arrays()],
        "arguments",
    ),
    "negative strides in the cotangent": (
        unary(square, lambda g, x: squared(g, x) * (1 + 1e-3 * is_backwards(g.numpy()))),
        [tensors()],
        "gradient by",
    ),
    "float32 values": (
        unary(lambda x: x * x * (1 + 0.01 * (x.dtype == "float32")), squared),
        [tensors()],
        "float32",
    ),
    "float32 gradients": (
        unary(square, lambda g, x: squared(g, x) * (1.0 + 0.01 * (g.dtype == "float32"))),
        [tensors()],
        "float32",
    ),
    "the last axis": (sums, [MATRIX, st.sampled_from([0, 1, -1])], r", -1\)"),
    "second order": (
        unary(square, lambda g, x: g * x.detach() * 2.0),
        [tensors()],
        "second order",
    ),
    "the jvp": (
        unary(square, squared, lambda dx, x: dx * x * 2.0000001),
        [tensors()],
        "forward mode",
    ),
    "the other side of a kink": (leaning, [tensors()], "gradient by"),
    "memory of its own": (spoiling, [arrays()], "was written to"),
    "the value": (unary(lambda x: x * x + 1e-6, squared), [tensors()], "of `like`"),
    "a slope at a kink": (halfway, [tensors()], "of `like`"),
    "large numbers": (
        unary(square, lambda g, x: tape.where(x > 7.5, g * x, squared(g, x))),
        [tensors()],
        "gradient by",
    ),
    "one element in a row": (
        unary(square, lambda g, x: third_wrong(g, x)),
        [tensors()],
        "gradient by",
    ),
    "another result each time": (
        unary(lambda x: x * x + 1e-9 * next(COUNT), squared),
        [tensors()],
        "two equal calls",
    ),
    "nothing at all comes back": (lambda x: 3.0, [tensors()], "must give tensors, got a float"),
}
COUNT = iter(range(10**9))
LIKE = {"the value": lambda x: x * x, "a slope at a kink": tape.relu}


def mean_over(g, b):
    """What should be a sum over what b was broadcast along."""
    return g if g.shape == b.shape else tape.sum_to(g, b.shape) / (g.size / max(b.size, 1))


def bad_axis(x):
    """Right but for empty arrays, on which it fails."""
    if x.size == 0:
        raise ZeroDivisionError("no elements")
    return x * 2.0


def third_wrong(g, x):
    flat = np.ones(x.size)
    flat[2:3] = 2.0
    return squared(g, x) * tape.tensor(flat.reshape(x.shape), dtype=str(x.dtype))


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_seeded_fault_is_found(fault):
    function, strategies, words = FAULTS[fault]
    with pytest.raises(AssertionError, match="check: smallest wrong call: ") as caught:
        check(function, *strategies, like=LIKE.get(fault), max_examples=200)
    assert re.search(words, str(caught.value)), caught.value


def test_what_is_found_is_small():
    wrong = unary(square, lambda g, x: tape.where(x > 4.0, g * x, squared(g, x)))
    with pytest.raises(AssertionError, match=r"faulty\(array\(\[?[4-8]\.\d*\]?, float64\)\)"):
        check(wrong, tensors())
    wrong = unary(square, lambda g, x: third_wrong(g, x))
    with pytest.raises(AssertionError) as caught:
        check(wrong, arrays())
    assert len(re.findall(r"\d\.", str(caught.value).partition("float")[0])) <= 4


RIGHT = {
    "one operand": (tape.tanh, [tensors()]),
    "kinks": (lambda x: tape.relu(x) + tape.abs(x), [tensors()]),
    "a kink on either side": (tape.abs, [tensors()]),
    "kinks along a line": (tape.maximum, [broadcastable(2)]),
    "a slope without end": (tape.sqrt, [tensors()]),
    "two that broadcast": (lambda a, b: tape.tanh(a * b) - a, [broadcastable(2)]),
    "several results": (lambda x: [x * x, tape.sum(x), x > 0.0], [tensors()]),
    "a setting": (lambda x, k: tape.sum(x, axis=k), [MATRIX, st.integers(-2, 1)]),
    "integers": (
        lambda x, i: tape.take(x, i),
        [arrays((4,)), arrays((3,), "int64", st.integers(0, 3))],
    ),
    "no floats at all": (lambda i: i + 1, [arrays(dtype="int64")]),
    "results that are not finite": (lambda x: tape.log(x), [tensors()]),
}


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_what_is_right_is_accepted(name):
    function, strategies = RIGHT[name]
    check(function, *strategies, max_examples=40)


def test_like_may_be_the_same_function():
    check(tape.relu, tensors(), like=lambda x: tape.maximum(x, x * 0.0) * 0.0 + tape.relu(x))


def test_without_hypothesis_the_error_says_what_is_missing():
    program = (
        "import sys; sys.modules['hypothesis'] = None; import tape.testing as t\n"
        "for use in (lambda: t.check(abs), lambda: t.programs, lambda: t.tensors):\n"
        "    try: use()\n"
        "    except ImportError as error: assert 'pip install hypothesis' in str(error), error\n"
        "    else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# -- programs -------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(programs())
def test_random_programs_have_the_right_gradients(program):
    program.check()


def test_a_program_reads_as_what_it_does():
    leaf = np.full((3, 3), 0.5)
    from tape.testing.program import Step

    program = Program([leaf], [Step("x += y", 0, 0), Step("sin(x)", 1, 0)], [2])
    assert "v1 = [v0 += v0]; v2 = [sin(v1)]; loss = (v2 ** 2).sum()" in repr(program)
    program.check()


@pytest.mark.parametrize("step", ["sin(x)", "x += y", "x.T"])
def test_a_wrong_rule_shows_in_programs(step, monkeypatch):
    from tape.testing import program

    right = program.STEPS[step]
    half = unary(lambda x: x * 1, lambda g: g * 0.5, saves="")
    monkeypatch.setitem(program.STEPS, step, lambda x, y: half(right(x, y)))

    @settings(max_examples=300)
    @given(programs())
    def holds(drawn):
        drawn.check()

    with pytest.raises(AssertionError, match="slope beside differences"):
        holds()


def test_a_step_that_reads_a_value_of_another_time_shows_in_programs(monkeypatch):
    from tape.testing import program

    def late(x, y):
        held = tape.sin(x)
        return held + 0.0 * y if tape.is_recording() and y.requires_grad else held * 2.0

    monkeypatch.setitem(program.STEPS, "sin(x)", late)

    @settings(max_examples=300)
    @given(programs())
    def holds(drawn):
        drawn.check()

    with pytest.raises(AssertionError):
        holds()
