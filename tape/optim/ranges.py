"""Checks of the settings of optimizers: which numbers they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tape.nn.arguments import number

__all__ = ["nonnegative", "shares"]


def nonnegative(optimizer: str, settings: Mapping[str, Any], *names: str) -> None:
    """Raise TypeError or ValueError unless the named settings are finite numbers, 0 or above."""
    for name in names:
        number(optimizer, name, settings[name], least=0)


def shares(optimizer: str, name: str, values: Any, n: int) -> None:
    """Raise TypeError or ValueError unless there are n numbers, all in [0, 1)."""
    if not isinstance(values, (tuple, list)) or len(values) != n:
        raise TypeError(f"{optimizer}: {name} takes {n} numbers in [0, 1), got {values!r}")
    if not all(0 <= number(optimizer, name, value) < 1 for value in values):
        raise ValueError(f"{optimizer}: {name} must lie in [0, 1), got {values!r}")
