"""What a filter is worth: by the size of its weights, of its batch norm's, or of its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tape.errors import SettingError
from tape.netopt.finite import finite
from tape.netopt.sparsification.channels import Channels
from tape.nn.conv import ConvTranspose2d
from tape.nn.linear import Dense
from tape.nn.norm import BatchNorm

__all__ = ["IMPORTANCES", "checked_importance", "filters", "out_axis", "worth"]

IMPORTANCES = ("l1", "l2", "batch_norm", "activation")


def checked_importance(importance: Any) -> Any:
    """The setting itself.

    Raises:
        SettingError: it is neither a function nor one of `IMPORTANCES`.
    """
    if not (callable(importance) or importance in IMPORTANCES):
        raise SettingError(
            f"prune_structured: importance is one of {IMPORTANCES}, or a function of a layer that "
            f"gives a number for each of its filters; got {importance!r}"
        )
    return importance


def out_axis(layer: Any) -> int:
    """The axis of a layer's weight along which its filters stand."""
    return 1 if isinstance(layer, ConvTranspose2d) else 0


def filters(layer: Any) -> np.ndarray:
    """The weights of each filter or neuron, one row each, float64."""
    w = np.moveaxis(layer.weight.numpy(), out_axis(layer), 0)
    return w.reshape(len(w), -1).astype(np.float64)


def worth(
    importance: str | Callable[[Any], Any],
    path: str,
    layer: Any,
    channels: Channels,
    norms: list[tuple[str, BatchNorm]],
) -> np.ndarray | None:
    """What each filter of a layer is worth, >= 0; None if that cannot be said.

    Args:
        importance: how; see `prune_structured`.
        path: of the layer.
        layer: with the filters.
        channels: of the model that it is in.
        norms: the batch norms of that model.

    Raises:
        NumericsError: there is NaN or infinity.
        SettingError: a function gave something else than a number for each filter.
    """
    name = f"prune_structured: {path or 'the layer'} {layer.weight.shape}"
    rows = filters(layer)
    finite(name, rows)
    if callable(importance):
        return given(importance(layer), len(rows), name)
    if importance == "l1":
        return np.abs(rows).sum(1)
    if importance == "l2":
        return np.sqrt(np.square(rows).sum(1))
    if importance == "activation":
        axis = -1 if isinstance(layer, Dense) else -layer.n_axes - 1
        seen = [np.moveaxis(y, axis, 0) for y in channels.results.get(id(layer), ())]
        values = np.concatenate([y.reshape(len(y), -1) for y in seen], 1)
        finite(f"{name}: what it gives for x", values)
        return np.abs(values.astype(np.float64)).mean(1)
    return scales(channels, layer, norms, name)


def scales(
    channels: Channels, layer: Any, norms: list[tuple[str, BatchNorm]], name: str
) -> np.ndarray | None:
    """The size of the batch norms' weights for each filter, None if there is no batch norm."""
    mine = channels.roots(channels.axes[id(layer.weight)][out_axis(layer)])
    total, n = np.zeros(len(mine)), 0
    for path, norm in norms:
        if norm.weight is None or id(norm.weight) not in channels.axes:
            continue
        its = channels.roots(channels.axes[id(norm.weight)][0])
        if not np.isin(its, mine).any():
            continue
        finite(f"{name}: its batch norm {path}", norm.weight.numpy())
        size = {root: abs(float(w)) for root, w in zip(its, norm.weight.numpy(), strict=True)}
        total += [size.get(root, 0.0) for root in mine]
        n += 1
    return total if n else None


def given(made: Any, n: int, name: str) -> np.ndarray:
    """What a user's function says the filters are worth."""
    array = np.asarray(made)
    if array.shape != (n,) or array.dtype.kind not in "fiu":
        raise SettingError(
            f"{name}: importance must give {n} numbers, one for each filter, got {array.dtype} of "
            f"shape {array.shape}"
        )
    finite(f"{name}: what importance gave", array)
    return array.astype(np.float64)
