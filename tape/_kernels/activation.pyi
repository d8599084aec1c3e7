"""Activation functions, one pass over the numbers each."""

from typing import Any

from numpy import floating
from numpy.typing import NDArray

__all__ = [
    "ERF",
    "ERFC",
    "GELU",
    "GELU_SLOPE",
    "LEAKY_RELU",
    "LEAKY_RELU_GATE",
    "RELU",
    "RELU_GATE",
    "SIGMOID",
    "SIGMOID_SLOPE",
    "SILU",
    "SILU_SLOPE",
    "SOFTPLUS",
    "SOFTPLUS_SLOPE",
    "TANH_SLOPE",
    "Pass",
    "Slope",
]

class Pass:
    def __call__(self, x: NDArray[Any], *settings: Any) -> NDArray[floating[Any]]: ...

class Slope: ...

ERF: Pass
ERFC: Pass
GELU: Pass
GELU_SLOPE: Slope
LEAKY_RELU: Pass
LEAKY_RELU_GATE: Slope
RELU: Pass
RELU_GATE: Slope
SIGMOID: Pass
SIGMOID_SLOPE: Slope
SILU: Pass
SILU_SLOPE: Slope
SOFTPLUS: Pass
SOFTPLUS_SLOPE: Slope
TANH_SLOPE: Slope
