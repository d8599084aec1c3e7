from collections.abc import Callable
from typing import Any

from numpy.typing import DTypeLike, NDArray

from tape._core.tensor import Tensor

def asarray(
    data: Any,
    dtype: DTypeLike | None = None,
    *,
    device: str | None = None,
    copy: bool | None = None,
) -> Tensor: ...
def overwrite(tensors: list[Tensor], update: Callable[..., Any], *args: Any) -> None: ...
def assign(x: Tensor, value: Any) -> Tensor: ...
def adopt(array: NDArray[Any]) -> Tensor: ...
def gradient_arrays(tensors: list[Tensor]) -> tuple[list[NDArray[Any] | None], int]: ...
