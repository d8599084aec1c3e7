"""Activations that shrink towards 0 or saturate, and those that gate one half by the other."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray, count_on, lengths
from tape._kernels.activation import HARDSHRINK, LOGSIGMOID, MISH, MISH_SLOPE, SIGMOID, SOFTSHRINK
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.activation import sigmoid
from tape.ops.cases import MISFIT, UNFIT, each, pairs, text_for
from tape.ops.dtype import astype, floating
from tape.ops.elementwise import abs as absolute
from tape.ops.elementwise import square, tanh
from tape.ops.index import get_item
from tape.ops.key import WHOLE
from tape.ops.logic import weak
from tape.ops.naming import named
from tape.ops.rectifiers import outside
from tape.ops.smooth import finite_below, softplus, softplus_slope, within
from tape.ops.softmax import softmax

SHRINKS = [*each(smooth=False), *each(0.6, 2.0), sample((3, 4), lambd=1.0, smooth=False)]


@op(
    shape=shapes.same,
    saves="x",
    kernel=HARDSHRINK,
    samples=SHRINKS,
    errors=[*UNFIT, text_for("lambd", (3,))],
)
def hardshrink(x, /, lambd=0.5):
    """x, but 0 where it is within [-lambd, lambd], elementwise; the gradient at them is 0.

    Shapes: x (*s) -> y (*s)
    """
    x = floating(x)
    return np.where((x >= -lambd) & (x <= lambd), 0, x)


@hardshrink.defvjp
def hardshrink_vjp(g, x, lambd):
    return outside(g, x, -lambd, lambd)


@hardshrink.defjvp
def hardshrink_jvp(dx, x, lambd):
    return outside(dx, x, -lambd, lambd)


@op(
    shape=shapes.same,
    saves="x",
    kernel=SOFTSHRINK,
    samples=SHRINKS,
    errors=[bad((3,), lambd=-1.0, error=ValueError, match="lambd is -1.0, below 0")],
)
def softshrink(x, /, lambd=0.5):
    """x moved by lambd towards 0, and 0 within [-lambd, lambd]; the gradient at them is 0.

    Shapes: x (*s) -> y (*s)

    Raises:
        ValueError: lambd is below 0.
    """
    if lambd < 0:
        raise ValueError(f"softshrink: lambd is {lambd}, below 0")
    x = floating(x)
    return x - np.clip(x, -lambd, lambd)


@softshrink.defvjp
def softshrink_vjp(g, x, lambd):
    return outside(g, x, -lambd, lambd)


@softshrink.defjvp
def softshrink_jvp(dx, x, lambd):
    return outside(dx, x, -lambd, lambd)


@op(shape=shapes.same, saves="x", samples=each(), errors=UNFIT)
def tanhshrink(x, /):
    """x - tanh(x), elementwise.   Shapes: x (*s) -> y (*s)"""
    x = floating(x)
    return x - np.tanh(x)


@tanhshrink.defvjp
def tanhshrink_vjp(g, x):
    return g * square(tanh(x))


@tanhshrink.defjvp
def tanhshrink_jvp(dx, x):
    return dx * square(tanh(x))


@op(shape=shapes.same, saves="x", samples=[*each(0.5, 2.0), *each(smooth=False)], errors=UNFIT)
def softsign(x, /):
    """x / (1 + |x|), elementwise; NaN at infinity.   Shapes: x (*s) -> y (*s), in (-1, 1)"""
    x = floating(x)
    return x / (1 + np.absolute(x))


@softsign.defvjp
def softsign_vjp(g, x):
    return g / square(absolute(x) + 1)


@softsign.defjvp
def softsign_jvp(dx, x):
    return dx / square(absolute(x) + 1)


@op(
    shape=shapes.same,
    saves="x",
    kernel=LOGSIGMOID,
    samples=[*each(), *each(-40.0, 40.0)],
    errors=UNFIT,
)
def logsigmoid(x, /):
    """log(sigmoid(x)) = -log(1 + exp(-x)), elementwise, without overflow.

    Shapes: x (*s) -> y (*s), at most 0
    """
    x = floating(x)
    return -(np.maximum(-x, 0) + np.log1p(np.exp(-np.absolute(x))))


@logsigmoid.defvjp
def logsigmoid_vjp(g, x):
    return softplus_slope(g, x, -1.0, math.inf)


@logsigmoid.defjvp
def logsigmoid_jvp(dx, x):
    return softplus_slope(dx, x, -1.0, math.inf)


@op(shape=shapes.same, saves="x", kernel=MISH, samples=[*each(), *each(-40.0, 40.0)], errors=UNFIT)
def mish(x, /):
    """x * tanh(log(1 + exp(x))), elementwise; -0 at -inf.   Shapes: x (*s) -> y (*s)

    Source: Misra 2019 (arXiv 1908.08681).
    """
    x = floating(x)
    return finite_below(x) * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.absolute(x))))


@mish.defvjp
def mish_vjp(g, x):
    return mish_slope(g, x)


@mish.defjvp
def mish_jvp(dx, x):
    return mish_slope(dx, x)


@op(shape=shapes.broadcast, saves="x at", kernel=MISH_SLOPE, samples=pairs(), errors=MISFIT)
def mish_slope(x, at, /):
    """x * (t + at * s * (1 - t * t)), the gradient of mish at `at`.

    Here t = tanh(softplus(at)) and s = sigmoid(at).   Shapes: x, at broadcast -> y
    """
    at = floating(at) if isinstance(at, np.ndarray) else np.asarray(at, weak(at))
    t = np.tanh(np.maximum(at, 0) + np.log1p(np.exp(-np.absolute(at))))
    return x * (t + within(at) * SIGMOID(at) * (1 - t * t))


@mish_slope.defvjp("x")
def mish_slope_vjp_x(g, at):
    return mish_slope(g, at)


@mish_slope.defvjp("at")
def mish_slope_vjp_at(g, x, at):
    return g * x * mish_bend(at)


@mish_slope.defjvp
def mish_slope_jvp(dx, dat, x, at):
    return mish_slope(dx, at) + dat * x * mish_bend(at)


def mish_bend(x):
    """The second derivative of mish."""
    s, t = sigmoid(x), tanh(softplus(x))
    return s * (1 - t * t) * (2 + x * (1 - s - 2 * t * s))


@named
def glu(x, /, axis=-1):
    """The first half of x along an axis times the sigmoid of the second: a * sigmoid(b).

    Shapes: x (..., 2 n, ...) -> y (..., n, ...)

    Raises:
        ShapeError: the axis has an odd length.
        AxisError: x has no such axis.

    Source: Dauphin et al. 2016 (arXiv 1612.08083).

    >>> import tape
    >>> tape.glu(tape.tensor([3.0, 4.0, 0.0, 0.0])).tolist()
    [1.5, 2.0]
    """
    x = asarray(x)
    axis = shapes.axis_of(x.ndim, axis)
    count_on(x, axis)
    n, odd = divmod(lengths(x)[axis], 2)
    if odd:
        raise ShapeError(f"axis {axis} of x {lengths(x)} must have an even length to be halved")
    before = (WHOLE,) * axis
    a = get_item(x, layout=(*before, slice(0, n)))
    return a * sigmoid(get_item(x, layout=(*before, slice(n, None))))


@named
def softmin(x, /, axis=-1):
    """Shares that fall with x: softmax(-x) along an axis.

    Shapes: x (*s) -> y (*s), in [0, 1]

    Raises:
        AxisError: x has no such axis.

    >>> import tape
    >>> tape.softmin(tape.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    x = asarray(x)
    return softmax(-(x if x.dtype.kind == "f" else astype(x, np.float64)), axis)
