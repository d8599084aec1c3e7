"""Activation functions, one pass over the numbers each."""

from typing import Any

from numpy import floating
from numpy.typing import NDArray

__all__ = [
    "BAND",
    "CELU",
    "ELU",
    "ELU_SLOPE",
    "ERF",
    "ERFC",
    "GELU",
    "GELU_SLOPE",
    "HARDSHRINK",
    "HARDSIGMOID",
    "HARDSWISH",
    "HARDSWISH_SLOPE",
    "HARDTANH",
    "LEAKY_RELU",
    "LEAKY_RELU_GATE",
    "LOGSIGMOID",
    "MISH",
    "MISH_SLOPE",
    "RELU",
    "RELU6",
    "RELU_GATE",
    "SELU",
    "SIGMOID",
    "SIGMOID_SLOPE",
    "SILU",
    "SILU_SLOPE",
    "SOFTPLUS",
    "SOFTPLUS_SLOPE",
    "SOFTSHRINK",
    "TANH_SLOPE",
    "Pass",
    "Slope",
]

class Pass:
    def __call__(self, x: NDArray[Any], *settings: Any) -> NDArray[floating[Any]]: ...

class Slope: ...

BAND: Slope
CELU: Pass
ELU: Pass
ELU_SLOPE: Slope
ERF: Pass
ERFC: Pass
GELU: Pass
GELU_SLOPE: Slope
HARDSHRINK: Pass
HARDSIGMOID: Pass
HARDSWISH: Pass
HARDSWISH_SLOPE: Slope
HARDTANH: Pass
LEAKY_RELU: Pass
LEAKY_RELU_GATE: Slope
LOGSIGMOID: Pass
MISH: Pass
MISH_SLOPE: Slope
RELU: Pass
RELU6: Pass
RELU_GATE: Slope
SELU: Pass
SIGMOID: Pass
SIGMOID_SLOPE: Slope
SILU: Pass
SILU_SLOPE: Slope
SOFTPLUS: Pass
SOFTPLUS_SLOPE: Slope
SOFTSHRINK: Pass
TANH_SLOPE: Slope
