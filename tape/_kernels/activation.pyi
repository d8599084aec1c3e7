"""Activation functions, one pass over the numbers each."""

from typing import Any

from numpy import floating
from numpy.typing import NDArray

__all__ = [
    "ERF",
    "ERFC",
    "RELU",
    "RELU_GATE",
    "SIGMOID",
    "SIGMOID_SLOPE",
    "TANH_SLOPE",
    "Pass",
    "Slope",
]

class Pass:
    def __call__(self, x: NDArray[Any]) -> NDArray[floating[Any]]: ...

class Slope: ...

ERF: Pass
ERFC: Pass
RELU: Pass
RELU_GATE: Slope
SIGMOID: Pass
SIGMOID_SLOPE: Slope
TANH_SLOPE: Slope
