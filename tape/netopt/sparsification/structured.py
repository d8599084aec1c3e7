"""`prune_structured`: whole neurons and filters removed, and what belongs to them everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tape.errors import NumericsError, SettingError
from tape.netopt.cost import multiply_adds, n_bytes, n_parameters
from tape.netopt.finish import handed_over
from tape.netopt.finite import finite
from tape.netopt.frame import Optimized, selected
from tape.netopt.measure import compare
from tape.netopt.outcome import back_on_failure, drift, module_at, said, totals
from tape.netopt.record import called, outputs, record, run
from tape.netopt.report import Report, Row, duration
from tape.netopt.sparsification.channels import channels_of
from tape.netopt.sparsification.coupled import SCOPES, checked_amount, chosen, coupled
from tape.netopt.sparsification.importance import checked_importance
from tape.netopt.sparsification.remove import Removal, fault, removal
from tape.netopt.sparsification.resize import follow
from tape.nn.arguments import count
from tape.nn.conv import Convolution
from tape.nn.group_norm import GroupNorm
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import is_parameter
from tape.nn.tree import below, resolve

__all__ = ["PruneStructured", "prune_structured"]


def prune_structured(
    model: Module,
    amount: Any,
    x: Any,
    filter_function: Callable[[Any], Any] | str | None = None,
    *,
    importance: str | Callable[[Any], Any] = "l1",
    scope: str = "layer",
    round_to: int = 1,
    compensate: bool = False,
    rounds: int = 1,
    train: Callable[[Any], Any] | None = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model without the neurons and filters that are worth least.

    They are really gone: from the weights of dense layers and convolutions, and with them what
    other layers hold for them: columns of dense layers behind, also behind `Flatten`, channels of
    convolutions, of batch norms and their statistics, whole groups of group norms, convolutions of
    each channel by itself. What belongs together is read off the graph that a forward on `x`
    records, whatever the program looks like: filters whose results are added go together or not at
    all, shared modules and tied weights stay so. What the model gives, and what an op such as a
    layer norm looks at as a whole, stays and the report says why. The smaller model is proven on
    `x`: it gives what the model gives with zeros in place of what is gone.

    Args:
        model: the tree; it stays as it is.
        amount: the share of the filters that goes, in [0, 1), or how many, of each layer or of
            those that go together; a mapping of these by path leaves other layers alone, and of
            those that go together one path is enough.
        x: a batch, or a tuple of operands: what the model runs on, in evaluation mode.
        filter_function: says of a dense layer or convolution whether it may lose filters; or a path
            or pattern of paths; None is all. Others lose what belongs to filters before them.
        importance: what a filter is worth: "l1" or "l2", the norm of its weights; "activation", the
            mean size of its results on `x`; "batch_norm", the size of its weight in the batch norm
            behind; or a function of a layer that gives a number for each filter. All are taken over
            the mean of the layer, and the mean of layers that go together.
        scope: "layer", or "global" for the least of all layers, at least one in each staying.
        round_to: leave a multiple of so many filters in each layer that loses some.
        compensate: whether the mean on `x` of what a layer no longer gets goes into its bias; so
            what is constant on `x` is gone without a trace, but where an image is padded.
        rounds: in so many steps, ever smaller ones, with `train` after each; the layers then have
            lost ``amount * (1 - (1 - r / rounds) ** 3)``.
        train: called with the smaller model; what it returns is used if it is a model.
        metric: ``metric(model)`` gives a number for the report, such as the accuracy.
        optimizer: goes on with the new model: moments of filters that stay are carried over.
        only_cheaper: whether filters stay if a layer would be slower on `x` without them; a warning
            says so unless the report is returned.
        return_report: whether to return (model, `Report`).

    Raises:
        SettingError: an amount leaves nothing of a layer, or a setting is none.
        TapeError: no layer is chosen, or there are none.
        NumericsError: a weight, or what the model gives for x, has NaN or infinity.

    Source: Li et al. 2017, "Pruning filters for efficient convnets"; Liu et al. 2017, "Network
    slimming", for batch norms; the steps are those of Zhu and Gupta 2017, section 3.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(
    ...     nn.Conv2d(32, 3, n_in=8), nn.BatchNorm2d(32), tape.relu, nn.Flatten(), nn.Dense(5, 1152)
    ... )
    >>> x = tape.random.normal((4, 8, 8, 8))
    >>> small, report = netopt.sparsification.prune_structured(
    ...     net, 0.5, x, only_cheaper=False, return_report=True
    ... )
    >>> [(row.path, row.action) for row in report.changed]
    [('0', '16 of 32 filters'), ('1', '16 of 32 channels'), ('4', 'takes 576 of 1,152')]
    >>> report["4"].parameters, small[4].weight.shape
    ((5765, 2885), (5, 576))
    """
    how = PruneStructured(amount, importance, scope, round_to, compensate)
    rounds = count("prune_structured", "rounds", rounds, least=1)
    if train is not None and not callable(train):
        raise TypeError(f"prune_structured: train is a function of a model, got {train!r}")
    if not isinstance(model, Module):
        raise TypeError(f"prune_structured: takes a module, got a {type(model).__name__}")
    list(model.named_parameters())  # raises for those without a size
    layers = [m for m in below(model) if isinstance(m, how.kinds)]
    where = {path_in(model, m) for m in selected(model, how, layers, filter_function)}
    if isinstance(how.amount, Mapping):
        how.check_paths({path_in(model, m) for m in layers})
    for path, layer in model.named_modules():
        if path in where:
            finite(f"prune_structured: {path or 'the layer'}", layer.weight.numpy())
    y, calls = record(model, x)
    if not all(np.isfinite(a).all() for a in outputs(y)):
        raise NumericsError("prune_structured: what the model gives for x has NaN or infinity")
    report = Report(how.title)
    new, before = model, dict[str, int]()
    with back_on_failure(optimizer):
        for number in range(1, rounds + 1):
            share = 1 - (1 - number / rounds) ** 3
            made = one_round(new, how, share, x, where, before, only_cheaper)
            if optimizer is not None:
                follow(optimizer, new, made.new, made.kept)
            new = made.new
            if number == rounds:
                report.drift = drift(y, run(new.clone().eval(), x))
                if metric is not None:
                    report.metric = {"original": said(metric, model)}
                    report.metric["transformed"] = said(metric, new)
            if train is not None:
                given = train(new)
                new = given if isinstance(given, Module) else new
        if train is not None:
            report.retrained_drift = drift(y, run(new.clone().eval(), x))
            if metric is not None:
                report.metric["trained"] = said(metric, new)
        fill(report, model, new, x, calls, made.reasons, made.refused)
    ended = Optimized(new, report)
    return handed_over(ended, how, return_report, 3)  # type: ignore[arg-type]


class PruneStructured:
    """Neurons and filters removed.

    The arguments are those of `prune_structured`.
    """

    kinds = (Dense, Convolution)
    title = "Neurons and filters removed."

    def __init__(
        self, amount: Any, importance: Any, scope: str, round_to: int, compensate: bool
    ) -> None:
        if scope not in SCOPES:
            raise SettingError(f"prune_structured: scope is one of {SCOPES}, got {scope!r}")
        self.amount = checked_amount("prune_structured", amount)
        if scope == "global" and isinstance(self.amount, Mapping):
            raise SettingError("prune_structured: amounts by path are for the scope 'layer'")
        self.importance, self.scope = checked_importance(importance), scope
        self.round_to = count("prune_structured", "round_to", round_to, least=1)
        self.compensate = bool(compensate)

    def check_paths(self, known: set[str]) -> None:
        """Raise SettingError if amounts are for layers that are not there."""
        others = [path for path in self.amount if path not in known]
        if others:
            raise SettingError(
                f"prune_structured: amount has {others[0]!r}, which is no dense layer or "
                f"convolution; there are {', '.join(sorted(known)[:5])}"
            )

    def part(self, share: float) -> Any:
        """A part of the amount."""
        if isinstance(self.amount, Mapping):
            return {path: partly(its, share) for path, its in self.amount.items()}
        return partly(self.amount, share)


def of_path(amount: Any, path: str) -> Any:
    """The amount for a layer."""
    return amount.get(path, 0) if isinstance(amount, Mapping) else amount


def partly(amount: float | int, share: float) -> float | int:
    """A part of an amount, counts rounded."""
    return amount * share if isinstance(amount, float) else round(amount * share)


class Round(NamedTuple):
    """What a round of pruning gave: the model, what was kept, why others stayed, by path."""

    new: Any
    kept: Any
    reasons: dict[str, str]
    refused: set[str]


def one_round(
    model: Module,
    how: PruneStructured,
    share: float,
    x: Any,
    where: set[str],
    before: dict[str, int],
    only_cheaper: bool,
) -> Round:
    """The model with so much of the amount removed as can be."""
    channels = channels_of(model, x)
    chosen_ids = {id(found[0]) for p in where if (found := resolve(model, p)) is not None}
    layers = [m for m in below(model) if isinstance(m, how.kinds)]
    groups = coupled(model, channels, layers, chosen_ids, how.importance)
    for group in groups:
        before.setdefault(group.layers[0][0], group.n)
    amount = how.part(share)
    units = chosen(groups, amount, how.scope, how.round_to, before)
    reasons, refused = {}, set()
    for layer in layers:
        if id(layer.weight) not in channels.axes:
            reasons[path_in(model, layer)] = "not called on x"
    for group, its in zip(groups, units, strict=True):
        for path, _ in group.layers:
            none = f"amount {of_path(amount, path)} of {group.n} is none that could go"
            reasons[path] = group.reason or ("" if its.size else none)

    def attempt(picked: list[int]) -> Removal:
        gone = [units[i] for i in picked] or [np.zeros(0, np.int64)]
        return removal(model, channels, np.concatenate(gone), how.compensate)

    picked = [i for i, its in enumerate(units) if its.size]
    made = attempt(picked)
    if fault(model, channels, made, x):
        good: list[int] = []
        for i in picked:
            made = attempt([*good, i])
            wrong = fault(model, channels, made, x)
            if not wrong:
                good.append(i)
            for path, _ in groups[i].layers:
                reasons[path] = wrong
        picked = good
        made = attempt(picked)
    while only_cheaper and picked:
        slow = slower(model, made, x)
        if not slow:
            break
        culprits = [i for i in picked if touches(made_by(attempt([i])), slow, model)] or picked
        for i in culprits:
            for path, _ in groups[i].layers:
                reasons[path] = next(iter(slow.values()))
                refused.add(path)
        picked = [i for i in picked if i not in culprits]
        made = attempt(picked)
    return Round(made.new, made.kept, reasons, refused)


def made_by(made: Removal) -> set[int]:
    """Ids of the parameters and buffers that a removal changes."""
    return set(made.kept)


def touches(changed: set[int], slow: dict[str, str], model: Module) -> bool:
    """Whether one of these layers has changed."""
    layers = [module_at(model, path) for path in slow]
    return any(id(entry) in changed for layer in layers for _, entry in layer.entries())


def slower(model: Module, made: Removal, x: Any) -> dict[str, str]:
    """In words what is slower without the filters, by the path of the layer or "" of the whole."""
    old_calls, new_calls = record(model, x)[1], record(made.new, x)[1]
    found = {}
    for (path, old), new in zip(model.named_modules(), made.new.modules(), strict=True):
        changed = any(id(entry) in made.kept for _, entry in old.entries())
        if not changed or id(old) not in old_calls or id(new) not in new_calls:
            continue
        a, b = old.clone().eval(), new.clone().eval()
        its = old_calls[id(old)], new_calls[id(new)]
        for _ in range(2):  # what is slower once may be noise
            took = compare(lambda: called(a, its[0]), lambda: called(b, its[1]))  # noqa: B023
            if not took.is_slower:
                break
        else:
            found[path] = (
                f"{path or 'the whole'} takes {duration(took.after)} without them, "
                f"{duration(took.before)} with them"
            )
    return found


def path_in(model: Module, module: Module) -> str:
    """The first path of a module."""
    return next(path for path, m in model.named_modules() if m is module)


def fill(
    report: Report,
    model: Module,
    new: Module,
    x: Any,
    calls: Any,
    reasons: dict[str, str],
    refused: set[str],
) -> None:
    """Set the rows and totals of a report."""
    after = record(new, x)[1]
    for path, old in model.named_modules():
        has_own = any(is_parameter(entry) for _, entry in old.entries())
        found = resolve(new, path)
        if not (has_own or isinstance(old, GroupNorm)) or found is None:
            continue
        twin = found[0]
        said_of_it = change(old, twin)
        row = Row(path, type(old).__name__, said_of_it, bool(said_of_it))
        if not said_of_it:
            reason = reasons.get(path)
            is_left = isinstance(old, (Dense, Convolution)) and reason is None
            row.action = f"kept: {reason}" if reason else "not chosen" if is_left else "as it was"
            row.is_refused = path in refused
        row.parameters = n_parameters(old), n_parameters(twin)
        row.bytes = n_bytes(old), n_bytes(twin)
        row.multiply_adds = multiply_adds(old, calls), multiply_adds(twin, after)
        report.rows.append(row)
    totals(report, model, new, x)
    report.total.multiply_adds = multiply_adds(model, calls), multiply_adds(new, after)


def change(old: Any, new: Any) -> str:
    """What a layer has lost, "" if nothing."""
    if isinstance(old, (Dense, Convolution)):
        what = "neurons" if isinstance(old, Dense) else "filters"
        out = f"{new.n_out:,} of {old.n_out:,} {what}" if new.n_out != old.n_out else ""
        taken = f"takes {new.n_in:,} of {old.n_in:,}" if new.n_in != old.n_in else ""
        return ", ".join(filter(None, [out, taken]))
    for (_, a), (_, b) in zip(old.entries(), new.entries(), strict=False):
        shapes = getattr(a, "shape", ()), getattr(b, "shape", ())
        for n, m in zip(*shapes, strict=False):
            if n != m:
                return f"{m:,} of {n:,} channels"
    if isinstance(old, GroupNorm) and new.num_groups != old.num_groups:
        return f"{new.num_groups:,} of {old.num_groups:,} groups"
    return ""
