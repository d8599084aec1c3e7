"""Products of many matrices: powers, chains in the cheapest order, and the exponential."""

from __future__ import annotations

import math

import numpy as np

from tape._core.memory import asarray
from tape.errors import DTypeError, LinAlgError, ShapeError
from tape.op import op, sample
from tape.ops.arithmetic import positive
from tape.ops.dtype import floating
from tape.ops.join import concat
from tape.ops.linalg import matmul
from tape.ops.logic import logical_or, where
from tape.ops.naming import named
from tape.ops.packed import square
from tape.ops.shape import matrix_transpose, reshape
from tape.ops.solve import NOT_SQUARE, column, inv


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
