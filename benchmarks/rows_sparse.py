"""Rows about sparse dense layers: only what is not zero, against floats with their zeros."""

from __future__ import annotations

import numpy as np

from .row import Contender, TimedRow, faster_than
from .rows_netopt import called, drawn

LAYERS = [(1, 1024, 1024, 0.9), (16, 1024, 1024, 0.9), (64, 1024, 1024, 0.9), (64, 1024, 4096, 0.8)]


def weight(n_out: int, n_in: int, sparsity: float) -> np.ndarray:
    """Normal numbers with zeros among them."""
    w = drawn(n_out, n_in)
    w[np.random.default_rng(1).random(w.shape) < sparsity] = 0
    return w


def layer(m: int, n_in: int, n_out: int, sparsity: float, is_sparse: bool) -> Contender:
    """A dense layer without bias, sparse or with its zeros."""
    from tape import nn
    from tape.netopt.sparsification import SparseDense

    w = weight(n_out, n_in, sparsity)
    net = nn.Dense(n_out, n_in, bias=False).eval()
    net.weight = nn.Parameter(w)
    if is_sparse:
        net = SparseDense(n_out, n_in, int(np.count_nonzero(w)), bias=False).fill(w)
    return called(net, drawn(m, n_in))


def torch_layer(m: int, n_in: int, n_out: int, sparsity: float) -> Contender:
    """The same in PyTorch, by compressed rows."""
    import torch

    w = torch.from_numpy(weight(n_out, n_in, sparsity)).to_sparse_csr()
    names = {"w": w, "x": torch.from_numpy(drawn(m, n_in)).T.contiguous()}
    return Contender("w @ x", names, scope=torch.no_grad, comparable=False)


def row(m: int, n_in: int, n_out: int, sparsity: float) -> TimedRow:
    """One layer."""
    shape = m, n_in, n_out, sparsity
    return TimedRow(
        f"netopt sparse dense {m}x{n_in} to {n_out}, {sparsity:.0%} zeros",
        {
            "sparse": lambda: layer(*shape, True),
            "floats": lambda: layer(*shape, False),
            "torch CSR": lambda: torch_layer(*shape),
        },
        [faster_than("floats", 2 if sparsity >= 0.9 else 1.3), faster_than("torch CSR", 1)],
    )


ROWS = [row(*shape) for shape in LAYERS]
