"""Matrix products, and what is fused with them."""

from typing import Any

from numpy.typing import NDArray

from tape._kernels.dispatch import Kernel

class MatrixProduct(Kernel):
    def __call__(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]: ...

class Linear(MatrixProduct): ...
class OuterSum(MatrixProduct): ...
