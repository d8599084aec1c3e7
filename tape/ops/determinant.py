"""Determinants, and the cofactors that are their gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tape._core.memory import asarray
from tape.errors import LinAlgError
from tape.op import op, sample
from tape.ops.diagonal import matrix_diagonal, on_diagonal
from tape.ops.dtype import floating
from tape.ops.linalg import matmul
from tape.ops.logic import where
from tape.ops.naming import named
from tape.ops.orthogonal import svd
from tape.ops.packed import square
from tape.ops.reduce import sum as sum_over
from tape.ops.scan import products_of_others
from tape.ops.shape import matrix_transpose, reshape
from tape.ops.solve import NOT_SQUARE, REGULAR, SINGULAR, inv


class SlogdetResult(NamedTuple):
    """What slogdet gives: det = sign * exp(logabsdet)."""

    sign: Any
    logabsdet: Any


def one_each(x):
    """Shape rule: square matrices -> a number each."""
    return square(x)[:-2]


def unknown(y, x):
    """y, but NaN for matrices that hold one: elimination may take no notice and end with 0."""
    holds = np.isnan(x).any((-2, -1))
    return np.where(holds, np.asarray(np.nan, y.dtype), y) if holds.any() else y


@op(
    shape=one_each,
    saves="x",
    samples=[
        sample((3, 3)),
        sample((2, 2, 2)),
        sample(SINGULAR),
        sample(np.zeros((3, 3))),
        sample(np.eye(3)),
        sample((1, 1)),
        sample((0, 0)),
        sample((0, 2, 2)),
    ],
    errors=NOT_SQUARE,
)
def det(x, /):
    """Determinants of stacked matrices; the gradient is right for singular ones as well.

    Shapes: x (..., n, n) -> y (...)

    Raises:
        ShapeError: x does not hold square matrices.
    """
    x = floating(x)
    return unknown(np.asarray(np.linalg.det(x)), x)


@det.defvjp
def det_vjp(g, x):
    return reshape(g, (*g.shape, 1, 1)) * cofactors(x)


@det.defjvp
def det_jvp(dx, x):
    return sum_over(cofactors(x) * dx, (-2, -1))


def rotated(x):
    """u, s, v^T and the sign det(u) det(v) of x = u diag(s) v^T, NaN for matrices not finite."""
    bad_ones = ~np.isfinite(x).all((-2, -1))
    u, s, vt = np.linalg.svd(np.where(bad_ones[..., None, None], 0, x))
    sign = np.rint(np.linalg.det(u) * np.linalg.det(vt))
    return u, np.where(bad_ones[..., None], np.nan, s).astype(x.dtype), vt, sign.astype(x.dtype)


def without(s):
    """The products of all numbers but one, for each one."""
    before = np.cumprod(np.concatenate([np.ones_like(s[..., :1]), s[..., :-1]], -1), -1)
    after = np.cumprod(np.concatenate([np.ones_like(s[..., :1]), s[..., :0:-1]], -1), -1)
    return before * after[..., ::-1]


@op(
    shape=square,
    saves="x",
    samples=[
        sample((3, 3)),
        sample((2, 2, 2)),
        sample(SINGULAR, smooth=False),
        sample(np.zeros((2, 2)), smooth=False),
        sample(np.eye(3), smooth=False),
        sample((1, 1)),
        sample((0, 0)),
    ],
    errors=NOT_SQUARE,
)
def cofactors(x, /):
    """Determinants of x without row i and column j, times (-1)^(i + j): the gradient of det.

    With x = u diag(s) v^T they are det(u) det(v) u diag(products of the other s) v^T: no division,
    so singular matrices are none of its business.

    Shapes: x (..., n, n) -> y (..., n, n)
    """
    x = floating(x)
    u, s, vt, sign = rotated(x)
    return sign[..., None, None] * np.matmul(u * without(s)[..., None, :], vt)


@cofactors.defvjp
def cofactors_vjp(g, x):
    return cofactors_slope(g, x)


@cofactors.defjvp
def cofactors_jvp(dx, x):
    return cofactors_slope(dx, x)


def cofactors_slope(d, x):
    """The derivative of cofactors at x in the direction d: a symmetric map of d.

    In the basis of x's singular vectors, with p[i, j] the product of all s but two, the diagonal
    becomes p @ diagonal(d), and elsewhere it is -p * d^T.
    """
    u, s, vt = svd(x)
    n, sign = s.shape[-1], np.rint(np.linalg.det(u.numpy()) * np.linalg.det(vt.numpy()))
    own = np.eye(n, dtype=bool)
    ones = where(own, 1.0, reshape(s, (*s.shape[:-1], 1, n)))
    pairs = where(own, 0.0, products_of_others(ones, -1))
    inner = matmul(matmul(matrix_transpose(u), d), matrix_transpose(vt))
    along = matmul(pairs, reshape(matrix_diagonal(inner), (*s.shape, 1)))
    middle = on_diagonal(reshape(along, s.shape), shape=(n, n)) - pairs * matrix_transpose(inner)
    return matmul(matmul(u, middle), vt) * sign.astype(s.dtype)[..., None, None]


def signed(x):
    """Shape rule of slogdet: sign and logarithm."""
    return (*one_each(x), 2)


@op(
    name="slogdet",
    shape=signed,
    saves="x",
    samples=[
        sample(REGULAR),
        sample(-REGULAR[0]),
        sample((1, 1), low=1.0, high=2.0),
        sample((0, 0)),
        sample((0, 2, 2)),
    ],
    errors=NOT_SQUARE,
)
def packed_slogdet(x, /):
    """Sign and logarithm of the absolute value of determinants. See `slogdet`.

    Shapes: x (..., n, n) -> y (..., 2)
    """
    x = floating(x)
    return np.stack([unknown(np.asarray(part), x) for part in np.linalg.slogdet(x)], -1)


def slope(x):
    """The gradient of the logarithm of the determinant."""
    try:
        return matrix_transpose(inv(x))
    except LinAlgError as error:
        error.op = "slogdet, its gradient"
        raise


@packed_slogdet.defvjp
def packed_slogdet_vjp(g, x):
    return reshape(g[..., 1], (*g.shape[:-1], 1, 1)) * slope(x)


@packed_slogdet.defjvp
def packed_slogdet_jvp(dx, x):
    dy = sum_over(slope(x) * dx, (-2, -1))
    return reshape(dy, (*dy.shape, 1)) * np.array([0, 1], dy.dtype)


@named
def slogdet(x, /):
    """Signs and logarithms of the absolute values of determinants, (sign, logabsdet).

    det(x) = sign * exp(logabsdet), where det itself would overflow as well; 0 and -inf where x is
    singular. The gradient of the logarithm is inv(x)^T, and the sign has none.

    Shapes: x (..., n, n) -> sign, logabsdet (...)

    Raises:
        ShapeError: x does not hold square matrices.
        LinAlgError: by the gradient, if a matrix is singular.

    >>> import tape
    >>> sign, logarithm = tape.linalg.slogdet([[0.0, 2.0], [0.5, 0.0]])
    >>> sign.item(), logarithm.item()
    (-1.0, 0.0)
    """
    y = packed_slogdet(asarray(x))
    return SlogdetResult(y[..., 0].detach(), y[..., 1])
