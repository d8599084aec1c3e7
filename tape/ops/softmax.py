"""Softmax and what is made of it, without overflow."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._kernels import rows
from tape.errors import AxisError, ShapeError
from tape.op import bad, op, sample
from tape.ops.dtype import floating
from tape.ops.elementwise import exp
from tape.ops.logic import equal, where
from tape.ops.reduce import WRONG_AXES, reductions, spread
from tape.ops.reduce import sum as sum_over

NO_AXIS = [
    bad((2, 3), axis=2, error=AxisError, match="axis 2 is out of range for 2 axes"),
    bad((), axis=1, error=AxisError, match="axis 1 is out of range for 0 axes"),
]
MASKED = np.array([[-np.inf, 1.0, 2.0], [0.0, -np.inf, -np.inf]])
ROWS = [
    sample((3, 4)),
    sample((2, 3, 4), axis=1),
    sample((3,), axis=0, low=-1000.0, high=1000.0),
    sample((2, 0)),
    sample((0, 3), axis=0),
    sample((2, 3), dtypes=["int64"]),
    sample(()),
    sample((), axis=0),
]
PAIRS = [
    sample((3, 4), (3, 4), axis=-1),
    sample((2, 3, 4), (2, 3, 4), axis=1),
    sample((2, 0), (2, 0), axis=1),
]
UNLIKE = [bad((2, 3), (3,), axis=0, error=ShapeError, match=r"\(2, 3\) and \(3,\) differ")]


def along_axis(function, x, axis):
    """A function of the rows of a matrix that keeps their length, applied along an axis."""
    if x.ndim == 0:
        return function(x.reshape(1, 1)).reshape(())
    if axis != -1 and axis != x.ndim - 1:
        return along_axis(function, x.swapaxes(axis, -1), -1).swapaxes(axis, -1)
    if x.ndim == 2:
        return function(x)
    return function(x.reshape(math.prod(x.shape[:-1]), x.shape[-1])).reshape(x.shape)


def has_axis(x, *, axis):
    """Shape rule: x's own shape, which has the axis."""
    shapes.line_of(len(x), axis)
    return x


def have_axis(x, y, *, axis):
    """Shape rule: both of one shape, which has the axis."""
    if x != y:
        raise ShapeError(f"{x} and {y} differ")
    return has_axis(x, axis=axis)


def exponentials(x, axis):
    """The reference: exp(x - max) and its sum, from arrays."""
    x = floating(x)
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e, e.sum(axis, keepdims=True)


def softmax_ref(x, axis=-1):
    """The formula, in NumPy."""
    e, total = exponentials(x, axis)
    return e / total


def log_softmax_ref(x, axis=-1):
    """The formula, in NumPy."""
    x = floating(x)
    top = x.max(axis, keepdims=True, initial=-np.inf)
    return (x - top) - np.log(exponentials(x, axis)[1])


@op(
    shape=has_axis,
    saves="y",
    kernel=rows.SOFTMAX,
    ref=softmax_ref,
    samples=ROWS,
    errors=NO_AXIS,
)
def softmax(x, /, axis=-1):
    """Shares that grow with x: exp(x) / sum(exp(x)) along an axis.

    Integers give float64. NaN along an axis that holds NaN, inf, or -inf alone.

    Shapes: x (*s) -> y (*s), in [0, 1]

    Raises:
        AxisError: x has no such axis.
    """
    return along_axis(rows.softmax, floating(np.asarray(x)), axis)


@softmax.defvjp
def softmax_vjp(g, y, axis):
    return softmax_grad(g, y, axis)


@softmax.defjvp
def softmax_jvp(dx, y, axis):
    return softmax_grad(dx, y, axis)  # the Jacobian is symmetric


@op(shape=have_axis, saves="x y", kernel=rows.SOFTMAX_GRAD, samples=PAIRS, errors=UNLIKE)
def softmax_grad(x, y, /, axis):
    """y * (x - sum(x * y)) along an axis: the gradient of softmax, whose result is y.

    Shapes: x, y (*s) -> out (*s)
    """
    return y * (x - np.add.reduce(x * y, axis=axis, keepdims=True))


@softmax_grad.defvjp("x")
def softmax_grad_vjp_x(g, y, axis):
    return softmax_grad(g, y, axis)


@softmax_grad.defvjp("y")
def softmax_grad_vjp_y(g, x, y, axis):
    return g * (x - sum_over(x * y, axis, keepdims=True)) - x * sum_over(g * y, axis, keepdims=True)


@softmax_grad.defjvp
def softmax_grad_jvp(dx, dy, x, y, axis):
    moved = dy * (x - sum_over(x * y, axis, keepdims=True))
    return softmax_grad(dx, y, axis) + moved - y * sum_over(x * dy, axis, keepdims=True)


@op(
    shape=has_axis,
    saves="y",
    kernel=rows.LOG_SOFTMAX,
    ref=log_softmax_ref,
    samples=ROWS,
    errors=NO_AXIS,
)
def log_softmax(x, /, axis=-1):
    """Logarithm of softmax along an axis, x - logsumexp(x), exact also for small shares.

    Integers give float64. NaN along an axis that holds NaN, inf, or -inf alone.

    Shapes: x (*s) -> y (*s), at most 0

    Raises:
        AxisError: x has no such axis.
    """
    return along_axis(rows.log_softmax, floating(np.asarray(x)), axis)


@log_softmax.defvjp
def log_softmax_vjp(g, y, axis):
    return log_softmax_grad(g, y, axis)


@log_softmax.defjvp
def log_softmax_jvp(dx, y, axis):
    return dx - sum_over(exp(y) * dx, axis, keepdims=True)


@op(shape=have_axis, saves="x y", kernel=rows.LOG_SOFTMAX_GRAD, samples=PAIRS, errors=UNLIKE)
def log_softmax_grad(x, y, /, axis):
    """x - exp(y) * sum(x) along an axis: the gradient of log_softmax, whose result is y.

    Shapes: x, y (*s) -> out (*s)
    """
    return x - np.exp(y) * np.add.reduce(x, axis=axis, keepdims=True)


@log_softmax_grad.defvjp("x")
def log_softmax_grad_vjp_x(g, y, axis):
    return g - sum_over(exp(y) * g, axis, keepdims=True)


@log_softmax_grad.defvjp("y")
def log_softmax_grad_vjp_y(g, x, y, axis):
    return -g * exp(y) * sum_over(x, axis, keepdims=True)


@log_softmax_grad.defjvp
def log_softmax_grad_jvp(dx, dy, x, y, axis):
    return log_softmax_grad(dx, y, axis) - dy * exp(y) * sum_over(x, axis, keepdims=True)


def logsumexp_ref(x, axis=None, keepdims=False):
    """The formula, in NumPy."""
    x = floating(x)
    top = x.max(axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0).astype(x.dtype)
    y = np.log(np.exp(x - top).sum(axis, keepdims=True)) + top
    return y.reshape(shapes.reduce(x.shape, axis=axis, keepdims=keepdims))


@op(
    shape=shapes.reduce,
    saves="x y",
    ref=logsumexp_ref,
    samples=[
        *reductions(),
        sample((0, 3), axis=1),
        sample(MASKED, axis=1),
        sample((2, 3), axis=-1, low=-1000.0, high=1000.0),
        sample((2, 3), dtypes=["int64"], axis=0),
    ],
    errors=WRONG_AXES,
)
def logsumexp(x, /, axis=None, *, keepdims=False):
    """log(sum(exp(x))) over axes (None: all), without overflow; -inf for no elements.

    Its gradient is softmax(x), and 0 where all elements are -inf. Integers give float64.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
    """
    x = floating(np.asarray(x))
    shape = shapes.reduce(x.shape, axis=axis, keepdims=keepdims)
    if axis is None or axis == -1 or x.ndim == 0:
        n = x.size if axis is None or x.ndim == 0 else x.shape[-1]
    else:
        axes = shapes.axes_of(x.ndim, axis)
        n = math.prod([x.shape[a] for a in axes])
        x = x.transpose([a for a in range(x.ndim) if a not in axes] + list(axes))
    return rows.logsumexp(x.reshape(math.prod(shape), n)).reshape(shape)


def shares(x, y, axis, keepdims):
    """softmax(x) from x and its logsumexp y, 0 where all elements are -inf."""
    y = where(equal(y, -math.inf), 0.0, y)
    return exp(x - spread(y, x.shape, axis, keepdims))


@logsumexp.defvjp
def logsumexp_vjp(g, x, y, axis, keepdims):
    return shared_out(g, x, y, axis, keepdims)


@logsumexp.defjvp
def logsumexp_jvp(dx, x, y, axis, keepdims):
    return sum_over(dx * shares(x, y, axis, keepdims), axis, keepdims=keepdims)


def reduced_both(scale, x, y, *, axis, keepdims):
    """Shape rule: x, and two results of its reduction."""
    wanted = shapes.reduce(x, axis=axis, keepdims=keepdims)
    if scale != wanted or y != wanted:
        raise ShapeError(f"{scale} and {y} are not what {x} is reduced to: {wanted}")
    return x


@op(
    shape=reduced_both,
    saves="scale x y",
    kernel=rows.LogSumExpGrad(),
    samples=[
        sample((3,), (3, 4), (3,), axis=-1, keepdims=False),
        sample((2, 1, 4), (2, 3, 4), (2, 1, 4), axis=1, keepdims=True),
        sample((), (2, 3), (), axis=None, keepdims=False),
    ],
    errors=[
        bad((2,), (3, 4), (3,), axis=1, keepdims=False, error=ShapeError, match=r"reduced to: \(3,")
    ],
)
def shared_out(scale, x, y, /, axis, keepdims):
    """scale * exp(x - y), and 0 where y is -inf: the gradient of logsumexp, whose result is y.

    Shapes: x (*s), scale and y (s without the axes) -> out (*s)
    """
    x, y = np.asarray(x), np.asarray(y)
    shape = shapes.reduce(x.shape, axis=axis, keepdims=True)
    y = np.where(np.equal(y, -np.inf), np.zeros((), y.dtype), y).reshape(shape)
    return np.exp(x - y) * np.reshape(scale, shape)


@shared_out.defvjp("scale")
def shared_out_vjp_scale(g, x, y, axis, keepdims):
    return sum_over(g * shares(x, y, axis, keepdims), axis, keepdims=keepdims)


@shared_out.defvjp("x")
def shared_out_vjp_x(g, scale, x, y, axis, keepdims):
    return g * shared_out(scale, x, y, axis, keepdims)


@shared_out.defvjp("y")
def shared_out_vjp_y(g, scale, x, y, axis, keepdims):
    return -sum_over(g * shared_out(scale, x, y, axis, keepdims), axis, keepdims=keepdims)


@shared_out.defjvp
def shared_out_jvp(dscale, dx, dy, scale, x, y, axis, keepdims):
    moved = dx - spread(dy, x.shape, axis, keepdims)
    return shared_out(dscale, x, y, axis, keepdims) + moved * shared_out(
        scale, x, y, axis, keepdims
    )
