"""Sums of shifted multiples of signals."""

from typing import Any

from numpy import floating, intp
from numpy.typing import NDArray

__all__ = ["shifted_sums"]

def shifted_sums(
    x: NDArray[floating[Any]],
    starts: NDArray[intp],
    offsets: NDArray[intp],
    factors: NDArray[floating[Any]],
    bias: NDArray[floating[Any]] | None,
    rows: int,
    width: int,
    pitch: int,
    *,
    relu: bool = False,
) -> NDArray[floating[Any]]: ...
