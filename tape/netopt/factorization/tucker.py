"""Kernels of convolutions as chains of smaller ones: Tucker-2, and rows after columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tape.netopt.factorization.svd import signed_svd, svd_subprojection

__all__ = ["composed", "separable", "tucker2", "unfolded"]

STEPS = 10  # of orthogonal iteration at most
GAIN = 1e-5  # of the core's norm, relative, below which they end


def unfolded(w: Any, axis: int) -> Any:
    """The matrix with an axis of w as its rows, and all others joined."""
    return np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)


def tucker2(w: Any, n_in: int, n_out: int) -> list[Any]:
    """Kernels of three convolutions in a row: 1x1 to n_in channels, the window, 1x1 from n_out.

    w[o, c, ...] = sum over p, q of third[o, p] second[p, q, ...] first[q, c], nearly: bases of
    channels by the singular values of both unfoldings, then by turns with the other one applied.

    Shapes: w (T, S, *d) -> first (n_in, S, *1), second (n_out, n_in, *d), third (T, n_out, *1)

    Args:
        w: the kernel.
        n_in, n_out: channels in between, from 1 to S and T. A full one needs no convolution of its
            own, which is left out.

    Source: Kim, Park, Yoo, Choi, Yang, Shin, "Compression of deep convolutional neural networks for
    fast and low power mobile applications", arXiv 1511.06530, section 3.
    """
    u_out = basis(w, 0, n_out)
    u_in = basis(w, 1, n_in)
    size = 0.0
    for _ in range(STEPS):
        u_out = basis(applied(w, u_in, 1), 0, n_out)
        u_in = basis(applied(w, u_out, 0), 1, n_in)
        core = applied(applied(w, u_out, 0), u_in, 1)
        before, size = size, float(np.linalg.norm(core))
        if size <= before * (1 + GAIN):
            break
    ones = (1,) * (w.ndim - 2)
    first, third = u_in.T.reshape(n_in, -1, *ones), u_out.reshape(-1, n_out, *ones)
    if n_in == w.shape[1]:
        core, first = applied(core, u_in.T, 1), None
    if n_out == w.shape[0]:
        core, third = applied(core, u_out.T, 0), None
    return [kernel for kernel in (first, core, third) if kernel is not None]


def basis(w: Any, axis: int, n: int) -> Any:
    """The n main directions along an axis, as orthonormal columns."""
    u = signed_svd(unfolded(w, axis))[0]
    if u.shape[1] < n:  # w has fewer than n others: any directions will do
        u = np.linalg.qr(np.concatenate([u, np.eye(len(u), dtype=u.dtype)], axis=1))[0]
    return u[:, :n]


def applied(w: Any, u: Any, axis: int) -> Any:
    """w with an axis expressed in the columns of u."""
    return np.moveaxis(np.tensordot(w, u, (axis, 0)), -1, axis)


def separable(w: Any, k: int) -> list[Any]:
    """Kernels of two convolutions in a row, along columns and then along rows.

    Shapes: w (T, S, R, C) -> first (k, S, R, 1), second (T, k, 1, C)

    Source: Jaderberg, Vedaldi, Zisserman, "Speeding up convolutional neural networks with low rank
    expansions", BMVC 2014, section 2.2.
    """
    n_out, n_in, r, c = w.shape
    w1, w2 = svd_subprojection(sides(w), k)
    first = w1.T.reshape(k, n_in, r, 1)
    second = np.moveaxis(w2.reshape(k, c, n_out), (0, 1, 2), (1, 2, 0))
    return [first, second[:, :, None, :]]


def sides(w: Any) -> Any:
    """The matrix of which `separable` takes singular values. Shapes: (T, S, R, C) -> (SR, CT)"""
    n_out, n_in, r, c = w.shape
    return w.transpose(1, 2, 3, 0).reshape(n_in * r, c * n_out)


def composed(kernels: Sequence[Any]) -> Any:
    """The kernel of convolutions in a row, of which along each axis but one has length 1."""
    whole = kernels[0]
    for kernel in kernels[1:]:
        whole = np.einsum("tk...,ks...->ts...", kernel, whole)
    return whole
