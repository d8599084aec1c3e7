"""`RMSprop`: steps scaled by a running average of the squared gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tape._kernels.update import rmsprop
from tape.optim.base import Optimizer
from tape.optim.ranges import nonnegative, shares

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """RMSprop, as PyTorch defines it.

    d = g + weight_decay * p
    s = alpha * s + (1 - alpha) * d**2
    a = alpha * a + (1 - alpha) * d                             if centered, else 0
    u = d / (sqrt(s - a**2) + eps)
    b = momentum * b + u
    p = p - lr * (b if momentum else u)

    Args:
        params: tensors, or groups: dictionaries with "params" and settings of their own.
        lr: learning rate, >= 0.
        alpha: share of the averages that is kept, in [0, 1).
        eps: >= 0.
        weight_decay: >= 0.
        momentum: share of the last step that is kept, >= 0.
        centered: divide by the deviation of the gradient rather than its size.

    Raises:
        TypeError, ValueError, GradError, ShapeError: see `Optimizer`.

    Source: Hinton, lecture 6e; centred: Graves 2013, equation 38.
    """

    state_names = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
        )

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError if a setting is no number, or out of its range."""
        nonnegative("RMSprop", settings, "lr", "eps", "weight_decay", "momentum")
        shares("RMSprop", "alpha", (settings["alpha"],), 1)

    def needs(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The average of squares; that of gradients if centred; the buffer if there is momentum."""
        wanted = True, settings["centered"], settings["momentum"] != 0
        return tuple([name for name, want in zip(self.state_names, wanted, strict=True) if want])

    def kernel_call(
        self,
        settings: Mapping[str, Any],
        state: Mapping[str, list[np.ndarray]],
        step: int,
        is_new: bool,
    ) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """(kernel, what follows the arrays of values and gradients)."""
        momentum = float(settings["momentum"])
        return rmsprop, (
            state["square_avg"],
            state["grad_avg"] if settings["centered"] else None,
            state["momentum_buffer"] if momentum else None,
            float(settings["lr"]),
            float(settings["alpha"]),
            float(settings["eps"]),
            float(settings["weight_decay"]),
            momentum,
        )
