"""What holds for matrices of any rank: matrix_rank, pinv, lstsq."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.errors import ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.create import matrices
from tape.ops.dtype import floating
from tape.ops.elementwise import square as squared
from tape.ops.linalg import matmul
from tape.ops.naming import named
from tape.ops.orthogonal import NO_MATRIX, svdvals
from tape.ops.packed import converged
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import matrix_transpose, reshape
from tape.ops.solve import REGULAR, SINGULAR, column


class LstsqResult(NamedTuple):
    """What lstsq gives."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


def as_setting(rtol):
    """rtol as a number or tuples, which a key of the reuse table can hold; None for no matrices."""
    return None if rtol is None or not np.size(rtol) else np.asarray(rtol, np.float64).tolist()


def tolerance(x, rtol):
    """rtol as an array of x's dtype."""
    if rtol is None:
        return np.asarray(max(x.shape[-2:]) * np.finfo(x.dtype).eps)
    return np.asarray(rtol, np.float64)


def one_each(x, *, rtol):
    """Shape rule: a number for each matrix."""
    stack = matrices(x)[:-2]
    if shapes.broadcast(np.shape(rtol), stack) != stack:
        raise ShapeError(f"rtol {np.shape(rtol)} is not one number, or one for each matrix of {x}")
    return stack


@op(
    name="matrix_rank",
    shape=one_each,
    differentiable=False,
    samples=[
        sample(REGULAR),
        sample(SINGULAR),
        sample(np.diag([1.0, 0.1]), rtol=0.5),
        sample(REGULAR, rtol=(0.0, 1.0)),
        sample((2, 4, 3)),
        sample((0, 3)),
        sample((0, 2, 2)),
        sample(np.array([[1, 2], [2, 4]])),
    ],
    errors=[
        NO_MATRIX,
        bad((2, 2), rtol=(0.0, 0.0), error=ShapeError, match=r"rtol \(2,\) is not one number"),
    ],
)
def numerical_rank(x, /, *, rtol=None):
    """matrix_rank, with rtol as a number or tuples.   Shapes: x (..., m, n) -> y (...)"""
    x = floating(x)
    s = converged(singular_values, x)
    limit = tolerance(x, rtol) * s.max(-1, initial=0)
    return np.asarray((s > limit[..., None]).sum(-1, dtype=np.int64))


@named
def matrix_rank(x, /, *, rtol=None):
    """How many singular values are not zero, int64.   Shapes: x (..., m, n) -> y (...)

    Args:
        rtol: singular values up to rtol times the largest count as zero; by default the larger side
            of the matrix times the spacing of floats at 1. One number, or one a matrix.

    Raises:
        ShapeError: x has fewer than two axes.
        LinAlgError: x holds NaN or inf.

    >>> import tape
    >>> tape.linalg.matrix_rank([[1.0, 2.0], [2.0, 4.0]]).item()
    1
    """
    return numerical_rank(asarray(x), rtol=as_setting(rtol))


def singular_values(x):
    """Singular values of an array."""
    return np.linalg.svd(x, compute_uv=False)


def turned(x, *, rtol):
    """Shape rule: matrices of the transposed shape."""
    return (*one_each(x, rtol=rtol), x[-1], x[-2])


@op(
    name="pinv",
    shape=turned,
    saves="x y",
    samples=[
        sample(REGULAR),
        sample((4, 3)),
        sample((2, 2, 3)),
        sample((1, 1), low=1.0, high=2.0),
        sample(SINGULAR, smooth=False),
        sample(np.diag([1.0, 0.1]), rtol=0.5, smooth=False),
        sample(np.zeros((2, 3)), smooth=False),
        sample((0, 3)),
        sample((0, 2, 2)),
    ],
    errors=[NO_MATRIX],
)
def pseudo_inverse(x, /, *, rtol=None):
    """pinv, with rtol as a number or tuples.   Shapes: x (..., m, n) -> y (..., n, m)"""
    x = floating(x)
    return converged(cut_off, x, tolerance(x, rtol))


def cut_off(x, limit):
    """NumPy's pinv; of one matrix of a stack, without a limit of its own."""
    return np.linalg.pinv(x, limit if limit.ndim <= x.ndim - 2 else 0.0)


@pseudo_inverse.defvjp
def pinv_vjp(g, x, y):
    yt, gt = matrix_transpose(y), matrix_transpose(g)
    left, right = matmul(matmul(gt, y), yt), matmul(yt, matmul(y, gt))
    slope = left - matmul(x, matmul(y, left)) + right - matmul(matmul(right, y), x)
    return slope - matmul(yt, matmul(g, yt))


@pseudo_inverse.defjvp
def pinv_jvp(dx, x, y):
    dxt, yt = matrix_transpose(dx), matrix_transpose(y)
    right = matmul(y, matmul(yt, dxt))
    left = matmul(matmul(dxt, yt), y)
    slope = right - matmul(matmul(right, x), y) + left - matmul(y, matmul(x, left))
    return slope - matmul(y, matmul(dx, y))


@named
def pinv(x, /, *, rtol=None):
    """Pseudo-inverses (Moore, Penrose): y of the least norm for which x @ y is nearest to 1.

    The gradient is that along which the rank does not change.

    Args:
        rtol: singular values up to rtol times the largest count as zero; by default the larger side
            of the matrix times the spacing of floats at 1. One number, or one a matrix.

    Shapes: x (..., m, n) -> y (..., n, m)

    Raises:
        ShapeError: x has fewer than two axes.
        LinAlgError: x holds NaN or inf.

    Source: Golub, Pereyra 1973, theorem 4.3, for the gradient.

    >>> import tape
    >>> tape.linalg.pinv([[2.0, 0.0], [0.0, 0.0]]).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    return pseudo_inverse(asarray(x), rtol=as_setting(rtol))


@named
def lstsq(a, b, /, *, rtol=None):
    """The solution of a @ solution = b with the least squared error, of these the shortest one.

    Args:
        rtol: as of `pinv`.

    Shapes: a (..., m, n), b (..., m, k) -> solution (..., n, k), residuals (..., k), rank (...),
        singular_values (..., min(m, n)); for b (m) without k. residuals are the squared errors;
        where m <= n or a rank is less than n they are empty, (0,).

    Raises:
        ShapeError: a holds no matrices, or b has another number of rows.
        LinAlgError: a holds NaN or inf.

    >>> import tape
    >>> a, b = [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [1.0, 3.0, 5.0]
    >>> [round(c, 4) for c in tape.linalg.lstsq(a, b).solution.tolist()]
    [1.0, 2.0]
    """
    a, b = asarray(a), asarray(b)
    rows = b.shape[0] if b.ndim == 1 else b.shape[-2] if b.ndim else None
    if a.ndim < 2 or rows != a.shape[-2]:
        raise ShapeError(f"lstsq: a {a.shape} and b {b.shape} have not equally many rows")
    right = column(b) if b.ndim == 1 else b
    try:
        rank, s = matrix_rank(a, rtol=rtol), svdvals(a)
        solution = matmul(pinv(a, rtol=rtol), right)
        m, n = a.shape[-2:]
        known = m > n and bool((rank.numpy() == n).all())
        if known:
            residuals = sum_over(squared(matmul(a, solution) - right), -2)
        else:
            residuals = asarray(np.zeros(0, solution.dtype))
    except TapeError as error:
        error.op = "lstsq"
        raise
    if b.ndim == 1:
        solution = reshape(solution, solution.shape[:-1])
        residuals = residuals[..., 0] if known else residuals
    return LstsqResult(solution, residuals, rank, s)
