"""Elements in order: sorted, searched for in what is sorted, and without those that occur twice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tape import shapes
from tape._core.memory import adopt, asarray
from tape._core.tensor import Tensor
from tape.errors import AxisError, ShapeError
from tape.op import bad, op, sample
from tape.ops.lookup import take, take_along_axis
from tape.ops.naming import named

TIED = np.array([[2.0, 1.0, 2.0, -1.0], [0.5, 0.5, 3.0, 0.5]])


def ordered(x, *, axis):
    """Shape rule: x's own shape, which has the axis."""
    shapes.line_of(len(x), axis)
    return x


def sortings(**facts):
    """Samples of what sorts along an axis."""
    return [
        sample((3, 4), **facts),
        sample((3, 4), axis=0, descending=True, **facts),
        sample((5,), stable=False, **facts),
        sample((0, 3), **facts),
        sample((2, 0), descending=True, **facts),
        sample(TIED, smooth=False),
        sample(TIED, descending=True, smooth=False),
        sample(np.array([np.nan, 1.0, -np.inf, np.nan]), descending=True, smooth=False),
        sample((6,), dtypes=["int64"], descending=True),
        sample((), **facts),
        sample((), axis=0, descending=True, **facts),
    ]


NO_AXIS = [
    bad((2, 3), axis=2, error=AxisError, match="axis 2 is out of range for 2 axes"),
    bad((), axis=1, error=AxisError, match="axis 1 is out of range for 0 axes"),
]


def order_of(x, axis, descending, stable):
    """The places of x's elements in order; equal ones stay in theirs."""
    kind = "stable" if stable else None
    if x.ndim == 0:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(x, axis, kind)
    backwards = np.argsort(np.flip(x, axis), axis, kind)
    return np.flip(x.shape[axis] - 1 - backwards, axis)


@op(shape=ordered, differentiable=False, samples=sortings(), errors=NO_AXIS)
def argsort(x, /, axis=-1, *, descending=False, stable=True):
    """The places of x's elements along an axis, in order of size; NaN counts as largest. int64.

    Args:
        x: the tensor.
        axis: along which to sort.
        descending: the largest first.
        stable: equal elements stay in their order.

    Shapes: x (*s) -> y (*s)

    Raises:
        AxisError: x has no such axis.
    """
    return order_of(x, axis, descending, stable)


@op(shape=ordered, saves="x", samples=sortings(), errors=NO_AXIS)
def sort(x, /, axis=-1, *, descending=False, stable=True):
    """x's elements along an axis in order of size; NaN counts as largest.

    Equal elements get the gradients of their places in their own order.

    Args:
        x: the tensor.
        axis: along which to sort.
        descending: the largest first.
        stable: equal elements stay in their order; for gradients they always do.

    Shapes: x (*s) -> y (*s)

    Raises:
        AxisError: x has no such axis.

    >>> import tape
    >>> tape.sort(tape.tensor([2.0, 3.0, 1.0]), descending=True).tolist()
    [3.0, 2.0, 1.0]
    """
    if x.ndim == 0:
        return x.copy()
    y = np.sort(x, axis)  # several times as fast as a stable one
    if stable and has_both_zeros(y):
        return np.take_along_axis(x, order_of(x, axis, descending, stable), axis)
    return np.flip(y, axis) if descending else y


def has_both_zeros(x):
    """Whether 0.0 and -0.0 occur: the only elements that are equal and can be told apart."""
    signs = np.signbit(x[x == 0]) if x.dtype.kind == "f" else x[:0]
    return signs.size > 0 and signs.any() and not signs.all()


@sort.defvjp
def sort_vjp(g, x, axis, descending):
    if g.ndim == 0:
        return g
    places = argsort(argsort(x, axis, descending=descending), axis)
    return take_along_axis(g, places, axis=axis)


@sort.defjvp
def sort_jvp(dx, x, axis, descending):
    if dx.ndim == 0:
        return dx
    return take_along_axis(dx, argsort(x, axis, descending=descending), axis=axis)


def searched(x1, x2):
    """Shape rule: that of what is searched for; rows are searched row by row."""
    if not x1:
        raise ShapeError("a 0-d tensor has no axis to search along")
    if len(x1) > 1 and x1[:-1] != x2[:-1]:
        raise ShapeError(f"{x2} is searched for in {x1} row by row: rows differ in number")
    return x2


@op(
    name="searchsorted",
    shape=searched,
    differentiable=False,
    samples=[
        sample(np.array([-1.0, 0.0, 0.0, 1.5]), (3, 4)),
        sample(np.array([-1.0, 0.0, 0.0, 1.5]), np.array([0.0, np.nan]), side="right"),
        sample(np.array([[-1.0, 1.0], [0.0, 0.5]]), (2, 3)),
        sample(np.zeros((0,)), (2,)),
        sample(np.array([0.0, 1.0]), 0.5),
    ],
    errors=[
        bad((), (2,), error=ShapeError, match="no axis to search along"),
        bad((2, 3), (3, 1), error=ShapeError, match="rows differ in number"),
        bad((3,), (2,), side="middle", error=ValueError, match="side 'middle' is neither"),
    ],
)
def places_in(x1, x2, /, side="left"):
    """searchsorted without a sorter.   Shapes: x1 (*r, n), x2 (*r, *s) -> y (*r, *s)"""
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side {side!r} is neither 'left' nor 'right'")
    if x1.ndim == 1:
        return np.searchsorted(x1, x2, side)
    found = np.empty(x2.shape, np.int64)
    for row in np.ndindex(*x1.shape[:-1]):
        found[row] = np.searchsorted(x1[row], x2[row], side)
    return found


def searchsorted(x1, x2, /, *, side="left", sorter=None):
    """Where in x1, which is in order, each element of x2 would have to be put in. int64.

    x1[y - 1] < x2 <= x1[y], or for side="right" x1[y - 1] <= x2 < x1[y]

    Args:
        x1: numbers in ascending order; several axes are rows, each with its own row of x2.
        x2: what is searched for: a tensor or a number.
        side: "left" or "right" of elements equal to it.
        sorter: integers that put x1 in order, as `argsort` gives them.

    Shapes: x1 (n), x2 (*s) -> y (*s); x1 (*r, n), x2 (*r, m) -> y (*r, m)

    Raises:
        ShapeError: x1 is 0-d, or does not have as many rows as x2.
        ValueError: side is neither "left" nor "right".

    >>> import tape
    >>> tape.searchsorted(tape.tensor([1.0, 2.0, 2.0]), tape.tensor([2.0, 5.0])).tolist()
    [1, 3]
    """
    if sorter is not None:
        x1 = asarray(x1)
        x1 = take(x1, sorter, axis=0) if x1.ndim == 1 else take_along_axis(x1, sorter, axis=-1)
    return places_in(x1, x2, side)


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Tensor
    inverse_indices: Tensor


@named
def unique_all(x, /):
    """The different elements of x in ascending order, where they stand, and how often.

    Every NaN is different from any other. The gradient of a value goes to the first element that
    has it.

    Shapes: x (*s) -> values (n), indices (n), inverse_indices (*s), counts (n), the latter int64:
        values is x.flatten()[indices], x is values[inverse_indices]

    >>> import tape
    >>> found = tape.unique_all(tape.tensor([3, 1, 3]))
    >>> [part.tolist() for part in found]
    [[1, 3], [1, 0], [1, 0, 1], [1, 2]]
    """
    x = asarray(x)
    _, indices, inverse, counts = np.unique(
        x.numpy(), return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    indices, inverse, counts = [adopt(part) for part in (indices, inverse.reshape(x.shape), counts)]
    return UniqueAll(take(x, indices), indices, inverse, counts)


@named
def unique_counts(x, /):
    """The different elements of x in ascending order, and how often they occur.

    Shapes: x (*s) -> values (n), counts (n) of int64
    """
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


@named
def unique_inverse(x, /):
    """The different elements of x in ascending order, and for each element which of them it is.

    Shapes: x (*s) -> values (n), inverse_indices (*s) of int64: x is values[inverse_indices]
    """
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


@named
def unique_values(x, /):
    """The different elements of x in ascending order.   Shapes: x (*s) -> values (n)"""
    return unique_all(x).values


@named
def unique(
    x,
    /,
    return_index=False,
    return_inverse=False,
    return_counts=False,
    axis=None,
    *,
    equal_nan=True,
):
    """The different elements of x in ascending order, or its different slices along an axis.

    Args:
        return_index: give also where each stands first.
        return_inverse: give also which of them each element, or slice, of x is.
        return_counts: give also how often each occurs.
        axis: along which slices are compared, None for elements of the flattened x.
        equal_nan: every NaN is one value; False for as many as there are.

    Shapes: x (*s) -> y (n), index (n), inverse (*s), counts (n); with an axis n takes the place of
    its length k, and inverse is (k). One tensor alone, several as a tuple; int64 but for y, whose
    gradient goes to the first of equal ones.

    Raises:
        AxisError: x has no such axis.

    >>> import tape
    >>> x = tape.tensor([[3, 1], [3, 1], [0, 2]])
    >>> tape.unique(x).tolist(), tape.unique(x, axis=0).tolist()
    ([0, 1, 2, 3], [[0, 2], [3, 1]])
    """
    x = asarray(x)
    if axis is not None:
        axis = shapes.axis_of(x.ndim, axis)
    _, index, inverse, counts = np.unique(
        x.numpy(), True, True, True, axis=axis, equal_nan=equal_nan
    )
    parts = [take(x, adopt(index), axis=axis)]
    if return_index:
        parts.append(adopt(index))
    if return_inverse:
        parts.append(adopt(inverse.reshape(x.shape if axis is None else -1)))
    if return_counts:
        parts.append(adopt(counts))
    return parts[0] if len(parts) == 1 else tuple(parts)
