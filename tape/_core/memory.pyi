from collections.abc import Callable
from typing import Any

from numpy.typing import DTypeLike

from tape._core.tensor import Tensor

def asarray(data: Any, dtype: DTypeLike | None = None) -> Tensor: ...
def overwrite(tensors: list[Tensor], update: Callable[..., Any], *args: Any) -> None: ...
