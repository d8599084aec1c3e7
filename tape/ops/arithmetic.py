"""Arithmetic of two operands, broadcast."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.rule import unchanged
from tape._kernels.dispatch import FloatLoop, Loop
from tape._kernels.quotient import FloorDivide
from tape.errors import DTypeError
from tape.op import bad, op, sample
from tape.ops.cases import MISFIT, PAIRS, TRUTHS, UNFIT, each, pairs
from tape.ops.elementwise import exp, log, zeros_like
from tape.ops.logic import equal, greater_equal, less_equal, logical_and, weak, where


@op(shape=shapes.broadcast, kernel=Loop(np.add), linear=True, samples=pairs(), errors=MISFIT)
def add(a, b, /):
    """Sum a + b, elementwise.   Shapes: a, b broadcast -> y"""
    return np.add(a, b)


add.defvjp("a")(unchanged)
add.defvjp("b")(unchanged)


@op(shape=shapes.broadcast, kernel=Loop(np.subtract), linear=True, samples=pairs(), errors=MISFIT)
def subtract(a, b, /):
    """Difference a - b, elementwise.   Shapes: a, b broadcast -> y"""
    return np.subtract(a, b)


subtract.defvjp("a")(unchanged)


@subtract.defvjp("b")
def subtract_vjp_b(g):
    return -g


@op(shape=shapes.broadcast, saves="a b", kernel=Loop(np.multiply), samples=pairs(), errors=MISFIT)
def multiply(a, b, /):
    """Product a * b, elementwise.   Shapes: a, b broadcast -> y"""
    return np.multiply(a, b)


@multiply.defvjp("a")
def multiply_vjp_a(g, b):
    return g * b


@multiply.defvjp("b")
def multiply_vjp_b(g, a):
    return g * a


@multiply.defjvp
def multiply_jvp(da, db, a, b):
    return da * b + a * db


DIVISIONS = [sample(*p, low=0.5) for p in PAIRS] + [sample((3,), 1.5), sample(2.0, (3,), low=0.5)]


@op(shape=shapes.broadcast, saves="a b", kernel=Loop(np.divide), samples=DIVISIONS, errors=MISFIT)
def divide(a, b, /):
    """Quotient a / b, elementwise; integers give float64.   Shapes: a, b broadcast -> y"""
    return np.divide(a, b)


@divide.defvjp("a")
def divide_vjp_a(g, b):
    return g / b


@divide.defvjp("b")
def divide_vjp_b(g, a, b):
    return -g * (a / b) / b


@divide.defjvp
def divide_jvp(da, db, a, b):
    return (da - db * (a / b)) / b


@op(
    shape=shapes.same,
    kernel=Loop(np.negative),
    linear=True,
    samples=each(),
    errors=[*UNFIT, TRUTHS],
)
def negative(x, /):
    """-x, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.negative(x)


@negative.defvjp
def negative_vjp(g):
    return -g


POWERS = [sample(*p, low=0.5, high=2.0) for p in PAIRS] + [
    sample((3,), 2),
    sample((3,), 2.0),
    sample((3,), -1.0, low=0.5),
    sample(2.0, (3,)),
]


NO_POWERS = [*MISFIT, bad(np.array([2]), -1, error=DTypeError, match="no negative powers")]


@op(
    shape=shapes.broadcast,
    saves="a b y",
    kernel=FloatLoop(np.power),
    samples=POWERS,
    errors=NO_POWERS,
)
def power(a, b, /):
    """a ** b, elementwise.

    The gradient for a is 0 where b is 0; that for b, y * log(a), is 0 where a is 0 and b >= 0.

    Shapes: a, b broadcast -> y

    Raises:
        DTypeError: a and b are integers, and one of b is negative.
    """
    try:
        return np.power(a, b)
    except ValueError:
        raise DTypeError("integers have no negative powers among integers: use floats") from None


@power.defvjp("a")
def power_vjp_a(g, a, b):
    return power_slope(g, a, b)


@power.defvjp("b")
def power_vjp_b(g, a, b, y):
    return power_growth(g, a, b, y)


@power.defjvp
def power_jvp(da, db, a, b, y):
    if isinstance(b, (int, float)):
        return power_slope(da, a, b)
    # The slope in b is NaN or infinite where a <= 0; an exponent that stands still adds nothing.
    still = logical_and(equal(db, 0), less_equal(a, 0))
    dy = where(still, 0.0, power_growth(db, a, b, y))
    return dy if isinstance(a, (int, float)) else dy + power_slope(da, a, b)


def power_slope(g, a, b):
    """g d(a ** b)/da: 0 where b is 0, whatever g is."""
    if isinstance(b, (int, float)):
        if b == 2:
            return g * (a * 2)
        return g * (a ** (b - 1) * b) if b else zeros_like(g)
    return where(equal(b, 0), 0.0, g * (power(a, b - 1) * b))


def power_growth(g, a, b, y):
    """g d(a ** b)/db: 0 where a is 0 and b >= 0, whatever g is; NaN where a is negative."""
    if isinstance(a, (int, float)):
        if a > 0:
            return g * (y * math.log(a))
        if a:
            return g * (y * math.nan)
        return where(greater_equal(b, 0), 0.0, g * (y * -math.inf))
    dead = logical_and(equal(a, 0), greater_equal(b, 0))
    return where(dead, 0.0, g * (y * log(where(dead, 1.0, a))))


@op(
    shape=shapes.broadcast,
    saves="y",
    kernel=FloorDivide(np.floor_divide),
    samples=[
        sample((3, 4), (4,), low=0.5),
        sample((3,), (3,), dtypes=["int64"] * 2, low=1, high=9),
        sample(
            np.array([np.inf, -np.inf, 5.0, -5.0]),
            np.array([2.0, 2.0, -np.inf, np.inf]),
            smooth=False,
        ),
    ],
    errors=MISFIT,
)
def floor_divide(a, b, /):
    """floor(a / b), elementwise; an integer by zero is 0.   Shapes: a, b broadcast -> y

    Its gradients are 0, as floor's.

    Where just one is infinite it is a / b, as the Array API has it: inf // 2 is inf, 5 // -inf is
    -0, for which Python and NumPy give NaN and -1.
    """
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
        a = np.asarray(a, weak(a))
    y = np.floor_divide(a, b)
    if y.dtype.kind == "f":
        is_odd = np.isinf(a) ^ np.isinf(b)
        if is_odd.any():
            return np.where(is_odd, np.divide(a, b, dtype=y.dtype), y)
    return y


@floor_divide.defvjp
def floor_divide_vjp(g):
    return zeros_like(g), zeros_like(g)


@floor_divide.defjvp
def floor_divide_jvp(y):
    return zeros_like(y)


@op(
    shape=shapes.broadcast,
    saves="a b",
    kernel=Loop(np.remainder),
    errors=MISFIT,
    samples=[sample((3, 4), (4,), low=0.5), sample((3,), 1.5)],
)
def remainder(a, b, /):
    """a - b * floor(a / b): the remainder with the sign of b.   Shapes: a, b broadcast -> y"""
    return np.remainder(a, b)


remainder.defvjp("a")(unchanged)


@remainder.defvjp("b")
def remainder_vjp_b(g, a, b):
    return -g * floor_divide(a, b)


@remainder.defjvp
def remainder_jvp(da, db, a, b):
    return da - db * floor_divide(a, b)


@op(
    shape=shapes.same,
    kernel=Loop(np.positive),
    linear=True,
    samples=each(),
    errors=[*UNFIT, TRUTHS],
)
def positive(x, /):
    """+x: a copy.   Shapes: x (*s) -> y (*s)"""
    return np.positive(x)


@positive.defvjp
def positive_vjp(g):
    return g


@op(shape=shapes.same, reuse=False, linear=True, samples=each(), errors=UNFIT)
def alias(x, /):
    """x as a node of its own, so that a gradient can stop here.   Shapes: x (*s) -> y (*s)"""
    return x.view()


@alias.defvjp
def alias_vjp(g):
    return g


@op(
    shape=shapes.broadcast,
    saves="a b",
    kernel=Loop(np.logaddexp),
    samples=[*pairs(), sample((3, 4), (4,), low=-90.0, high=90.0)],
    errors=MISFIT,
)
def logaddexp(a, b, /):
    """log(e**a + e**b) without overflow on the way, elementwise.   Shapes: a, b broadcast -> y"""
    return np.logaddexp(a, b)


@logaddexp.defvjp("a")
def logaddexp_vjp_a(g, a, b):
    return g / (exp(b - a) + 1)


@logaddexp.defvjp("b")
def logaddexp_vjp_b(g, a, b):
    return g / (exp(a - b) + 1)


@logaddexp.defjvp
def logaddexp_jvp(da, db, a, b):
    return da / (exp(b - a) + 1) + db / (exp(a - b) + 1)


@op(shape=shapes.same, linear=True, samples=[*each(), sample((3,), dtypes=["bool"])], errors=UNFIT)
def conj(x, /):
    """x itself: the conjugate of a real number.   Shapes: x (*s) -> y (*s)"""
    return x.view()


@op(shape=shapes.same, linear=True, samples=[*each(), sample((3,), dtypes=["bool"])], errors=UNFIT)
def real(x, /):
    """x itself: the real part of a real number.   Shapes: x (*s) -> y (*s)"""
    return x.view()


@op(shape=shapes.same, linear=True, samples=[*each(), sample((3,), dtypes=["int64"])], errors=UNFIT)
def imag(x, /):
    """Zeros: the imaginary part of a real number.   Shapes: x (*s) -> y (*s)"""
    return np.zeros_like(x)


@conj.defvjp
@real.defvjp
def itself_vjp(g):
    return g


@imag.defvjp
def imag_vjp(g):
    return zeros_like(g)
