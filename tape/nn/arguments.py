"""Checks of what layers are built with, so that a slip shows there and not in the first call."""

from __future__ import annotations

import operator
from typing import Any

__all__ = ["checked_activation", "count", "probability", "settings"]


def count(layer: str, name: str, value: Any, least: int = 0) -> int:
    """The value as a whole number of at least `least`.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is too small.
    """
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{layer}: {name} must be a whole number, got {value!r}") from None
    if n < least:
        raise ValueError(f"{layer}: {name} must be at least {least}, got {n}")
    return n


def pair(layer: str, name: str, value: Any, least: int = 0) -> tuple[int, int]:
    """(height, width) of a window or step: one number stands for both.

    Raises:
        TypeError, ValueError: not one or two whole numbers of at least `least`.
    """
    parts = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(parts) != 2:
        raise ValueError(f"{layer}: {name} takes one number or (height, width), got {value!r}")
    return count(layer, name, parts[0], least), count(layer, name, parts[1], least)


def probability(layer: str, name: str, value: Any) -> float:
    """The value as a float in [0, 1].

    Raises:
        ValueError: it is outside.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{layer}: {name} is a probability in [0, 1], got {value!r}")
    return float(value)


def checked_activation(layer: str, activation: Any) -> Any:
    """The activation itself: a function of one tensor, or None.

    Raises:
        TypeError: it cannot be called.
    """
    if activation is not None and not callable(activation):
        raise TypeError(
            f"{layer}: activation takes a function such as tape.relu, or None; got {activation!r}"
        )
    return activation


def settings(*values: Any, **named: Any) -> str:
    """Settings as they are written in a call; those that are None are left out."""
    parts = [written(value) for value in values]
    parts += [f"{name}={written(value)}" for name, value in named.items() if value is not None]
    return ", ".join(parts)


def written(value: Any) -> str:
    """A value as one writes it in code: functions and modules by their names, (n, n) as n."""
    if hasattr(value, "named_modules"):
        return type(value).__name__
    if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]:
        return str(value[0])
    return getattr(value, "__name__", None) or repr(value)
