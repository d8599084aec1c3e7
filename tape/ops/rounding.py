"""Rounding, whose gradient is 0, and what is done to the sign and the last bit of a number."""

from __future__ import annotations

from operator import index

import numpy as np

from tape import shapes
from tape._kernels.dispatch import Loop
from tape.errors import DTypeError
from tape.op import bad, op, sample
from tape.ops.cases import MISFIT, PAIRS, UNFIT, each, pairs
from tape.ops.elementwise import zeros_like
from tape.ops.logic import equal, weak, where

# Between steps, and on them; integers stay as they are.
STEPS = [
    *each(0.6, 0.9),
    sample(np.array([-1.5, -0.5, -0.0, 0.5, 1.5, 2.0, 2.5]), smooth=False),
    sample((3,), dtypes=["int64"]),
]


@op(shape=shapes.same, kernel=Loop(np.floor), samples=STEPS, errors=UNFIT)
def floor(x, /):
    """The next integer at or below x, elementwise, of x's dtype; its gradient is 0.

    Shapes: x (*s) -> y (*s)
    """
    return np.floor(x)


@op(shape=shapes.same, kernel=Loop(np.ceil), samples=STEPS, errors=UNFIT)
def ceil(x, /):
    """The next integer at or above x, elementwise, of x's dtype; its gradient is 0.

    Shapes: x (*s) -> y (*s)
    """
    return np.ceil(x)


@op(shape=shapes.same, kernel=Loop(np.trunc), samples=STEPS, errors=UNFIT)
def trunc(x, /):
    """x without its fraction, elementwise, of x's dtype; its gradient is 0.

    Shapes: x (*s) -> y (*s)
    """
    return np.trunc(x)


@op(
    shape=shapes.same,
    samples=[
        *STEPS,
        sample((3, 4), decimals=1, smooth=False),
        sample((3,), decimals=-1, low=6.0, high=9.0),
    ],
    errors=[bad((2,), decimals=0.5, error=DTypeError, match="decimals is an integer, got 0.5")],
)
def round(x, /, decimals=0):
    """The nearest integer, halves to the even one, elementwise, of x's dtype; its gradient is 0.

    Args:
        decimals: how many digits to keep behind the point; below 0, zeros before it.

    Shapes: x (*s) -> y (*s)

    Raises:
        DTypeError: decimals is no integer.
    """
    try:
        decimals = index(decimals)
    except TypeError:
        raise DTypeError(f"decimals is an integer, got {decimals!r}") from None
    return np.round(x, decimals)


@floor.defvjp
@ceil.defvjp
@trunc.defvjp
@round.defvjp
def step_vjp(g):
    return zeros_like(g)


@floor.defjvp
@ceil.defjvp
@trunc.defjvp
@round.defjvp
def step_jvp(dx):
    return zeros_like(dx)


SIGNED = np.array([[0.0, -0.0], [np.nan, -np.inf]])


@op(shape=shapes.same, differentiable=False, samples=[*each(), sample(SIGNED)], errors=UNFIT)
def signbit(x, /):
    """Whether the sign of x is set: below 0, or -0.0, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.signbit(x)


@op(
    shape=shapes.broadcast,
    saves="a y",
    kernel=Loop(np.copysign),
    samples=[
        *[sample(*p, low=0.5) for p in PAIRS],
        sample((3, 4), (4,), smooth=False),
        sample((3,), -0.0, low=0.5),
        sample(np.array([0.0, 1.0]), np.array([-0.0, -0.0]), smooth=False),
    ],
    errors=MISFIT,
)
def copysign(a, b, /):
    """|a| with the sign of b, elementwise; the gradient is 0 where a is 0.

    Shapes: a, b broadcast -> y
    """
    return np.copysign(a, b)


def flipped(x, a, y):
    """x y / a: x or -x, and 0 where a is 0, as in PyTorch."""
    is_zero = equal(a, 0)
    return where(is_zero, 0.0, x * (y / where(is_zero, 1.0, a)))


@copysign.defvjp("a")
def copysign_vjp_a(g, a, y):
    return flipped(g, a, y)


@copysign.defvjp("b")
def copysign_vjp_b(g):
    return zeros_like(g)


@copysign.defjvp
def copysign_jvp(da, a, y):
    return flipped(da, a, y)


@op(
    shape=shapes.broadcast,
    saves="a b",
    samples=[*pairs(), sample(np.array([0.0, 1.0]), np.array([-0.0, 1.0]), smooth=False)],
    errors=MISFIT,
)
def nextafter(a, b, /):
    """The number next to a in the direction of b, elementwise; no gradient where they are equal.

    Shapes: a, b broadcast -> y
    """
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
        a = np.asarray(a, weak(a))
    return np.nextafter(a, b)


@nextafter.defvjp("a")
def nextafter_vjp_a(g, a, b):
    return where(equal(a, b), 0.0, g)


@nextafter.defvjp("b")
def nextafter_vjp_b(g):
    return zeros_like(g)


@nextafter.defjvp
def nextafter_jvp(da, a, b):
    return where(equal(a, b), 0.0, da)
