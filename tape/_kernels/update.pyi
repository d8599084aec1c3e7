"""Optimizer updates of many parameters in one call, in place."""

from collections.abc import Iterable
from typing import Any

from numpy import floating
from numpy.typing import NDArray

__all__ = ["adam", "rmsprop", "scale", "sgd", "sum_squares"]

def adam(
    params: Iterable[NDArray[floating[Any]]],
    grads: Iterable[NDArray[floating[Any]]],
    m: Iterable[NDArray[floating[Any]]],
    v: Iterable[NDArray[floating[Any]]],
    step: float,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    vmax: Iterable[NDArray[floating[Any]]] | None = None,
) -> None: ...
def rmsprop(
    params: Iterable[NDArray[floating[Any]]],
    grads: Iterable[NDArray[floating[Any]]],
    square_avg: Iterable[NDArray[floating[Any]]],
    grad_avg: Iterable[NDArray[floating[Any]]] | None,
    moments: Iterable[NDArray[floating[Any]]] | None,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-08,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None: ...
def scale(arrays: Iterable[NDArray[floating[Any]]], factor: float) -> None: ...
def sgd(
    params: Iterable[NDArray[floating[Any]]],
    grads: Iterable[NDArray[floating[Any]]],
    moments: Iterable[NDArray[floating[Any]]] | None,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    first: bool = False,
) -> None: ...
def sum_squares(arrays: Iterable[NDArray[floating[Any]]]) -> float: ...
