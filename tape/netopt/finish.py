"""What named optimisations share: check paths, run the three steps, say what was refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from tape.errors import SettingError
from tape.netopt.frame import Optimization, Optimized, optimize
from tape.nn.module import Module
from tape.nn.state import nearest
from tape.nn.tree import resolve

__all__ = ["check_paths", "finished", "handed_over"]

MAX_NAMED = 5  # layers that a warning names


def check_paths(name: str, what: str, by_path: Any, model: Any) -> None:
    """Raise SettingError if a setting by path has one that is not the first of a module."""
    if not (isinstance(by_path, Mapping) and isinstance(model, Module)):
        return
    first = dict(model.named_modules())
    for at in by_path:
        if at in first:
            continue
        found = resolve(model, at) if isinstance(at, str) else None
        also = [path for path, part in first.items() if found is not None and part is found[0]]
        hint = f"; it is {also[0]} too, which is its first path" if also else None
        raise SettingError(
            f"{name}: {what} has {at!r}, which is no module of this {type(model).__name__}"
            f"{nearest(str(at), filter(None, first), 3) if hint is None else hint}"
        )


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


def handed_over(
    made: Optimized, optimization: Optimization, return_report: bool, stacklevel: int = 4
) -> Any:
    """The model with its report if asked for; else the model, and a warning of what was refused.

    The warning is for the line that many calls up: the user's.
    """
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
            stacklevel=stacklevel,
        )
    return new
