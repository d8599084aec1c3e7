"""The three steps of an optimisation: transform, train, lower; `Optimization`, and what runs one.

Note [Three steps]
*Transform* puts trainable layers in place of others. *Train*, which is the user's, gets back what
that cost. *Lower* puts forward-only layers with fast kernels in place of the trained ones. An
`Optimization` says for one layer what to do; choosing layers, copying the tree, refusing what does
not pay, measuring and reporting are done here, once for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tape.errors import TapeError
from tape.netopt.cost import multiply_adds, n_bytes, n_parameters
from tape.netopt.judge import Kept, Place, objection
from tape.netopt.outcome import back_on_failure, drift, module_at, said, totals
from tape.netopt.record import record, run
from tape.netopt.report import Report, Row
from tape.netopt.rewrite import broken_ties, path_of, rewritten, unscoped
from tape.nn.module import Module
from tape.nn.parameter import is_parameter
from tape.nn.tree import below, resolve, select

__all__ = ["Optimization", "Optimized", "lower", "optimize", "transform"]

LOWERED_TOLERANCE = 1e-5


class Optimization:
    """Base of optimisations: a subclass says what becomes of one layer, and names itself.

    The first line of its docstring is the title of reports. `kinds` are the classes of the layers
    that it knows; subclasses of these that compute something else in a `forward` of their own are
    left alone.

    >>> import tape
    >>> from tape import netopt, nn
    >>> class Narrow(netopt.Optimization):
    ...     '''Dense layers without bias.'''
    ...     kinds = (nn.Dense,)
    ...     def transform(self, layer, at):
    ...         if layer.bias is None:
    ...             return netopt.Kept("has no bias")
    ...         new = nn.Dense(layer.n_out, layer.n_in, layer.activation, bias=False)
    ...         new.weight = layer.weight
    ...         return new
    >>> net = nn.Sequential(nn.Dense(4, 3), tape.relu, nn.Dense(2, 4, bias=False))
    >>> small, report = netopt.transform(net, Narrow())
    >>> print(report)
    Dense layers without bias.
    layer  kind   done               parameters    bytes
    -----  -----  -----------------  ----------  -------
    0      Dense  Dense                 16 > 12  64 > 48
    2      Dense  kept: has no bias           8       32
    -----  -----  -----------------  ----------  -------
    total                               24 > 20  96 > 80
    """

    kinds: tuple[type[Module], ...] = ()

    def transform(self, layer: Any, at: Place) -> Module | Kept | None:
        """What trains in the place of a layer, or why it stays.

        Args:
            layer: of the original: its parameters may be used in the new module, which gets copies;
                it is not to be changed.
            at: its path, and what it was called with if there is a batch.
        """
        raise NotImplementedError(f"{type(self).__name__} has no transform(self, layer, at)")

    def lower(self, layer: Any, at: Place) -> Module | None:
        """What computes in the place of a transformed, trained layer, forward only.

        None, as by default, if there is nothing to lower. Called with every module of the model.
        """
        return None

    def describe(self, new: Module) -> str:
        """What was done, in a word or two, for the report."""
        return type(new).__name__

    def error(self, old: Any, new: Any) -> float | None:
        """How far the new layer is from the old one, for the report; None leaves it out."""
        return None

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]


class Optimized(NamedTuple):
    """A new model and what was done to it."""

    model: Any
    report: Report


def transform(
    model: Module,
    optimization: Optimization,
    *,
    where: str | Callable[[Any], Any] | None = None,
    x: Any = None,
    timed_x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
) -> Optimized:
    """(a copy of the model with other layers, `Report`); the model itself stays as it is.

    Args:
        model: the tree; its sizes are known.
        optimization: what to do with a layer.
        where: which of the layers that the optimisation knows: a path, a pattern of paths, or a
            function that says so of a layer; None is all.
        x: a calibration batch, or a tuple of operands: what cost and drift are measured on.
        timed_x: what the latency is measured on in its place, such as a single sample.
        metric: ``metric(model)`` gives a number, such as the accuracy; called with copies in
            evaluation mode.
        optimizer: goes on with the new model, see `Optimizer.follow`.
        only_cheaper: whether a layer that would become larger, or slower on `x`, stays as it is.

    Raises:
        TapeError: `where` holds for none of the layers that the optimisation knows, or there are
            none.
        ShapeError: sizes are not inferred yet.
    """
    check("transform", model, optimization)
    title = optimization.title
    list(model.named_parameters())  # raises for those without a size
    y, calls = (None, {}) if x is None else record(model, x)
    with unscoped():
        timed = calls if timed_x is None else record(model, timed_x)[1]
        judged = timed if only_cheaper else None
        parts, rows = proposed(model, optimization, where, calls, x is not None, judged)
    while broken := broken_ties(model, parts):
        for old_id, (gone, also) in broken.items():
            rows[old_id].action = f"kept: its {gone} is also {also}, which stays"
            del parts[old_id]
    new = rewritten(model, parts)
    report = Report(title, list(rows.values()))
    after = {} if x is None else record(new, x)[1]
    for old_id, row in rows.items():
        at = parts.get(old_id)
        layer = module_at(new, row.path)
        old = layer if at is None else at[0]
        row.is_changed = at is not None
        row.parameters = n_parameters(old), n_parameters(layer)
        row.bytes = n_bytes(old), n_bytes(layer)
        row.error = None if at is None else optimization.error(*at)
        if x is not None:
            n = multiply_adds(layer, after)
            row.multiply_adds = (n if at is None else multiply_adds(old, calls)), n
    totals(report, model, new, x if timed_x is None else timed_x)
    if x is not None:
        report.total.multiply_adds = multiply_adds(model, calls), multiply_adds(new, after)
        report.drift = drift(y, run(new.clone().eval(), x))
    if metric is not None:
        report.metric = {"original": said(metric, model), "transformed": said(metric, new)}
    if optimizer is not None:  # at the end: nothing after it can fail
        optimizer.follow(model, new)
    return Optimized(new, report)


def optimize(
    model: Module,
    optimization: Optimization,
    train: Callable[[Any], Any] | None = None,
    *,
    where: str | Callable[[Any], Any] | None = None,
    x: Any = None,
    timed_x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    check_lowered: bool = True,
) -> Optimized:
    """(the model transformed, trained and lowered, `Report`); the original stays as it is.

    Args:
        train: called once with the transformed model, also if no layer was changed; what it returns
            is used if it is a model.
        optimizer: goes on with the transformed model, so that `train` can use it; if anything
            fails, it is on the original again, with the state that it had.
        check_lowered: whether the lowered model must give what the trained one gives on `x`.

    The others, and what is raised, are those of `transform` and `lower`.
    """
    if train is not None and not callable(train):
        raise TypeError(f"optimize: train is a function of a model, got {train!r}")
    with back_on_failure(optimizer):
        new, report = transform(
            model,
            optimization,
            where=where,
            x=x,
            timed_x=timed_x,
            metric=metric,
            optimizer=optimizer,
            only_cheaper=only_cheaper,
        )
        timed = x if timed_x is None else timed_x
        made = {row.path: module_at(new, row.path) for row in report.changed}
        if train is not None:
            given = train(new)
            if isinstance(given, Module) and given is not new:
                new = given
                retold(report, model, new, made, x, timed)
            if x is not None:
                report.retrained_drift = drift(*(run(m.clone().eval(), x) for m in (model, new)))
            if metric is not None:
                report.metric["trained"] = said(metric, new)
        if made and type(optimization).lower is not Optimization.lower:
            low, lowered = lower(new.clone().eval(), optimization, x=x, check_lowered=check_lowered)
            report.lowered_error = lowered.lowered_error
            for row in report.changed:
                found = place_of(made[row.path], row.path, new)
                if found is not None:
                    layer = module_at(low, found)
                    row.bytes = (row.bytes or (0, 0))[0], n_bytes(layer)
                    row.parameters = (row.parameters or (0, 0))[0], n_parameters(layer)
                    row.action += f", {optimization.describe(layer)}"
            if metric is not None:
                report.metric["lowered"] = said(metric, low)
            totals(report, model, low, timed)
            new = low
    return Optimized(new, report)


def place_of(layer: Module, path: str, model: Module) -> str | None:
    """Where a transformed layer is in what training returned: itself, or its like at its path."""
    for at, module in model.named_modules():
        if module is layer:
            return at
    found = resolve(model, path)
    return path if found is not None and type(found[0]) is type(layer) else None


def retold(
    report: Report, model: Module, new: Module, made: dict[str, Module], x: Any, timed: Any
) -> None:
    """Set the costs to those of another model, which training returned."""
    calls, after = ({}, {}) if x is None else (record(m, x)[1] for m in (model, new))
    for row in report.changed:
        at = place_of(made[row.path], row.path, new)
        if at is None:
            row.action += ", not in the trained model"
            row.parameters = row.bytes = row.multiply_adds = row.error = None
    totals(report, model, new, timed)
    if x is not None:
        report.total.multiply_adds = multiply_adds(model, calls), multiply_adds(new, after)


def lower(
    model: Module, optimization: Optimization, *, x: Any = None, check_lowered: bool = True
) -> Optimized:
    """(a copy of a transformed, trained model with forward-only layers, `Report`).

    Args:
        model: in evaluation mode.
        optimization: the one that has transformed it.
        x: a batch on which the lowered model is held against `model`.
        check_lowered: whether a lowered model that gives something else there is an error.

    Raises:
        TapeError: the model is in training mode, nothing in it can be lowered, or results differ
            by more than a relative 1e-5.
    """
    check("lower", model, optimization)
    training = [path or "the whole" for path, m in model.named_modules() if m.training]
    if training:
        raise TapeError(
            f"lower: {training[0]} is in training mode: train first, then call model.eval()"
        )
    shared: dict[Any, Any] = {}
    parts, rows = {}, []
    for path, layer in model.named_modules():
        with unscoped():
            new = optimization.lower(layer, Place(path, [], shared))
        if new is not None:
            parts[id(layer)] = layer, new
            row = Row(path, type(layer).__name__, optimization.describe(new), True)
            row.bytes = n_bytes(layer), n_bytes(new)
            rows.append(row)
    if not parts:
        raise TapeError(
            f"lower: {type(optimization).__name__} finds nothing to lower in this "
            f"{type(model).__name__}: transform it first"
        )
    new = rewritten(model, parts).eval()
    report = Report(optimization.title, rows)
    totals(report, model, new, x)
    if x is not None:
        report.lowered_error = drift(run(model.clone(), x), run(new, x))
        if check_lowered and not report.lowered_error <= LOWERED_TOLERANCE:
            raise TapeError(
                f"lower: the lowered model is off by a relative {report.lowered_error:.2e} from "
                f"the trained one on x, more than {LOWERED_TOLERANCE:g}\n{report}"
            )
    return Optimized(new, report)


def check(name: str, model: Any, optimization: Any) -> None:
    """Raise TypeError unless these are a model and an optimisation."""
    if not isinstance(model, Module):
        raise TypeError(f"{name}: takes a module, got a {type(model).__name__}")
    if not isinstance(optimization, Optimization):
        raise TypeError(f"{name}: optimization is an Optimization, got {optimization!r}")


def proposed(
    model: Module,
    optimization: Optimization,
    where: Any,
    calls: Any,
    is_recorded: bool,
    judged: Any,
) -> tuple[dict[int, tuple[Module, Module]], dict[int, Row]]:
    """((old, new) of layers to change, row of each layer with parameters), by id of the old.

    `judged` are the calls on which a new layer must not be slower; None, it may be anything.
    """
    known = [module for module in below(model) if computes_as(module, optimization.kinds)]
    chosen = set(map(id, selected(model, optimization, known, where)))
    parts: dict[int, tuple[Module, Module]] = {}
    rows: dict[int, Row] = {}
    shared: dict[Any, Any] = {}
    inside: set[int] = set()  # what is below a replaced module
    for path, layer in model.named_modules():
        if id(layer) in inside:
            continue
        row = Row(path, type(layer).__name__, "not chosen")
        if id(layer) in chosen:
            at = Place(path, calls.get(id(layer), []), shared)
            if is_recorded and not at.calls:  # so something else may use its parameters
                new: Any = Kept("not called on x")
            else:
                new = optimization.transform(layer, at)
            if isinstance(new, Module):
                row.action = optimization.describe(new)
                if judged is not None:
                    new = objection(layer, new, optimization, at, judged.get(id(layer), []))
            if isinstance(new, Module):
                parts[id(layer)] = layer, new
                inside.update(id(m) for m in below(layer))
            elif new is not None and not isinstance(new, Kept):
                raise TypeError(f"transform: {path}: {new!r} is no module, Kept or None")
            else:
                row.action = f"kept: {new.reason}" if new else "left alone"
                row.is_refused = new is not None and new.is_refused
        elif any(isinstance(layer, kind) for kind in optimization.kinds):
            if not computes_as(layer, optimization.kinds):
                row.action = "kept: has a forward of its own"
        elif any(is_parameter(entry) for _, entry in layer.entries()):
            row.action = f"kept: {type(layer).__name__} is not supported"
        else:
            continue
        rows[id(layer)] = row
    return parts, rows


def computes_as(layer: Any, kinds: tuple[type[Module], ...]) -> bool:
    """Whether a layer is of one of the kinds, with the same forward."""
    return any(isinstance(layer, k) and type(layer).forward is k.forward for k in kinds)


def selected(model: Module, optimization: Any, known: list[Any], where: Any) -> list[Module]:
    """Those of the known layers that `where` names."""
    name = type(optimization).__name__
    kinds = " or ".join(kind.__name__ for kind in optimization.kinds)
    if not optimization.kinds:
        raise TypeError(f"{name}: its kinds, the classes of layers that it knows, are empty")
    if not known:
        raise TapeError(f"{name}: {type(model).__name__} has no {kinds} layers")
    if where is None:
        return known
    if isinstance(where, str):
        inside = set(map(id, below(*select(name, model, where))))
        found = [layer for layer in known if id(layer) in inside]
    elif callable(where):
        found = [layer for layer in known if where(layer)]
    else:
        raise TypeError(
            f"{name}: layers are chosen by a path, a pattern or a function of a layer, got "
            f"{where!r}"
        )
    if not found:
        few = ", ".join(path_of(model, layer) or "the whole" for layer in known[:5])
        raise TapeError(
            f"{name}: of the {len(known)} {kinds} layers ({few}{', ...' * (len(known) > 5)}) "
            "none is chosen"
        )
    return found
