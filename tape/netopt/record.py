"""What the layers of a model are called with, recorded on a batch and repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tape._core.state import no_grad
from tape._core.tensor import Tensor
from tape.nn.module import Module
from tape.nn.tree import below

__all__ = ["Call", "called", "outputs", "record", "run", "tensors"]


class Call(NamedTuple):
    """One call of a layer: what it got, and the shape of what it gave, None if no tensor."""

    x: tuple[Any, ...]
    named: dict[str, Any]
    y_shape: tuple[int, ...] | None

    @property
    def operand(self) -> Any:
        """The first of what it got, in order or else by name; None if it got nothing."""
        return self.x[0] if self.x else next(iter(self.named.values()), None)


def run(model: Callable[..., Any], x: Any) -> Any:
    """The model's result for a batch, or for several operands in a tuple, without a graph."""
    with no_grad():
        return model(*x) if isinstance(x, tuple) else model(x)


def record(model: Module, x: Any) -> tuple[Any, dict[int, list[Call]]]:
    """(result, calls of each module that was called, by its id) of the model in evaluation mode.

    The model is not touched: what runs is a copy.
    """
    twin = model.clone().eval()
    calls: dict[int, list[Call]] = {}
    watched = list(zip(below(model), below(twin), strict=True))
    try:
        for module, copy in watched:
            vars(copy)["forward"] = noting(copy.forward, calls.setdefault(id(module), []))
        y = run(twin, x)
    finally:
        for _, copy in watched:  # each refers to itself through its method
            vars(copy).pop("forward", None)
    return y, {at: made for at, made in calls.items() if made}


def called(layer: Any, calls: list[Call]) -> None:
    """Repeat recorded calls, without a graph."""
    with no_grad():
        for call in calls:
            layer(*call.x, **call.named)


def noting(forward: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    """The function, which appends its calls to the list."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        y = forward(*args, **kwargs)
        calls.append(Call(args, kwargs, y.shape if isinstance(y, Tensor) else None))
        return y

    return noted


def outputs(y: Any) -> list[np.ndarray]:
    """The tensors in a result as arrays, in order."""
    return [t.numpy() for t in tensors(y)]


def tensors(y: Any) -> list[Tensor]:
    """The tensors in a result, in order."""
    if isinstance(y, Tensor):
        return [y]
    parts = y.values() if isinstance(y, dict) else y if isinstance(y, (list, tuple)) else ()
    return [t for part in parts for t in tensors(part)]
