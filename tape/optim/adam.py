"""`Adam` and `AdamW`: steps scaled by running averages of the gradient and its square."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tape._kernels.update import adam
from tape.optim.base import Optimizer
from tape.optim.ranges import nonnegative, shares

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam, as PyTorch defines it; weight decay is a term of the gradient.

    d = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * d
    v = beta2 * v + (1 - beta2) * d**2
    p = p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)   in step t = 1, 2, ...

    Args:
        params: tensors, or groups: dictionaries with "params" and settings of their own.
        lr: learning rate, >= 0.
        betas: (beta1, beta2), each in [0, 1).
        eps: >= 0.
        weight_decay: >= 0.
        amsgrad: divide by the largest v so far.

    Raises:
        TypeError, ValueError, GradError, ShapeError: see `Optimizer`.

    Source: Kingma and Ba 2015, algorithm 1; amsgrad: Reddi et al. 2018, algorithm 2.

    >>> import tape
    >>> w = tape.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = tape.optim.Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5, -1.5]
    """

    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    is_decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
        )

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError if a setting is no number, or out of its range."""
        name = type(self).__name__
        nonnegative(name, settings, "lr", "eps", "weight_decay")
        shares(name, "betas", settings["betas"], 2)

    def needs(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Both averages, and the largest second one with amsgrad."""
        return self.state_names if settings["amsgrad"] else self.state_names[:2]

    def kernel_call(
        self,
        settings: Mapping[str, Any],
        state: Mapping[str, list[np.ndarray]],
        step: int,
        is_new: bool,
    ) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """(kernel, what follows the arrays of values and gradients)."""
        beta1, beta2 = settings["betas"]
        return adam, (
            state["exp_avg"],
            state["exp_avg_sq"],
            step,
            float(settings["lr"]),
            float(beta1),
            float(beta2),
            float(settings["eps"]),
            float(settings["weight_decay"]),
            self.is_decoupled,
            state["max_exp_avg_sq"] if settings["amsgrad"] else None,
        )


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: p loses lr * weight_decay * p in every step.

    Args: as `Adam`, with a weight decay by default.

    Source: Loshchilov and Hutter 2019, algorithm 2, as PyTorch defines it (no schedule factor).
    """

    is_decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
