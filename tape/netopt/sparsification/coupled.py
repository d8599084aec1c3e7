"""Filters that go together: `coupled` finds them, `chosen` says which go."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tape.errors import SettingError
from tape.netopt.sparsification.channels import Channels
from tape.netopt.sparsification.importance import out_axis, worth
from tape.nn.conv import Convolution
from tape.nn.module import Module
from tape.nn.norm import BatchNorm

__all__ = ["Coupled", "checked_amount", "chosen", "coupled", "how_many"]

SCOPES = ("layer", "global")


class Coupled(NamedTuple):
    """Layers whose filters go together, as those of layers whose results are added.

    Attributes:
        layers: with their paths.
        roots: for each layer, what each of its filters is tied to, see `Channels`.
        units: the roots that may all go, the one that is worth least first.
        worths: of the units; of filters of an average worth it is 1.
        sizes: how many filters go with each of the units, in the layer where it is most.
        reason: why none goes, "" if some may.
    """

    layers: list[tuple[str, Any]]
    roots: list[np.ndarray]
    units: np.ndarray
    worths: np.ndarray
    sizes: np.ndarray
    reason: str

    @property
    def n(self) -> int:
        """How many filters the layer with most of them has."""
        return max(len(roots) for roots in self.roots)


def coupled(
    model: Module, channels: Channels, candidates: list[Any], where: set[int], importance: Any
) -> list[Coupled]:
    """The layers with filters, those together whose filters go together.

    Args:
        model: that they are in.
        channels: of it.
        candidates: the layers.
        where: ids of those that may lose filters.
        importance: what filters are worth, see `prune_structured`.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    norms = [(path, m) for path, m in model.named_modules() if isinstance(m, BatchNorm)]
    found: list[list[Any]] = []
    at: dict[int, int] = {}  # which of them has a root
    for layer in candidates:
        if id(layer.weight) not in channels.axes:
            continue
        roots = set(roots_of(layer, channels).tolist()) - set(channels.reasons)
        touched = sorted({at[root] for root in roots if root in at})
        whole = [layer for i in touched for layer in found[i]] + [layer]
        for i in touched:
            found[i] = []
        found.append(whole)
        for member in whole:
            for root in roots_of(member, channels).tolist():
                if root not in channels.reasons:
                    at[root] = len(found) - 1
    made = []
    for layers in filter(None, found):
        named = [(paths[id(layer)], layer) for layer in layers]
        roots_each = [roots_of(layer, channels) for layer in layers]
        others = [p for p, la in named if id(la) not in where and not is_by_channel(la)]
        mine = [p for p, la in named if id(la) in where]
        if not mine:
            continue
        free = np.setdiff1d(np.unique(np.concatenate(roots_each)), list(channels.reasons))
        if not free.size:
            reason = channels.reasons[int(roots_each[0][0])] if roots_each[0].size else "has none"
        else:
            reason = f"goes with {others[0]}, which is not chosen" if others else ""
        worths = None
        if not reason:
            scored = [
                (roots, worth(importance, path, layer, channels, norms))
                for (path, layer), roots in zip(named, roots_each, strict=True)
                if id(layer) in where
            ]
            worths = together([(roots, w) for roots, w in scored if w is not None], free)
            reason = "" if worths is not None else "no batch norm says what its filters are worth"
        if worths is None:
            worths = np.zeros(len(free))
        order = np.argsort(worths, kind="stable")
        units, counts = removable(free[order], roots_each)
        if free.size and not units.size:
            reason = reason or "none can go without all of a layer"
        worths = worths[np.searchsorted(free, units)]
        sizes = np.max(counts, axis=0)
        made.append(Coupled(named, roots_each, units, worths, sizes, reason))
    return made


def is_by_channel(layer: Any) -> bool:
    """Whether a layer is a convolution of each channel by itself, which follows what feeds it."""
    return isinstance(layer, Convolution) and layer.groups > 1 and layer.weight.shape[1] == 1


def removable(units: np.ndarray, roots: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(those of the units that can all go, in order, filters that go with each in every layer).

    In every layer a filter stays.
    """
    left = np.array([len(its) for its in roots])
    chosen, counts = [], [np.zeros(len(roots), np.int64)]
    for unit in units:
        n = np.array([int((its == unit).sum()) for its in roots])
        if (left > n).all():
            left -= n
            chosen.append(unit)
            counts.append(n)
    return np.asarray(chosen, np.int64), np.stack(counts, 1)[:, 1:]


def roots_of(layer: Any, channels: Channels) -> np.ndarray:
    """What the filters of a layer are tied to."""
    return channels.roots(channels.axes[id(layer.weight)][out_axis(layer)])


def together(scored: list[tuple[np.ndarray, np.ndarray]], units: np.ndarray) -> np.ndarray | None:
    """What units are worth: the mean over their layers, of filters over the mean of the layer."""
    if not scored:
        return None
    total, n = np.zeros(len(units)), np.zeros(len(units))
    for roots, worths in scored:
        relative = worths / (worths.mean() or 1.0)
        for i, unit in enumerate(units):
            mine = roots == unit
            if mine.any():
                total[i] += relative[mine].mean()
                n[i] += 1
    return total / np.maximum(n, 1)


def checked_amount(owner: str, amount: Any) -> Any:
    """A share, a count, or a mapping of these by path.

    Raises:
        SettingError: a share is not in [0, 1), or a count is negative.
        TypeError: it is no number.
    """
    if isinstance(amount, Mapping):
        return {path: checked_amount(f"{owner}: {path}", part) for path, part in amount.items()}
    if isinstance(amount, (float, np.floating)):
        if not 0 <= amount < 1:
            raise SettingError(
                f"{owner}: amount {amount!r} as a share must be in [0, 1); a count is a whole "
                "number"
            )
        return float(amount)
    try:
        n = None if isinstance(amount, (bool, np.bool_)) else operator.index(amount)
    except TypeError:
        n = None
    if n is None:
        raise TypeError(f"{owner}: amount is a share, a count or a mapping by path, got {amount!r}")
    if n < 0:
        raise SettingError(f"{owner}: amount {n} is negative")
    return n


def how_many(owner: str, amount: float | int, n: int, what: str) -> int:
    """How many of n a checked amount is: never all.

    Raises:
        SettingError: it is a count of all, or of more.
    """
    if isinstance(amount, float):
        return max(0, min(round(amount * n), n - 1))
    if amount >= n > 0:
        raise SettingError(f"{owner}: amount {amount} of {n} {what} leaves none")
    return min(amount, n)


def chosen(
    groups: list[Coupled], amount: Any, scope: str, round_to: int, before: dict[str, int]
) -> list[np.ndarray]:
    """The units that go, of each of the groups.

    Args:
        groups: that there are.
        amount: checked; of each group, or with the scope "global" of all.
        scope: one of `SCOPES`.
        round_to: the number of filters that stay is a multiple of it, where any go.
        before: how many filters there were at first, by the first path of a group.
    """
    free = [group for group in groups if not group.reason]
    if scope == "global":
        n = sum(before[group.layers[0][0]] for group in free)
        gone = n - sum(group.n for group in free)
        most = how_many("prune_structured", amount, n, "filters") - gone
        ranked = sorted(
            (float(w), i, k) for i, group in enumerate(free) for k, w in enumerate(group.worths)
        )
        counts = [0] * len(free)
        for _, i, k in ranked:
            size = int(free[i].sizes[k])
            if k == counts[i] and size <= most:
                counts[i] += 1
                most -= size
    else:
        counts = []
        for group in free:
            path = group.layers[0][0]
            its = amount
            if isinstance(amount, Mapping):
                its = next((amount[p] for p, _ in group.layers if p in amount), 0)
            owner = f"prune_structured: {path or 'the layer'}"
            n = before[path]
            most = how_many(owner, its, n, "filters") - (n - group.n)
            ends = np.cumsum(group.sizes)
            counts.append(int((ends <= most).sum()))
    for i, group in enumerate(free):
        while counts[i] and (group.n - int(group.sizes[: counts[i]].sum())) % round_to:
            counts[i] -= 1
    left = {id(group): count for group, count in zip(free, counts, strict=True)}
    return [group.units[: left.get(id(group), 0)] for group in groups]
