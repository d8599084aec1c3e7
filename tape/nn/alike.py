"""`alike`: whether two initialisers, made at two places of a program, are the same."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["alike"]


def alike(a: Any, b: Any, depth: int = 8) -> bool:
    """Whether two initialisers do the same as far as one can see: code and all it closes over."""
    if a is b:
        return True
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    if depth == 0 or not (numbers or type(a) is type(b)):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, (tuple, list)):
        pairs = zip(a, b, strict=False)
        return len(a) == len(b) and all(alike(x, y, depth - 1) for x, y in pairs)
    if isinstance(a, dict):
        return alike(list(a.items()), list(b.items()), depth - 1)
    if hasattr(a, "__code__"):
        kept = ("__code__", "__defaults__", "__kwdefaults__")
        mine, other = ([getattr(f, name) for name in kept] for f in (a, b))
        return alike([*mine, _closed_over(a)], [*other, _closed_over(b)], depth - 1)
    if isinstance(a, functools.partial):
        return alike([a.func, a.args, a.keywords], [b.func, b.args, b.keywords], depth - 1)
    try:
        return bool(a == b or (a != a and b != b))
    except Exception:
        return False


def _closed_over(function: Any) -> list[Any]:
    """The values that a function closes over."""
    try:
        return [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # one has no value yet
        return [object()]
