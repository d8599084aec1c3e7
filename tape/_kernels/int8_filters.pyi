from typing import Any

from numpy import float32, floating, int8, int32, uint8
from numpy.typing import NDArray

__all__ = ["LONGEST", "Int8Filters", "codes_of", "has_dot"]

LONGEST: int

class Int8Filters:
    def __init__(
        self,
        w: NDArray[int8],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        *,
        zero: int = 0,
        factor: float = 1.0,
        scale: NDArray[floating[Any]] | None = None,
        bias: NDArray[floating[Any]] | None = None,
        least: float = ...,
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    @property
    def zero(self) -> int: ...
    def sums(self, x: NDArray[Any], *, channels_last: bool = False) -> NDArray[int32]: ...
    def floats(self, x: NDArray[Any], *, channels_last: bool = False) -> NDArray[float32]: ...
    def codes(self, x: NDArray[Any]) -> NDArray[uint8]: ...

def codes_of(x: NDArray[floating[Any]], factor: float, zero: int) -> NDArray[uint8]: ...
def has_dot() -> bool: ...
