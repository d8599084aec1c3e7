"""Differences of neighbours."""

from __future__ import annotations

from operator import index

from tape import shapes
from tape._core.memory import asarray
from tape.errors import ShapeError, TapeError
from tape.ops.arithmetic import subtract
from tape.ops.arrange import broadcast_to
from tape.ops.join import concat
from tape.ops.logic import not_equal


def diff(x, /, *, axis=-1, n=1, prepend=None, append=None):
    """Differences of neighbours along an axis, n times: y[i] = x[i + 1] - x[i].

    Of bools whether they differ.

    Args:
        x: the tensor.
        axis: the axis along which neighbours stand.
        n: how often; 0 gives x itself, with nothing beside it.
        prepend, append: what stands before and after x along the axis: a tensor, or a number.

    Shapes: x (..., m, ...) -> y (..., max(0, m - n), ...)

    Raises:
        AxisError: x has no such axis.
        ShapeError: n is no integer of at least 0; prepend or append differ in more than the axis.

    >>> import tape
    >>> tape.diff(tape.tensor([1.0, 4.0, 9.0]), prepend=0).tolist()
    [1.0, 3.0, 5.0]
    """
    try:
        x = asarray(x)
        axis = shapes.axis_of(x.ndim, axis)
        if not hasattr(n, "__index__") or n < 0:
            raise ShapeError(f"n {n!r} must be an integer of at least 0")
        if n == 0:
            return x
        parts = [edge_of(prepend, x, axis), x, edge_of(append, x, axis)]
        parts = [part for part in parts if part is not None]
        y = concat(parts, axis=axis) if len(parts) > 1 else x
        before = (slice(None),) * axis
        for _ in range(min(index(n), y.shape[axis])):
            later, earlier = y[(*before, slice(1, None))], y[(*before, slice(None, -1))]
            y = (not_equal if y.dtype.kind == "b" else subtract)(later, earlier)
        return y
    except TapeError as error:
        error.op = "diff"
        raise


def edge_of(edge, x, axis):
    """What stands beside x along the axis; a number stands for one slice of it."""
    if edge is None:
        return None
    edge = asarray(edge, x.dtype) if isinstance(edge, (bool, int, float)) else asarray(edge)
    if edge.ndim:
        return edge
    return broadcast_to(edge, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
