"""`lower_masks`: masked layers as sparse ones where these are faster, as plain ones elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape.netopt.frame import Optimization, lower
from tape.netopt.judge import Place
from tape.netopt.measure import NOISE, compare
from tape.netopt.record import Call, called, record
from tape.netopt.sparsification.masked import PLAIN, MaskedDense, unmasked
from tape.netopt.sparsification.sparse_dense import SparseDense
from tape.nn.module import Module
from tape.nn.tree import below

__all__ = ["LowerMasks", "lower_masks"]


def lower_masks(model: Module, x: Any = None, *, return_report: bool = False) -> Any:
    """A copy of a model without masks: sparse dense layers where they pay, zeros elsewhere.

    It computes what the masked model does. A masked dense layer becomes a `SparseDense`, which
    keeps only what is not zero, if that is measured to be faster on what comes to it of `x`; it
    computes forward only. Convolutions, and dense layers that are faster with their zeros, become
    plain layers.

    Args:
        model: as `prune_magnitude` made it, trained, in evaluation mode.
        x: a batch, or a tuple of operands: what both are held against each other on, and measured.
            Without it all layers become plain ones.
        return_report: whether to return (model, `Report`).

    Raises:
        TapeError: nothing has a mask, the model is in training mode, or results differ on `x`.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(50, 20, activation=tape.relu), nn.Dense(5, 50))
    >>> masked = netopt.sparsification.prune_magnitude(net, 0.8)
    >>> plain = netopt.sparsification.lower_masks(masked.eval())
    >>> plain[0], int((plain[0].weight == 0).sum())
    (Dense(50, activation=relu): weight (50, 20), bias (50,): 1,050 parameters, 800)
    """
    calls = {} if x is None or not isinstance(model, Module) else record(model, x)[1]
    held: dict[int, int] = {}
    for module in below(model) if isinstance(model, Module) else ():
        for _, entry in module.entries():
            held[id(entry)] = held.get(id(entry), 0) + 1
    by_path = {}
    if calls:
        for path, layer in model.named_modules():
            if type(layer) is MaskedDense and held[id(layer.weight)] == 1:
                by_path[path] = calls.get(id(layer), [])
    made = lower(model, LowerMasks(by_path), x=x)
    return tuple(made) if return_report else made.model


class LowerMasks(Optimization):
    """Masked layers as sparse ones where these are faster, plain ones elsewhere.

    Args:
        calls: of the dense layers that may become sparse, by path.
    """

    kinds = tuple(PLAIN)

    def __init__(self, calls: dict[str, list[Call]] | None = None) -> None:
        self.calls = calls or {}

    def lower(self, layer: Any, at: Place) -> Module | None:
        """The plain or sparse layer; see `lower_masks`."""
        if type(layer) not in PLAIN:
            return None
        plain, calls = unmasked(layer, at.shared), self.calls.get(at.path)
        if not calls or layer.weight.dtype not in ("float32", "float64"):
            return plain
        weight = plain.weight.numpy()
        n, bias = int(np.count_nonzero(weight)), layer.bias
        sparse = SparseDense(
            layer.n_out, layer.n_in, n, layer.activation, bias is not None, weight.dtype
        )
        sparse.fill(weight, None if bias is None else bias.numpy())
        a, b = plain.clone().eval(), sparse.clone().eval()
        took = compare(lambda: called(a, calls), lambda: called(b, calls))
        return sparse if took.least_ratio * NOISE < 1 else plain

    def describe(self, new: Any) -> str:
        """The share of zeros, and whether they are left out."""
        if isinstance(new, SparseDense):
            return f"{100 * new.sparsity:.1f} % zeros left out"
        share = 100 * float((new.weight.numpy() == 0).mean()) if new.weight.size else 0.0
        return f"{share:.1f} % zeros, no faster"
