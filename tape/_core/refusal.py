"""What NumPy's refusals are in tape's words: arrays that are too large, settings that do not fit.

Reached by errors alone, so it is not compiled.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tape.errors import DTypeError, IndexRangeError, SettingError, SizeError, TapeError

__all__ = ["addressable", "allocated", "refused", "too_large"]


# What the error of an op becomes; other kinds stay as they are.
KINDS: list[tuple[Any, type[TapeError]]] = [
    (IndexError, IndexRangeError),
    ((TypeError, AttributeError, OverflowError), DTypeError),
    ((ValueError, ArithmeticError, LookupError), SettingError),
]


def too_large(shape: Sequence[int], itemsize: int, name: str = "") -> SizeError:
    """The error for an array of which there is no memory, or no address, for each element."""
    n = itemsize * math.prod(n for n in shape if n)
    reach = "more than can be addressed" if n > sys.maxsize else "more than there is memory for"
    error = SizeError(f"an array {tuple(shape)} takes {n} bytes, {reach}")
    error.op = name
    return error


def addressable(shape: Sequence[int], itemsize: int) -> None:
    """SizeError if no memory could hold the array: asked before what would crash of it."""
    if itemsize * math.prod(n for n in shape if n) > sys.maxsize:
        raise too_large(shape, itemsize)


def allocated(name: str, shape: Sequence[int], dtype: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, an array of this shape and dtype; SizeError if that is too large."""
    try:
        return make()
    except (MemoryError, ValueError, OverflowError):
        raise too_large(shape, np.dtype(dtype).itemsize, name) from None


def refused(
    op: Any,
    error: BaseException,
    shapes: Sequence[tuple[int, ...]],
    itemsize: int,
    words: Sequence[str],
    settings: tuple[Any, ...],
) -> TapeError | None:
    """The error of tape for one of Python or NumPy in an op of tape; None to let that be."""
    message = str(error)
    if isinstance(error, MemoryError):
        if hasattr(error, "shape") and hasattr(error, "dtype"):  # as NumPy's have
            return too_large(error.shape, np.dtype(error.dtype).itemsize)
        return SizeError(message or f"no memory for what becomes of {', '.join(words)}")
    kind = next((mine for theirs, mine in KINDS if isinstance(error, theirs)), None)
    if isinstance(error, (ValueError, OverflowError)):
        shape = ruled(op, shapes, settings)
        if shape is not None and itemsize * math.prod(n for n in shape if n) > sys.maxsize:
            return too_large(shape, itemsize)
    if kind is None:
        return None
    own = re.match(r"\w+: ", message)  # a message in tape's words
    return kind(message if own else f"not defined for {', '.join(words)}: {message}")


def ruled(op: Any, shapes: Sequence[Any], settings: tuple[Any, ...]) -> tuple[int, ...] | None:
    """The shape of the result by the op's rule, None if it says none."""
    given = dict(zip(op.setting_names, settings, strict=True))
    try:
        shape = op.shape(*shapes, **{name: given[name] for name in op.shape_settings})
    except Exception:  # it refuses them itself, or cannot read the settings
        return None
    return shape if isinstance(shape, tuple) else None
