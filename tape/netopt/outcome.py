"""What came of a change: costs of the whole, drift of the results, and what a metric says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tape.errors import ShapeError
from tape.netopt.cost import n_bytes, n_parameters
from tape.netopt.measure import compare
from tape.netopt.record import outputs, run, tensors
from tape.netopt.report import Report
from tape.nn.module import Module
from tape.nn.tree import resolve

__all__ = ["back_on_failure", "drift", "module_at", "said", "totals"]


def module_at(model: Module, path: str) -> Any:
    """The module at a path of a tree."""
    found = resolve(model, path)
    assert found is not None, path
    return found[0]


def totals(report: Report, model: Module, new: Module, x: Any) -> None:
    """Set the costs of the whole, without multiply-adds."""
    report.total.parameters = n_parameters(model), n_parameters(new)
    report.total.bytes = n_bytes(model), n_bytes(new)
    if x is not None:
        a, b = model.clone().eval(), new.clone().eval()
        found = compare(lambda: run(a, x), lambda: run(b, x))
        report.total.latency = found.before, found.after
        report.speedup = 1 / found.ratio


def drift(y: Any, other: Any) -> float:
    """The norm of the difference of two results over the norm of the first."""
    before, after = ([t.shape for t in tensors(of)] for of in (y, other))
    if before != after:
        raise ShapeError(f"the model's results of shapes {before} became ones of {after}")
    pairs = list(zip(outputs(y), outputs(other), strict=True))
    apart = sum(float(np.sum(np.square(np.subtract(a, b, dtype=np.float64)))) for a, b in pairs)
    size = sum(float(np.sum(np.square(a, dtype=np.float64))) for a, _ in pairs)
    return float(np.sqrt(apart / size)) if size else float(np.sqrt(apart))


def said(metric: Callable[[Any], float], model: Module) -> float:
    """What the metric says of a copy of the model in evaluation mode; TypeError if no number."""
    value = metric(model.clone().eval())
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metric gave {value!r:.80} for a model, not a number") from error


@contextmanager
def back_on_failure(optimizer: Any) -> Iterator[None]:
    """Give an optimizer its groups and state back if what is inside fails.

    Whoever calls then goes on with the model that they have: the new one is lost.
    """
    if optimizer is None:
        yield
        return
    groups, state = optimizer.param_groups, optimizer.state_dict()
    try:
        yield
    except BaseException:
        optimizer.param_groups = groups
        optimizer.load_state_dict(state)  # the groups that followed have the same moments
        groups[:] = optimizer.param_groups
        optimizer.param_groups = groups
        raise
