"""What stands where when elements are in order: topk, median, quantile."""

from __future__ import annotations

from operator import index

import numpy as np

from tape import shapes
from tape._core.memory import asarray, count_on, glance, lengths
from tape._core.recorded import is_recorded
from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.op import op, sample
from tape.ops.extremes import NO_IDENTITY, ONE_AXIS, TIES, one_extreme, winners
from tape.ops.logic import is_real, isnan, where
from tape.ops.lookup import take, take_along_axis
from tape.ops.naming import named
from tape.ops.reduce import FORMS, spread
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import expand_dims, moveaxis, reshape, squeeze
from tape.ops.sort import argsort

METHODS = ("linear", "lower", "higher", "midpoint", "nearest")

# Of that many elements, and that many times k, the k are looked for before they are sorted.
MANY, FEW = 500, 16


def ordered(values, axis, largest):
    """The places of an array's elements in their order; equal ones stay in theirs."""
    if not largest:
        return values.argsort(axis, kind="stable")
    last = values.shape[axis] - 1  # turned round twice, so that equal ones stay in their order
    return last - np.flip(np.flip(values, axis).argsort(axis, kind="stable"), axis)


def first_few(values, k, axis, largest):
    """The places, ascending, of an array's k first elements in that order, in a few passes."""
    values = np.moveaxis(values, axis, -1)
    nth = values.shape[-1] - k if largest else k - 1
    bound = np.partition(values, nth, -1)[..., nth, None]
    inside, equal = (values > bound if largest else values < bound), values == bound
    if values.dtype.kind == "f":  # NaN is the largest
        nan, bound_nan = np.isnan(values), np.isnan(bound)
        inside |= (nan if largest else ~nan) & (~bound_nan if largest else bound_nan)
        equal |= nan & bound_nan
    missing = k - np.count_nonzero(inside, -1, keepdims=True)
    inside |= equal & (equal.cumsum(-1) <= missing)
    places = np.nonzero(inside)[-1].reshape(*values.shape[:-1], k)
    return np.moveaxis(places, -1, axis)


@named
def topk(x, /, k, axis=-1, *, largest=True, sorted=True):
    """The k largest elements along an axis, largest first, and where they stand.

    NaN counts as largest; of equal ones the first are taken. The gradient goes to those taken.

    Shapes: x (..., n, ...) -> values (..., k, ...), indices (..., k, ...), int64

    Args:
        k: in [0, n].
        largest: False for the smallest, smallest first.
        sorted: False allows any order among the k; they are sorted all the same.

    Raises:
        ValueError: k is not in [0, n].
        TypeError: k is no whole number.
        AxisError: x has no such axis.

    >>> import tape
    >>> values, indices = tape.topk(tape.tensor([1.0, 3.0, 2.0]), 2)
    >>> values.tolist(), indices.tolist()
    ([3.0, 2.0], [1, 2])
    """
    x = asarray(x)
    if x.ndim == 0:
        shapes.axis_of(1, axis)
        found = topk(reshape(x, (1,)), k, 0)
        return tuple([reshape(part, ()) if part.size else part for part in found])
    axis = shapes.axis_of(x.ndim, axis)
    count_on(x, axis)
    n = lengths(x)[axis]
    try:
        count = index(k)
    except TypeError:
        raise TypeError(f"topk: k is a whole number, got {k!r}") from None
    if not 0 <= count <= n:
        raise ValueError(f"topk: k is {count}, not in [0, {n}], along axis {axis} of {lengths(x)}")
    first = (*(slice(None),) * axis, slice(0, count))
    if is_recorded(x):
        indices = argsort(x, axis, descending=largest)[first]
        return take_along_axis(x, indices, axis=axis), indices
    values = x.numpy()
    if count and n >= max(MANY, FEW * count):
        places = first_few(values, count, axis, largest)
        order = ordered(np.take_along_axis(values, places, axis), axis, largest)
        indices = Tensor(np.take_along_axis(places, order, axis))
    else:
        order = ordered(values, axis, largest)
        indices = Tensor(order[first])
    return take_along_axis(x, indices, axis=axis), indices


@op(
    shape=one_extreme,
    saves="x y",
    samples=[
        *[sample((2, 3, 4), **form) for form in FORMS[:3]],
        sample((), keepdims=True),
        sample((), axis=-1),
        sample((0, 3), axis=1),
        sample(TIES, axis=1, smooth=False),
        sample(np.array([[1.0, np.nan], [3.0, 2.0]]), axis=1, smooth=False),
    ],
    errors=NO_IDENTITY + ONE_AXIS,
)
def median(x, /, axis=None, *, keepdims=False):
    """The element in the middle of an axis (None: of all), NaN if there is one.

    Of an even number it is the lower of the two in the middle, an element as in PyTorch;
    `quantile(x, 0.5)` is their mean. Elements equal to it share the gradient equally.

    Shapes: x (*s) -> y (s without the axis)

    Raises:
        AxisError: x has no such axis.
        ShapeError: the axis is empty.
    """
    x = np.asarray(x)
    if axis is None or x.ndim == 0:
        flat, shape = x.reshape(-1), (1,) * x.ndim if keepdims else ()
        return median_of(flat).reshape(shape)
    y = median_of(np.moveaxis(x, axis, -1))
    return np.expand_dims(y, axis) if keepdims else y


def median_of(x):
    """The lower median along the last axis; NaN is last in order, so it is looked for."""
    n = x.shape[-1]
    if n == 0:
        return np.empty(x.shape[:-1], x.dtype)
    y = np.partition(x, (n - 1) // 2, -1)[..., (n - 1) // 2]
    if x.dtype.kind != "f":
        return y
    return np.where(np.isnan(x).any(-1), x.dtype.type(np.nan), y)


@median.defvjp
def median_vjp(g, x, y, axis, keepdims):
    won, share = winners(x, y, axis, keepdims)
    return where(won, spread(g, x.shape, axis, keepdims) * share, 0.0)


@median.defjvp
def median_jvp(dx, x, y, axis, keepdims):
    won, share = winners(x, y, axis, keepdims)
    return sum_over(where(won, dx * share, 0.0), axis, keepdims=keepdims)


@named
def quantile(x, /, q, axis=None, *, keepdims=False, method="linear"):
    """The number below which a share q of an axis (None: of all) lies, NaN if there is one.

    The gradient goes to the elements it lies between, or to the last NaN.

    In order, it stands at place q * (n - 1), between elements by `method`.

    Shapes: x (*s), q () -> y (s without the axis); q (m) -> y (m, s without the axis)

    Args:
        q: one share or several, in [0, 1].
        method: "linear" between the two nearest elements, "lower" or "higher" of them, "midpoint"
            or "nearest" (of two equally near the one at an even place).

    Raises:
        ValueError: a share is outside of [0, 1], or the method is none of these.
        ShapeError: the axis is empty, or q has more than one axis.
        AxisError: x has no such axis.

    >>> import tape
    >>> tape.quantile(tape.tensor([4.0, 1.0, 2.0]), [0.25, 1.0]).tolist()
    [1.5, 4.0]
    """
    x = asarray(x)
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    if method not in METHODS:
        raise ValueError(f"quantile: method is {method!r}, none of {', '.join(METHODS)}")
    shares = Tensor(q, x.dtype) if is_real(q) else asarray(q).astype(x.dtype)
    if shares.ndim > 1:
        raise ShapeError(f"q has shape {shares.shape}, expected one number or one axis")
    value = Tensor.numpy if isinstance(q, Tensor) else glance  # what nobody else can change
    values = value(shares)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"quantile: q {values.tolist()} is not in [0, 1]")
    if x.ndim == 0 and axis is not None:
        axis = shapes.lines_of(0, axis) or None
    ndim, flat = x.ndim, reshape(x, (-1,)) if axis is None else x
    at = shapes.axis_of(flat.ndim, 0 if axis is None else axis)
    count_on(flat, at)
    n = lengths(flat)[at]
    if n == 0:
        raise ShapeError(f"axis {at} of {lengths(flat)} is empty: it has no quantile")
    rows = moveaxis(flat, at, 0)
    order = argsort(rows, 0) if is_recorded(rows) else rows.numpy().argsort(0, kind="stable")
    last = take_along_axis(rows, order[-1:], axis=0)
    place = shares * (n - 1)
    y = between(take_along_axis(rows, order, axis=0), place, value(place), method)
    last = last if shares.ndim else squeeze(last, axis=0)
    y = where(isnan(last), last, y)
    if keepdims:
        gone = range(ndim) if axis is None else (at,)
        y = expand_dims(y, tuple([a + shares.ndim for a in gone])) if ndim else y
    return y


def between(rows, place, at, method):
    """Sorted rows at places between them, which may be one or several; `at` is their value."""
    below, above = np.floor(at), np.ceil(at)
    low = take(rows, below.astype(np.int64), axis=0)
    high = take(rows, above.astype(np.int64), axis=0)
    if method == "lower":
        return low
    if method == "higher":
        return high
    if method == "nearest":
        return take(rows, np.round(at).astype(np.int64), axis=0)
    if method == "midpoint":
        weight = Tensor(np.where(below == above, 0, 0.5).astype(rows.dtype))
    else:
        weight = place - Tensor(below.astype(rows.dtype))
    weight = reshape(weight, weight.shape + (1,) * (rows.ndim - 1))
    step = high - low  # from the nearer end, which is exact there and keeps infinities
    return where(glance(weight) < 0.5, low + step * weight, high - step * (1 - weight))
