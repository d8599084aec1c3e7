"""Matrix products."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._kernels.product import MatrixProduct, OuterSum
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.arithmetic import multiply
from tape.ops.shape import matrix_transpose, reshape

PRODUCT = MatrixProduct()


@op(
    shape=shapes.matmul,
    saves="a b a.shape b.shape",
    kernel=PRODUCT,
    samples=[
        sample((3, 4), (4, 2)),
        sample((4,), (4,)),
        sample((4,), (4, 2)),
        sample((3, 4), (4,)),
        sample((2, 1, 3, 4), (5, 4, 2)),
        sample((2, 3, 4), (4, 2)),
        sample((3, 4), (2, 4, 2)),
        sample((2, 3, 4), (4,)),
        sample((4,), (2, 4, 3)),
        sample((0, 4), (4, 2)),
        sample((3, 0), (0, 2)),
        sample((2, 0, 4), (4, 3)),
        sample((2, 3), (3, 2), dtypes=["int64", "int64"]),
        sample((2, 3), (3, 2), dtypes=["float32", "float64"]),
    ],
    errors=[
        bad(
            (3, 4),
            (3, 2),
            error=ShapeError,
            match=r"inner dimensions differ: \(3, 4\) @ \(3, 2\) \(4 and 3\)",
        ),
        bad((2, 3, 4), (3, 4, 2), error=ShapeError, match="batch axes do not broadcast"),
        bad((3, 4), (), error=ShapeError, match=r"0-d operand .*: \(3, 4\) @ \(\)"),
        bad(2.0, (3,), error=ShapeError, match="0-d operand"),
    ],
)
def matmul(a, b, /):
    """Matrix product, over stacks of matrices that broadcast; a 1-d operand is a row or a column.

    Shapes: a (..., m, k), b (..., k, n) -> y (..., m, n), without m or n for a 1-d operand

    Raises:
        ShapeError: the inner dimensions differ, the stacks do not broadcast, or an operand is 0-d.
    """
    return np.matmul(a, b)


# What a rule returns may keep the axes of the other operand's stack: the engine sums over them.


@matmul.defvjp("a")
def matmul_vjp_a(g, b, a_shape):
    if b.ndim == 1:
        return g * b if len(a_shape) == 1 else reshape(g, (*g.shape, 1)) * b
    if len(a_shape) > 1:
        return matmul(g, matrix_transpose(b))
    if b.ndim == 2:
        return matmul(b, g)
    return reshape(matmul(b, reshape(g, (*g.shape, 1))), b.shape[:-1])


@matmul.defvjp("b")
def matmul_vjp_b(g, a, b_shape):
    if a.ndim == 1:
        if len(b_shape) == 1:
            return g * a
        return reshape(a, (a.shape[0], 1)) * reshape(g, (*g.shape[:-1], 1, g.shape[-1]))
    if len(b_shape) == 1:
        return reshape(outer_sum(reshape(g, (*g.shape, 1)), a), b_shape)
    return outer_sum(a, g) if len(b_shape) == 2 else matmul(matrix_transpose(a), g)


@matmul.defjvp
def matmul_jvp(da, db, a, b):
    return matmul(da, b) + matmul(a, db)


def row_by_row(a, b):
    """Shape rule of outer_sum."""
    if not a or not b or a[:-1] != b[:-1]:
        raise ShapeError(f"a {a} and b {b} must have the same leading axes and one more")
    return (a[-1], b[-1])


@op(
    shape=row_by_row,
    saves="a b",
    kernel=OuterSum(),
    ref=lambda a, b: np.tensordot(a, b, [range(a.ndim - 1)] * 2),
    samples=[
        sample((4, 3), (4, 2)),
        sample((2, 3, 4), (2, 3, 2)),
        sample((3,), (2,)),
        sample((0, 3), (0, 2)),
        sample((2, 3, 0), (2, 3, 2)),
        sample((3, 2), (3, 2), dtypes=["float32", "float64"]),
    ],
    errors=[
        bad((3, 2), (4, 2), error=ShapeError, match=r"a \(3, 2\) and b \(4, 2\)"),
        bad((), (2,), error=ShapeError, match="one more"),
    ],
)
def outer_sum(a, b, /):
    """Outer products of the rows of a and b, summed: y[i, j] = sum(a[..., i] * b[..., j]).

    The gradient of a weight by which many rows are multiplied.

    Shapes: a (*s, m), b (*s, n) -> y (m, n)

    Raises:
        ShapeError: a and b differ in a leading axis.
    """
    rows = math.prod(a.shape[:-1])
    return PRODUCT(a.reshape(rows, a.shape[-1]).T, b.reshape(rows, b.shape[-1]))


@outer_sum.defvjp("a")
def outer_sum_vjp_a(g, b):
    return matmul(b, matrix_transpose(g))


@outer_sum.defvjp("b")
def outer_sum_vjp_b(g, a):
    return matmul(a, g)


@outer_sum.defjvp
def outer_sum_jvp(da, db, a, b):
    return outer_sum(da, b) + outer_sum(a, db)


def outer(a, b, /):
    """Every product of an element of a with one of b: y[i, j] = a[i] b[j].

    Shapes: a (m), b (n) -> y (m, n); other operands are flattened

    >>> import tape
    >>> tape.outer(tape.tensor([1.0, 2.0]), tape.tensor([3.0, 4.0, 5.0])).tolist()
    [[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]
    """
    return multiply(reshape(a, (-1, 1)), reshape(b, (1, -1)))  # a product would lose the sign of 0
