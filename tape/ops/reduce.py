"""Reductions along axes: sums and what is made of them; and broadcasting, a sum's transpose."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._kernels.dispatch import Loop
from tape._kernels.reduction import Mean, Reduction, SumTo
from tape._kernels.view import Stretch
from tape.errors import AxisError, DTypeError, ShapeError
from tape.op import bad, op, sample
from tape.ops.dtype import floating, known_dtype
from tape.ops.logic import equal, where
from tape.ops.scan import products_of_others
from tape.ops.shape import permute_dims, reshape

ADD, MULTIPLY = Reduction(np.add), Reduction(np.multiply)
DIVIDE, SUBTRACT, TIMES, SQRT = (
    Loop(np.divide),
    Loop(np.subtract),
    Loop(np.multiply),
    Loop(np.sqrt),
)
# axis and keepdims every reduction is tried with
FORMS = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"axis": ()}]
WRONG_AXES = [
    bad((2, 3), axis=2, error=AxisError, match="axis 2 is out of range for 2 axes"),
    bad((2, 3), axis=(0, -2), error=AxisError, match=r"axis \(0, -2\) names an axis twice"),
    bad((2, 3), axis=True, error=AxisError, match="an axis is an integer, got True"),
]


def reductions(**facts):
    """Samples of a reduction that takes any axes, on any shape but an empty one."""
    drawn = [sample((2, 3, 4), **form, **facts) for form in FORMS]
    return [
        *drawn,
        sample((), **facts),
        sample((), axis=-1, **facts),
        sample((1, 3), axis=0, **facts),
    ]


def over_nothing(**facts):
    """Samples of a reduction of no elements."""
    return [sample((0, 3), axis=0, **facts), sample((2, 0), keepdims=True, **facts)]


def count(x_shape, axis):
    """How many elements one element of the result is made of."""
    if axis is None:
        return math.prod(x_shape)
    return math.prod([x_shape[a] for a in shapes.lines_of(len(x_shape), axis)])


def spread(g, x_shape, axis, keepdims):
    """What a reduction gave, in a shape that broadcasts to x's: reduced axes at length one."""
    if keepdims or axis is None or axis == 0:
        return g  # without its leading axes a shape broadcasts as it is
    return reshape(g, shapes.reduce(x_shape, axis=axis, keepdims=True))


def given_shape(shape):
    """A shape as a tuple; one length may stand alone."""
    shape = shape if isinstance(shape, tuple) else (shape,)
    for n in shape:
        if type(n) is not int and not hasattr(n, "__index__"):
            raise DTypeError(f"a shape holds integers, got {n!r}")
    return shape


def broadcastable(x, *, shape):
    """Shape rule of broadcast_to."""
    shape = given_shape(shape)
    if shapes.broadcast(x, shape) != shape:
        raise ShapeError(f"{x} does not broadcast to {shape}")
    return shape


@op(
    shape=broadcastable,
    saves="x.shape",
    kernel=Stretch(),
    linear=True,
    samples=[
        sample((3, 1), shape=(2, 3, 4)),
        sample((), shape=(2, 0)),
        sample((3,), shape=(3,)),
        sample((1,), shape=3),
        sample((1, 0), shape=(4, 0)),
    ],
    errors=[
        bad((3,), shape=(1,), error=ShapeError, match=r"\(3,\) does not broadcast to \(1,\)"),
        bad((3,), shape=(2, 4), error=ShapeError, match=r"\(3,\) and \(2, 4\) do not broadcast"),
        bad((3,), shape=(2.0, 3), error=DTypeError, match="a shape holds integers, got 2.0"),
    ],
)
def broadcast_to(x, /, shape):
    """x stretched to a shape, as a read-only view.   Shapes: x broadcasts to shape

    Raises:
        ShapeError: x does not broadcast to the shape.
        DTypeError: a length is no integer.
    """
    return np.broadcast_to(x, shape)


@broadcast_to.defvjp
def broadcast_to_vjp(g, x_shape):
    return sum_to(g, x_shape)


def summed(x, *, shape):
    """Shape rule of sum_to."""
    shape = given_shape(shape)
    if shapes.broadcast(shape, x) != x:
        raise ShapeError(f"{shape} does not broadcast to {x}")
    return shape


@op(
    shape=summed,
    saves="x.shape",
    kernel=SumTo(np.add),
    linear=True,
    samples=[
        sample((2, 3, 4), shape=(3, 1)),
        sample((2, 3), shape=()),
        sample((2, 3), shape=(2, 3)),
        sample((2, 3), shape=3),
        sample((0, 3), shape=(1, 3)),
    ],
    errors=[
        bad((2, 3), shape=(2, 3, 1), error=ShapeError, match="do not broadcast"),
        bad((1, 3), shape=(2, 3), error=ShapeError, match=r"\(2, 3\) does not broadcast to \(1"),
        bad((2, 3), shape="3", error=DTypeError, match="a shape holds integers, got '3'"),
    ],
)
def sum_to(x, /, shape):
    """x summed over the axes that broadcasting `shape` to x's shape would stretch.

    Shapes: x (*s) -> y (shape), which broadcasts to s

    Raises:
        ShapeError: the shape does not broadcast to that of x.
        DTypeError: a length is no integer.
    """
    shape = given_shape(shape)
    lead = np.ndim(x) - len(shape)
    axes = [i for i, n in enumerate(np.shape(x)) if i < lead or (shape[i - lead] == 1 != n)]
    return ADD(np.asarray(x), tuple(axes), False).reshape(shape)


@sum_to.defvjp
def sum_to_vjp(g, x_shape):
    return broadcast_to(g, x_shape)


@op(
    shape=shapes.reduce,
    saves="x.shape",
    kernel=Reduction(np.add),
    linear=True,
    samples=[
        *reductions(),
        *over_nothing(),
        sample((2, 3), dtypes=["int64"]),
        sample((2, 3), dtypes=["int64"], axis=0, dtype="float64"),
    ],
    errors=WRONG_AXES,
)
def sum(x, /, axis=None, *, dtype=None, keepdims=False):
    """Sum over axes (None: all); 0 for no elements.   Shapes: x (*s) -> y (s without the axes)

    Args:
        axis: an axis or several; () leaves x as it is.
        dtype: dtype of the sum, to which x is converted first; by default x's own, 64 bits for
            integers and bools.
        keepdims: keep the summed axes, at length one.

    Raises:
        AxisError: x has no such axis, or it is given twice.
        DTypeError: tape has no such dtype.
    """
    x = np.asarray(x)
    if dtype is None:
        return ADD(x, axis, keepdims)
    dtype = known_dtype(dtype, "sum")
    return ADD(x.astype(dtype), axis, keepdims).astype(dtype)


@sum.defvjp
def sum_vjp(g, x_shape, axis, keepdims):
    return broadcast_to(spread(g, x_shape, axis, keepdims), x_shape)


@op(
    shape=shapes.reduce,
    saves="x.shape",
    kernel=Mean(np.add),
    linear=True,
    samples=[*reductions(), sample((0, 3), axis=1), sample((2, 3), dtypes=["int64"])],
    errors=WRONG_AXES,
)
def mean(x, /, axis=None, *, keepdims=False):
    """Mean over axes (None: all); NaN for no elements.   Shapes: x (*s) -> y (s without the axes)

    Integers and bools give float64.

    Raises:
        AxisError: x has no such axis, or it is given twice.
    """
    x = floating(np.asarray(x))
    return DIVIDE.apply(ADD(x, axis, keepdims), count(x.shape, axis))


@mean.defvjp
def mean_vjp(g, x_shape, axis, keepdims):
    g = g / count(x_shape, axis)
    return broadcast_to(spread(g, x_shape, axis, keepdims), x_shape)


def freedom(x_shape, axis, correction):
    """What the squares are divided by; below zero there is nothing left to divide by."""
    n = count(x_shape, axis) - correction
    return n if n > 0 else 0


def squares(x, axis, correction, keepdims):
    """The variance, from arrays."""
    x = floating(np.asarray(x))
    deviation = SUBTRACT(x, DIVIDE.apply(ADD(x, axis, True), count(x.shape, axis)))
    y = ADD(TIMES.apply(deviation, deviation), axis, keepdims)
    return DIVIDE.apply(y, freedom(x.shape, axis, correction))


def deviation_slope(x, axis, correction):
    """d var / dx: 2 (x - mean) / (n - correction)."""
    n = freedom(x.shape, axis, correction)
    return (x - mean(x, axis, keepdims=True)) * (2.0 / n if n else math.inf)


@op(
    shape=shapes.reduce,
    saves="x",
    samples=[
        *reductions(),
        sample((4, 3), axis=0, correction=1),
        sample((3, 4), axis=-1, correction=0.5),
        sample((0, 3), axis=1),
    ],
    errors=WRONG_AXES,
)
def var(x, /, axis=None, *, correction=0.0, keepdims=False):
    """Variance over axes (None: all): sum((x - mean)**2) / (n - correction).

    Integers and bools give float64. No degree of freedom left gives NaN, or inf.

    Args:
        correction: 0 for the variance of a whole population, 1 (PyTorch's default) for the estimate
            from a sample of it.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
    """
    return squares(x, axis, correction, keepdims)


@var.defvjp
def var_vjp(g, x, axis, correction, keepdims):
    return spread(g, x.shape, axis, keepdims) * deviation_slope(x, axis, correction)


@var.defjvp
def var_jvp(dx, x, axis, correction, keepdims):
    return sum(dx * deviation_slope(x, axis, correction), axis, keepdims=keepdims)


def root_slope(g, y):
    """g d sqrt / d square, but 0 where all elements are equal, as in PyTorch."""
    still = equal(y, 0.0)
    return where(still, 0.0, g / where(still, 1.0, y * 2))


@op(
    shape=shapes.reduce,
    saves="x y",
    samples=[
        *[sample((2, 3, 4), **form) for form in FORMS[:-1]],
        sample((4, 3), axis=0, correction=1),
        sample((0, 3), axis=1),
        sample(np.array([[2.0, 2.0], [1.0, 3.0]]), axis=1, smooth=False),
    ],
    errors=WRONG_AXES,
)
def std(x, /, axis=None, *, correction=0.0, keepdims=False):
    """Standard deviation over axes (None: all): sqrt(var); its gradient at 0 is 0.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
    """
    return SQRT(squares(x, axis, correction, keepdims))


@std.defvjp
def std_vjp(g, x, y, axis, correction, keepdims):
    return var_vjp(root_slope(g, y), x, axis, correction, keepdims)


@std.defjvp
def std_jvp(dx, x, y, axis, correction, keepdims):
    return root_slope(var_jvp(dx, x, axis, correction, keepdims), y)


def along_last(x, axis):
    """x with the axes as one last axis, and the order of the axes that was made for it."""
    axes = shapes.lines_of(x.ndim, axis)
    kept = tuple([a for a in range(x.ndim) if a not in axes])
    x = permute_dims(x, kept + axes)
    return reshape(x, (*x.shape[: len(kept)], math.prod(x.shape[len(kept) :]))), kept + axes


def prod_slope(x, axis):
    """d prod / dx: for each element the product of the others."""
    if isinstance(axis, int) and x.ndim:
        return products_of_others(x, axis)
    flat, order = along_last(x, axis)
    others = reshape(products_of_others(flat, -1), tuple([x.shape[a] for a in order]))
    return permute_dims(others, tuple([order.index(a) for a in range(x.ndim)]))


@op(
    shape=shapes.reduce,
    saves="x",
    kernel=Reduction(np.multiply),
    samples=[
        *reductions(),
        *over_nothing(),
        sample(np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 2.0]]), axis=1),
        sample(np.array([0.0])),
    ],
    errors=WRONG_AXES,
)
def prod(x, /, axis=None, *, dtype=None, keepdims=False):
    """Product over axes (None: all); 1 for no elements.   Shapes: x (*s) -> y (s without the axes)

    The gradient of an element is the product of all others, right also where elements are zero.

    Args:
        axis: an axis or several; () leaves x as it is.
        dtype: dtype of the product, to which x is converted first; by default x's own, 64 bits for
            integers and bools.
        keepdims: keep the multiplied axes, at length one.

    Raises:
        AxisError: x has no such axis, or it is given twice.
        DTypeError: tape has no such dtype.
    """
    x = np.asarray(x)
    if dtype is None:
        return MULTIPLY(x, axis, keepdims)
    dtype = known_dtype(dtype, "prod")
    return MULTIPLY(x.astype(dtype), axis, keepdims).astype(dtype)


@prod.defvjp
def prod_vjp(g, x, axis, keepdims):
    return spread(g, x.shape, axis, keepdims) * prod_slope(x, axis)


@prod.defjvp
def prod_jvp(dx, x, axis, keepdims):
    return sum(dx * prod_slope(x, axis), axis, keepdims=keepdims)
