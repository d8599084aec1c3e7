"""Ways to bring a model within a budget, tried one after the other, and the best of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from tape.errors import TapeError
from tape.netopt.budget import Budget, read_budget
from tape.netopt.plan import plan
from tape.netopt.recipe import Recipe
from tape.netopt.report import Report
from tape.nn.module import Module
from tape.nn.norm import BatchNorm
from tape.nn.tree import below

__all__ = ["Variant", "best", "is_within", "n_variants", "variants"]

TIGHTER = (1.0, 0.7, 0.5)  # shares of the budget to plan for, as long as what is measured misses it
PRUNED = (0.25, 0.5, 0.75)  # shares of the filters, as long as the budget is missed


class Variant(NamedTuple):
    """A way that was tried: what came of it, or why nothing did."""

    name: str
    recipe: Recipe | None
    report: Report | None
    reason: str = ""


def n_variants(train: Any) -> int:
    """How many `variants` gives at most."""
    return 1 + 2 * len(TIGHTER) + (len(PRUNED) if train is not None else 0)


def variants(
    model: Module,
    x: Any,
    budget: float | str,
    of: str,
    *,
    timed_x: Any = None,
    train: Callable[[Any], Any] | None = None,
    metric: Callable[[Any], float] | None = None,
) -> Iterator[Variant]:
    """The model on 8 bits; pruned, if it can be trained; factored; factored and on 8 bits.

    Batch norms are folded in all.

    Args:
        model: in evaluation mode; it stays as it is.
        x: a calibration batch.
        budget: as `plan` takes it.
        of: one of `budget.KINDS`.
        timed_x: what latency is measured on in place of `x`.
        train: called with each pruned or factored model; what it returns is used if it is a model.
        metric: ``metric(model)`` gives a number, such as the accuracy.
    """
    limit = read_budget(budget, of)

    def begun() -> Recipe:
        recipe = Recipe(model, x, timed_x=timed_x)
        if any(isinstance(module, BatchNorm) for module in below(model)):
            with suppress(TapeError):  # none of them stands behind a layer: all stay
                recipe.fold()
        return recipe

    def tried(name: str, recipe: Recipe) -> Variant:
        if not recipe.steps:
            return Variant(name, None, None, "nothing in it pays: " + reasons(recipe))
        return Variant(name, recipe, recipe.report(name, metric))

    def attempt(name: str, make: Callable[[], Recipe]) -> Variant:
        try:
            return tried(name, make())
        except TapeError as error:
            return Variant(name, None, None, str(error).splitlines()[0])

    yield attempt("int8", lambda: begun().quantize_int8())
    for share in PRUNED if train is not None else ():
        made = attempt(f"pruned, {share:.0%}", partial(begun().prune, share, train))
        yield made
        if made.report is None or is_within(made.report, limit, of):
            break
    for share in TIGHTER:

        def factored(share: float = share) -> Recipe:
            recipe = begun()
            ranks = plan(recipe.model, x, tightened(limit, share, of), of, timed_x=timed_x)
            return recipe.factor(ranks, train)

        name = "factored" if share == 1 else f"factored, planned for {share:.0%} of the budget"
        made = attempt(name, factored)
        yield made
        if made.recipe is None or made.report is None:
            return  # a tighter budget cannot be met either
        both = attempt(f"{name}, int8", made.recipe.copy().quantize_int8)
        if both.recipe is None or len(both.recipe.steps) > len(made.recipe.steps):
            yield both
        if is_within(made.report, limit, of):
            return


def tightened(limit: Budget, share: float, of: str) -> float | str:
    """A share of a budget, as `plan` takes it."""
    value = limit.value * share
    return f"{value * 1e6:.4f} us" if of == "latency" and not limit.is_share else value


def is_within(report: Report, limit: Budget, of: str) -> bool:
    """Whether what a report measured or counted is within a budget."""
    before, after = getattr(report.total, of)
    return bool(after <= limit.out_of(before))


def best(found: list[Variant], limit: Budget, of: str, drop: float) -> Variant | None:
    """The variant within the budget that does best, None if there is none.

    Args:
        found: all variants.
        limit: the budget.
        of: what it is of.
        drop: how much of the metric may be lost, where there is one.
    """

    def rank(variant: Variant) -> tuple[float, float]:
        report = variant.report
        assert report is not None
        assert report.total.latency is not None
        quality = report.metric.get("transformed", -(report.drift or 0.0))
        return quality, -report.total.latency[1]

    able = [
        v
        for v in found
        if v.report is not None and is_within(v.report, limit, of) and lost(v.report) <= drop + 1e-9
    ]
    return max(able, key=rank, default=None)


def lost(report: Report) -> float:
    """How much of the metric is lost, 0 without one."""
    ends = report.metric
    return ends["original"] - ends["transformed"] if ends else 0.0


def reasons(recipe: Recipe) -> str:
    """Why layers stay as they are."""
    return "; ".join(f"{row.path}: {row.action}" for row in recipe.rows.values()) or "no layers"
