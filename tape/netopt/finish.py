"""What all named optimisations end with: run the three steps, say what was refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from tape.netopt.frame import Optimization, Optimized, optimize
from tape.nn.module import Module

__all__ = ["finished", "handed_over"]

MAX_NAMED = 5  # layers that a warning names


def finished(
    model: Module,
    optimization: Optimization,
    train: Callable[[Any], Any] | None,
    where: Any,
    options: dict[str, Any],
    return_report: bool,
) -> Any:
    """The model that `optimize` gives, with the report if asked for; a warning if not."""
    made = optimize(model, optimization, train, where=where, **options)
    return handed_over(made, optimization, return_report)


def handed_over(made: Optimized, optimization: Optimization, return_report: bool) -> Any:
    """The model with its report if asked for; else the model, and a warning of what was refused."""
    new, report = made
    if return_report:
        return new, report
    refused = [row for row in report.rows if row.is_refused]
    if refused:
        named = "; ".join(f"{row.path}: {row.action[6:]}" for row in refused[:MAX_NAMED])
        warnings.warn(
            f"{type(optimization).__name__} left {len(refused)} layers as they are, which would "
            f"have become larger or slower ({named}{', ...' * (len(refused) > MAX_NAMED)}); "
            "only_cheaper=False changes them, return_report=True gives the report instead",
            stacklevel=4,
        )
    return new
