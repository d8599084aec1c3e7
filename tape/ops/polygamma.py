"""The logarithmic derivatives of the gamma function: digamma and those of higher order."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.op import bad, op, sample
from tape.ops.cases import UNFIT, each
from tape.ops.dtype import floating
from tape.ops.naming import named

EULER = 0.5772156649015329
HIGHEST = 150  # the factorial of a little more is beyond float64
BERNOULLI = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510]


BLOCK = 4096  # numbers at a time, so that all that is computed on the way stays in the cache


def in_float64(function):
    """A function of 1-d float64 arrays, which need not mind warnings, over any array or number."""

    def over(x, *settings):
        x = floating(x)
        flat, y = x.reshape(-1), np.empty(x.size, x.dtype)
        with np.errstate(all="ignore"):
            for i in range(0, x.size, BLOCK):
                part = flat[i : i + BLOCK].astype(np.float64)
                y[i : i + BLOCK] = function(part, *settings)
        return y.reshape(x.shape)

    return over


def polynomial(x, coefficients):
    """The sum of coefficients[k] * x**k, by Horner's rule."""
    y = coefficients[-1] + 0 * x
    for c in coefficients[-2::-1]:
        y = y * x + c
    return y


def zeta(s, q):
    """Hurwitz' zeta function, the sum of (q + k)**-s over k >= 0, for integers s > 1 and q > 0.

    Source: the Euler-Maclaurin formula after 12 terms (Abramowitz and Stegun 1964, 23.1.30).
    """
    total = np.zeros_like(q)
    for k in range(12):
        total = total + (q + k) ** float(-s)
    q = q + 12
    total = total + q ** float(1 - s) / (s - 1) + q ** float(-s) / 2
    term = s * q ** float(-s - 1) / 2
    for j, b in enumerate(BERNOULLI, 1):
        total = total + b * term
        term = term * ((s + 2 * j - 1) * (s + 2 * j) / ((2 * j + 1) * (2 * j + 2))) / q / q
    return total


def digamma_from_half(x):
    """digamma of x >= 1/2: moved by 10 by its recurrence, then its asymptotic series."""
    is_small = x < 10
    start, y = np.where(is_small, x, 1.0), 0.0
    for k in range(10):
        y = y - 1 / (start + k)
    x = np.where(is_small, x + 10, x)
    y = np.where(is_small, y, 0.0) + np.log(x) - 0.5 / x
    square, power = 1 / (x * x), 1.0
    for k, b in enumerate(BERNOULLI, 1):
        power = power * square
        y = y - b / (2 * k) * power
    return y


@in_float64
def polygamma_of(x, n):
    """From 1/2 on by series, below by reflection: f(x) = (-1)**n f(1-x) - pi d**n cot(pi x)."""
    z = np.where(x < 0.5, 1 - x, x)
    sign = -1.0 if n % 2 == 0 else 1.0
    y = sign * math.factorial(n) * zeta(n + 1, z) if n else digamma_from_half(z)
    if np.any(x < 0.5):
        angle = math.pi * (x - np.round(x))
        cotangent = np.cos(angle) / np.sin(angle)
        # d cot = -(1 + cot**2): so each derivative of cot is a polynomial in cot.
        powers = [0.0, 1.0]
        for _ in range(n):
            slope = [k * c for k, c in enumerate(powers)][1:]
            powers = [-(a + b) for a, b in zip([*slope, 0.0, 0.0], [0.0, 0.0, *slope], strict=True)]
        y = np.where(x < 0.5, -sign * y - math.pi ** (n + 1) * polynomial(cotangent, powers), y)
    return np.where((x <= 0) & (x == np.round(x)), at_poles(x, n, sign), y)


def at_poles(x, n, sign):
    """The value at 0, -1, -2 and so on; only that of digamma tells the side from which x comes."""
    return sign * np.inf if n else np.where(x == 0, np.copysign(np.inf, -x), np.nan)


RANGES = [*each(0.2, 3.0), *each(-2.9, -2.1), sample((3, 4), low=5.0, high=50.0)]


@op(shape=shapes.same, saves="x", ref=lambda x: polygamma_of(x, 0), samples=RANGES, errors=UNFIT)
def digamma(x, /):
    """d log(gamma(x)) / dx, elementwise; NaN at -1, -2, ..., -inf at 0 and inf at -0.

    Shapes: x (*s) -> y (*s)

    >>> import tape
    >>> round(tape.digamma(1.0).item(), 5)
    -0.57722
    """
    return polygamma_of(x, 0)


@digamma.defvjp
def digamma_vjp(g, x):
    return g * derivative(x, 1)


@digamma.defjvp
def digamma_jvp(dx, x):
    return dx * derivative(x, 1)


@op(
    name="polygamma",
    shape=shapes.same,
    saves="x",
    samples=[sample(s.shapes[0], n=n, low=s.low, high=s.high) for s in RANGES for n in (0, 1, 2)],
    errors=[
        bad((3,), n=-1, error=ValueError, match="n is -1, not a whole number in"),
        bad((3,), n=0.5, error=ValueError, match=r"n is 0.5, not a whole number in \[0, 150\]"),
    ],
)
def derivative(x, /, n):
    """The n-th derivative of digamma, elementwise.   Shapes: x (*s) -> y (*s)"""
    if type(n) is bool or not hasattr(n, "__index__") or not 0 <= n <= HIGHEST:
        raise ValueError(f"polygamma: n is {n}, not a whole number in [0, {HIGHEST}]")
    return polygamma_of(x, int(n))


@derivative.defvjp
def derivative_vjp(g, x, n):
    return g * derivative(x, n + 1)


@derivative.defjvp
def derivative_jvp(dx, x, n):
    return dx * derivative(x, n + 1)


@named
def polygamma(n, x, /):
    """The n-th derivative of digamma at x, elementwise: n = 1 is the trigamma function.

    Shapes: x (*s) -> y (*s)

    Args:
        n: a whole number in [0, 150]; a gradient asks for one more.
        x: at 0, -1, -2, ... an odd n gives inf, an even one -inf, and 0 is as for `digamma`.

    Raises:
        ValueError: n is none of those.

    >>> import tape
    >>> round(tape.polygamma(1, 1.0).item(), 5)
    1.64493
    """
    return derivative(asarray(x), n)
