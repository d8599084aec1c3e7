"""Activation functions: what stands between the layers of a network."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._kernels.activation import (
    ERF,
    ERFC,
    LEAKY_RELU,
    LEAKY_RELU_GATE,
    RELU,
    RELU_GATE,
    SIGMOID,
    SIGMOID_SLOPE,
)
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.cases import MISFIT, UNFIT, each, pairs, text_for
from tape.ops.dtype import floating
from tape.ops.elementwise import exp, square, zeros_like
from tape.ops.logic import weak

TWO_BY_SQRT_PI = 2 / math.sqrt(math.pi)
SLOPED_MISFIT = [
    bad((3, 4), (3,), negative_slope=0.5, error=ShapeError, match=r"\(3, 4\) and \(3,\) do not br")
]
KINKED = [*each(0.5, 2.0), *each(-2.0, -0.5), *each(smooth=False)]


def one_by_one(function):
    """A slow function of one Python float, over an array in its own float dtype."""

    def over(x):
        x = floating(x)
        return np.array([function(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)

    return over


@op(shape=shapes.same, saves="y", kernel=RELU, samples=KINKED, errors=UNFIT)
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


@op(
    shape=shapes.same,
    saves="x",
    kernel=LEAKY_RELU,
    samples=[*KINKED, sample((3,), negative_slope=0.5, low=0.5)],
    errors=[*UNFIT, text_for("negative_slope", (3,))],
)
def leaky_relu(x, /, negative_slope=0.01):
    """x where it is above 0, else negative_slope * x, elementwise.

    The gradient at 0 is negative_slope.   Shapes: x (*s) -> y (*s)
    """
    x = floating(x)
    return np.where(x > 0, x, x * negative_slope)


@leaky_relu.defvjp
def leaky_relu_vjp(g, x, negative_slope):
    return leaky_relu_gate(g, x, negative_slope)


@leaky_relu.defjvp
def leaky_relu_jvp(dx, x, negative_slope):
    return leaky_relu_gate(dx, x, negative_slope)


@op(
    shape=shapes.broadcast,
    saves="by",
    kernel=LEAKY_RELU_GATE,
    samples=pairs(negative_slope=0.5),
    errors=SLOPED_MISFIT,
)
def leaky_relu_gate(x, by, /, negative_slope):
    """x where `by` is above 0, else negative_slope * x: the gradient of leaky_relu at `by`.

    No gradient flows to `by`.   Shapes: x, by broadcast -> y
    """
    x = x if isinstance(x, np.ndarray) else np.asarray(x, weak(x))
    return np.where(np.greater(by, 0), x, x * negative_slope)


@leaky_relu_gate.defvjp("x")
def leaky_relu_gate_vjp_x(g, by, negative_slope):
    return leaky_relu_gate(g, by, negative_slope)


@leaky_relu_gate.defvjp("by")
def leaky_relu_gate_vjp_by(g):
    return zeros_like(g)


@leaky_relu_gate.defjvp
def leaky_relu_gate_jvp(dx, by, negative_slope):
    return leaky_relu_gate(dx, by, negative_slope)


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
    errors=UNFIT,
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


@op(
    shape=shapes.same, saves="x", kernel=ERF, ref=one_by_one(math.erf), samples=each(), errors=UNFIT
)
def erf(x, /):
    """2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x.   Shapes: x (*s) -> y (*s)"""
    return ERF(floating(x))


@erf.defvjp
def erf_vjp(g, x):
    return g * exp(-square(x)) * TWO_BY_SQRT_PI


@erf.defjvp
def erf_jvp(dx, x):
    return dx * exp(-square(x)) * TWO_BY_SQRT_PI


@op(
    shape=shapes.same,
    saves="x",
    kernel=ERFC,
    ref=one_by_one(math.erfc),
    samples=each(),
    errors=UNFIT,
)
def erfc(x, /):
    """1 - erf(x) without loss of digits for large x, elementwise.   Shapes: x (*s) -> y (*s)"""
    return ERFC(floating(x))


@erfc.defvjp
def erfc_vjp(g, x):
    return g * exp(-square(x)) * -TWO_BY_SQRT_PI


@erfc.defjvp
def erfc_jvp(dx, x):
    return dx * exp(-square(x)) * -TWO_BY_SQRT_PI
