"""Running extremes and running logsumexp along an axis."""

from __future__ import annotations

import math

import numpy as np

from tape._core.memory import asarray
from tape.op import op, sample
from tape.ops.dtype import floating
from tape.ops.elementwise import exp
from tape.ops.index import get_item
from tape.ops.logic import equal, where
from tape.ops.lookup import take_along_axis
from tape.ops.naming import named
from tape.ops.scan import WRONG_AXES, along, part, recurrence, reframed, scanned


def as_long(x, *, axis):
    """Shape rule: x's own shape, which has the axis."""
    return scanned(x, axis=axis, include_initial=False)


@op(
    shape=as_long,
    saves="x y",
    samples=[
        sample((3,)),
        sample((2, 3), axis=0),
        sample((2, 3, 2), axis=-2),
        sample((2, 4), axis=1, low=-1000.0, high=1000.0),
        sample((0, 3), axis=0),
        sample((), axis=0),
        sample(np.array([-np.inf, -np.inf, 1.0, -np.inf, 2.0]), smooth=False),
    ],
    errors=WRONG_AXES,
)
def logcumsumexp(x, /, axis=None):
    """Logarithm of the running sum of exp(x) along an axis, without overflow.

    y[i] = log(exp(x[0]) + ... + exp(x[i])); the axis may be left out if x has only one.

    Shapes: x (*s) -> y (*s)

    Raises:
        AxisError: x has no such axis, or several and none was given.
    """
    x = floating(x)
    axis = along(x.shape, axis)
    return np.logaddexp.accumulate(x, axis) if x.size and x.ndim else x.copy()


# dy[i] = exp(x[i] - y[i]) dx[i] + exp(y[i-1] - y[i]) dy[i-1]: the share that is new, and the rest.


@logcumsumexp.defvjp
def logcumsumexp_vjp(g, x, y, axis):
    if g.ndim == 0:
        return share_of(x, y) * g
    axis = along(x.shape, axis)
    return share_of(x, y) * recurrence(kept_share(y, axis), g, axis, True)


@logcumsumexp.defjvp
def logcumsumexp_jvp(dx, x, y, axis):
    if dx.ndim == 0:
        return share_of(x, y) * dx
    axis = along(x.shape, axis)
    return recurrence(kept_share(y, axis), share_of(x, y) * dx, axis)


def share_of(x, y):
    """exp(x - y), and 0 where y is -inf: a sum of nothing."""
    return exp(x - where(equal(y, -math.inf), 0.0, y))


def kept_share(y, axis):
    """exp(y[i-1] - y[i]): how much of a sum was there before; the first is not used."""
    n = y.shape[axis]
    if n == 0:
        return y
    before = get_item(y, layout=(*part(y.ndim, axis, 0, n - 1), ...))
    after = get_item(y, layout=(*part(y.ndim, axis, 1, n), ...))
    return reframed(share_of(before, after), axis, 1, 0)


def leader(x, axis, beats):
    """For each place along an axis where the extreme up to there stands: the last of equal ones."""
    x = np.moveaxis(x, axis, 0)
    places = np.zeros(x.shape, np.int64)
    best = x[:1].copy()
    for i in range(1, len(x)):
        now = np.isnan(x[i]) | (beats(x[i], best[0]) & ~np.isnan(best[0]))
        places[i] = np.where(now, i, places[i - 1])
        best[0] = np.where(now, x[i], best[0])
    return np.moveaxis(places, 0, axis)


def running(x, axis, beats):
    """The elements that lead, with their gradient."""
    x = asarray(x)
    axis = along(x.shape, axis)
    return take_along_axis(x, leader(x.numpy(), axis, beats), axis=axis) if x.size and x.ndim else x


@named
def cumulative_max(x, /, *, axis=None):
    """Running maximum along an axis: y[i] = max(x[0], ..., x[i]), NaN from the first NaN on.

    Of equal elements the last gets the gradient. The axis may be left out if x has only one.

    Shapes: x (*s) -> y (*s)

    Raises:
        AxisError: x has no such axis, or several and none was given.

    >>> import tape
    >>> tape.cumulative_max(tape.tensor([1.0, 3.0, 2.0])).tolist()
    [1.0, 3.0, 3.0]
    """
    return running(x, axis, np.greater_equal)


@named
def cumulative_min(x, /, *, axis=None):
    """Running minimum along an axis: y[i] = min(x[0], ..., x[i]), NaN from the first NaN on.

    Of equal elements the last gets the gradient. The axis may be left out if x has only one.

    Shapes: x (*s) -> y (*s)

    Raises:
        AxisError: x has no such axis, or several and none was given.

    >>> import tape
    >>> tape.cumulative_min(tape.tensor([3.0, 1.0, 2.0])).tolist()
    [3.0, 1.0, 1.0]
    """
    return running(x, axis, np.less_equal)
