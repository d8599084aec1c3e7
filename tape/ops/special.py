"""Special functions: the inverse of erf, log of gamma, sinc, xlogy, logit."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from tape import shapes
from tape._core.tensor import Tensor
from tape._kernels.activation import ERF, ERFC
from tape.op import op, sample
from tape.ops.activation import one_by_one
from tape.ops.cases import MISFIT, UNFIT, each, pairs, text_for
from tape.ops.dtype import floating
from tape.ops.elementwise import exp, log, square
from tape.ops.logic import equal, greater, less, less_equal, logical_and, logical_or, where
from tape.ops.polygamma import EULER, digamma, in_float64, polynomial, zeta

SQRT_PI_BY_2 = math.sqrt(math.pi) / 2
LOG_PI = math.log(math.pi)
# The coefficients B(2 k) / (2 k (2 k - 1)) of Stirling's series.
STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400]


@in_float64
def erfinv_of(y):
    """Giles' starting value in the middle and an asymptotic one in the tails, then Halley steps."""
    size = np.absolute(y)
    w = np.log1p(-size * size)
    t = 2 / (math.pi * 0.147) + w / 2
    x = np.sqrt(np.maximum(np.sqrt(np.maximum(t * t - w / 0.147, 0)) - t, 0))
    for _ in range(3):
        # Each half by the function that keeps its digits: 1 - |y| is exact from 1/2 on.
        f = np.where(size < 0.5, ERF(x) - size, (1 - size) - ERFC(x))
        u = f * np.exp(x * x) * SQRT_PI_BY_2
        x = np.where(np.isfinite(u), x - u / (1 + x * u), x)
    x = np.where(size == 1, np.inf, np.where(size > 1, np.nan, x))
    return np.copysign(x, y)


@op(
    shape=shapes.same,
    saves="y",
    samples=[*each(-0.9, 0.9), *each(-0.4, 0.4), sample((9,), low=0.99, high=1.0, smooth=False)],
    errors=UNFIT,
)
def erfinv(x, /):
    """The number whose erf is x, elementwise; inf at 1, -inf at -1, NaN beyond.

    Shapes: x (*s) in [-1, 1] -> y (*s)

    Source: starting value by Winitzki 2008, then steps by Halley's method; ours.

    >>> import tape
    >>> round(tape.erfinv(tape.erf(0.5)).item(), 6)
    0.5
    """
    return erfinv_of(x)


@erfinv.defvjp
def erfinv_vjp(g, y):
    return g * exp(square(y)) * SQRT_PI_BY_2


@erfinv.defjvp
def erfinv_jvp(dx, y):
    return dx * exp(square(y)) * SQRT_PI_BY_2


@cache
def near_1():
    """The coefficients of log(gamma(1 + e)) = -EULER e + sum of zeta(k) (-e)**k / k, |e| <= 1/4."""
    return [0.0, -EULER, *[float(zeta(k, np.array(1.0))) * (-1) ** k / k for k in range(2, 28)]]


@in_float64
def lgamma_of(x):
    """Around 1 and 2 the series there, by reflection below 1/2, else Stirling's series."""
    z = np.where(x < 0.5, 1 - x, x)
    y = np.where(np.absolute(z - 2) <= 0.25, np.log(z - 1), 0)
    near = np.where(
        np.absolute(z - 1) <= 0.25, z - 1, np.where(np.absolute(z - 2) <= 0.25, z - 2, 0)
    )
    series = polynomial(near, near_1()) + y
    is_small = z < 10
    start, product = np.where(is_small, z, 1.0), 1.0
    for k in range(10):
        product = product * (start + k)
    shifted = np.where(is_small, z + 10, z)
    w = 1 / shifted
    tail = w * polynomial(w * w, STIRLING)
    far = (shifted - 0.5) * np.log(shifted) - shifted + 0.5 * math.log(2 * math.pi) + tail
    far = np.where(z == np.inf, np.inf, far - np.where(is_small, np.log(product), 0.0))
    is_near = (np.absolute(z - 1) <= 0.25) | (np.absolute(z - 2) <= 0.25)
    y = np.where(is_near, series, far)
    sine = np.sin(math.pi * (x - np.round(x)))
    reflected = np.where(sine == 0, np.inf, LOG_PI - np.log(np.absolute(sine)) - y)
    return np.where(x == -np.inf, np.inf, np.where(x < 0.5, reflected, y))


@op(
    shape=shapes.same,
    saves="x",
    ref=one_by_one(lambda x: math.lgamma(x) if x > 0 or x % 1 else math.inf),
    samples=[*each(0.2, 3.0), *each(-2.9, -2.1), sample((3, 4), low=5.0, high=50.0)],
    errors=UNFIT,
)
def lgamma(x, /):
    """log(|gamma(x)|), elementwise; inf at 0, -1, -2, ....   Shapes: x (*s) -> y (*s)

    >>> import tape
    >>> round(tape.lgamma(5.0).exp().item(), 3)
    24.0
    """
    return lgamma_of(x)


@lgamma.defvjp
def lgamma_vjp(g, x):
    return g * digamma(x)


@lgamma.defjvp
def lgamma_jvp(dx, x):
    return dx * digamma(x)


@op(shape=shapes.same, saves="x", samples=[*each(), *each(-0.1, 0.1)], errors=UNFIT)
def sinc(x, /):
    """sin(pi x) / (pi x), elementwise, 1 at 0.   Shapes: x (*s) -> y (*s)"""
    return np.sinc(floating(x))


@sinc.defvjp
def sinc_vjp(g, x):
    return g * sinc_slope(x, 1)


@sinc.defjvp
def sinc_jvp(dx, x):
    return dx * sinc_slope(x, 1)


@in_float64
def sinc_slope_of(x, n):
    """Taylor's series near 0; else by x f[n] = pi**(n-1) sin(pi x + n pi / 2) - n f[n-1]."""
    is_near = np.absolute(x) < 1 + n / 4
    away = np.where(is_near, 2.0, x)
    y = np.sinc(away)
    for k in range(1, n + 1):
        wave = np.sin(math.pi * away + k * math.pi / 2) * math.pi ** (k - 1)
        y = (wave - k * y) / away
    if not is_near.any():
        return y
    near, first = np.where(is_near, x, 0.0), (n + 1) // 2
    series = [
        (-1) ** k * math.pi ** (2 * k) / ((2 * k + 1) * math.factorial(2 * k - n))
        for k in range(first, first + 20)
    ]
    series = polynomial(near * near, series)
    return np.where(is_near, series * near if n % 2 else series, y)


@op(
    shape=shapes.same,
    saves="x",
    samples=[sample((4, 5), n=n, low=-r, high=r) for n in (1, 2, 3) for r in (0.1, 2.0, 9.0)],
    errors=[text_for("n", (3,))],
)
def sinc_slope(x, /, n):
    """The n-th derivative of sinc, exact at 0 too.   Shapes: x (*s) -> y (*s)"""
    return sinc_slope_of(x, n)


@sinc_slope.defvjp
def sinc_slope_vjp(g, x, n):
    return g * sinc_slope(x, n + 1)


@sinc_slope.defjvp
def sinc_slope_jvp(dx, x, n):
    return dx * sinc_slope(x, n + 1)


def floats(x, y):
    """Two operands as arrays of their common floating dtype."""
    if not isinstance(x, np.ndarray) and not isinstance(y, np.ndarray):
        x, y = floating(x), floating(y)
    dtype = np.result_type(x, y)
    dtype = dtype if dtype.kind == "f" else np.float64
    return np.asarray(x, dtype), np.asarray(y, dtype)


ZEROS = np.array([0.0, 0.0, 2.0])


@op(
    shape=shapes.broadcast,
    saves="x y",
    samples=[*pairs(0.5, 2.0), sample(ZEROS, np.array([3.0, 0.5, 1.0]), smooth=False)],
    errors=MISFIT,
)
def xlogy(x, y, /):
    """x * log(y), elementwise, and 0 where x is 0 (unless y is NaN).

    The gradient of x is log(y), and 0 where x is 0 and y is not above 0.

    Shapes: x, y broadcast -> result
    """
    x, y = floats(x, y)
    with np.errstate(all="ignore"):
        return np.where((x == 0) & ~np.isnan(y), 0, x * np.log(y))


@xlogy.defvjp("x")
def xlogy_vjp_x(g, x, y):
    return log_or_nothing(g, x, y)


@xlogy.defvjp("y")
def xlogy_vjp_y(g, x, y):
    return g * x / y


@xlogy.defjvp
def xlogy_jvp(dx, dy, x, y):
    return log_or_nothing(dx, x, y) + dy * x / y


def log_or_nothing(g, x, y):
    """g * log(y), but 0 where x is 0 and y not above 0."""
    y = y if isinstance(y, Tensor) else Tensor(y, g.dtype)  # a number would have float32 digits
    nothing = logical_and(equal(x, 0.0), less_equal(y, 0.0))
    return where(nothing, 0.0, g * log(where(nothing, 1.0, y)))


@op(
    shape=shapes.same,
    saves="x",
    samples=[
        *each(0.1, 0.9),
        sample((3, 4), eps=0.3, low=0.0, high=1.0, smooth=False),
        sample((3, 4), eps=1e-6, low=0.1, high=0.9),
    ],
    errors=[*UNFIT, text_for("eps", (3,))],
)
def logit(x, /, eps=None):
    """log(x / (1 - x)), elementwise: the inverse of sigmoid; NaN outside of [0, 1].

    Shapes: x (*s) -> y (*s)

    Args:
        eps: if given, x is first clipped to [eps, 1 - eps], and gets no gradient outside.
    """
    x = floating(x)
    if eps is not None:
        x = np.minimum(np.maximum(x, eps), 1 - eps)
    with np.errstate(all="ignore"):
        return np.log(x / (1 - x))


@logit.defvjp
def logit_vjp(g, x, eps):
    return logit_slope(g, x, eps)


@logit.defjvp
def logit_jvp(dx, x, eps):
    return logit_slope(dx, x, eps)


def logit_slope(g, x, eps):
    """g / (x (1 - x)); outside of the bounds 0, or NaN where there are none."""
    low, rest = (0.0, math.nan) if eps is None else (eps, 0.0)
    beyond = logical_or(less(x, low), greater(x, 1 - low))
    return where(beyond, rest, g / (x * (1 - x)))
