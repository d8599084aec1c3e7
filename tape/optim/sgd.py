"""`SGD`: stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tape._kernels.update import sgd
from tape.nn.arguments import number
from tape.optim.base import Optimizer
from tape.optim.ranges import nonnegative

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch defines it.

    d = g + weight_decay * p
    b = momentum * b + (1 - dampening) * d,  in the first step b = d
    p = p - lr * (d + momentum * b  if nesterov else  b  if momentum else  d)

    Args:
        params: tensors, or groups: dictionaries with "params" and settings of their own.
        lr: learning rate, >= 0.
        momentum: share of the last step that is kept, >= 0.
        dampening: share of the gradient that is left out of the momentum.
        nesterov: look ahead along the momentum; needs momentum, and no dampening.
        weight_decay: >= 0; adds this times the parameter to its gradient.

    Raises:
        TypeError, ValueError, GradError, ShapeError: see `Optimizer`.

    >>> import tape
    >>> w = tape.tensor([1.0], requires_grad=True)
    >>> optimizer = tape.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5]
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            nesterov=nesterov,
            weight_decay=weight_decay,
        )

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError if a setting is no number, or out of its range."""
        nonnegative("SGD", settings, "lr", "momentum", "weight_decay")
        number("SGD", "dampening", settings["dampening"])
        if settings["nesterov"] and (settings["momentum"] == 0 or settings["dampening"] != 0):
            raise ValueError("SGD: nesterov needs momentum above 0, and no dampening")

    def needs(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The buffer, if there is momentum."""
        return self.state_names if settings["momentum"] != 0 else ()

    def kernel_call(
        self,
        settings: Mapping[str, Any],
        state: Mapping[str, list[np.ndarray]],
        step: int,
        is_new: bool,
    ) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """(kernel, what follows the arrays of values and gradients)."""
        momentum = float(settings["momentum"])
        return sgd, (
            state["momentum_buffer"] if momentum else None,
            float(settings["lr"]),
            momentum,
            float(settings["dampening"]),
            bool(settings["nesterov"]),
            float(settings["weight_decay"]),
            is_new,
        )
