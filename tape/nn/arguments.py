"""Checks of what layers are built with, so that a slip shows there and not in the first call."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tape.errors import ShapeError, TapeError
from tape.ops import geometry

__all__ = [
    "checked_activation",
    "count",
    "each",
    "naming",
    "number",
    "padding",
    "settings",
    "share",
    "shown",
]


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


def each(layer: str, name: str, value: Any, n: int, least: int = 0) -> tuple[int, ...]:
    """A size or step for each of n axes: one number stands for all.

    Raises:
        ShapeError: not one or n whole numbers.
        ValueError: one is below `least`.
    """
    with naming(layer):
        values = geometry.each_axis(value, n, name)
    return tuple([count(layer, name, v, least) for v in values])


def shown(values: tuple[Any, ...]) -> Any:
    """Settings for several axes as one writes them: one number if it stands for all."""
    return values[0] if len(set(values)) == 1 else values


def padding(layer: str, value: Any, *window: tuple[int, ...]) -> Any:
    """The padding itself, if it is one for a window, stride and dilation.

    Raises:
        ShapeError: it is none, or negative.
    """
    with naming(layer):
        pairs = geometry.padding_pairs(value, *window)
    if min(min(p) for p in pairs) < 0:
        raise ShapeError(f"{layer}: padding must be at least 0, got {value!r}")
    return value


@contextmanager
def naming(layer: str) -> Iterator[None]:
    """Have errors of an op's checks name the layer that is built."""
    try:
        yield
    except TapeError as error:
        error.op = layer
        raise


def number(
    owner: str, name: str, value: Any, least: float = -math.inf, infinite: bool = False
) -> float:
    """The value as a float of at least `least`, finite unless it may be `infinite`.

    Raises:
        TypeError: it is no number.
        ValueError: it is too small, NaN, or infinite.
    """
    try:
        x = float(operator.pos(value))  # + refuses text, which float would read
    except (TypeError, ValueError):
        raise TypeError(f"{owner}: {name} must be a number, got {value!r}") from None
    if math.isinf(x) and not infinite:
        raise ValueError(f"{owner}: {name} must be finite, got {value!r}")
    if not x >= least:
        bound = "a number" if least == -math.inf else f"at least {least}"
        raise ValueError(f"{owner}: {name} must be {bound}, got {value!r}")
    return x


def share(owner: str, name: str, value: Any) -> float:
    """The value as a float in [0, 1].

    Raises:
        TypeError: it is no number.
        ValueError: it is outside.
    """
    x = number(owner, name, value, infinite=True)
    if not 0 <= x <= 1:
        raise ValueError(f"{owner}: {name} must be in [0, 1], got {value!r}")
    return x


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
