"""How long vectors are and how far apart: norms, distances, cosines."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.arithmetic import power
from tape.ops.dtype import floating
from tape.ops.elementwise import abs as absolute
from tape.ops.elementwise import sign
from tape.ops.extremes import max as largest
from tape.ops.extremes import min as smallest
from tape.ops.logic import clip, equal, is_real, where
from tape.ops.naming import named
from tape.ops.reduce import WRONG_AXES, broadcast_to, spread
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import expand_dims, reshape


@op(
    shape=shapes.reduce,
    saves="x y",
    samples=[
        *[sample((3, 4), p=p, axis=1, low=0.5) for p in (2.0, 3.0, 1.5, 0.5)],
        sample((2, 3, 4), p=2.0, axis=(0, 2), keepdims=True),
        sample((2, 3), p=2.0, axis=None),
        sample(np.array([[0.0, 0.0], [3.0, 4.0]]), p=2.0, axis=1, smooth=False),
        sample((0, 3), p=2.0, axis=1),
    ],
    errors=[bad(*b.shapes, p=2.0, error=b.error, match=b.match, **b.settings) for b in WRONG_AXES],
)
def p_norm(x, /, p, axis, keepdims=False):
    """sum(|x|**p)**(1/p) along axes, for finite p, not 0; its gradient is 0 where it is 0.

    Shapes: x (*s) -> y (s without the axes)
    """
    x = floating(x)
    axis = axis if axis is None else shapes.lines_of(x.ndim, axis)
    if p == 2.0:
        return np.sqrt(np.add.reduce(x * x, axis, keepdims=keepdims))
    return np.add.reduce(np.absolute(x) ** p, axis, keepdims=keepdims) ** (1.0 / p)


@p_norm.defvjp
def p_norm_vjp(g, x, y, p, axis, keepdims):
    return spread(g, x.shape, axis, keepdims) * norm_slope(x, y, p, axis, keepdims)


@p_norm.defjvp
def p_norm_jvp(dx, x, y, p, axis, keepdims):
    return sum_over(dx * norm_slope(x, y, p, axis, keepdims), axis, keepdims=keepdims)


def norm_slope(x, y, p, axis, keepdims):
    """d norm / dx = sign(x) (|x| / y)**(p - 1)."""
    y = where(equal(y, 0.0), 1.0, y)
    if p == 2.0:
        return x / spread(y, x.shape, axis, keepdims)
    still = equal(x, 0.0)  # where a power below 0 would be inf, or its derivative
    powers = where(still, 0.0, power(where(still, 1.0, absolute(x)), p - 1.0) * sign(x))
    return powers / spread(power(y, p - 1.0), x.shape, axis, keepdims)


def norm(x, p, axis, keepdims=False):
    """The p-norm along axes; inf and -inf take the largest and the smallest, 0 counts."""
    if not is_real(p) or p != p:
        raise ValueError(f"p is {p!r}, not a number")
    if p == 0:
        return sum_over(absolute(sign(x)), axis, keepdims=keepdims)
    if p == 1:
        return sum_over(absolute(x), axis, keepdims=keepdims)
    if p in (math.inf, -math.inf):
        return (largest if p > 0 else smallest)(absolute(x), axis, keepdims=keepdims)
    return p_norm(x, float(p), axis, keepdims)


@named
def normalize(x, /, p=2.0, axis=1, eps=1e-12):
    """x divided by its norm along an axis, where that is at least eps.

    y = x / max(sum(|x|**p)**(1/p), eps)

    Shapes: x (*s) -> y (*s); 0-d counts as of length 1

    Args:
        p: which norm, any number, inf and -inf too.
        axis: one or several.

    Raises:
        AxisError: x has no such axis.
        ValueError: p is NaN or no number.

    >>> import tape
    >>> tape.normalize(tape.tensor([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    x = asarray(x)
    if x.ndim == 0:
        return reshape(normalize(reshape(x, (1,)), p, axis, eps), ())
    return x / clip(norm(x, p, axis, True), eps)


@named
def cosine_similarity(x1, x2, axis=1, eps=1e-8):
    """Cosine of the angle between vectors along an axis: sum(x1 x2) / (|x1| |x2|).

    A norm below eps counts as eps, and no gradient goes through it.

    Shapes: x1, x2 broadcast to (..., n, ...) -> y (...); 0-d counts as of length 1

    Raises:
        ShapeError: the shapes do not broadcast.
        AxisError: their common shape has no such axis.

    >>> import tape
    >>> tape.cosine_similarity(tape.tensor([3.0, 4.0]), tape.tensor([3.0, 0.0]), 0).item()
    0.6000000238418579
    """
    x1, x2 = asarray(x1), asarray(x2)
    shape = shapes.broadcast(x1.shape, x2.shape) or (1,)
    units = []
    for x in (x1, x2):
        x = x if x.shape == shape else broadcast_to(x, shape)
        units.append(x / clip(norm(x, 2.0, axis, True), eps))
    return sum_over(units[0] * units[1], axis)


@named
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdims=False):
    """Distance of vectors along the last axis: the p-norm of x1 - x2 + eps.

    Shapes: x1, x2 broadcast to (..., n) -> y (...), or (..., 1) with keepdims

    Args:
        p: which norm, any number, inf and -inf too.
        eps: keeps the gradient of equal vectors defined.

    Raises:
        ShapeError: the shapes do not broadcast, or both are 0-d.
        ValueError: p is NaN or no number.

    >>> import tape
    >>> tape.pairwise_distance(tape.tensor([[3.0, 4.0]]), tape.zeros(2), eps=0.0).tolist()
    [5.0]
    """
    return norm(asarray(x1) - asarray(x2) + eps, p, -1, keepdims)


@named
def cdist(x1, x2, p=2.0):
    """Distance of every row of x1 to every row of x2; the gradient of a distance 0 is 0.

    y[i, j] = sum over k of |x1[i, k] - x2[j, k]|**p, to the power 1/p

    Shapes: x1 (..., m, k), x2 (..., n, k) -> y (..., m, n), the axes in front broadcast

    Raises:
        ShapeError: these are no matrices, or their rows differ in length.
        ValueError: p is NaN or no number.

    >>> import tape
    >>> tape.cdist(tape.tensor([[0.0, 0.0]]), tape.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [[5.0, 1.0]]
    """
    x1, x2 = asarray(x1), asarray(x2)
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"x1 {x1.shape} and x2 {x2.shape} must be matrices with rows of one length"
        )
    if x1.shape[-1] == 0 and p == math.inf:
        p = 1.0  # of no numbers every norm is 0
    return norm(expand_dims(x1, axis=-2) - expand_dims(x2, axis=-3), p, -1)
