"""`fold_batch_norm`: batch norms as parts of the convolutions and dense layers in front of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tape.errors import TapeError
from tape.netopt.cost import n_parameters
from tape.netopt.finish import MAX_NAMED
from tape.netopt.finite import finite
from tape.netopt.outcome import drift, module_at, totals
from tape.netopt.quantization.chain import is_row, shared_in
from tape.netopt.quantization.folded import Folded, factor_and_shift
from tape.netopt.record import run
from tape.netopt.report import Report, Row
from tape.nn.conv import Conv1d, Conv2d, Conv3d
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.norm import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d
from tape.nn.parameter import Parameter
from tape.nn.tree import below

__all__ = ["fold_batch_norm"]

KINDS = {
    Conv1d: BatchNorm1d,
    Conv2d: BatchNorm2d,
    Conv3d: BatchNorm3d,
    Dense: BatchNorm1d,
}  # which batch norm takes what a layer gives


def fold_batch_norm(model: Module, *, x: Any = None, return_report: bool = False) -> Any:
    """A copy of the model with batch norms as parts of the layers right in front of them.

    In evaluation mode a batch norm multiplies each channel and adds to it, as the weight and the
    bias of a convolution or a dense layer do. Where one stands behind such a layer without
    activation, in an `nn.Sequential`, the layer takes it over; results differ by rounding. A dense
    layer then takes its rows of features (N, n_in) only where the norm did.

    Args:
        model: the tree, in evaluation mode; it stays as it is.
        x: a batch, or a tuple of operands: what latency and drift are measured on.
        return_report: whether to return (model, `Report`).

    Raises:
        TapeError: the model is in training mode, or nothing can be folded; the report's reasons are
            listed.
        NumericsError: a weight or statistic has NaN or infinity.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Conv2d(8, 3, n_in=3), nn.BatchNorm2d(8), tape.relu).eval()
    >>> netopt.quantization.fold_batch_norm(net)
    Sequential: 224 parameters
      0: Conv2d(8, 3): weight (8, 3, 3, 3), bias (8,): 224 parameters
      1: Folded(BatchNorm2d)
      2: relu
    """
    if not isinstance(model, Module):
        raise TypeError(f"fold_batch_norm: takes a module, got a {type(model).__name__}")
    training = [path or "the whole" for path, m in model.named_modules() if m.training]
    if training:
        raise TapeError(
            f"fold_batch_norm: {training[0]} is in training mode, where a batch norm does more: "
            "call model.eval()"
        )
    list(model.named_parameters())  # raises for those without a size
    new = model.clone()
    report = Report("Batch norms folded into the layers in front of them.")
    shared = shared_in(new, parameters=True)
    behind = {
        id(b): (row, n, a)
        for row in below(new)
        if is_row(row)
        for n, (a, b) in enumerate(itertools.pairwise(row.layers), 1)
    }
    for path, norm in model.named_modules():
        if not isinstance(norm, BatchNorm):
            continue
        mine = module_at(new, path)
        row, number, layer = behind.get(id(mine), (None, 0, None))
        reason = objection_to(layer, mine, shared)
        line = Row(path, type(norm).__name__, f"kept: {reason}" if reason else "folded", not reason)
        line.parameters = n_parameters(norm), n_parameters(norm) * bool(reason)
        report.rows.append(line)
        if not reason:
            finite(f"fold_batch_norm: {path}", *map(np.asarray, norm.state_dict().values()))
            take_over(layer, mine)
            row.layers[number] = Folded(type(norm).__name__)
    if not report.changed:
        why = "; ".join(f"{row.path}: {row.action[6:]}" for row in report.rows[:MAX_NAMED])
        raise TapeError(f"fold_batch_norm: folds nothing: {why or 'there is no batch norm'}")
    totals(report, model, new, x)
    if x is not None:
        report.drift = drift(run(model.clone(), x), run(new, x))
    return (new, report) if return_report else new


def objection_to(layer: Any, norm: Any, shared: set[int]) -> str:
    """Why a batch norm cannot become a part of the layer in front of it, "" if it can."""
    if type(layer) not in KINDS:
        return "does not stand right behind a convolution or dense layer in a row"
    if type(norm) is not KINDS[type(layer)]:
        return f"does not take what a {type(layer).__name__} gives"
    if layer.activation is not None:
        return "stands behind an activation"
    if norm.running_mean is None:
        return "takes the statistics of each batch"
    parts = [layer, norm, layer.weight, layer.bias]
    if any(id(part) in shared for part in parts):
        return "it, or the layer in front of it or its weight, is used elsewhere too"
    return ""


def take_over(layer: Any, norm: Any) -> None:
    """Make a batch norm a part of a layer's weight and bias."""
    factor, shift = factor_and_shift(norm)
    w = layer.weight.numpy()
    bias = 0.0 if layer.bias is None else layer.bias.numpy().astype(np.float64)
    column = (-1, *(1,) * (w.ndim - 1))
    layer.weight = Parameter((w * factor.reshape(column)).astype(w.dtype))
    layer.bias = Parameter((bias * factor + shift).astype(w.dtype))
