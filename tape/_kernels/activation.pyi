"""Activation functions, one pass over the numbers each."""

from typing import Any

from numpy import floating
from numpy.typing import NDArray

__all__ = ["ERF", "ERFC", "RELU", "RELU_GATE", "SIGMOID", "Gate", "Pass"]

class Pass:
    def __call__(self, x: NDArray[Any]) -> NDArray[floating[Any]]: ...

class Gate: ...

ERF: Pass
ERFC: Pass
RELU: Pass
RELU_GATE: Gate
SIGMOID: Pass
