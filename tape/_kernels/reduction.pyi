"""Reductions along axes by NumPy's inner loops."""

from typing import Any

from numpy.typing import NDArray

from tape._kernels.dispatch import Kernel

class Reduction(Kernel):
    def __new__(cls, function: Any, *rest: Any) -> Reduction: ...
    def __call__(self, x: NDArray[Any], axis: Any, keepdims: bool) -> NDArray[Any]: ...

class Mean(Reduction): ...
class SumTo(Reduction): ...
