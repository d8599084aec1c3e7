"""`prune_magnitude`: single weights set to zero, by their size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tape._core.memory import overwrite
from tape._core.tensor import Tensor
from tape.errors import SettingError
from tape.netopt.finish import handed_over
from tape.netopt.finite import finite
from tape.netopt.frame import Optimization, Optimized, selected, transform
from tape.netopt.judge import Kept, Place
from tape.netopt.outcome import back_on_failure, drift, said
from tape.netopt.record import run
from tape.netopt.rewrite import path_of
from tape.netopt.sparsification.coupled import SCOPES, checked_amount, how_many
from tape.netopt.sparsification.masked import KINDS, Masked, masked
from tape.nn.arguments import count
from tape.nn.module import Module
from tape.nn.state import copy_into
from tape.nn.tree import below

__all__ = ["PruneMagnitude", "check_scope", "prune_magnitude", "tighten"]

Weights = list[tuple[str, np.ndarray, np.ndarray]]  # (path, weight, mask so far)


def prune_magnitude(
    model: Module,
    amount: Any,
    filter_function: Callable[[Any], Any] | str | None = None,
    *,
    scope: str = "layer",
    rounds: int = 1,
    train: Callable[[Any], Any] | None = None,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    return_report: bool = False,
) -> Any:
    """A copy of the model with masks on the weights that are smallest, so that they count as zero.

    Dense layers and convolutions become masked ones, which train like the others: what is masked
    gets no gradient and stays zero. Zeros alone make nothing smaller or faster, and the report says
    so: `lower_masks` makes sparse dense layers of the result where these are measured to be faster,
    which takes some four fifths of zeros. To have smaller layers of all kinds, prune whole filters
    by `prune_structured`.

    Args:
        model: the tree; it stays as it is.
        amount: the share of the weights that goes, in [0, 1), or how many, of each layer; a mapping
            of these by path leaves other layers alone. 0 makes masks for a `Pruner` to work on.
        filter_function: says of a layer of the model whether it gets a mask; or a path or pattern
            of paths; None is all.
        scope: "layer", or "global" for the smallest of all layers together.
        rounds: in so many steps, ever smaller ones, with `train` after each; then
            ``amount * (1 - (1 - r / rounds) ** 3)`` is gone.
        train: called with the model; what it returns is used if it is a model.
        x: a batch, or a tuple of operands: what drift is measured on.
        metric: ``metric(model)`` gives a number for the report, such as the accuracy.
        optimizer: goes on with the new model, see `Optimizer.follow`.
        return_report: whether to return (model, `Report`).

    Raises:
        SettingError: an amount leaves nothing of a layer, or a setting is none.
        TapeError: no layer is chosen, or there are none.
        NumericsError: a weight has NaN or infinity.

    Source: Han et al. 2015, "Learning both weights and connections", section 3; the steps are those
    of Zhu and Gupta 2017, "To prune, or not to prune", section 3.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(50, 20, activation=tape.relu), nn.Dense(5, 50))
    >>> sparse, report = netopt.sparsification.prune_magnitude(net, 0.8, return_report=True)
    >>> print(report)
    Single weights set to zero, by which nothing becomes smaller or faster yet.
    layer  kind   done          parameters          bytes
    -----  -----  ------------  ----------  -------------
    0      Dense  80.0 % zeros       1,050  4,200 > 5,200
    1      Dense  80.0 % zeros         255  1,020 > 1,270
    -----  -----  ------------  ----------  -------------
    total                            1,305  5,220 > 6,470
    >>> int((sparse[0].masked_weight() != 0).sum())
    200
    """
    checked = checked_amount("prune_magnitude", amount)
    rounds = count("prune_magnitude", "rounds", rounds, least=1)
    check_scope("prune_magnitude", scope, checked)
    if train is not None and not callable(train):
        raise TypeError(f"prune_magnitude: train is a function of a model, got {train!r}")
    if not isinstance(model, Module):
        raise TypeError(f"prune_magnitude: takes a module, got a {type(model).__name__}")
    list(model.named_parameters())  # raises for those without a size
    optimization = PruneMagnitude()
    paths: dict[str, Any] = {
        path: m for path, m in model.named_modules() if type(m) in optimization.kinds
    }
    known = list(paths.values())
    where = {id(layer) for layer in selected(model, optimization, known, filter_function)}
    if isinstance(checked, Mapping):
        for path in checked:
            if path not in paths:
                raise SettingError(
                    f"prune_magnitude: amount has {path!r}, which can have no mask; "
                    f"there are {', '.join(list(paths)[:5])}"
                )
    weights = {
        id(m.weight): (path, m.weight.numpy(), mask_of(m))
        for path, m in paths.items()
        if id(m) in where
    }
    for module in below(model):  # what a plain module computes with is not to have zeros
        for name, entry in module.entries():
            if id(entry) in weights and id(module) not in where:
                at = f"{path_of(model, module)}.{name}".lstrip(".")
                optimization.reasons[id(entry)] = f"its weight is also {at}, which gets no mask"
                del weights[id(entry)]
    if isinstance(checked, Mapping):
        tied = {id(paths[path].weight) for path in checked}
        weights = {key: its for key, its in weights.items() if key in tied}
    optimization.masks = dict(
        zip(
            weights, masks_for(list(weights.values()), checked, scope, part(1, rounds)), strict=True
        )
    )
    with back_on_failure(optimizer):
        new, report = transform(
            model, optimization, where=filter_function, x=x, metric=metric, optimizer=optimizer,
            only_cheaper=False,
        )  # fmt: skip
        for number in range(1, rounds + 1):
            if number > 1:
                tighten(new, checked, scope, part(number, rounds))
            if number == rounds > 1:
                update(report, model, new, x, metric, "drift", "transformed")
            if train is not None:
                given = train(new)
                new = given if isinstance(given, Module) else new
        if train is not None:
            update(report, model, new, x, metric, "retrained_drift", "trained")
    for row in report.changed:
        layer = dict(new.named_modules()).get(row.path)
        row.action = optimization.describe(layer) if isinstance(layer, Masked) else row.action
    return handed_over(Optimized(new, report), optimization, return_report, 3)


class PruneMagnitude(Optimization):
    """Single weights set to zero, by which nothing becomes smaller or faster yet."""

    kinds = (*KINDS, *KINDS.values())

    def __init__(self) -> None:
        self.masks: dict[int, np.ndarray] = {}  # by the id of the weight
        self.reasons: dict[int, str] = {}  # why a weight has none

    def transform(self, layer: Any, at: Place) -> Module | Kept:
        """The layer with its mask; see `prune_magnitude`."""
        if id(layer.weight) not in self.masks:
            return Kept(self.reasons.get(id(layer.weight), "no amount for it"))
        tensor = at.shared.setdefault(id(layer.weight), Tensor(self.masks[id(layer.weight)]))
        return masked(layer, tensor)

    def describe(self, new: Any) -> str:
        """The share of zeros."""
        return f"{100 * new.sparsity:.1f} % zeros"


def mask_of(layer: Any) -> np.ndarray:
    """What counts of a layer's weight."""
    if isinstance(layer, Masked):
        return layer.mask.numpy()
    return np.ones(layer.weight.shape, np.bool_)


def part(number: int, rounds: int) -> float:
    """The part of the amount that is gone after some rounds."""
    return 1 - (1 - number / rounds) ** 3


def check_scope(owner: str, scope: Any, amount: Any) -> None:
    """Raise SettingError if a scope is none, or does not go with the amount."""
    if scope not in SCOPES:
        raise SettingError(f"{owner}: scope is one of {SCOPES}, got {scope!r}")
    if scope == "global" and isinstance(amount, Mapping):
        raise SettingError(f"{owner}: amounts by path are for the scope 'layer'")


def masks_for(weights: Weights, amount: Any, scope: str, share: float = 1.0) -> list[np.ndarray]:
    """Masks without the smallest of the weights; what is masked stays masked.

    Args:
        weights: (path, weight, mask so far).
        amount: checked, see `checked_amount`.
        scope: "layer" or "global".
        share: how much of the amount.

    Raises:
        NumericsError: a weight has NaN or infinity.
    """
    for path, w, _ in weights:
        finite(f"prune_magnitude: {path or 'the layer'} {w.shape}", w)
    if scope == "global":
        together = np.concatenate([sizes(w, mask) for _, w, mask in weights] or [np.zeros(0)])
        n = gone("prune_magnitude", amount, share, together.size)
        kept = without_smallest(together, n)
        ends = np.cumsum([w.size for _, w, _ in weights])[:-1]
        flat = np.split(kept, ends)
    else:
        flat = []
        for path, w, mask in weights:
            its = amount.get(path, 0) if isinstance(amount, Mapping) else amount
            n = gone(f"prune_magnitude: {path or 'the layer'}", its, share, w.size)
            flat.append(without_smallest(sizes(w, mask), n))
    pairs = zip(flat, weights, strict=True)
    return [kept.reshape(w.shape) & mask for kept, (_, w, mask) in pairs]


def gone(owner: str, amount: float | int, share: float, n: int) -> int:
    """How many of n weights go."""
    most = how_many(owner, amount, n, "weights")
    return (
        min(most, round(amount * share * n)) if isinstance(amount, float) else round(most * share)
    )


def sizes(w: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The sizes of weights in a row, -1 of those that are masked."""
    return np.where(mask, np.abs(w.astype(np.float64)), -1.0).ravel()


def without_smallest(values: np.ndarray, n: int) -> np.ndarray:
    """Booleans that leave out the n smallest; of equal ones the first."""
    kept = np.ones(values.size, np.bool_)
    if 0 < n < values.size:
        kept[np.argsort(values, kind="stable")[:n]] = False
    return kept


def tighten(model: Module, amount: Any, scope: str, share: float = 1.0) -> None:
    """Mask the smallest weights of the masked layers of a model: of all of them, or of none."""
    layers = {id(m.weight): (p, m) for p, m in model.named_modules() if isinstance(m, Masked)}
    weights = [(path, m.weight.numpy(), m.mask.numpy()) for path, m in layers.values()]
    masks = masks_for(weights, amount, scope, share)
    held = [m for _, m in layers.values()]
    values = [np.where(k, m.weight.numpy(), 0) for k, m in zip(masks, held, strict=True)]
    overwrite([*(m.mask for m in held), *(m.weight for m in held)], copy_into, [*masks, *values])


def update(
    report: Any, model: Module, new: Module, x: Any, metric: Any, what: str, name: str
) -> None:
    """Set a drift and what the metric says."""
    if x is not None:
        setattr(report, what, drift(*(run(m.clone().eval(), x) for m in (model, new))))
    if metric is not None:
        report.metric[name] = said(metric, new)
