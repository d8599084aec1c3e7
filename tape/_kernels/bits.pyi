from typing import Any

from numpy import floating, uint32
from numpy.typing import NDArray

__all__ = ["PackedBits", "binary_pool", "pack", "unpack", "words_as", "words_shape"]

class PackedBits:
    kept: Any
    def __init__(
        self,
        words: NDArray[uint32],
        shape: tuple[int, ...],
        axis: int,
        border: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> None: ...
    @property
    def words(self) -> NDArray[uint32]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def axis(self) -> int: ...
    @property
    def border(self) -> tuple[int, int, int, int]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

def binary_pool(
    x: PackedBits,
    window: tuple[int, int],
    stride: tuple[int, int] | None = None,
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    *,
    least: bool = False,
    border: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> PackedBits: ...
def pack(
    x: NDArray[floating[Any]],
    axis: int = 1,
    rule: str = "negative",
    window: float = 1.0,
    border: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> PackedBits: ...
def unpack(
    bits: PackedBits, dtype: str = "float32", zero: float = 1.0, one: float = -1.0
) -> NDArray[floating[Any]]: ...
def words_as(
    words: NDArray[uint32],
    shape: tuple[int, ...],
    axis: int,
    border: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> PackedBits: ...
def words_shape(
    shape: tuple[int, ...], axis: int, border: tuple[int, int, int, int]
) -> tuple[int, ...]: ...
