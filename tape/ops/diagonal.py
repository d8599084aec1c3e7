"""Diagonals of matrices, and products that are laid out by them: trace, kron, cross."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.errors import AxisError, ShapeError
from tape.op import bad, op, sample
from tape.ops.arithmetic import multiply
from tape.ops.create import matrices, nearest_diagonal
from tape.ops.naming import named
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import moveaxis, reshape

NO_MATRIX = bad((3,), error=ShapeError, match=r"two axes or more, got \(3,\)")


def diagonal_length(m, n, offset):
    """How many elements the offset-th diagonal of an m x n matrix has."""
    return max(0, min(m, n - offset) if offset >= 0 else min(m + offset, n))


def diagonal_shape(x, *, offset):
    """Shape rule: of stacked matrices -> stacked diagonals."""
    matrices(x)
    if not hasattr(offset, "__index__"):
        raise ShapeError(f"offset is an integer, got {offset!r}")
    return (*x[:-2], diagonal_length(x[-2], x[-1], offset))


@op(
    name="diagonal",
    shape=diagonal_shape,
    saves="x.shape",
    linear=True,
    samples=[
        sample((3, 4)),
        sample((2, 3, 3), offset=1),
        sample((4, 2), offset=-2),
        sample((2, 3), offset=5),
        sample((2, 3), offset=10**30),
        sample((2, 3), offset=-(10**30)),
        sample((0, 3)),
        sample((2, 3), dtypes=["int64"]),
    ],
    errors=[NO_MATRIX, bad((2, 2), offset=0.5, error=ShapeError, match="an integer, got 0.5")],
)
def matrix_diagonal(x, /, *, offset=0):
    """The offset-th diagonals of stacked matrices, above the main one for a positive offset.

    Shapes: x (..., m, n) -> y (..., min(m, n - offset)), for a negative one (..., min(m + offset,
    n)), at least 0

    Raises:
        ShapeError: x has fewer than two axes.
    """
    return np.diagonal(x, nearest_diagonal(offset, x.shape), -2, -1)


@matrix_diagonal.defvjp
def matrix_diagonal_vjp(g, x_shape, offset):
    return on_diagonal(g, offset=offset, shape=x_shape[-2:])


def on_diagonal_shape(x, *, offset, shape):
    """Shape rule of on_diagonal."""
    if not x or x[-1] != diagonal_length(*shape, offset):
        raise ShapeError(f"{x} are no diagonals {offset} of matrices {shape}")
    return (*x[:-1], *shape)


@op(
    shape=on_diagonal_shape,
    linear=True,
    samples=[
        sample((3,), shape=(3, 4)),
        sample((2, 2), offset=1, shape=(3, 3)),
        sample((2,), offset=-2, shape=(4, 2)),
        sample((0,), offset=10**30, shape=(2, 3)),
    ],
    errors=[bad((2,), shape=(3, 3), error=ShapeError, match=r"\(2,\) are no diagonals 0")],
)
def on_diagonal(x, /, *, offset=0, shape):
    """Matrices of zeros but for their offset-th diagonals, which are x.

    Shapes: x (..., k) -> y (..., m, n), shape being (m, n)
    """
    y = np.zeros(x.shape[:-1] + shape, x.dtype)
    rows, offset = np.arange(x.shape[-1]), nearest_diagonal(offset, shape)
    y[..., rows + max(0, -offset), rows + max(0, offset)] = x
    return y


@on_diagonal.defvjp
def on_diagonal_vjp(g, offset):
    return matrix_diagonal(g, offset=offset)


@named
def diagonal(x, /, offset=0, axis1=0, axis2=1):
    """The offset-th diagonals of the matrices along two axes, as NumPy; they become the last axis.

    `tape.linalg.diagonal` takes those along the last two axes.

    Shapes: x (m, n, *s) -> y (*s, k)

    Raises:
        ShapeError: x has fewer than two axes.
        AxisError: x has no such axis, or it is given twice.

    >>> import tape
    >>> tape.diagonal([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [1.0, 4.0]
    """
    return matrix_diagonal(matrices_last("diagonal", x, axis1, axis2), offset=offset)


def matrices_last(name, x, axis1, axis2):
    """x with two axes as its last ones."""
    x = asarray(x)
    if x.ndim < 2:
        raise ShapeError(f"{name}: needs matrices, that is two axes or more, got {x.shape}")
    try:
        return moveaxis(x, (axis1, axis2), (-2, -1))
    except AxisError as error:
        error.op = name
        raise


@named
def trace(x, /, offset=0, axis1=0, axis2=1, dtype=None):
    """Sums of the offset-th diagonals of the matrices along two axes, as NumPy.

    `tape.linalg.trace` takes those along the last two axes.

    Shapes: x (m, n, *s) -> y (*s)

    Raises:
        ShapeError: x has fewer than two axes.
        AxisError: x has no such axis, or it is given twice.

    >>> import tape
    >>> tape.trace([[1.0, 2.0], [3.0, 4.0]]).item()
    5.0
    """
    found = matrix_diagonal(matrices_last("trace", x, axis1, axis2), offset=offset)
    return sum_over(found, -1, dtype=dtype)


def matrix_trace(x, /, *, offset=0, dtype=None):
    """Sums of the offset-th diagonals of stacked matrices.   Shapes: x (..., m, n) -> y (...)

    Args:
        dtype: dtype of the sum, by default x's own, 64 bits for integers.

    Raises:
        ShapeError: x has fewer than two axes.

    >>> import tape
    >>> tape.linalg.trace([[1.0, 2.0], [3.0, 4.0]]).item()
    5.0
    """
    return sum_over(matrix_diagonal(asarray(x), offset=offset), -1, dtype=dtype)


@named
def diag(x, /, k=0):
    """The k-th diagonal of a matrix, or the square matrix whose k-th diagonal is a vector.

    Shapes: x (m, n) -> y (its diagonal);  x (n) -> y (n + |k|, n + |k|)

    Raises:
        ShapeError: x has neither one axis nor two.

    >>> import tape
    >>> tape.diag([1.0, 2.0], 1).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]
    """
    x = asarray(x)
    if x.ndim not in (1, 2):
        raise ShapeError(f"diag: takes a vector or a matrix, got {x.shape}")
    if x.ndim == 2:
        return matrix_diagonal(x, offset=k)
    n = x.shape[0] + abs(k)
    return on_diagonal(x, offset=k, shape=(n, n))


@named
def kron(a, b, /):
    """Kronecker product: every element of a times all of b, laid out as blocks.

    Shapes: a (m_1, ..., m_k), b (n_1, ..., n_k) -> y (m_1 n_1, ..., m_k n_k); to the one with fewer
    axes leading ones of length one are added

    >>> import tape
    >>> tape.kron([1.0, 10.0], [1.0, 2.0, 3.0]).tolist()
    [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]
    """
    a, b = asarray(a), asarray(b)
    ndim = max(a.ndim, b.ndim)
    in_a = (1,) * (ndim - a.ndim) + a.shape
    in_b = (1,) * (ndim - b.ndim) + b.shape
    y = multiply(
        reshape(a, tuple([n for m in in_a for n in (m, 1)])),
        reshape(b, tuple([n for m in in_b for n in (1, m)])),
    )
    return reshape(y, tuple([m * n for m, n in zip(in_a, in_b, strict=True)]))


def crossed(a, b, *, axis):
    """Shape rule: vectors of three numbers along an axis, the others broadcast."""
    for name, x in (("a", a), ("b", b)):
        if x[shapes.axis_of(len(x), axis)] != 3:
            raise ShapeError(f"{name} {x} has not 3 numbers along axis {axis}")
    if len(a) != len(b) and axis >= 0:
        raise AxisError(f"a {a} and b {b} differ in axes: count the axis from the end")
    return shapes.broadcast(a, b)


@op(
    shape=crossed,
    saves="a b",
    samples=[
        sample((3,), (3,)),
        sample((2, 3), (3,)),
        sample((3, 2), (3, 1), axis=0),
        sample((2, 3, 4), (3, 4), axis=-2),
        sample((0, 3), (0, 3)),
        sample((2, 3), (2, 3), dtypes=["int64", "int64"]),
        sample((3,), (3,), dtypes=["float32", "float64"]),
    ],
    errors=[
        bad((2,), (2,), error=ShapeError, match=r"a \(2,\) has not 3 numbers along axis -1"),
        bad((2, 3), (4, 3), error=ShapeError, match="do not broadcast"),
        bad((3,), (3,), axis=1, error=AxisError, match="axis 1 is out of range"),
        bad((3, 3), (3,), axis=0, error=AxisError, match="count the axis from the end"),
    ],
)
def cross(a, b, /, *, axis=-1):
    """Cross products of vectors of three numbers: perpendicular to both, as long as their area.

    y = (a1 b2 - a2 b1, a2 b0 - a0 b2, a0 b1 - a1 b0)

    Shapes: a (..., 3, ...), b (..., 3, ...), which broadcast -> y (..., 3, ...)

    Raises:
        ShapeError: there are not three numbers along the axis, or the other axes do not broadcast.
        AxisError: an operand has no such axis, or one has more axes and it is not counted from the
            end.
    """
    a, b = np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)
    first, second = [1, 2, 0], [2, 0, 1]
    y = a[..., first] * b[..., second] - a[..., second] * b[..., first]
    return np.moveaxis(y, -1, axis)


@cross.defvjp("a")
def cross_vjp_a(g, b, axis):
    return turned(b, g, axis)


@cross.defvjp("b")
def cross_vjp_b(g, a, axis):
    return turned(g, a, axis)


@cross.defjvp
def cross_jvp(da, db, a, b, axis):
    return turned(da, b, axis) + turned(a, db, axis)


def turned(a, b, axis):
    """cross of a cotangent and an operand; the axis as it counts from the end."""
    return cross(a, b, axis=axis if axis < 0 else axis - a.ndim)
