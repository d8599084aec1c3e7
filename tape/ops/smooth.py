"""Activation functions without a kink: silu, softplus, gelu, and their slopes."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._kernels.activation import (
    ERFC,
    GELU,
    GELU_SLOPE,
    SIGMOID,
    SILU,
    SILU_SLOPE,
    SOFTPLUS,
    SOFTPLUS_SLOPE,
)
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.activation import sigmoid
from tape.ops.cases import MISFIT, UNFIT, each, pairs
from tape.ops.dtype import floating
from tape.ops.elementwise import exp, square
from tape.ops.logic import greater, weak, where

SQRT_HALF = math.sqrt(0.5)
TANH_SCALE = math.sqrt(2 / math.pi)
TANH_CUBIC = 0.044715


@op(shape=shapes.same, saves="x", kernel=SILU, samples=[*each(), *each(-40.0, 40.0)], errors=UNFIT)
def silu(x, /):
    """x * sigmoid(x), elementwise; -0 at -inf.   Shapes: x (*s) -> y (*s)

    Source: Hendrycks and Gimpel 2016 (arXiv 1606.08415), also called swish.
    """
    x = floating(x)
    return finite_below(x) * SIGMOID(x)


@silu.defvjp
def silu_vjp(g, x):
    return silu_slope(g, x)


@silu.defjvp
def silu_jvp(dx, x):
    return silu_slope(dx, x)


@op(shape=shapes.broadcast, saves="x at", kernel=SILU_SLOPE, samples=pairs(), errors=MISFIT)
def silu_slope(x, at, /):
    """x * (s + at * s * (1 - s)), s = sigmoid(at): the gradient of silu at `at`.

    Shapes: x, at broadcast -> y
    """
    at = at if isinstance(at, np.ndarray) else np.asarray(at, weak(at))
    s = SIGMOID(floating(at))
    return x * (s + within(at) * (s * (1 - s)))


@silu_slope.defvjp("x")
def silu_slope_vjp_x(g, at):
    return silu_slope(g, at)


@silu_slope.defvjp("at")
def silu_slope_vjp_at(g, x, at):
    return g * x * silu_bend(at)


@silu_slope.defjvp
def silu_slope_jvp(dx, dat, x, at):
    return silu_slope(dx, at) + dat * x * silu_bend(at)


def within(x):
    """x no further from 0 than where slopes have reached their limits: inf times 0 is NaN."""
    return np.clip(x, -1000.0, 1000.0)


def silu_bend(x):
    """The second derivative of silu."""
    s = sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def sigmoid_of(x):
    """The sigmoid of an array, or of a number as one of float32."""
    return SIGMOID(floating(x) if isinstance(x, np.ndarray) else np.asarray(x, weak(x)))


def finite_below(x):
    """x with its lowest finite number for -inf, so that times 0 it is -0 and not NaN."""
    return np.maximum(x, np.finfo(x.dtype).min)


@op(
    shape=shapes.same,
    saves="x",
    kernel=SOFTPLUS,
    samples=[
        *each(),
        *each(-40.0, 40.0),
        sample((3, 4), beta=2.0),
        sample((3,), beta=0.5, threshold=1.0, low=3.0, high=9.0),
    ],
    errors=[bad((3,), beta=0.0, error=ValueError, match="beta is 0.0")],
)
def softplus(x, /, beta=1.0, threshold=20.0):
    """log(1 + exp(beta * x)) / beta, elementwise, without overflow.

    Where beta * x is above threshold it is x itself.   Shapes: x (*s) -> y (*s)

    Raises:
        ValueError: beta is 0.
    """
    if not beta:
        raise ValueError(f"softplus: beta is {beta}, the function is not defined there")
    x = floating(x)
    z = x * beta
    y = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))
    return np.where(z <= threshold, y / beta, x)  # NaN stays as it is


@softplus.defvjp
def softplus_vjp(g, x, beta, threshold):
    return softplus_slope(g, x, beta, threshold)


@softplus.defjvp
def softplus_jvp(dx, x, beta, threshold):
    return softplus_slope(dx, x, beta, threshold)


@op(
    shape=shapes.broadcast,
    saves="x at",
    kernel=SOFTPLUS_SLOPE,
    samples=[
        *pairs(beta=1.0, threshold=20.0),
        sample((3,), (3,), beta=0.5, threshold=1.0, low=3.0, high=9.0),
    ],
    errors=[bad((2,), (3,), beta=1.0, threshold=2.0, error=ShapeError, match=r"\(2,\) and \(3,\)")],
)
def softplus_slope(x, at, /, beta, threshold):
    """x * sigmoid(beta * at), x itself above the threshold: the gradient of softplus at `at`.

    Shapes: x, at broadcast -> y
    """
    z = at * beta
    return np.where(np.greater(z, threshold), x, x * sigmoid_of(z))


@softplus_slope.defvjp("x")
def softplus_slope_vjp_x(g, at, beta, threshold):
    return softplus_slope(g, at, beta, threshold)


@softplus_slope.defvjp("at")
def softplus_slope_vjp_at(g, x, at, beta, threshold):
    return g * x * softplus_bend(at, beta, threshold)


@softplus_slope.defjvp
def softplus_slope_jvp(dx, dat, x, at, beta, threshold):
    return softplus_slope(dx, at, beta, threshold) + dat * x * softplus_bend(at, beta, threshold)


def softplus_bend(x, beta, threshold):
    """The second derivative of softplus: none above the threshold."""
    z = x * beta
    s = sigmoid(z)
    return where(greater(z, threshold), 0.0, s * (1 - s) * beta)


def gelu_ref(x, approximate):
    """The formula, in NumPy."""
    x = floating(x)
    if approximate == "none":
        return finite_below(x) * (ERFC(x * -SQRT_HALF) * x.dtype.type(0.5))
    return finite_below(x) * SIGMOID((x + TANH_CUBIC * x * x * x) * (2 * TANH_SCALE))


@op(
    shape=shapes.same,
    saves="x",
    kernel=GELU,
    ref=gelu_ref,
    samples=[*each(), *each(-9.0, 9.0), sample((3, 4), approximate="tanh")],
    errors=[bad((3,), approximate="erf", error=ValueError, match="approximate is 'erf'")],
)
def gelu(x, /, approximate="none"):
    """x times the normal distribution function at x, elementwise; -0 at -inf.

    "none": y = x * erfc(-x / sqrt(2)) / 2
    "tanh": y = x * (1 + tanh(u)) / 2 = x * sigmoid(2 * u), u = sqrt(2 / pi) * (x + 0.044715 * x**3)

    Shapes: x (*s) -> y (*s)

    Raises:
        ValueError: approximate is neither "none" nor "tanh".

    Source: Hendrycks and Gimpel 2016 (arXiv 1606.08415).
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}, expected 'none' or 'tanh'")
    return GELU(floating(x), approximate)


@gelu.defvjp
def gelu_vjp(g, x, approximate):
    return gelu_slope(g, x, approximate)


@gelu.defjvp
def gelu_jvp(dx, x, approximate):
    return gelu_slope(dx, x, approximate)


@op(
    shape=shapes.broadcast,
    saves="x at",
    kernel=GELU_SLOPE,
    samples=[*pairs(approximate="none"), *pairs(approximate="tanh")],
    errors=[bad((2,), (3,), approximate="none", error=ShapeError, match=r"\(2,\) and \(3,\)")],
)
def gelu_slope(x, at, /, approximate):
    """x times the slope of gelu at `at`.   Shapes: x, at broadcast -> y"""
    at = within(at if isinstance(at, np.ndarray) else np.asarray(at, weak(at)))
    if approximate == "none":
        bell = np.exp(np.square(at) * -0.5) * (TANH_SCALE / 2)
        return x * (ERFC(at * -SQRT_HALF) * 0.5 + at * bell)
    squared = np.square(at)
    s = SIGMOID((at + TANH_CUBIC * at * squared) * (2 * TANH_SCALE))
    return x * (s + at * (s * (1 - s)) * ((1 + 3 * TANH_CUBIC * squared) * (2 * TANH_SCALE)))


@gelu_slope.defvjp("x")
def gelu_slope_vjp_x(g, at, approximate):
    return gelu_slope(g, at, approximate)


@gelu_slope.defvjp("at")
def gelu_slope_vjp_at(g, x, at, approximate):
    return g * x * gelu_bend(at, approximate)


@gelu_slope.defjvp
def gelu_slope_jvp(dx, dat, x, at, approximate):
    return gelu_slope(dx, at, approximate) + dat * x * gelu_bend(at, approximate)


def gelu_bend(x, approximate):
    """The second derivative of gelu."""
    squared = square(x)
    if approximate == "none":
        return exp(squared * -0.5) * (2 - squared) * (TANH_SCALE / 2)
    s = sigmoid((x + TANH_CUBIC * x * squared) * (2 * TANH_SCALE))
    along = (1 + 3 * TANH_CUBIC * squared) * (2 * TANH_SCALE)  # of the sigmoid's operand
    bent = 12 * TANH_CUBIC * TANH_SCALE * x
    return s * (1 - s) * (2 * along + x * ((1 - 2 * s) * square(along) + bent))
