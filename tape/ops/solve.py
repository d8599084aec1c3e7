"""Inverses and linear systems, and functions of square matrices made of products."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.errors import DTypeError, LinAlgError, ShapeError
from tape.op import bad, op, sample
from tape.ops.arithmetic import positive
from tape.ops.create import tril, triu
from tape.ops.dtype import floating
from tape.ops.join import concat
from tape.ops.linalg import matmul
from tape.ops.logic import logical_or, where
from tape.ops.naming import named
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


@named
def matrix_power(x, n, /):
    """x @ x @ ... n times; inverses for a negative n, and the unit matrix for 0.

    Shapes: x (..., m, m) -> y (..., m, m)

    Raises:
        ShapeError: x does not hold square matrices.
        DTypeError: n is no integer.
        LinAlgError: n is negative and a matrix is singular.

    >>> import tape
    >>> tape.linalg.matrix_power([[1.0, 1.0], [0.0, 1.0]], 5).tolist()
    [[1.0, 5.0], [0.0, 1.0]]
    """
    x = asarray(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"matrix_power: needs square matrices, got {x.shape}")
    if not hasattr(n, "__index__") or isinstance(n, bool):
        raise DTypeError(f"matrix_power: n is an integer, got {n!r}")
    n = int(n)
    if n == 0:
        return where(np.zeros(x.shape, bool), x, np.eye(x.shape[-1], dtype=x.dtype))
    if n < 0:
        try:
            x = inv(x)
        except LinAlgError as error:
            error.op = "matrix_power"
            raise
    y, n = None, abs(n)
    while n:
        if n & 1:
            y = x if y is None else matmul(y, x)
        n >>= 1
        x = matmul(x, x) if n else x
    return positive(y) if y.dtype.kind != "b" else logical_or(y, y)


@named
def multi_dot(xs, /):
    """The product of several matrices, multiplied in the order that takes the fewest steps.

    Shapes: xs of (m, k_1), (k_1, k_2), ..., (k_i, n) -> y (m, n); the first one may be a row (k_1)
    and the last one a column (k_i), and y has not that axis then

    Raises:
        ShapeError: there are fewer than two, an inner one is no matrix, or neighbours do not fit.

    >>> import numpy as np, tape
    >>> tape.linalg.multi_dot([np.ones((2, 9)), np.ones((9, 3)), np.ones(3)]).tolist()
    [27.0, 27.0]
    """
    xs = [asarray(x) for x in xs]
    if len(xs) < 2:
        raise ShapeError(f"multi_dot: takes two matrices or more, got {len(xs)}")
    first, last = xs[0].ndim, xs[-1].ndim
    if first == 1:
        xs[0] = reshape(xs[0], (1, -1))
    if last == 1:
        xs[-1] = column(xs[-1])
    for i, x in enumerate(xs):
        if x.ndim != 2:
            raise ShapeError(f"multi_dot: operand {i} is {x.shape}, expected a matrix")
        if i and x.shape[0] != xs[i - 1].shape[1]:
            raise ShapeError(
                f"multi_dot: operand {i - 1} {xs[i - 1].shape} does not fit operand {i} {x.shape}"
            )
    y = chain(xs, cheapest([x.shape[0] for x in xs] + [xs[-1].shape[1]]), 0, len(xs) - 1)
    return reshape(y, y.shape[first == 1 : 1 if last == 1 else 2])


def cheapest(sizes):
    """Where to split each run of a chain of matrices for the fewest multiplications.

    Source: Cormen, Leiserson, Rivest, Stein, Introduction to Algorithms, section 15.2.
    """
    n = len(sizes) - 1
    cost, split = {(i, i): 0 for i in range(n)}, {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                [
                    (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                    for k in range(i, j)
                ]
            )
    return split


def chain(xs, split, i, j):
    """The product of xs[i] to xs[j]."""
    if i == j:
        return xs[i]
    k = split[i, j]
    return matmul(chain(xs, split, i, k), chain(xs, split, k + 1, j))


# Coefficients of the [13/13] Pade approximant of exp, and the 1-norm up to which it is exact to
# rounding. Source: Higham 2005, The scaling and squaring method for the matrix exponential.
PADE = [
    float(math.factorial(26 - k) // (math.factorial(k) * math.factorial(13 - k))) for k in range(14)
]
REACH = 5.371920351148152


@op(
    shape=square,
    saves="x",
    samples=[
        sample((3, 3)),
        sample((2, 2, 2)),
        sample((3, 3), low=-20.0, high=5.0, smooth=False),
        sample(np.zeros((2, 2))),
        sample((1, 1)),
        sample((0, 0)),
        sample((0, 2, 2)),
        sample(np.array([[0, 1], [0, 0]])),
    ],
    errors=NOT_SQUARE,
)
def expm(x, /):
    """The exponential of matrices, 1 + x + x @ x / 2 + x @ x @ x / 6 + ...

    Shapes: x (..., n, n) -> y (..., n, n)

    Raises:
        ShapeError: x does not hold square matrices.

    Source: Higham 2005, The scaling and squaring method for the matrix exponential revisited.
    """
    x = floating(x)
    a = x.astype(np.float64)
    if not x.size:
        return x.copy()
    size = np.abs(a).sum(-2).max(-1)
    finite = np.isfinite(size)
    a = np.where(finite[..., None, None], a, 0)
    halvings = np.ceil(np.log2(np.maximum(np.where(finite, size, 0), REACH) / REACH)).astype(int)
    a = np.ldexp(a, -halvings[..., None, None])
    one, a2 = np.eye(a.shape[-1]), a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    even, odd = [
        a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one
        for c in (PADE, [*PADE[1:], 0])
    ]
    odd = a @ odd
    y = np.linalg.solve(even - odd, even + odd)
    for i in range(int(halvings.max())):
        y = np.where((i < halvings)[..., None, None], y @ y, y)
    return np.where(finite[..., None, None], y, np.nan).astype(x.dtype)


@expm.defvjp
def expm_vjp(g, x):
    return expm_slope(g, matrix_transpose(x))


@expm.defjvp
def expm_jvp(dx, x):
    return expm_slope(dx, x)


def expm_slope(d, x):
    """The derivative of expm at x in the direction d: a block of the exponential of blocks.

    Source: Higham 2008, Functions of Matrices, equation (3.16).
    """
    n = x.shape[-1]
    zeros = np.zeros(x.shape, x.dtype)
    blocks = concat([concat([x, d], axis=-1), concat([zeros, x], axis=-1)], axis=-2)
    return expm(blocks)[..., :n, n:]
