"""Elements moved along one axis by an index for each: gather, scatter, and sums of what meets."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape._core.tensor import Tensor
from tape.errors import DTypeError, ShapeError
from tape.ops.dtype import astype
from tape.ops.index import get_item, get_item_grad, set_item
from tape.ops.key import INDEX, WHOLE, check_range
from tape.ops.logic import is_real, where
from tape.ops.lookup import integers
from tape.ops.naming import named
from tape.ops.shape import reshape


@named
def masked_fill(x, /, mask, value):
    """value where mask is true, else x, elementwise, of x's dtype; no gradient for x there.

    Shapes: x, mask broadcast -> y; value () or a number

    Raises:
        DTypeError: mask is not of bools.
        ShapeError: value has axes, or the shapes do not broadcast.

    >>> import tape
    >>> tape.masked_fill(tape.tensor([1.0, 2.0]), [True, False], -1).tolist()
    [-1.0, 2.0]
    """
    x, mask = asarray(x), asarray(mask)
    if mask.dtype != bool:
        raise DTypeError(f"mask is {mask.dtype}, expected bool")
    value = Tensor(value, x.dtype) if is_real(value) else asarray(value)
    if value.ndim:
        raise ShapeError(f"value has shape {value.shape}, expected one number")
    return where(mask, astype(value, x.dtype, copy=False), x)


def with_axes(x, axis):
    """x with an axis at least, and the axis counted from the front; 0-d counts as of length 1."""
    x = x if x.ndim else reshape(x, (1,))
    return x, shapes.axis_of(x.ndim, axis)


def places(x, axis, index):
    """The key of an element of x for each of index: moved along the axis, else where it stands.

    Raises:
        ShapeError: another number of axes, or index is longer than x along another axis.
        DTypeError: index is not of integers.
        IndexRangeError: an index is not in [0, n).
    """
    if index.ndim == 0:
        index = reshape(index, (1,))
    if index.size and index.ndim != x.ndim:
        raise ShapeError(f"x {x.shape} and index {index.shape} must have as many axes")
    index = integers(index, "index").numpy()
    if not index.size:
        return None
    for a, (most, length) in enumerate(zip(x.shape, index.shape, strict=True)):
        if a != axis and length > most:
            raise ShapeError(f"index {index.shape} is longer than x {x.shape} along axis {a}")
    n = x.shape[axis]
    what = f"index {{0}} at {{1}} is out of range for axis {axis} of length {n}"
    check_range(index, 0, n, what)
    return [
        index
        if a == axis
        else np.arange(length).reshape((1,) * a + (length,) + (1,) * (index.ndim - a - 1))
        for a, length in enumerate(index.shape)
    ]


@named
def gather(x, /, axis, index):
    """The element of x at index along an axis, for each place of index.

    y[i, j] = x[index[i, j], j] for axis 0

    Shapes: x (*s), index (*t) in [0, n), t no longer than s but along the axis -> y (*t)

    `take_along_axis` is alike, but takes all of the other axes, and broadcasts them.

    Raises:
        ShapeError: index has another number of axes, or is too long.
        IndexRangeError: an index is not in [0, n).
        DTypeError: index is not of integers.
        AxisError: x has no such axis.

    >>> import tape
    >>> tape.gather(tape.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, [[0, 0], [1, 0]]).tolist()
    [[1.0, 1.0], [4.0, 3.0]]
    """
    index = asarray(index)
    x, axis = with_axes(asarray(x), axis)
    key = places(x, axis, index)
    if key is None:
        nowhere = np.zeros(index.shape, np.int64)
        return get_item(reshape(x, (x.size,)), nowhere, layout=(INDEX,))
    return reshape(get_item(x, *key, layout=(INDEX,) * x.ndim), index.shape)


@named
def scatter(x, /, axis, index, src, *, reduce=None):
    """x with src written to index along an axis: y[index[i, j], j] = src[i, j] for axis 0.

    Shapes: x (*s), index (*t) in [0, n), t no longer than s but along the axis; src at least
    (*t), of which the first (*t) are taken, or a number -> y (*s)

    Where an index comes twice, the last is written, and the gradient goes to each.

    Args:
        reduce: "add" adds src to what stands there, "multiply" multiplies with it, each as often as
            an index comes; None overwrites.

    Raises:
        ShapeError: index has another number of axes, or is too long; or src is too short.
        IndexRangeError: an index is not in [0, n).
        DTypeError: index is not of integers, or src does not fit x's dtype.
        AxisError: x has no such axis.
        ValueError: reduce is none of these.

    >>> import tape
    >>> tape.scatter(tape.zeros(3), 0, [2, 0], tape.tensor([1.0, 5.0])).tolist()
    [5.0, 0.0, 1.0]
    """
    if reduce not in (None, "add", "multiply"):
        raise ValueError(f"scatter: reduce is {reduce!r}, not 'add', 'multiply' or None")
    x, index, shape = asarray(x), asarray(index), np.shape(x)
    x, axis = with_axes(x, axis)
    key = places(x, axis, index)
    if key is None:
        return reshape(x, shape)
    src = src if is_real(src) else cut(src, index)
    layout = (INDEX,) * x.ndim
    if reduce is None:
        return reshape(set_item(x, src, *key, layout=layout), shape)
    if is_real(src):
        src = Tensor(np.broadcast_to(np.asarray(src), index.shape or (1,)), x.dtype)
    src = astype(src, x.dtype, copy=False)
    if reduce == "add":
        return reshape(x + get_item_grad(src, *key, layout=layout, shape=x.shape), shape)
    for where_to, which in once_each(key, x.shape):
        factors = get_item(src, *which, layout=layout)
        x = x * set_item(Tensor(np.ones(x.shape, x.dtype)), factors, *where_to, layout=layout)
    return reshape(x, shape)


def once_each(key, shape):
    """(places, which of the sources) in turns that name no place twice, in order."""
    target = np.ravel_multi_index(np.broadcast_arrays(*key), shape)
    flat = target.ravel()
    order = flat.argsort(kind="stable")
    first = np.flatnonzero(np.diff(flat[order], prepend=-1))
    turn = np.arange(flat.size) - np.repeat(first, np.diff(first, append=flat.size))
    for k in range(turn.max() + 1):
        chosen = order[turn == k]
        yield np.unravel_index(flat[chosen], shape), np.unravel_index(chosen, target.shape)


def cut(src, index):
    """The part of src that index has places for."""
    src = asarray(src)
    if src.ndim == index.ndim == 0:
        return reshape(src, (1,))
    if src.ndim != index.ndim or any(
        have < need for have, need in zip(src.shape, index.shape, strict=True)
    ):
        raise ShapeError(f"src {src.shape} is too short for index {index.shape}")
    if src.shape == index.shape:
        return src
    return get_item(src, layout=tuple([slice(0, n) for n in index.shape]))


@named
def scatter_add(x, /, axis, index, src):
    """x with src added at index along an axis: y[index[i, j], j] += src[i, j] for axis 0.

    Shapes: x (*s), index (*t) in [0, n), t no longer than s but along the axis; src at least
    (*t), of which the first (*t) are taken -> y (*s)

    Where an index comes twice, both are added, in the order of src.

    Raises:
        ShapeError: index has another number of axes, or is too long; or src is too short.
        IndexRangeError: an index is not in [0, n).
        DTypeError: index is not of integers.
        AxisError: x has no such axis.

    >>> import tape
    >>> tape.scatter_add(tape.ones(3), 0, [2, 2], tape.tensor([1.0, 5.0])).tolist()
    [1.0, 1.0, 7.0]
    """
    x, index, shape = asarray(x), asarray(index), np.shape(x)
    x, axis = with_axes(x, axis)
    key = places(x, axis, index)
    if key is None:
        return reshape(x, shape)
    src = astype(cut(src, index), x.dtype, copy=False)
    added = get_item_grad(src, *key, layout=(INDEX,) * x.ndim, shape=x.shape)
    return reshape(x + added, shape)


@named
def index_add(x, /, axis, index, source, *, alpha=1):
    """x with slices of source added at index along an axis: y[index[i]] += alpha * source[i].

    Shapes: x (..., n, ...), index (m) in [0, n), source (..., m, ...) -> y (..., n, ...)

    Raises:
        ShapeError: index is not 1-d, or source does not fit.
        IndexRangeError: an index is not in [0, n).
        DTypeError: index is not of integers.
        AxisError: x has no such axis.

    >>> import tape
    >>> tape.index_add(tape.ones(3), 0, [0, 0], tape.tensor([1.0, 5.0]), alpha=2).tolist()
    [13.0, 1.0, 1.0]
    """
    x, index, shape = asarray(x), asarray(index), np.shape(x)
    x, axis = with_axes(x, axis)
    source = asarray(source)
    if index.ndim > 1:
        raise ShapeError(f"index {index.shape} must have one axis")
    needed = (*x.shape[:axis], index.size, *x.shape[axis + 1 :])
    if source.shape != needed and (source.ndim or needed != (1,)):
        raise ShapeError(f"source {source.shape} must be {needed} for x {shape} and axis {axis}")
    index = integers(reshape(index, (index.size,)), "index")
    n = x.shape[axis]
    what = f"index {{0}} at {{1}} is out of range for axis {axis} of length {n}"
    check_range(index.numpy(), 0, n, what)
    source = reshape(source if alpha == 1 else source * alpha, needed)
    layout = (*(WHOLE,) * axis, INDEX)
    added = get_item_grad(astype(source, x.dtype, copy=False), index, layout=layout, shape=x.shape)
    return reshape(x + added, shape)
