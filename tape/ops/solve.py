"""Inverses and linear systems."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.errors import LinAlgError, ShapeError
from tape.op import bad, op, sample
from tape.ops.create import tril, triu
from tape.ops.dtype import floating
from tape.ops.linalg import matmul
from tape.ops.packed import attempted, square
from tape.ops.shape import matrix_transpose, reshape

# Two well-conditioned matrices, a singular one of rank 2 and one of rank 1.
REGULAR = np.array(
    [[[2.0, 1.0, 0.5], [-1.0, 1.5, 0.25], [0.5, -0.75, 1.0]], [[1, 2, 0], [0, 1, 1], [-2, 0, 1]]]
)
SINGULAR = np.array(
    [[[1.0, 2.0, 3.0], [2.0, 4.0, 6.5], [1.0, 2.0, 1.0]], [[1, 2, -1], [2, 4, -2], [3, 6, -3]]]
)
NOT_SQUARE = [
    bad((3,), error=ShapeError, match=r"two axes or more, got \(3,\)"),
    bad((2, 3), error=ShapeError, match=r"needs square matrices, got \(2, 3\)"),
]
IS_SINGULAR = [
    bad(np.zeros((2, 2)), error=LinAlgError, match=r"x \(2, 2\) is singular"),
    bad(
        np.stack([np.eye(2), np.ones((2, 2))]),
        error=LinAlgError,
        match=r"the matrix at \[1\] of x \(2, 2, 2\) is singular",
    ),
]


@op(
    shape=square,
    saves="y",
    samples=[
        sample(REGULAR[0]),
        sample(REGULAR),
        sample((1, 1), low=1.0, high=2.0),
        sample((0, 0)),
        sample((0, 3, 3)),
        sample(np.array([[2, 1], [1, 3]])),
    ],
    errors=NOT_SQUARE + IS_SINGULAR,
)
def inv(x, /):
    """Inverses of stacked matrices: y @ x = x @ y = 1. Integers are taken as float64.

    Shapes: x (..., n, n) -> y (..., n, n)

    Raises:
        ShapeError: x does not hold square matrices.
        LinAlgError: a matrix is singular.
    """
    return attempted(np.linalg.inv, floating(x), "is singular")


@inv.defvjp
def inv_vjp(g, y):
    turned = matrix_transpose(y)
    return -matmul(turned, matmul(g, turned))


@inv.defjvp
def inv_jvp(dx, y):
    return -matmul(y, matmul(dx, y))


def solvable(a, b):
    """Shape rule of solve: b is one vector, or stacked matrices."""
    square(a)
    if not b:
        raise ShapeError(f"b needs an axis to go with a {a}, got ()")
    rows = b[0] if len(b) == 1 else b[-2]
    if rows != a[-1]:
        raise ShapeError(f"a {a} has {a[-1]} rows, b {b} has {rows}")
    if len(b) == 1:
        return a[:-1]
    return shapes.broadcast(a[:-2], b[:-2]) + b[-2:]


@op(
    shape=solvable,
    saves="a y b.shape",
    samples=[
        sample(REGULAR[0], (3, 2)),
        sample(REGULAR[0], (3,)),
        sample(REGULAR, (3,)),
        sample(REGULAR, (3, 2)),
        sample(REGULAR[0], (2, 3, 1)),
        sample((0, 0), (0, 2)),
        sample((0, 3, 3), (3, 2)),
        sample(REGULAR, (2, 3, 0)),
        sample(REGULAR[0], (3, 2), dtypes=["float32", "float64"]),
    ],
    errors=[
        bad((2, 3), (2,), error=ShapeError, match="needs square matrices"),
        bad((2, 2), (3,), error=ShapeError, match=r"a \(2, 2\) has 2 rows, b \(3,\) has 3"),
        bad((2, 2), (), error=ShapeError, match="b needs an axis"),
        bad((3, 2, 2), (4, 2, 1), error=ShapeError, match="do not broadcast"),
        bad(np.ones((2, 2)), (2,), error=LinAlgError, match=r"a \(2, 2\) is singular"),
    ],
)
def solve(a, b, /):
    """y with a @ y = b. A b of one axis is a vector, of more axes it is stacked matrices.

    Shapes: a (..., n, n), b (..., n, k) -> y (..., n, k);  b (n) -> y (..., n)

    Raises:
        ShapeError: a does not hold square matrices, or b does not fit.
        LinAlgError: a matrix of a is singular.
    """
    a, b = floating(a), floating(b)
    right = b[:, None] if b.ndim == 1 else b
    y = attempted(np.linalg.solve, a, "is singular", right, name="a")
    return y[..., 0] if b.ndim == 1 else y


def column(x):
    """Vectors as matrices of one column."""
    return reshape(x, (*x.shape, 1))


@solve.defvjp
def solve_vjp(g, a, y, b_shape):
    g_b = solve(matrix_transpose(a), column(g) if len(b_shape) == 1 else g)
    if len(b_shape) == 1:
        return -matmul(g_b, reshape(y, (*y.shape[:-1], 1, y.shape[-1]))), reshape(g_b, y.shape)
    return -matmul(g_b, matrix_transpose(y)), g_b


@solve.defjvp
def solve_jvp(da, db, a, y, b_shape):
    if len(b_shape) == 1:
        right = column(db) - matmul(da, column(y))
        return reshape(solve(a, right), y.shape)
    return solve(a, db - matmul(da, y))


def solve_triangular(a, b, /, *, upper, left=True, unitriangular=False):
    """y with a @ y = b (or y @ a = b), reading only one triangle of a.

    Args:
        upper: which triangle; the other one may hold anything.
        left: whether a stands left of y.
        unitriangular: take the diagonal as ones without reading it.

    Shapes: a (..., n, n), b (..., n, k) -> y (..., n, k); for left=False b and y (..., k, n)

    Raises:
        ShapeError: a does not hold square matrices, or b does not fit.
        LinAlgError: there is a zero on a diagonal.

    >>> import tape
    >>> a, b = tape.tensor([[2.0, 9.0], [1.0, 1.0]]), tape.tensor([[2.0], [3.0]])
    >>> tape.linalg.solve_triangular(a, b, upper=False).tolist()
    [[1.0], [2.0]]
    """
    a, b = asarray(a), asarray(b)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"solve_triangular: needs square matrices a, got {a.shape}")
    inner = -2 if left else -1
    if b.ndim < 2 or b.shape[inner] != a.shape[-1]:
        raise ShapeError(f"solve_triangular: b {b.shape} does not fit a {a.shape}")
    k = int(unitriangular)
    triangle = triu(a, k) if upper else tril(a, -k)
    if unitriangular:
        triangle = triangle + np.eye(a.shape[-1], dtype=triangle.dtype)
    try:
        if left:
            return solve(triangle, b)
        return matrix_transpose(solve(matrix_transpose(triangle), matrix_transpose(b)))
    except (ShapeError, LinAlgError) as error:
        error.op = "solve_triangular"
        raise
