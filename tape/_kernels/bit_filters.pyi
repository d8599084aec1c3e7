from typing import Any

from numpy import float32, floating, int32
from numpy.typing import NDArray

from tape._kernels.bits import PackedBits

__all__ = ["BitFilters", "popcount_peak"]

class BitFilters:
    def __init__(
        self,
        w: PackedBits,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        pad_value: int = 0,
        *,
        scale: NDArray[floating[Any]] | None = None,
        bias: NDArray[floating[Any]] | None = None,
        least: NDArray[int32] | None = None,
        flip: NDArray[Any] | None = None,
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    def counts(self, x: PackedBits, *, channels_last: bool = False) -> NDArray[int32]: ...
    def scaled(
        self,
        x: PackedBits,
        residual: NDArray[float32] | None = None,
        *,
        channels_last: bool = False,
    ) -> NDArray[float32]: ...
    def signs(
        self, x: PackedBits, border: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> PackedBits: ...

def popcount_peak(rounds: int) -> float: ...
