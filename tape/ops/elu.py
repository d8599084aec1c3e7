"""Exponential linear units: straight above 0, an exponential that levels off below."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._kernels.activation import CELU, ELU, ELU_SLOPE, SELU
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.activation import KINKED
from tape.ops.cases import UNFIT, pairs, text_for
from tape.ops.dtype import floating
from tape.ops.logic import less, weak, where

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@op(
    shape=shapes.broadcast,
    saves="x at",
    kernel=ELU_SLOPE,
    samples=[
        *pairs(low=0.5, high=2.0, below=0.3, rate=1.5, above=2.0),
        *pairs(low=-2.0, high=-0.5, below=0.3, rate=1.5, above=2.0),
    ],
    errors=[
        bad(
            (2,),
            (3,),
            below=1.0,
            rate=1.0,
            above=1.0,
            error=ShapeError,
            match=r"\(2,\) and \(3,\)",
        )
    ],
)
def elu_slope(x, at, /, below, rate, above):
    """x * above where `at` is above 0, else x * below * exp(rate * at).

    The gradient for `at` is 0 at 0.   Shapes: x, at broadcast -> y
    """
    at = floating(at) if isinstance(at, np.ndarray) else np.asarray(at, weak(at))
    return x * np.where(at > 0, above, below * np.exp(rate * np.minimum(at, 0)))


@elu_slope.defvjp("x")
def elu_slope_vjp_x(g, at, below, rate, above):
    return elu_slope(g, at, below, rate, above)


@elu_slope.defvjp("at")
def elu_slope_vjp_at(g, x, at, below, rate):
    return elu_bend(g * x, at, below, rate)


@elu_slope.defjvp
def elu_slope_jvp(dx, dat, x, at, below, rate, above):
    return elu_slope(dx, at, below, rate, above) + elu_bend(dat * x, at, below, rate)


def elu_bend(g, x, below, rate):
    """g times the second derivative."""
    return where(less(x, 0.0), elu_slope(g, x, below * rate, rate, 0.0), 0.0)


def elu_of(x, below, rate=1.0):
    """x where it is above 0, else below * (exp(rate * x) - 1), of an array of floats."""
    return np.where(x > 0, x, below * np.expm1(rate * np.where(x > 0, 0, x)))


@op(
    shape=shapes.same,
    saves="x",
    kernel=ELU,
    samples=[*KINKED, sample((3, 4), alpha=0.3, smooth=False)],
    errors=[*UNFIT, text_for("alpha", (3,))],
)
def elu(x, /, alpha=1.0):
    """x where it is above 0, else alpha * (exp(x) - 1), elementwise.

    The gradient at 0 is alpha.   Shapes: x (*s) -> y (*s)

    Source: Clevert et al. 2015 (arXiv 1511.07289).
    """
    return elu_of(floating(x), alpha)


@elu.defvjp
def elu_vjp(g, x, alpha):
    return elu_slope(g, x, alpha, 1.0, 1.0)


@elu.defjvp
def elu_jvp(dx, x, alpha):
    return elu_slope(dx, x, alpha, 1.0, 1.0)


@op(shape=shapes.same, saves="x", kernel=SELU, samples=KINKED, errors=UNFIT)
def selu(x, /):
    """1.0507... * elu(x, 1.6733...), elementwise: keeps numbers of mean 0 and variance 1 such.

    Shapes: x (*s) -> y (*s)

    Source: Klambauer et al. 2017 (arXiv 1706.02515), equation 2.
    """
    return elu_of(floating(x), SELU_ALPHA) * SELU_SCALE


@selu.defvjp
def selu_vjp(g, x):
    return elu_slope(g, x, SELU_SCALE * SELU_ALPHA, 1.0, SELU_SCALE)


@selu.defjvp
def selu_jvp(dx, x):
    return elu_slope(dx, x, SELU_SCALE * SELU_ALPHA, 1.0, SELU_SCALE)


@op(
    shape=shapes.same,
    saves="x",
    kernel=CELU,
    samples=[*KINKED, sample((3, 4), alpha=-2.0, smooth=False), sample((3,), alpha=0.5)],
    errors=[bad((3,), alpha=0, error=ValueError, match="alpha is 0")],
)
def celu(x, /, alpha=1.0):
    """x where it is above 0, else alpha * (exp(x / alpha) - 1), elementwise.

    The gradient at 0 is 1, whatever alpha.   Shapes: x (*s) -> y (*s)

    Raises:
        ValueError: alpha is 0.

    Source: Barron 2017 (arXiv 1704.07483).
    """
    if not alpha:
        raise ValueError(f"celu: alpha is {alpha}, the function is not defined there")
    return elu_of(floating(x), alpha, 1.0 / alpha)


@celu.defvjp
def celu_vjp(g, x, alpha):
    return elu_slope(g, x, 1.0, 1.0 / alpha, 1.0)


@celu.defjvp
def celu_jvp(dx, x, alpha):
    return elu_slope(dx, x, 1.0, 1.0 / alpha, 1.0)
