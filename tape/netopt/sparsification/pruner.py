"""`Pruner`: masks that close as training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tape.errors import TapeError
from tape.netopt.sparsification.magnitude import check_scope, tighten
from tape.netopt.sparsification.masked import Masked
from tape.netopt.sparsification.pruning_schedule import Schedule
from tape.nn.module import Module
from tape.nn.tree import below

__all__ = ["Pruner"]


class Pruner:
    """Masks more of a model's weights as training goes on, as a schedule says.

    >>> import tape
    >>> from tape import netopt, nn
    >>> from tape.netopt import sparsification
    >>> net = nn.Sequential(nn.Dense(30, 20), nn.Dense(5, 30))
    >>> def train(model):
    ...     pruner = sparsification.Pruner(model, sparsification.polynomial(0.9, end=8, every=2))
    ...     for _ in range(10):
    ...         pruner.step()           # after the optimizer's step
    ...     print(pruner)
    >>> sparse = sparsification.prune_magnitude(net, 0.0, train=train)
    Pruner: 90.0 % of 750 weights masked after 10 steps of polynomial(0.9, end=8, ...)

    Args:
        model: with masked layers, as `prune_magnitude` makes them.
        schedule: the share that is masked after so many steps, such as `polynomial`.
        scope: "layer", or "global" for the smallest of all layers together.

    Raises:
        TapeError: the model has no masked layers.
        SettingError: there is no such scope.
    """

    def __init__(self, model: Module, schedule: Schedule, scope: str = "layer") -> None:
        if not isinstance(schedule, Schedule):
            raise TypeError(
                f"Pruner: schedule is one such as polynomial(0.9, 1000), got {schedule!r}"
            )
        check_scope("Pruner", scope, 0.0)
        if not any(isinstance(m, Masked) for m in below(model)):
            raise TapeError(
                f"Pruner: this {type(model).__name__} has no masked layers: prune_magnitude(model, "
                "0.0) makes a copy that has"
            )
        self.model, self.schedule, self.scope = model, schedule, scope
        self.n_steps = 0
        self._apply(0)

    def step(self) -> None:
        """Count a step, and mask what is due."""
        self._apply(self.n_steps + 1)
        self.n_steps += 1

    def _apply(self, n_steps: int) -> None:
        amount = self.schedule(n_steps)
        if amount > self.sparsity:
            tighten(self.model, amount, self.scope)

    @property
    def sparsity(self) -> float:
        """The share of the weights of masked layers that is masked."""
        masks = self._masks()
        n = sum(mask.size for mask in masks)
        return 1.0 - sum(int(mask.sum()) for mask in masks) / n if n else 0.0

    def _masks(self) -> list[np.ndarray]:
        layers = [m for m in below(self.model) if isinstance(m, Masked)]
        return list({id(m.weight): m.mask.numpy() for m in layers}.values())

    def state_dict(self) -> dict[str, int]:
        """The number of steps; masks are in the model's."""
        return {"n_steps": self.n_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another pruner was.

        Raises:
            TapeError: the state is of none.
        """
        n = state.get("n_steps") if isinstance(state, Mapping) else None
        if not isinstance(n, int) or n < 0:
            raise TapeError(f"Pruner.load_state_dict: needs n_steps, got {state!r}")
        self._apply(n)
        self.n_steps = n

    def __repr__(self) -> str:
        n = sum(mask.size for mask in self._masks())
        return (
            f"Pruner: {100 * self.sparsity:.1f} % of {n:,} weights masked after {self.n_steps} "
            f"steps of {self.schedule!r}"
        )
