"""Matrices as products of two thin ones: by singular values, with regard to data, balanced."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape.netopt.ranks import checked_rank

__all__ = ["balanced", "data_projection", "signed_svd", "spectrum_on", "svd_subprojection"]

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
        LinAlgError: w has NaN or infinity.

    >>> import numpy as np
    >>> from tape.netopt.factorization import svd_subprojection
    >>> w1, w2 = svd_subprojection(np.diag([1.0, -5.0, 2.0]), 2)
    >>> (w1 @ w2).tolist()
    [[0.0, 0.0, 0.0], [0.0, -5.0, 0.0], [0.0, 0.0, 2.0]]
    """
    w = np.asarray(w)
    k = checked_rank(k, min(w.shape), "svd_subprojection")
    u, s, vt = signed_svd(w)
    return np.ascontiguousarray(u[:, :k]), s[:k, None] * vt[:k]


def signed_svd(w: Any) -> tuple[Any, Any, Any]:
    """(u, s, vt) of a matrix, with signs such that in columns of u the largest is positive."""
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
    _, _, vt = signed_svd(seen(w, x))
    return w @ vt[:k].T, np.ascontiguousarray(vt[:k])


def spectrum_on(w: Any, x: Any) -> Any:
    """The min(m, n) singular values of x @ w, for rules that tell a rank."""
    return np.linalg.svd(seen(w, x), compute_uv=False)[: min(w.shape)]


def seen(w: Any, x: Any) -> Any:
    """A matrix of the singular values and right vectors of x @ w, without the N rows of x."""
    r = np.linalg.qr(x, mode="r") if len(x) > x.shape[1] else x
    scale = np.sqrt(RIDGE * np.sum(np.square(x)) / max(1, x.shape[1])) or 1.0
    return np.concatenate([r @ w, scale * w])
