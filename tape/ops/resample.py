"""Sums of a few weighted elements along one axis: adaptive means and interpolation."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tape import shapes
from tape.errors import AxisError, ShapeError
from tape.op import bad, op, sample
from tape.ops.geometry import LARGEST, known_float

KEPT = 4096  # taps of longer axes are not worth their memory
ALONG = 8  # as many taps are added one after another; more are gathered at once


class Plan(NamedTuple):
    """What each element of a result along an axis is made of.

    Attributes:
        kind: "mean" (of adaptive pooling's bins), "nearest", "nearest-exact", "linear" or "cubic".
        n_in, n_out: lengths before and after.
        scale: what one step of the result is in steps of x.
        align_corners: whether first and last elements lie on each other.
        single: whether x is of float32, in which its nearest elements are then found.
    """

    kind: str
    n_in: int
    n_out: int
    scale: float = 1.0
    align_corners: bool = False
    single: bool = False


def bins(n_in, n_out):
    """(start, stop) of each bin of adaptive pooling: floor(i * n / m) to ceil((i + 1) * n / m)."""
    i = np.arange(n_out)
    return i * n_in // max(n_out, 1), -(-(i + 1) * n_in // max(n_out, 1))


def taps(plan, adjoint):
    """(index, weight, how many) for each element of the result: its first taps are its own.

    Of the adjoint: for each element of x which elements of the result it goes into, and how much.
    """
    if plan.n_in + plan.n_out > KEPT:
        return found_taps(plan, adjoint)
    return kept_taps(plan, adjoint)


def found_taps(plan, adjoint):
    """taps, worked out."""
    index, weight, count = forward_taps(plan)
    if adjoint:
        index, weight, count = turned(index, weight, count, plan.n_in)
    for array in (index, weight, count):
        array.flags.writeable = False
    return index, weight, count


kept_taps = lru_cache(maxsize=256)(found_taps)


def forward_taps(plan):
    """The taps of the result."""
    kind, n_in, n_out, scale, align_corners, single = plan
    i = np.arange(n_out)
    if kind == "mean":
        start, stop = bins(n_in, n_out)
        count = stop - start
        k = np.arange(max(count.max(initial=1), 1))
        index = np.minimum(start[:, None] + k, n_in - 1)
        return index, np.where(k < count[:, None], 1.0 / np.maximum(count, 1)[:, None], 0.0), count
    if kind in ("nearest", "nearest-exact"):
        # Rounded as PyTorch rounds: which element it is where two are as near depends on it.
        real = np.float32 if single else np.float64
        at = (i + 0.5 * (kind == "nearest-exact")).astype(real) * real(scale)
        index = np.clip(np.floor(at.astype(np.float32)), 0, n_in - 1).astype(np.intp)
        return index[:, None], np.ones((n_out, 1)), np.ones(n_out, np.intp)
    at = i * scale if align_corners else (i + 0.5) * scale - 0.5
    if kind == "linear":
        at = np.maximum(at, 0.0)
        low = np.minimum(np.floor(at).astype(np.intp), n_in - 1)
        part = np.clip(at - low, 0.0, 1.0)
        index = np.stack([low, np.minimum(low + 1, n_in - 1)], 1)
        return index, np.stack([1.0 - part, part], 1), np.full(n_out, 2)
    low = np.floor(at).astype(np.intp)
    part = np.clip(at - low, 0.0, 1.0)
    weight = np.stack([cubic(part + 1), cubic(part), cubic(1 - part), cubic(2 - part)], 1)
    return np.clip(low[:, None] + np.arange(-1, 3), 0, n_in - 1), weight, np.full(n_out, 4)


def cubic(t, a=-0.75):
    """Keys' kernel at distances t in [0, 2].   Source: Keys 1981, with a = -0.75"""
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    return np.where(t <= 1, near, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a)


def turned(index, weight, count, n_in):
    """Taps in the other direction: sorted by the element of x."""
    own = np.arange(index.shape[1]) < count[:, None]
    to, weight = np.nonzero(own)[0], weight[own]
    order = np.argsort(index[own], kind="stable")
    source = index[own][order]
    n_taps = np.bincount(source, minlength=n_in)
    k = np.arange(len(source)) - (np.cumsum(n_taps) - n_taps)[source]
    back = np.zeros((n_in, max(n_taps.max(initial=1), 1)), np.intp)
    weights = np.zeros(back.shape)
    back[source, k], weights[source, k] = to[order], weight[order]
    return back, weights, n_taps


def along(x, *, axis, plan, adjoint):
    """Shape rule: the axis of length n_in gets n_out, or the other way for the adjoint."""
    axis = shapes.axis_of(len(x), axis)
    n, m = (plan.n_out, plan.n_in) if adjoint else (plan.n_in, plan.n_out)
    if x[axis] != n:
        raise ShapeError(f"axis {axis} of x {x} has length {x[axis]}, expected {n}")
    if plan.n_in < 1:
        raise ShapeError(f"axis {axis} of x {x} has no elements to resample")
    return (*x[:axis], m, *x[axis + 1 :])


def by_matrix(x, *, axis, plan, adjoint):
    """What resample gives, as a product with the matrix of all weights."""
    index, weight, count = forward_taps(plan)
    matrix = np.zeros((plan.n_out, plan.n_in))
    for i, k in np.ndindex(*index.shape):
        matrix[i, index[i, k]] += weight[i, k] * (k < count[i])
    matrix = matrix.T if adjoint else matrix
    return np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T.astype(x.dtype), -1, axis)


PLANS = [
    ((2, 7), 1, Plan("mean", 7, 3)),
    ((5, 2), 0, Plan("mean", 5, 8)),
    ((2, 40), -1, Plan("mean", 40, 3)),
    ((2, 5, 2), 1, Plan("nearest", 5, 12, 5 / 12)),
    ((2, 5), 1, Plan("nearest-exact", 5, 3, 5 / 3)),
    ((3, 4), -1, Plan("linear", 4, 9, 4 / 9)),
    ((6, 1), 0, Plan("linear", 6, 3, 2.5, True)),
    ((0, 4), 1, Plan("linear", 4, 9, 4 / 9)),
    ((2, 5), 1, Plan("cubic", 5, 8, 5 / 8)),
    ((1, 3), 1, Plan("cubic", 3, 7, 1 / 3, True)),
]


@op(
    shape=along,
    linear=True,
    ref=by_matrix,
    samples=[sample(x, axis=axis, plan=plan, adjoint=False) for x, axis, plan in PLANS]
    + [
        sample(along(x, axis=axis, plan=plan, adjoint=False), axis=axis, plan=plan, adjoint=True)
        for x, axis, plan in PLANS
    ],
    errors=[
        bad((2, 4), axis=1, plan=PLANS[0][2], adjoint=False, error=ShapeError, match="expected 7"),
        bad((7,), axis=1, plan=PLANS[0][2], adjoint=False, error=AxisError, match="out of range"),
    ],
)
def resample(x, /, *, axis, plan, adjoint):
    """The weighted sums that a plan makes of the elements along an axis, or the adjoint of that.

    y[..., i, ...] = sum over k of weight[i, k] * x[..., index[i, k], ...]

    Shapes: x (..., n_in, ...) -> y (..., n_out, ...)
    """
    x = known_float(x)
    if not x.size:
        return np.zeros(along(x.shape, axis=axis, plan=plan, adjoint=adjoint), x.dtype)
    axis %= x.ndim
    index, weight, count = taps(plan, adjoint)
    behind = (1,) * (x.ndim - axis - 1)
    n_out, n_taps = index.shape
    if plan.kind.startswith("nearest") and n_taps == 1 and not adjoint:
        return x.take(index[:, 0], axis)
    if n_taps > ALONG:
        parts = x.take(index, axis)
        parts *= weight.astype(x.dtype).reshape(n_out, n_taps, *behind)
        own = np.arange(n_taps) < count[:, None]
        if not own.all():
            parts[(slice(None),) * axis + (~own,)] = 0
        return np.add.reduce(parts, axis + 1)
    y = None
    for k in range(n_taps):
        part = x.take(index[:, k], axis)
        w = weight[:, k].astype(x.dtype)
        if not (w == 1).all():
            part *= w.reshape(-1, *behind)
        missing = np.nonzero(count <= k)[0]
        if len(missing):
            part[(slice(None),) * axis + (missing,)] = 0
        y = part if y is None else np.add(y, part, out=y)
    return y


@resample.defvjp
def resample_vjp(g, axis, plan, adjoint):
    return resample(g, axis=axis, plan=plan, adjoint=not adjoint)


def length(size, name):
    """A length to resample to, as an int."""
    if not hasattr(size, "__index__") or isinstance(size, bool) or size < 0:
        raise ShapeError(f"{name} must be integers of at least 0, got {size!r}")
    if size > LARGEST:
        raise ShapeError(f"{name} must be at most {LARGEST}, got {size}")
    return int(size)


def is_real(x):
    """Whether a scale is a number above 0."""
    return isinstance(x, (int, float, np.number)) and 0 < x < math.inf
