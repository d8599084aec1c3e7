"""Fused loops over the rows of a matrix: softmax, what is made of it, and normalisation."""

from typing import Any

from numpy import floating, int64
from numpy.typing import NDArray

__all__ = [
    "LOG_SOFTMAX",
    "LOG_SOFTMAX_GRAD",
    "SOFTMAX",
    "SOFTMAX_GRAD",
    "CrossEntropy",
    "CrossEntropyGrad",
    "LogSumExpGrad",
    "Normal",
    "NormalSlope",
    "NormalSums",
    "RowWise",
    "cross_entropy_rows",
    "cross_entropy_rows_grad",
    "log_softmax",
    "logsumexp",
    "softmax",
]

class CrossEntropy: ...
class CrossEntropyGrad: ...
class LogSumExpGrad: ...
class Normal: ...
class NormalSlope: ...
class NormalSums: ...
class RowWise: ...

LOG_SOFTMAX: RowWise
LOG_SOFTMAX_GRAD: RowWise
SOFTMAX: RowWise
SOFTMAX_GRAD: RowWise

def cross_entropy_rows(
    x: NDArray[floating[Any]], labels: NDArray[int64]
) -> NDArray[floating[Any]]: ...
def cross_entropy_rows_grad(
    x: NDArray[floating[Any]], labels: NDArray[int64], scale: NDArray[floating[Any]]
) -> NDArray[floating[Any]]: ...
def log_softmax(x: NDArray[floating[Any]]) -> NDArray[floating[Any]]: ...
def logsumexp(x: NDArray[floating[Any]]) -> NDArray[floating[Any]]: ...
def softmax(x: NDArray[floating[Any]]) -> NDArray[floating[Any]]: ...
