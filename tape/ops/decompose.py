"""Factors of square matrices: cholesky, eigh, eig. See Note [Several results] in `packed`.

Note [Symmetric arguments]
cholesky and eigh read one triangle. Their gradients are those of PyTorch: they say what a change of
the whole, symmetric matrix does, and so differ from what changing one triangle alone would show.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tape._core.memory import asarray
from tape.errors import LinAlgError, TapeError
from tape.op import bad, op, sample
from tape.ops.create import tril
from tape.ops.diagonal import matrix_diagonal, on_diagonal
from tape.ops.dtype import floating
from tape.ops.linalg import matmul
from tape.ops.logic import equal, logical_and, where
from tape.ops.naming import named
from tape.ops.packed import (
    attempted,
    converged,
    cut,
    located,
    packed,
    packed_tensors,
    square,
    total,
)
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import matrix_transpose, reshape
from tape.ops.solve import NOT_SQUARE, REGULAR, solve

DEFINITE = np.matmul(REGULAR, REGULAR.transpose(0, 2, 1)) + np.eye(3)
NO_NUMBERS = np.full((2, 2), np.nan)


class EighResult(NamedTuple):
    """What eigh and eig give: x @ eigenvectors = eigenvectors * eigenvalues."""

    eigenvalues: Any
    eigenvectors: Any


def ratio(a, b):
    """a / b, and 0 where both are: directions in which nothing is asked of equal eigenvalues."""
    return a / where(logical_and(equal(a, 0.0), equal(b, 0.0)), 1.0, b)


def row(s):
    """Numbers for the columns of matrices."""
    return reshape(s, (*s.shape[:-1], 1, s.shape[-1]))


def column(s):
    """Numbers for the rows of matrices."""
    return reshape(s, (*s.shape, 1))


def off_diagonal(a, differences):
    """a / differences, where both are matrices, and zeros on the diagonal."""
    own = np.eye(a.shape[-1], dtype=bool)
    return where(own, 0.0, ratio(a, where(own, 1.0, differences)))


def symmetric(x):
    """The part of x that is its own transpose. See Note [Symmetric arguments]."""
    return (x + matrix_transpose(x)) * 0.5


def half(x):
    """The lower triangle of x with half of its diagonal."""
    return tril(x) - on_diagonal(matrix_diagonal(x) * 0.5, shape=x.shape[-2:])


@op(
    shape=square,
    saves="y",
    samples=[
        sample(DEFINITE),
        sample(DEFINITE[0], upper=True),
        sample((1, 1), low=1.0, high=2.0),
        sample((0, 0)),
        sample((0, 2, 2)),
        sample(np.array([[2, 1], [1, 3]])),
    ],
    errors=[
        *NOT_SQUARE,
        bad(-np.eye(2), error=LinAlgError, match=r"x \(2, 2\) is not positive definite"),
        bad(
            np.stack([np.eye(2), -np.eye(2)]),
            error=LinAlgError,
            match=r"the matrix at \[1\] of x \(2, 2, 2\) is not positive definite",
        ),
        bad(NO_NUMBERS, error=LinAlgError, match="holds NaN or inf and is not positive definite"),
    ],
    smooth=False,  # see Note [Symmetric arguments]
)
def cholesky(x, /, *, upper=False):
    """Lower triangular y with x = y @ y^T, of which the lower triangle is read.

    Args:
        upper: give y^T, with x = y @ y^T of the upper triangle.

    Shapes: x (..., n, n), symmetric positive definite -> y (..., n, n)

    Raises:
        ShapeError: x does not hold square matrices.
        LinAlgError: a matrix is not positive definite.
    """

    def root(a):
        y = np.linalg.cholesky(a, upper=upper)
        if np.isnan(np.diagonal(y, axis1=-2, axis2=-1)).any():  # some libraries go on with it
            raise np.linalg.LinAlgError
        return y

    return attempted(root, floating(x), "is not positive definite")


@cholesky.defvjp
def cholesky_vjp(g, y, upper):
    lower, g = (matrix_transpose(y), matrix_transpose(g)) if upper else (y, g)
    turned = matrix_transpose(lower)
    inner = symmetric(half(matmul(turned, g)))
    return matrix_transpose(solve(turned, matrix_transpose(solve(turned, inner))))


@cholesky.defjvp
def cholesky_jvp(dx, y, upper):
    lower = matrix_transpose(y) if upper else y
    inner = solve(lower, matrix_transpose(solve(lower, symmetric(dx))))
    dy = matmul(lower, half(inner))
    return matrix_transpose(dy) if upper else dy


def eigen_shapes(n):
    """Shapes of eigenvalues and eigenvectors."""
    return (n,), (n, n)


def eigen_packed(x):
    """Shape rule of eig, packed."""
    return (*square(x)[:-2], total(*eigen_shapes(x[-1])))


def eigen_cut(y):
    """Eigenvalues and eigenvectors, given n^2 + n packed numbers."""
    n = int((4 * y.shape[-1] + 1) ** 0.5) // 2
    return cut(y, *eigen_shapes(n))


def triangle(x, *, UPLO):
    """Shape rule of eigh, packed."""
    if UPLO not in ("L", "U"):
        raise ValueError(f"eigh: UPLO is {UPLO!r}, not 'L' or 'U'")
    return eigen_packed(x)


@op(
    name="eigh",
    shape=triangle,
    saves="y",
    samples=[
        sample(DEFINITE),
        sample(DEFINITE[0], UPLO="U"),
        sample((1, 1)),
        sample((0, 0)),
        sample((0, 2, 2)),
    ],
    errors=[
        *NOT_SQUARE,
        bad((2, 2), UPLO="l", error=ValueError, match="UPLO is 'l', not 'L' or 'U'"),
    ],
    smooth=False,  # see Note [Symmetric arguments]
)
def packed_eigh(x, /, *, UPLO="L"):
    """Eigenvalues and eigenvectors of symmetric matrices. See `eigh`.

    Shapes: x (..., n, n) -> y (..., n + n n)
    """
    x = floating(x)
    found = converged(lambda a: np.linalg.eigh(a, UPLO), x)
    return packed(x.ndim - 2, *found)


@packed_eigh.defvjp
def eigh_vjp(g, y):
    (w, v), (g_w, g_v) = eigen_cut(y), eigen_cut(g)
    turned = matrix_transpose(v)
    inner = off_diagonal(matmul(turned, g_v), row(w) - column(w))
    inner = inner + on_diagonal(g_w, shape=inner.shape[-2:])
    return symmetric(matmul(v, matmul(inner, turned)))


@packed_eigh.defjvp
def eigh_jvp(dx, y):
    w, v = eigen_cut(y)
    inner = matmul(matrix_transpose(v), matmul(symmetric(dx), v))
    dv = matmul(v, off_diagonal(inner, row(w) - column(w)))
    return packed_tensors(w.ndim - 1, matrix_diagonal(inner), dv)


@named
def eigh(x, /, *, UPLO="L"):
    """Eigenvalues of symmetric matrices, ascending, and eigenvectors, as columns of length one.

    The sign of an eigenvector is arbitrary, and so is the choice among vectors of equal
    eigenvalues: the gradient of what depends on it is infinite or NaN. What depends on the
    eigenvalues alone has a gradient nevertheless.

    Args:
        UPLO: which triangle is read, "L" or "U".

    Shapes: x (..., n, n) -> eigenvalues (..., n), eigenvectors (..., n, n)

    Raises:
        ShapeError: x does not hold square matrices.
        LinAlgError: x holds NaN or inf, or the iteration does not converge.

    >>> import tape
    >>> tape.linalg.eigh([[2.0, 0.0], [0.0, 1.0]]).eigenvalues.tolist()
    [1.0, 2.0]
    """
    return EighResult(*eigen_cut(packed_eigh(asarray(x), UPLO=UPLO)))


def one_row(x, *, UPLO):
    """Shape rule: a number for each row of square matrices."""
    if UPLO not in ("L", "U"):
        raise ValueError(f"eigvalsh: UPLO is {UPLO!r}, not 'L' or 'U'")
    return square(x)[:-1]


@op(
    shape=one_row,
    saves="x",
    samples=[
        sample(DEFINITE),
        sample(DEFINITE[0], UPLO="U"),
        sample(np.eye(3)),
        sample((1, 1)),
        sample((0, 0)),
    ],
    errors=[*NOT_SQUARE, bad(NO_NUMBERS, error=LinAlgError, match="holds NaN or inf")],
    smooth=False,  # see Note [Symmetric arguments]
)
def eigvalsh(x, /, *, UPLO="L"):
    """Eigenvalues of symmetric matrices, ascending.

    Args:
        UPLO: which triangle is read, "L" or "U".

    Shapes: x (..., n, n) -> y (..., n)

    Raises:
        ShapeError: x does not hold square matrices.
        LinAlgError: x holds NaN or inf, or the iteration does not converge.
    """
    return converged(np.linalg.eigvalsh, floating(x), UPLO)


@eigvalsh.defvjp
def eigvalsh_vjp(g, x, UPLO):
    v = eigh(x, UPLO=UPLO).eigenvectors
    return matmul(v * row(g), matrix_transpose(v))


@eigvalsh.defjvp
def eigvalsh_jvp(dx, x, UPLO):
    v = eigh(x, UPLO=UPLO).eigenvectors
    return sum_over(v * matmul(dx, v), -2)


@op(
    name="eig",
    shape=eigen_packed,
    saves="y",
    samples=[
        sample(np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 1.0], [0.25, 0.0, 3.0]])),
        sample(np.array([[[1.0, 2.0], [3.0, 1.0]], [[0.0, 1.0], [0.5, 2.0]]])),
        sample((1, 1)),
        sample((0, 0)),
    ],
    errors=[
        *NOT_SQUARE,
        bad(
            np.array([[0.0, 1.0], [-1.0, 0.0]]),
            error=LinAlgError,
            match="has complex eigenvalues, such as 0.1i: tape has real numbers only",
        ),
        bad(NO_NUMBERS, error=LinAlgError, match="holds NaN or inf"),
    ],
    smooth=False,  # a small step may change the order
)
def packed_eig(x, /):
    """Real eigenvalues and eigenvectors of any square matrices. See `eig`.

    Shapes: x (..., n, n) -> y (..., n + n n)
    """
    x = floating(x)
    w, v = converged(np.linalg.eig, x)
    if w.dtype.kind == "c":
        place = tuple(np.argwhere(w.imag != 0)[0].tolist())
        where_at, first = located(x, place[:-1]), f"{w[place].real:g}{w[place].imag:+g}i"
        raise LinAlgError(
            f"{where_at} has complex eigenvalues, such as {first}: tape has real numbers only"
        )
    return packed(x.ndim - 2, w, v)


@packed_eig.defvjp
def eig_vjp(g, y):
    (w, v), (g_w, g_v) = eigen_cut(y), eigen_cut(g)
    turned = matrix_transpose(v)
    inner = matmul(turned, g_v)
    inner = inner - matmul(turned, v * row(matrix_diagonal(inner)))  # the columns' length is one
    inner = off_diagonal(inner, row(w) - column(w)) + on_diagonal(g_w, shape=inner.shape[-2:])
    return solve(turned, matmul(inner, turned))


@packed_eig.defjvp
def eig_jvp(dx, y):
    w, v = eigen_cut(y)
    inner = solve(v, matmul(dx, v))
    dv = matmul(v, off_diagonal(inner, row(w) - column(w)))
    dv = dv - v * row(sum_over(v * dv, -2))
    return packed_tensors(w.ndim - 1, matrix_diagonal(inner), dv)


@named
def eig(x, /):
    """Eigenvalues, in no order, and eigenvectors, as columns of length one; all must be real.

    Shapes: x (..., n, n) -> eigenvalues (..., n), eigenvectors (..., n, n)

    Raises:
        ShapeError: x does not hold square matrices.
        LinAlgError: an eigenvalue is complex, x holds NaN or inf, or the iteration does not
            converge.

    >>> import tape
    >>> sorted(tape.linalg.eig([[1.0, 4.0], [1.0, 1.0]]).eigenvalues.tolist())
    [-1.0, 3.0]
    """
    return EighResult(*eigen_cut(packed_eig(asarray(x))))


def eigvals(x, /):
    """Eigenvalues of any square matrices, in no order; all must be real.   Raises: as `eig`

    Shapes: x (..., n, n) -> y (..., n)

    >>> import tape
    >>> sorted(tape.linalg.eigvals([[1.0, 4.0], [1.0, 1.0]]).tolist())
    [-1.0, 3.0]
    """
    try:
        return eig(x).eigenvalues
    except TapeError as error:
        error.op = "eigvals"
        raise
