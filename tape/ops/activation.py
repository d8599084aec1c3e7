"""Activation functions: what stands between the layers of a network."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._kernels.activation import ERF, ERFC, RELU, RELU_GATE, SIGMOID, SIGMOID_SLOPE
from tape.op import bad, op, sample
from tape.ops.dtype import floating
from tape.ops.elementwise import exp, square, zeros_like
from tape.ops.logic import MISFIT, each, greater, pairs, weak, where

TWO_BY_SQRT_PI = 2 / math.sqrt(math.pi)
SQRT_HALF = math.sqrt(0.5)
TANH_SCALE = math.sqrt(2 / math.pi)
TANH_CUBIC = 0.044715
KINKED = [*each(0.5, 2.0), *each(-2.0, -0.5), *each(smooth=False)]


def one_by_one(function):
    """A slow function of one Python float, over an array in its own float dtype."""

    def over(x):
        x = floating(x)
        return np.array([function(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)

    return over


@op(shape=shapes.same, saves="y", kernel=RELU, samples=KINKED)
def relu(x, /):
    """x where it is above 0, else 0, elementwise; NaN passes.

    The gradient at 0 is 0.   Shapes: x (*s) -> y (*s)
    """
    return np.where(x <= 0, 0, x)


@relu.defvjp
def relu_vjp(g, y):
    return relu_gate(g, y)


@relu.defjvp
def relu_jvp(dx, y):
    return relu_gate(dx, y)


@op(
    shape=shapes.broadcast,
    saves="by",
    kernel=RELU_GATE,
    samples=pairs(),
    errors=MISFIT,
)
def relu_gate(x, by, /):
    """x where `by` is above 0 or NaN, else 0: the gradient of relu, whose result is `by`.

    No gradient flows to `by`.   Shapes: x, by broadcast -> y
    """
    x = x if isinstance(x, np.ndarray) else np.asarray(x, weak(x))
    return np.where(np.less_equal(by, 0), 0, x)


@relu_gate.defvjp("x")
def relu_gate_vjp_x(g, by):
    return relu_gate(g, by)


@relu_gate.defvjp("by")
def relu_gate_vjp_by(g):
    return zeros_like(g)


@relu_gate.defjvp
def relu_gate_jvp(dx, by):
    return relu_gate(dx, by)


@op(shape=shapes.same, saves="x", samples=[*KINKED, sample((3,), negative_slope=0.5, low=0.5)])
def leaky_relu(x, /, negative_slope=0.01):
    """x where it is above 0, else negative_slope * x, elementwise.

    The gradient at 0 is negative_slope.   Shapes: x (*s) -> y (*s)
    """
    x = floating(x)
    return np.where(x > 0, x, x * negative_slope)


@leaky_relu.defvjp
def leaky_relu_vjp(g, x, negative_slope):
    return where(greater(x, 0), g, g * negative_slope)


@leaky_relu.defjvp
def leaky_relu_jvp(dx, x, negative_slope):
    return where(greater(x, 0), dx, dx * negative_slope)


@one_by_one
def logistic(x):
    """The sigmoid of one number."""
    e = math.exp(-abs(x))
    return (1 if x > 0 else e) / (1 + e)


@op(
    shape=shapes.same,
    saves="y",
    kernel=SIGMOID,
    ref=logistic,
    samples=[*each(), *each(-700.0, 80.0)],
)
def sigmoid(x, /):
    """1 / (1 + exp(-x)), elementwise, to full accuracy in both tails.   Shapes: x (*s) -> y (*s)"""
    return SIGMOID(floating(x))


@sigmoid.defvjp
def sigmoid_vjp(g, y):
    return sigmoid_slope(g, y)


@sigmoid.defjvp
def sigmoid_jvp(dx, y):
    return sigmoid_slope(dx, y)


@op(shape=shapes.broadcast, saves="x y", kernel=SIGMOID_SLOPE, samples=pairs(), errors=MISFIT)
def sigmoid_slope(x, y, /):
    """x * y * (1 - y): the gradient of sigmoid, whose result is y.

    Shapes: x, y broadcast -> out
    """
    return x * y * (1 - y)


@sigmoid_slope.defvjp("x")
def sigmoid_slope_vjp_x(g, y):
    return sigmoid_slope(g, y)


@sigmoid_slope.defvjp("y")
def sigmoid_slope_vjp_y(g, x, y):
    return g * x * (1 - y * 2)


@sigmoid_slope.defjvp
def sigmoid_slope_jvp(dx, dy, x, y):
    return sigmoid_slope(dx, y) + dy * x * (1 - y * 2)


@op(shape=shapes.same, saves="x y", samples=[*each(), *each(-40.0, 40.0)])
def silu(x, /):
    """x * sigmoid(x), elementwise; -0 at -inf.   Shapes: x (*s) -> y (*s)

    Source: Hendrycks and Gimpel 2016 (arXiv 1606.08415), also called swish.
    """
    x = floating(x)
    y = SIGMOID(x)
    return np.multiply(finite_below(x), y, out=y)


@silu.defvjp
def silu_vjp(g, x, y):
    return g * silu_slope(x, y)


@silu.defjvp
def silu_jvp(dx, x, y):
    return dx * silu_slope(x, y)


def silu_slope(x, y):
    """d silu / dx = s + x * s * (1 - s)."""
    s = sigmoid(x)
    return s + y * (1 - s)


def finite_below(x):
    """x with its lowest finite number for -inf, so that times 0 it is -0 and not NaN."""
    return np.maximum(x, np.finfo(x.dtype).min)


@op(
    shape=shapes.same,
    saves="x",
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
    return g * softplus_slope(x, beta, threshold)


@softplus.defjvp
def softplus_jvp(dx, x, beta, threshold):
    return dx * softplus_slope(x, beta, threshold)


def softplus_slope(x, beta, threshold):
    """d softplus / dx: sigmoid(beta * x), and 1 above the threshold."""
    z = x * beta
    return where(greater(z, threshold), 1.0, sigmoid(z))


@op(shape=shapes.same, saves="x", kernel=ERF, ref=one_by_one(math.erf), samples=each())
def erf(x, /):
    """2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x.   Shapes: x (*s) -> y (*s)"""
    return ERF(floating(x))


@erf.defvjp
def erf_vjp(g, x):
    return g * exp(-square(x)) * TWO_BY_SQRT_PI


@erf.defjvp
def erf_jvp(dx, x):
    return dx * exp(-square(x)) * TWO_BY_SQRT_PI


@op(shape=shapes.same, saves="x", kernel=ERFC, ref=one_by_one(math.erfc), samples=each())
def erfc(x, /):
    """1 - erf(x) without loss of digits for large x, elementwise.   Shapes: x (*s) -> y (*s)"""
    return ERFC(floating(x))


@erfc.defvjp
def erfc_vjp(g, x):
    return g * exp(-square(x)) * -TWO_BY_SQRT_PI


@erfc.defjvp
def erfc_jvp(dx, x):
    return dx * exp(-square(x)) * -TWO_BY_SQRT_PI


@op(
    shape=shapes.same,
    saves="x",
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
    x = floating(x)
    if approximate == "none":
        y = ERFC(x * -SQRT_HALF)
        y *= 0.5
    elif approximate == "tanh":
        y = SIGMOID((x + TANH_CUBIC * x * x * x) * (2 * TANH_SCALE))
    else:
        raise ValueError(f"gelu: approximate is {approximate!r}, expected 'none' or 'tanh'")
    return finite_below(x) * y


@gelu.defvjp
def gelu_vjp(g, x, approximate):
    return g * gelu_slope(x, approximate)


@gelu.defjvp
def gelu_jvp(dx, x, approximate):
    return dx * gelu_slope(x, approximate)


def gelu_slope(x, approximate):
    """d gelu / dx."""
    if approximate == "none":
        return (erfc(x * -SQRT_HALF) + x * exp(square(x) * -0.5) * TANH_SCALE) * 0.5
    squared = square(x)
    s = sigmoid((x + TANH_CUBIC * x * squared) * (2 * TANH_SCALE))
    return s + x * s * (1 - s) * ((1 + 3 * TANH_CUBIC * squared) * (2 * TANH_SCALE))
