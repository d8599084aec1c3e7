from typing import Any

from tape._core.tensor import Tensor

def bind_operators(
    tensor: type[Tensor], operators: dict[str, Any], methods: dict[str, Any]
) -> None: ...
