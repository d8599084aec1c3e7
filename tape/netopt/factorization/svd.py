"""Matrices as products of two thin ones: by singular values, with regard to data, balanced."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape.errors import ShapeError
from tape.netopt.factorization.ranks import checked_rank
from tape.netopt.finite import finite

__all__ = [
    "balanced",
    "data_projection",
    "signed_svd",
    "spectrum_on",
    "svd_subprojection",
]

RIDGE = 1e-6  # weight of what no row of the data sees


def svd_subprojection(w: Any, k: int) -> tuple[Any, Any]:
    """(W1, W2) with W1 @ W2 the matrix of rank k next to w, in the Frobenius and spectral norm.

    W1 has orthonormal columns, W2 has the singular values. In each column of W1 the first of the
    largest numbers is positive, so that the result is always the same.

    Shapes: w (m, n) -> W1 (m, k), W2 (k, n)

    Args:
        w: a matrix.
        k: from 1 to min(m, n).

    Raises:
        SettingError: k is outside.
        ShapeError: w is no matrix.
        NumericsError: w has NaN or infinity.

    >>> import numpy as np
    >>> from tape.netopt.factorization import svd_subprojection
    >>> w1, w2 = svd_subprojection(np.diag([1.0, -5.0, 2.0]), 2)
    >>> (w1 @ w2).tolist()
    [[0.0, 0.0, 0.0], [0.0, -5.0, 0.0], [0.0, 0.0, 2.0]]
    """
    w = np.asarray(w)
    if w.ndim != 2:
        raise ShapeError(f"svd_subprojection: takes a matrix, got the shape {w.shape}")
    finite("svd_subprojection: w", w)
    k = checked_rank(k, min(w.shape), "svd_subprojection")
    u, s, vt = signed_svd(w)
    return np.ascontiguousarray(u[:, :k]), s[:k, None] * vt[:k]


def signed_svd(w: Any) -> tuple[Any, Any, Any]:
    """(u, s, vt) of a matrix, with signs such that in columns of u the largest is positive."""
    with np.errstate(over="ignore"):  # who wants the factors sees that they are infinite
        u, s, vt = np.linalg.svd(w, full_matrices=False)
    size = np.abs(u)
    largest = np.argmax(size >= 0.999 * size.max(axis=0, initial=0.0), axis=0)
    signs = np.where(np.take_along_axis(u, largest[None], axis=0)[0] < 0, -1, 1).astype(u.dtype)
    return u * signs + 0.0, s, vt * signs[:, None] + 0.0  # + 0.0 makes 0 of -0


def balanced(w1: Any, w2: Any) -> tuple[Any, Any]:
    """Factors of the same product, each with the roots of its singular values."""
    q, r = np.linalg.qr(w1)
    u, s, vt = signed_svd(r @ w2)
    roots = np.sqrt(s)
    return q @ (u * roots), roots[:, None] * vt


def data_projection(w: Any, x: Any, k: int) -> tuple[Any, Any]:
    """(W1, W2) of rank k with the least error of x @ w, rather than of w itself.

    The results x @ w are projected onto their k main directions: W2 has these as rows, and W1 is
    w @ W2.T. Where the data sees nothing, w decides.

    Shapes: w (m, n), x (N, m) -> W1 (m, k), W2 (k, n)
    """
    main = np.linalg.eigh(seen(w, x))[1][:, ::-1][:, :k].astype(w.dtype)
    signs = np.where(main[np.argmax(np.abs(main), axis=0), np.arange(k)] < 0, -1, 1)
    main *= signs.astype(w.dtype)
    return w @ main, np.ascontiguousarray(main.T)


def spectrum_on(w: Any, x: Any) -> Any:
    """The min(m, n) singular values of x @ w, for rules that tell a rank."""
    squares = np.linalg.eigvalsh(seen(w, x))[::-1][: min(w.shape)]
    return np.sqrt(np.maximum(squares, 0.0))


def seen(w: Any, x: Any) -> Any:
    """(x @ w).T @ (x @ w) in float64, and a little of w.T @ w."""
    w = np.asarray(w, np.float64)
    y = np.asarray(x, np.float64) @ w
    share = RIDGE * float(np.sum(np.square(x, dtype=np.float64))) / max(1, x.shape[1])
    return y.T @ y + (share or 1.0) * (w.T @ w)
