"""Checks of the settings of optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["nonnegative", "shares"]


def nonnegative(optimizer: str, settings: Mapping[str, Any], *names: str) -> None:
    """Raise ValueError if one of the named settings is negative or not a number."""
    for name in names:
        if not settings[name] >= 0:
            raise ValueError(f"{optimizer}: {name} must be at least 0, got {settings[name]!r}")


def shares(optimizer: str, name: str, values: Sequence[float], n: int) -> None:
    """Raise ValueError unless there are n values, all in [0, 1)."""
    if len(values) != n or not all(0 <= value < 1 for value in values):
        raise ValueError(f"{optimizer}: {name} must lie in [0, 1), got {values!r}")
