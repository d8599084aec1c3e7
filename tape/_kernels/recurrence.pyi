"""First-order linear recurrences along an axis: what gradients of running products are made of."""

from typing import Any

from numpy import floating
from numpy.typing import NDArray

__all__ = ["recur"]

def recur(
    a: NDArray[floating[Any]], b: NDArray[floating[Any]], axis: int, backward: bool
) -> NDArray[floating[Any]]: ...
