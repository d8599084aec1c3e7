"""What a tensor says about itself: its repr, and the errors about numbers it is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape.errors import ShapeError

__all__ = ["not_a_number", "summary"]


def summary(value: Any, name: str | None, op: Any, requires_grad: bool) -> str:
    """The repr of a tensor: its values briefly, and the facts about it."""
    text = np.array2string(
        value, separator=", ", prefix="tensor(", precision=4, threshold=24, edgeitems=2
    )
    facts = [text, f"shape={value.shape}", value.dtype.name]
    if name is not None:
        facts.append(f"name={name!r}")
    if op is not None:
        facts.append(f"op={op.name}")
    elif requires_grad:
        facts.append("requires_grad")
    return f"tensor({', '.join(facts)})"


def not_a_number(value: Any, what: str) -> Exception:
    """The error for a tensor that should be one number: of one element, or an integer."""
    if what == "index":
        return TypeError(f"a {value.dtype} tensor of shape {value.shape} is no index")
    hint = "; use any() or all()" if what == "bool" else ""
    return ShapeError(
        f"{what}: a tensor of shape {value.shape} has {value.size} elements, expected one{hint}"
    )
