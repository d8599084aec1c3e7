from typing import Any

from numpy import floating
from numpy.typing import NDArray

Pair = tuple[int, int]

def conv2d(
    x: NDArray[floating[Any]],
    w: NDArray[floating[Any]],
    Ho: int,
    Wo: int,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    b: NDArray[floating[Any]] | None = None,
    activation: str | None = None,
) -> NDArray[floating[Any]]: ...
def conv2d_image(
    g: NDArray[floating[Any]],
    w: NDArray[floating[Any]],
    H: int,
    W: int,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
) -> NDArray[floating[Any]]: ...
def conv2d_window(
    g: NDArray[floating[Any]],
    x: NDArray[floating[Any]],
    R: int,
    S: int,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
) -> NDArray[floating[Any]]: ...
