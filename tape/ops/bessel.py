"""Modified Bessel functions of the first kind and whole order, plain and scaled."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.op import op, sample
from tape.ops.cases import each, text_for
from tape.ops.elementwise import sign
from tape.ops.naming import named
from tape.ops.polygamma import in_float64

FAR = 30.0  # from here on the asymptotic series has float64's digits


@in_float64
def bessel_of(x, order, scaled):
    """The power series near 0, whose terms have one sign, and the asymptotic one far away."""
    size = np.absolute(x)
    is_near = size < FAR
    y = np.where(is_near, power_series(np.where(is_near, size, 0), order), 0)
    if scaled:
        y *= np.exp(-size)
    if not is_near.all():
        far = np.where(is_near, FAR, size)
        tail = asymptotic_series(far, order)
        if not scaled:
            half = np.exp(far / 2)  # the whole would overflow before the result does
            tail = np.where(far == np.inf, np.inf, half * tail * half)
        y = np.where(is_near, y, tail)
    return y * np.sign(x) if order % 2 else y


def power_series(x, order):
    """Sum of (x / 2)**(2 k + order) / (k! (k + order)!), until nothing is added any more."""
    square = (x / 2) ** 2
    term = (x / 2) ** order / math.factorial(order)
    total = term
    for k in range(1, 70):
        term = term * (square / (k * (k + order)))
        total = total + term
        if not (term > total * 1e-17).any():
            break
    return total


def asymptotic_series(x, order):
    """exp(-x) I(x) = (1 - (4 n**2 - 1) / (8 x) + ...) / sqrt(2 pi x)."""
    term = 1 / np.sqrt(2 * math.pi * x)
    total = term
    for k in range(1, 25):
        term = term * (((2 * k - 1) ** 2 - 4 * order**2) / (8 * k)) / x
        total = total + term
    return total


SAMPLES = [
    sample(s.shapes[0], order=order, scaled=scaled, low=s.low, high=s.high)
    for order in (0, 1, 2)
    for scaled in (False, True)
    for s in each(0.1, 3.0)
]


@op(
    shape=shapes.same,
    saves="x",
    samples=[
        *SAMPLES,
        *[sample((4,), order=n, scaled=True, low=20.0, high=90.0) for n in (0, 1)],
        sample((3, 4), order=0, scaled=False),
        sample((3, 4), order=1, scaled=False),
    ],
    errors=[text_for("order", (3,), scaled=False)],
)
def modified_bessel(x, /, order, scaled):
    """I of a whole order at x, elementwise, times exp(-|x|) if scaled.   Shapes: x (*s) -> y (*s)

    Source: Abramowitz and Stegun 1964, 9.6.10 and 9.7.1.
    """
    return bessel_of(x, order, scaled)


@modified_bessel.defvjp
def modified_bessel_vjp(g, x, order, scaled):
    return g * bessel_slope(x, order, scaled)


@modified_bessel.defjvp
def modified_bessel_jvp(dx, x, order, scaled):
    return dx * bessel_slope(x, order, scaled)


def bessel_slope(x, order, scaled):
    """I'[n] = (I[n-1] + I[n+1]) / 2, with I[-1] = I[1]; the scale adds -sign(x) times the value."""
    below = modified_bessel(x, abs(order - 1), scaled)
    slope = (below + modified_bessel(x, order + 1, scaled)) * 0.5
    return slope - sign(x) * modified_bessel(x, order, scaled) if scaled else slope


@named
def i0(x, /):
    """Modified Bessel function of the first kind of order 0, elementwise.

    Shapes: x (*s) -> y (*s), at least 1

    >>> import tape
    >>> tape.i0(0.0).item()
    1.0
    """
    return modified_bessel(asarray(x), 0, False)


@named
def i1(x, /):
    """Modified Bessel function of the first kind of order 1, elementwise: the derivative of i0.

    Shapes: x (*s) -> y (*s)
    """
    return modified_bessel(asarray(x), 1, False)


@named
def i0e(x, /):
    """exp(-|x|) * i0(x), elementwise, without overflow.   Shapes: x (*s) -> y (*s), in (0, 1]"""
    return modified_bessel(asarray(x), 0, True)


@named
def i1e(x, /):
    """exp(-|x|) * i1(x), elementwise, without overflow.   Shapes: x (*s) -> y (*s)"""
    return modified_bessel(asarray(x), 1, True)
