"""Factors that are orthogonal: qr and svd. See Note [Several results] in `packed`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tape._core.memory import asarray
from tape.errors import GradError, LinAlgError
from tape.op import bad, op, sample
from tape.ops.create import matrices
from tape.ops.decompose import NO_NUMBERS, column, half, off_diagonal, ratio, row
from tape.ops.diagonal import matrix_diagonal, on_diagonal
from tape.ops.dtype import floating
from tape.ops.join import concat
from tape.ops.linalg import matmul
from tape.ops.naming import named
from tape.ops.packed import converged, cut, packed, packed_tensors, total
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import matrix_transpose
from tape.ops.solve import NOT_SQUARE, solve

FORMS = [(4, 3), (3, 4), (3, 3), (2, 3, 2), (2, 2, 3), (1, 1), (0, 3), (3, 0), (0, 2, 2)]
NO_MATRIX = NOT_SQUARE[0]


class QRResult(NamedTuple):
    """What qr gives: x = Q @ R."""

    Q: Any
    R: Any


class SVDResult(NamedTuple):
    """What svd gives: x = U @ diag(S) @ Vh."""

    U: Any
    S: Any
    Vh: Any


def qr_shapes(x, mode):
    """Shapes of Q and R without the stack's axes."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode is {mode!r}, not 'reduced' or 'complete'")
    m, n = matrices(x)[-2:]
    k = m if mode == "complete" else min(m, n)
    return (m, k), (k, n)


def qr_packed(x, *, mode):
    """Shape rule of qr, packed."""
    return (*x[:-2], total(*qr_shapes(x, mode)))


@op(
    name="qr",
    shape=qr_packed,
    saves="y x.shape",
    samples=[
        *[sample(form) for form in FORMS],
        sample((3, 4), mode="complete"),
        sample((4, 3), dtypes=["int64"], mode="complete"),
    ],
    errors=[
        NO_MATRIX,
        bad((2, 2), mode="r", error=ValueError, match="mode is 'r', not 'reduced' or 'complete'"),
    ],
)
def packed_qr(x, /, mode="reduced"):
    """Orthogonal and upper triangular factors. See `qr`.   Shapes: x (..., m, n) -> y (..., ?)"""
    x = floating(x)
    return packed(x.ndim - 2, *np.linalg.qr(x, mode))


def over(x, r):
    """x @ inv(r), or x @ inv(r^T) given r^T, r being the triangle of a qr."""
    try:
        return matrix_transpose(solve(matrix_transpose(r), matrix_transpose(x)))
    except LinAlgError:
        raise LinAlgError(
            f"qr: has no gradient: of {r.shape[-1]} first columns some depend on the others"
        ) from None


@packed_qr.defvjp
def qr_vjp(g, y, x_shape, mode):
    m, n = x_shape[-2:]
    if 0 in x_shape:
        return asarray(np.zeros(x_shape, g.dtype))
    if m > n and mode == "complete":
        raise GradError(
            f"qr: mode='complete' of x {x_shape}, which has more rows than columns, has no "
            "gradient: some columns of Q are arbitrary"
        )
    (q, r), (g_q, g_r) = [cut(t, *qr_shapes(x_shape, mode)) for t in (y, g)]
    if m >= n:
        return tall_slope(g_q, g_r, q, r)
    # x = [a b] = q [r c]: c = q^T b hands its cotangent on to b and, through q, to a.
    r, c, g_r, g_c = r[..., :m], r[..., m:], g_r[..., :m], g_r[..., m:]
    g_q = g_q + matmul(q, matmul(c, matrix_transpose(g_c)))
    return concat([tall_slope(g_q, g_r, q, r), matmul(q, g_c)], axis=-1)


def tall_slope(g_q, g_r, q, r):
    """The cotangent of x = q @ r, x having no more columns than rows."""
    inner = matmul(g_r, matrix_transpose(r)) - matmul(matrix_transpose(q), g_q)
    inner = half(matrix_transpose(inner))
    inner = inner + matrix_transpose(inner)
    return over(g_q + matmul(q, inner), matrix_transpose(r))


@packed_qr.defjvp
def qr_jvp(dx, y, x_shape, mode):
    m, n = x_shape[-2:]
    q, r = cut(y, *qr_shapes(x_shape, mode))
    a, r_a = (dx, r) if m >= n else (dx[..., :m], r[..., :m])
    a = over(a, r_a)
    inner = matmul(matrix_transpose(q), a)
    inner = matrix_transpose(half(inner + matrix_transpose(inner)))
    dq, dr = a - matmul(q, inner), matmul(inner, r_a)
    if m < n:
        dc = matmul(matrix_transpose(q), dx[..., m:])
        dr = concat([dr, dc + matmul(matrix_transpose(dq), matmul(q, r[..., m:]))], axis=-1)
    return packed_tensors(len(x_shape) - 2, dq, dr)


@named
def qr(x, /, *, mode="reduced"):
    """Q with orthonormal columns and upper triangular R, x = Q @ R, from Householder reflections.

    Args:
        mode: "reduced" for as many columns of Q as x has rows or columns, whichever are fewer;
            "complete" for as many as x has rows. The latter has no gradient where these are more.

    Shapes: x (..., m, n) -> Q (..., m, k), R (..., k, n), k being min(m, n) or m

    Raises:
        ShapeError: x has fewer than two axes.
        ValueError: there is no such mode.
        GradError: by the gradient of mode "complete", if x has more rows than columns.
        LinAlgError: by the gradient, if the first k columns of x are not linearly independent.

    >>> import tape
    >>> q, r = tape.linalg.qr([[0.0, 2.0], [3.0, 4.0]])
    >>> (q @ r).tolist()
    [[0.0, 2.0], [3.0, 4.0]]
    """
    x = asarray(x)
    shapes = qr_shapes(x.shape, mode) if x.ndim > 1 else ()
    return QRResult(*cut(packed_qr(x, mode), *shapes))


def svd_shapes(x, full_matrices):
    """Shapes of U, S and Vh without the stack's axes."""
    m, n = matrices(x)[-2:]
    k = min(m, n)
    return ((m, m), (k,), (n, n)) if full_matrices else ((m, k), (k,), (k, n))


def svd_packed(x, *, full_matrices):
    """Shape rule of svd, packed."""
    return (*x[:-2], total(*svd_shapes(x, full_matrices)))


@op(
    name="svd",
    shape=svd_packed,
    saves="y x.shape",
    samples=[
        *[sample(form, full_matrices=False) for form in FORMS],
        sample((3, 3)),
        sample((3, 2), smooth=False),
        sample((2, 2, 3), smooth=False),
        sample((0, 3)),
    ],
    errors=[
        NO_MATRIX,
        bad(NO_NUMBERS, error=LinAlgError, match=r"x \(2, 2\) holds NaN or inf"),
    ],
)
def packed_svd(x, /, full_matrices=True):
    """Singular vectors and values. See `svd`.   Shapes: x (..., m, n) -> y (..., ?)"""
    x = floating(x)
    found = converged(np.linalg.svd, x, full_matrices)
    return packed(x.ndim - 2, *found)


def first(k, u, s, vt):
    """The k columns of u and rows of vt that go with singular values."""
    return u[..., :k], s, vt[..., :k, :]


@packed_svd.defvjp
def svd_vjp(g, y, x_shape, full_matrices):
    (m, n), shapes = x_shape[-2:], svd_shapes(x_shape, full_matrices)
    k = min(m, n)
    (u, s, vt), (g_u, g_s, g_vt) = [first(k, *cut(t, *shapes)) for t in (y, g)]
    between = (row(s) - column(s)) * (row(s) + column(s))
    of_u = matmul(matrix_transpose(u), g_u)
    of_v = matmul(vt, matrix_transpose(g_vt))
    inner = off_diagonal(of_u - matrix_transpose(of_u), between) * row(s)
    inner = inner + off_diagonal(of_v - matrix_transpose(of_v), between) * column(s)
    inner = inner + on_diagonal(g_s, shape=(k, k))
    if m > k:
        inner = matmul(u, inner) + ratio(g_u - matmul(u, of_u), row(s))
        return matmul(inner, vt)
    if n > k:
        inner = matmul(inner, vt)
        inner = inner + ratio(g_vt - matmul(matrix_transpose(of_v), vt), column(s))
        return matmul(u, inner)
    return matmul(u, matmul(inner, vt))


@packed_svd.defjvp
def svd_jvp(dx, y, x_shape, full_matrices):
    (m, n), shapes = x_shape[-2:], svd_shapes(x_shape, full_matrices)
    k = min(m, n)
    u, s, vt = first(k, *cut(y, *shapes))
    along_v, along_u = matmul(dx, matrix_transpose(vt)), matmul(matrix_transpose(u), dx)
    inner = matmul(along_u, matrix_transpose(vt))
    between = (row(s) - column(s)) * (row(s) + column(s))
    of_u, of_v = inner * row(s), inner * column(s)
    du = matmul(u, off_diagonal(of_u + matrix_transpose(of_u), between))
    dvt = -matmul(off_diagonal(of_v + matrix_transpose(of_v), between), vt)
    if m > k:
        du = du + ratio(along_v - matmul(u, inner), row(s))
    if n > k:
        dvt = dvt + ratio(along_u - matmul(inner, vt), column(s))
    lead = x_shape[:-2]
    du, dvt = widened(du, (*lead, *shapes[0]), -1), widened(dvt, (*lead, *shapes[2]), -2)
    return packed_tensors(len(lead), du, matrix_diagonal(inner), dvt)


def widened(x, shape, axis):
    """x with zeros put behind it along an axis."""
    if x.shape == shape:
        return x
    rest = list(shape)
    rest[axis] -= x.shape[axis]
    return concat([x, np.zeros(rest, x.dtype)], axis=axis)


@named
def svd(x, /, *, full_matrices=True):
    """Singular values, descending, and vectors: x = U @ diag(S) @ Vh, by columns of U, rows of Vh.

    The signs of a pair of vectors are arbitrary, and so is the choice among vectors of equal
    singular values: the gradient of what depends on it is infinite or NaN. The vectors that
    `full_matrices` adds are taken for constants, as in PyTorch.

    Args:
        full_matrices: square U and Vh; else as many columns and rows as there are singular values.

    Shapes: x (..., m, n) -> U (..., m, m), S (..., k), Vh (..., n, n), k = min(m, n);
        not full: U (..., m, k), Vh (..., k, n)

    Raises:
        ShapeError: x has fewer than two axes.
        LinAlgError: x holds NaN or inf, or the iteration does not converge.

    >>> import tape
    >>> tape.linalg.svd([[0.0, 2.0], [3.0, 0.0]]).S.tolist()
    [3.0, 2.0]
    """
    x, full = asarray(x), bool(full_matrices)
    shapes = svd_shapes(x.shape, full) if x.ndim > 1 else ()
    return SVDResult(*cut(packed_svd(x, full), *shapes))


def fewest(x):
    """Shape rule: as many numbers as a matrix has rows or columns."""
    return (*matrices(x)[:-2], min(x[-2:]))


@op(
    shape=fewest,
    saves="x",
    samples=[
        *[sample(form) for form in FORMS],
        sample(np.eye(3), smooth=False),
        sample(np.zeros((2, 2)), smooth=False),
    ],
    errors=[NO_MATRIX, bad(NO_NUMBERS, error=LinAlgError, match="holds NaN or inf")],
)
def svdvals(x, /):
    """Singular values, descending.   Shapes: x (..., m, n) -> y (..., min(m, n))

    Raises:
        ShapeError: x has fewer than two axes.
        LinAlgError: x holds NaN or inf, or the iteration does not converge.
    """
    return converged(lambda a: np.linalg.svd(a, compute_uv=False), floating(x))


@svdvals.defvjp
def svdvals_vjp(g, x):
    u, _, vt = svd(x, full_matrices=False)
    return matmul(u * row(g), vt)


@svdvals.defjvp
def svdvals_jvp(dx, x):
    u, _, vt = svd(x, full_matrices=False)
    return sum_over(u * matmul(dx, matrix_transpose(vt)), -2)
