"""Windows over images: how many fit, unfold (im2col) and its adjoint fold (col2im)."""

from typing import Any

from numpy import floating
from numpy.typing import NDArray

__all__ = ["fold", "unfold", "window_count", "window_counts"]

def fold(
    cols: NDArray[floating[Any]],
    image_shape: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
) -> NDArray[floating[Any]]: ...
def unfold(
    x: NDArray[floating[Any]],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    fill: float = 0.0,
) -> NDArray[floating[Any]]: ...
def window_count(
    size: int,
    window: int,
    stride: int = 1,
    before: int = 0,
    after: int = 0,
    dilation: int = 1,
    *,
    ceil_mode: bool = False,
) -> int: ...
def window_counts(
    image: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
    ceil_mode: bool,
) -> tuple[int, int]: ...
