"""Maximum pooling over 2-d windows, and the two maps its derivatives need."""

from typing import Any

from numpy import floating, int32
from numpy.typing import NDArray

__all__ = ["max_pool2d", "max_pool2d_gather", "max_pool2d_scatter"]

def max_pool2d(
    x: NDArray[floating[Any]],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    *,
    ceil_mode: bool = False,
) -> tuple[NDArray[floating[Any]], NDArray[int32]]: ...
def max_pool2d_gather(
    x: NDArray[floating[Any]], index: NDArray[int32]
) -> NDArray[floating[Any]]: ...
def max_pool2d_scatter(
    g: NDArray[floating[Any]], index: NDArray[int32], H: int, W: int
) -> NDArray[floating[Any]]: ...
