from typing import Any

from numpy import floating
from numpy.typing import NDArray

from tape._kernels.bits import PackedBits

__all__ = ["conv2d", "conv2d_image", "conv2d_signs", "conv2d_window"]

def conv2d(
    x: NDArray[floating[Any]],
    w: NDArray[floating[Any]],
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
    groups: int,
    b: NDArray[floating[Any]] | None = None,
    activation: str | None = None,
) -> NDArray[floating[Any]]: ...
def conv2d_signs(
    x: NDArray[floating[Any]],
    w: NDArray[floating[Any]],
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
    b: NDArray[floating[Any]] | None = None,
    rule: str = "negative",
    border: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> PackedBits: ...
def conv2d_image(
    g: NDArray[floating[Any]],
    w: NDArray[floating[Any]],
    H: int,
    W: int,
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
    groups: int,
) -> NDArray[floating[Any]]: ...
def conv2d_window(
    g: NDArray[floating[Any]],
    x: NDArray[floating[Any]],
    R: int,
    S: int,
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
    groups: int,
) -> NDArray[floating[Any]]: ...
