"""Extremes along axes and where they stand; any and all; how many elements are not zero."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._kernels.dispatch import Loop
from tape._kernels.reduction import Reduction
from tape.errors import AxisError, ShapeError
from tape.op import bad, op, sample
from tape.ops.cases import MISFIT
from tape.ops.logic import where
from tape.ops.reduce import ADD, FORMS, WRONG_AXES, reductions, spread
from tape.ops.reduce import sum as sum_over

MAXIMUM, MINIMUM = Reduction(np.maximum), Reduction(np.minimum)
NOT_EQUAL = Loop(np.not_equal)
TIES = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
EXTREMES = [
    *reductions(),
    sample(TIES, axis=1, smooth=False),
    sample((0, 3), axis=1),
    sample((2, 3), dtypes=["int64"], axis=0),
]
NO_IDENTITY = [
    bad((0, 3), error=ShapeError, match=r"axis 0 of \(0, 3\) is empty, and .* no identity"),
    bad((2, 0), axis=-1, error=ShapeError, match=r"axis 1 of \(2, 0\) is empty"),
]


def extreme(x, *, axis, keepdims):
    """Shape rule: of a reduction that nothing stands in for if an axis is empty."""
    if 0 in x:
        for a in shapes.axes_of(len(x), axis):
            if x[a] == 0:
                raise ShapeError(f"axis {a} of {x} is empty, and an extreme has no identity")
    return shapes.reduce(x, axis=axis, keepdims=keepdims)


@op(
    shape=shapes.broadcast,
    differentiable=False,
    samples=[sample(TIES, np.array([[3.0], [2.0]]))],
    errors=MISFIT,
)
def attains(x, y, /):
    """Whether x equals y, NaN equal to itself.   Shapes: x, y broadcast -> result"""
    same = np.equal(x, y)
    return same | (np.isnan(x) & np.isnan(y)) if np.isnan(y).any() else same


def winners(x, y, axis, keepdims):
    """Where x is the extreme, and the share of each of those that tie for it."""
    won = attains(x, spread(y, x.shape, axis, keepdims))
    return won, 1.0 / sum_over(won, axis, dtype=x.dtype, keepdims=True)


@op(
    shape=extreme,
    saves="x y",
    kernel=Reduction(np.maximum),
    samples=EXTREMES,
    errors=WRONG_AXES + NO_IDENTITY,
)
def max(x, /, axis=None, *, keepdims=False):
    """The largest element along axes (None: all), NaN if there is one.

    Elements that tie share the gradient equally, as do several NaN.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
        ShapeError: an axis is empty.
    """
    return MAXIMUM(np.asarray(x), axis, keepdims)


@op(
    shape=extreme,
    saves="x y",
    kernel=Reduction(np.minimum),
    samples=EXTREMES,
    errors=WRONG_AXES + NO_IDENTITY,
)
def min(x, /, axis=None, *, keepdims=False):
    """The smallest element along axes (None: all), NaN if there is one.

    Elements that tie share the gradient equally, as do several NaN.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
        ShapeError: an axis is empty.
    """
    return MINIMUM(np.asarray(x), axis, keepdims)


@max.defvjp
@min.defvjp
def extreme_vjp(g, x, y, axis, keepdims):
    won, share = winners(x, y, axis, keepdims)
    return where(won, spread(g, x.shape, axis, keepdims) * share, 0.0)


@max.defjvp
@min.defjvp
def extreme_jvp(dx, x, y, axis, keepdims):
    won, share = winners(x, y, axis, keepdims)
    return sum_over(where(won, dx * share, 0.0), axis, keepdims=keepdims)


def one_extreme(x, *, axis, keepdims):
    """Shape rule: of a search along one axis, or through all elements."""
    if axis is not None:
        axis = shapes.line_of(len(x), axis)
    return extreme(x, axis=axis, keepdims=keepdims)


SEARCHES = [
    *[sample((2, 3, 4), **form) for form in FORMS[:3]],
    sample((), keepdims=True),
    sample((), axis=0),
    sample((0, 3), axis=1),
    sample(TIES, axis=1),
]
ONE_AXIS = [
    WRONG_AXES[0],
    bad((2, 3), axis=(0, 1), error=AxisError, match=r"an axis is an integer, got \(0, 1\)"),
]


@op(shape=one_extreme, differentiable=False, samples=SEARCHES, errors=NO_IDENTITY + ONE_AXIS)
def argmax(x, /, axis=None, *, keepdims=False):
    """Where the largest element along an axis stands, the first of several; NaN counts as largest.

    Without an axis: where it stands among all elements in C order. int64.

    Shapes: x (*s) -> y (s without the axis)

    Raises:
        AxisError: x has no such axis.
        ShapeError: the axis is empty.
    """
    return np.asarray(x).argmax(axis, keepdims=keepdims)


@op(shape=one_extreme, differentiable=False, samples=SEARCHES, errors=NO_IDENTITY + ONE_AXIS)
def argmin(x, /, axis=None, *, keepdims=False):
    """Where the smallest element along an axis stands, the first of several, or the first NaN.

    Without an axis: where it stands among all elements in C order. int64.

    Shapes: x (*s) -> y (s without the axis)

    Raises:
        AxisError: x has no such axis.
        ShapeError: the axis is empty.
    """
    return np.asarray(x).argmin(axis, keepdims=keepdims)


TRUTHS = [
    *reductions(dtypes=["bool"]),
    sample((2, 3), axis=1),
    sample((0, 3), axis=0),
    sample(np.array([[0.0, np.nan], [0.0, 0.0]]), axis=-1),
]


@op(shape=shapes.reduce, differentiable=False, samples=TRUTHS, errors=WRONG_AXES)
def any(x, /, axis=None, *, keepdims=False):
    """Whether an element along axes (None: all) is true (not zero); False for no elements.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
    """
    return np.logical_or.reduce(x, axis, keepdims=keepdims)


@op(shape=shapes.reduce, differentiable=False, samples=TRUTHS, errors=WRONG_AXES)
def all(x, /, axis=None, *, keepdims=False):
    """Whether all elements along axes (None: all) are true (not zero); True for no elements.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
    """
    return np.logical_and.reduce(x, axis, keepdims=keepdims)


@op(shape=shapes.reduce, differentiable=False, samples=TRUTHS, errors=WRONG_AXES)
def count_nonzero(x, /, axis=None, *, keepdims=False):
    """How many elements along axes (None: all) are not zero, as int64; NaN is not zero.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
    """
    return ADD(NOT_EQUAL(np.asarray(x), 0), axis, keepdims)
