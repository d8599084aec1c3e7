"""Average pooling over 2-d windows, and its adjoint."""

from typing import Any

from numpy import floating
from numpy.typing import NDArray

__all__ = ["avg_pool2d", "avg_pool2d_scatter"]

def avg_pool2d(
    x: NDArray[floating[Any]],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int = 0,
) -> NDArray[floating[Any]]: ...
def avg_pool2d_scatter(
    g: NDArray[floating[Any]],
    H: int,
    W: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int = 0,
) -> NDArray[floating[Any]]: ...
