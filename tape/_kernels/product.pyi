"""Matrix products, and what is fused with them."""

from typing import Any

from numpy.typing import NDArray

from tape._kernels.dispatch import Kernel

class MatrixProduct(Kernel):
    def __call__(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]: ...

class Linear(MatrixProduct):
    def __call__(self, x: Any, w: Any, b: Any) -> NDArray[Any] | None: ...  # type: ignore[override]

class OuterSum(MatrixProduct): ...
