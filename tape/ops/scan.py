"""Running sums and products along an axis, and the recurrence that their gradients are."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.tensor import Tensor
from tape._kernels.recurrence import recur
from tape.errors import AxisError, ShapeError
from tape.op import bad, op, sample
from tape.ops.dtype import known_dtype

SCANS = [
    sample((3,)),
    sample((2, 3), axis=0),
    sample((2, 3, 2), axis=-2),
    sample((2, 3), axis=1, include_initial=True),
    sample((0, 3), axis=0),
    sample((0,), include_initial=True),
    sample((), axis=0),
]
WRONG_AXES = [
    bad((2, 3), error=AxisError, match=r"\(2, 3\) has 2 axes: give the one to scan along"),
    bad((), axis=1, error=AxisError, match="axis 1 is out of range for 0 axes"),
]


def along(x, axis):
    """The axis of a scan, counted from the front: the only one, if it is None."""
    if axis is None and len(x) == 1:
        return 0
    if axis is None:
        raise AxisError(f"{x} has {len(x)} axes: give the one to scan along")
    return shapes.line_of(len(x), axis)


def resized(x, axis, by):
    """A shape with `by` more elements along an axis."""
    return (*x[:axis], x[axis] + by, *x[axis + 1 :])


def scanned(x, *, axis, include_initial):
    """Shape rule: x's shape, longer by one with the initial value."""
    axis = along(x, axis)
    if x:
        return resized(x, axis, bool(include_initial))
    if include_initial:
        raise AxisError("a 0-d operand has no axis for the initial value; reshape it to (1,)")
    return x


def part(ndim, axis, start, stop=None, step=None):
    """The key of a slice along one axis."""
    return (slice(None),) * (axis % ndim) + (slice(start, stop, step),)


def accumulated(ufunc, x, axis, dtype, include_initial):
    """A ufunc accumulated, with its identity in front if that is included."""
    x = np.asarray(x)
    axis = along(x.shape, axis)
    if dtype is not None:
        dtype = known_dtype(dtype, f"cumulative_{'sum' if ufunc is np.add else 'prod'}")
    else:
        dtype = x.dtype if x.dtype.kind == "f" else np.uint64 if x.dtype.kind == "u" else np.int64
    if x.ndim == 0:
        return x.astype(dtype)
    y = np.empty(scanned(x.shape, axis=axis, include_initial=include_initial), dtype)
    y[part(x.ndim, axis, 0, 1)] = ufunc.identity
    ufunc.accumulate(x, axis, dtype, y[part(x.ndim, axis, int(bool(include_initial)))])
    return y


@op(shape=scanned, linear=True, samples=SCANS, errors=WRONG_AXES)
def cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False):
    """Running sum along an axis: y[i] = x[0] + ... + x[i].

    Args:
        axis: may be left out if x has only one.
        dtype: dtype of the sums; by default x's own, 64 bits for integers and bools.
        include_initial: start with the sum of nothing: one more element, a 0 in front.

    Shapes: x (..., n, ...) -> y (..., n, ...), or (..., n + 1, ...) with the initial value

    Raises:
        AxisError: x has no such axis, or several and none was given.
        DTypeError: tape has no such dtype.

    >>> import tape
    >>> tape.cumulative_sum(tape.tensor([1, 2, 3]), include_initial=True).tolist()
    [0, 1, 3, 6]
    """
    return accumulated(np.add, x, axis, dtype, include_initial)


@cumulative_sum.defvjp
def cumulative_sum_vjp(g, axis, include_initial):
    if g.ndim == 0:
        return g
    axis = along(g.shape, axis)
    return sum_to_end(reframed(g, axis, -1, 0) if include_initial else g, axis)


def has_axis(x, *, axis):
    """Shape rule: x's own shape, which has the axis."""
    shapes.axis_of(len(x), axis)
    return x


@op(
    shape=has_axis,
    linear=True,
    samples=[sample((3,), axis=0), sample((2, 3), axis=-1), sample((0, 2), axis=0)],
    errors=[bad((2,), axis=1, error=AxisError, match="axis 1 is out of range for 1 axes")],
)
def sum_to_end(x, /, axis):
    """Sum from each element on: y[i] = x[i] + ... + x[n-1].   Shapes: x (*s) -> y (*s)"""
    back = part(x.ndim, axis, None, None, -1)
    return np.add.accumulate(x[back], axis)[back]


@sum_to_end.defvjp
def sum_to_end_vjp(g, axis):
    return cumulative_sum(g, axis=axis)


def framed(x, *, axis, before, after):
    """Shape rule of reframed."""
    axis = shapes.axis_of(len(x), axis)
    if x[axis] + before + after < 0:
        raise ShapeError(f"{x[axis]} elements along axis {axis} of {x} are too few to drop from")
    return resized(x, axis, before + after)


@op(
    shape=framed,
    linear=True,
    samples=[
        sample((3,), axis=0, before=1, after=-1),
        sample((2, 3), axis=1, before=-1, after=2),
        sample((0, 2), axis=0, before=1, after=-1),
    ],
    errors=[bad((2,), axis=0, before=-1, after=-2, error=ShapeError, match="too few to drop")],
)
def reframed(x, /, axis, before, after):
    """x with zeros put before and after it along an axis; a negative number drops elements instead.

    Shapes: x (..., n, ...) -> y (..., n + before + after, ...)
    """
    axis %= x.ndim
    y = np.zeros(resized(x.shape, axis, before + after), x.dtype)
    first, last = max(0, before), min(y.shape[axis], x.shape[axis] + before)
    if first < last:
        kept = x[part(x.ndim, axis, first - before, last - before)]
        y[part(x.ndim, axis, first, last)] = kept
    return y


@reframed.defvjp
def reframed_vjp(g, axis, before, after):
    return reframed(g, axis, -before, -after)


@op(
    shape=scanned,
    saves="x",
    samples=[
        *SCANS,
        sample(np.array([[0.0, 2.0, 3.0], [1.0, 0.0, 0.0]]), axis=1),
        sample(np.array([0.0])),
    ],
    errors=WRONG_AXES,
)
def cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False):
    """Running product along an axis: y[i] = x[0] ... x[i]; its gradient is right at zeros too.

    Args:
        axis: may be left out if x has only one.
        dtype: dtype of the products; by default x's own, 64 bits for integers and bools.
        include_initial: start with the product of nothing: one more element, a 1 in front.

    Shapes: x (..., n, ...) -> y (..., n, ...), or (..., n + 1, ...) with the initial value

    Raises:
        AxisError: x has no such axis, or several and none was given.
        DTypeError: tape has no such dtype.
    """
    return accumulated(np.multiply, x, axis, dtype, include_initial)


# With p[i] = x[0] ... x[i-1] (p[0] = 1), dy[k]/dx[i] = p[i] x[i+1] ... x[k] for k >= i. So the vjp
# is p[i] s[i] with s[i] = g[i] + x[i+1] s[i+1], and the jvp dy[i] = p[i] dx[i] + x[i] dy[i-1].


@cumulative_prod.defvjp
def cumulative_prod_vjp(g, x, axis, include_initial):
    if g.ndim == 0:
        return g
    axis = along(x.shape, axis)
    g = reframed(g, axis, -1, 0) if include_initial else g
    return products_before(x, axis) * recurrence(x, g, axis, True)


@cumulative_prod.defjvp
def cumulative_prod_jvp(dx, x, axis, include_initial):
    if dx.ndim == 0:
        return dx
    axis = along(x.shape, axis)
    dy = recurrence(x, products_before(x, axis) * dx, axis)
    return reframed(dy, axis, 1, 0) if include_initial else dy


def products_before(x, axis):
    """For each element the product of those before it."""
    return reframed(cumulative_prod(x, axis=axis, include_initial=True), axis, 0, -1)


def products_of_others(x, axis):
    """For each element along an axis the product of all others: no division, so zeros are right."""
    last = np.zeros(x.shape, x.dtype)
    last[part(x.ndim, axis, -1)] = 1
    return products_before(x, axis) * recurrence(x, Tensor(last), axis, True)


def paired(a, b, *, axis):
    """Shape rule of recurrence."""
    if a != b:
        raise ShapeError(f"a {a} and b {b} must have one shape")
    return has_axis(a, axis=axis)


@op(
    shape=paired,
    saves="a y",
    samples=[
        sample((3,), (3,), axis=0),
        sample((2, 3), (2, 3), axis=0, backward=True),
        sample((2, 3, 2), (2, 3, 2), axis=-2),
        sample((0, 3), (0, 3), axis=1, backward=True),
    ],
    errors=[
        bad((3,), (2,), axis=0, error=ShapeError, match=r"a \(3,\) and b \(2,\)"),
        bad((3,), (3,), axis=1, error=AxisError, match="axis 1 is out of range for 1 axes"),
    ],
)
def recurrence(a, b, /, axis, backward=False):
    """First-order linear recurrence: y[i] = a[i] y[i-1] + b[i], with y 0 in front of the axis.

    With `backward` its adjoint in b: y[i] = a[i+1] y[i+1] + b[i]. Integers give float64.

    Shapes: a (*s), b (*s) -> y (*s)

    Raises:
        ShapeError: a and b differ in shape.
        AxisError: they have no such axis.
    """
    dtype = np.promote_types(np.result_type(a, b), np.float32)
    return recur(a.astype(dtype, copy=False), b.astype(dtype, copy=False), axis % a.ndim, backward)


@recurrence.defvjp("a")
def recurrence_vjp_a(g, a, y, axis, backward):
    s = recurrence(a, g, axis, not backward)
    return reframed(s, axis, 1, -1) * y if backward else s * reframed(y, axis, 1, -1)


@recurrence.defvjp("b")
def recurrence_vjp_b(g, a, axis, backward):
    return recurrence(a, g, axis, not backward)


@recurrence.defjvp
def recurrence_jvp(da, db, a, y, axis, backward):
    if backward:
        return recurrence(a, reframed(da * y, axis, -1, 1) + db, axis, True)
    return recurrence(a, da * reframed(y, axis, 1, -1) + db, axis)
