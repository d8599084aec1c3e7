"""Functions of one number: one result element per element."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._kernels.activation import TANH_SLOPE
from tape._kernels.dispatch import Loop
from tape.op import op, sample
from tape.ops.cases import MISFIT, TRUTHS, UNFIT, each, pairs
from tape.ops.logic import where

LN2, LN10 = math.log(2.0), math.log(10.0)


def zeros_like(a):
    """0 * a without its NaN and inf."""
    return where(True, 0.0, a)


@op(shape=shapes.same, saves="x", kernel=Loop(np.square), samples=each(), errors=UNFIT)
def square(x, /):
    """x * x, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.square(x)


@square.defvjp
def square_vjp(g, x):
    return g * x * 2


@square.defjvp
def square_jvp(dx, x):
    return dx * x * 2


@op(shape=shapes.same, saves="y", kernel=Loop(np.sqrt), samples=each(low=0.5), errors=UNFIT)
def sqrt(x, /):
    """Square root, elementwise; its gradient at 0 is inf.   Shapes: x (*s) -> y (*s)"""
    return np.sqrt(x)


@sqrt.defvjp
def sqrt_vjp(g, y):
    return g / (y * 2)


@sqrt.defjvp
def sqrt_jvp(dx, y):
    return dx / (y * 2)


@op(shape=shapes.same, saves="y", kernel=Loop(np.exp), samples=each(), errors=UNFIT)
def exp(x, /):
    """e ** x, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.exp(x)


@exp.defvjp
def exp_vjp(g, y):
    return g * y


@exp.defjvp
def exp_jvp(dx, y):
    return dx * y


@op(shape=shapes.same, saves="y", kernel=Loop(np.expm1), samples=each(), errors=UNFIT)
def expm1(x, /):
    """e ** x - 1 without loss of digits near 0, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.expm1(x)


@expm1.defvjp
def expm1_vjp(g, y):
    return g * (y + 1)


@expm1.defjvp
def expm1_jvp(dx, y):
    return dx * (y + 1)


@op(shape=shapes.same, saves="x", kernel=Loop(np.log), samples=each(low=0.5), errors=UNFIT)
def log(x, /):
    """Natural logarithm, elementwise; -inf at 0, NaN below.   Shapes: x (*s) -> y (*s)"""
    return np.log(x)


@log.defvjp
def log_vjp(g, x):
    return g / x


@log.defjvp
def log_jvp(dx, x):
    return dx / x


@op(shape=shapes.same, saves="x", kernel=Loop(np.log1p), samples=each(low=-0.5), errors=UNFIT)
def log1p(x, /):
    """log(1 + x) without loss of digits near 0, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.log1p(x)


@log1p.defvjp
def log1p_vjp(g, x):
    return g / (x + 1)


@log1p.defjvp
def log1p_jvp(dx, x):
    return dx / (x + 1)


@op(shape=shapes.same, saves="x", kernel=Loop(np.log2), samples=each(low=0.5), errors=UNFIT)
def log2(x, /):
    """Logarithm to base 2, elementwise; -inf at 0, NaN below.   Shapes: x (*s) -> y (*s)"""
    return np.log2(x)


@log2.defvjp
def log2_vjp(g, x):
    return g / (x * LN2)


@log2.defjvp
def log2_jvp(dx, x):
    return dx / (x * LN2)


@op(shape=shapes.same, saves="x", kernel=Loop(np.log10), samples=each(low=0.5), errors=UNFIT)
def log10(x, /):
    """Logarithm to base 10, elementwise; -inf at 0, NaN below.   Shapes: x (*s) -> y (*s)"""
    return np.log10(x)


@log10.defvjp
def log10_vjp(g, x):
    return g / (x * LN10)


@log10.defjvp
def log10_jvp(dx, x):
    return dx / (x * LN10)


@op(
    shape=shapes.same,
    saves="y",
    samples=[*each(low=0.5), sample((3,), dtypes=["int64"], low=1, high=9)],
    errors=UNFIT,
)
def reciprocal(x, /):
    """1 / x, elementwise; integers give float64.   Shapes: x (*s) -> y (*s)"""
    return np.divide(1.0, x)


@reciprocal.defvjp
def reciprocal_vjp(g, y):
    return -g * y * y


@reciprocal.defjvp
def reciprocal_jvp(dx, y):
    return -dx * y * y


@op(shape=shapes.same, saves="x", kernel=Loop(np.sin), samples=each(), errors=UNFIT)
def sin(x, /):
    """Sine of radians, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.sin(x)


@sin.defvjp
def sin_vjp(g, x):
    return g * cos(x)


@sin.defjvp
def sin_jvp(dx, x):
    return dx * cos(x)


@op(shape=shapes.same, saves="x", kernel=Loop(np.cos), samples=each(), errors=UNFIT)
def cos(x, /):
    """Cosine of radians, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.cos(x)


@cos.defvjp
def cos_vjp(g, x):
    return -g * sin(x)


@cos.defjvp
def cos_jvp(dx, x):
    return -dx * sin(x)


@op(
    shape=shapes.same,
    saves="y",
    kernel=Loop(np.tanh),
    samples=each() + each(-20.0, 20.0),
    errors=UNFIT,
)
def tanh(x, /):
    """Hyperbolic tangent, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.tanh(x)


@tanh.defvjp
def tanh_vjp(g, y):
    return tanh_slope(g, y)


@tanh.defjvp
def tanh_jvp(dx, y):
    return tanh_slope(dx, y)


@op(shape=shapes.broadcast, saves="x y", kernel=TANH_SLOPE, samples=pairs(), errors=MISFIT)
def tanh_slope(x, y, /):
    """x * (1 - y * y): the gradient of tanh, whose result is y.   Shapes: x, y broadcast -> out"""
    return x * (1 - y * y)


@tanh_slope.defvjp("x")
def tanh_slope_vjp_x(g, y):
    return tanh_slope(g, y)


@tanh_slope.defvjp("y")
def tanh_slope_vjp_y(g, x, y):
    return g * (x * y * -2)


@tanh_slope.defjvp
def tanh_slope_jvp(dx, dy, x, y):
    return tanh_slope(dx, y) + dy * (x * y * -2)


@op(
    shape=shapes.same,
    saves="x",
    kernel=Loop(np.absolute),
    samples=each(0.5, 2.0) + each(smooth=False),
    errors=UNFIT,
)
def abs(x, /):
    """|x|, elementwise; the gradient at 0 is 0.   Shapes: x (*s) -> y (*s)"""
    return np.absolute(x)


@abs.defvjp
def abs_vjp(g, x):
    return g * sign(x)


@abs.defjvp
def abs_jvp(dx, x):
    return dx * sign(x)


@op(
    shape=shapes.same,
    kernel=Loop(np.sign),
    samples=each(0.5, 2.0) + each(smooth=False),
    errors=[*UNFIT, TRUTHS],
)
def sign(x, /):
    """-1, 0 or 1, elementwise, NaN for NaN; its gradient is 0.   Shapes: x (*s) -> y (*s)"""
    return np.sign(x)


@sign.defvjp
def sign_vjp(g):
    return zeros_like(g)


@sign.defjvp
def sign_jvp(dx):
    return zeros_like(dx)
