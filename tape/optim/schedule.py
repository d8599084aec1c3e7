"""Schedules: learning rates as functions of the number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tape.errors import TapeError
from tape.nn.arguments import count, number, share
from tape.optim.base import Optimizer

__all__ = ["CosineAnnealingLR", "LinearWarmup", "Schedule", "StepLR"]


class Schedule:
    """Base of all schedules: a subclass gives the `rate` after any number of steps.

    Sets the learning rates of the optimizer's groups, at first those of step 0. As rates are
    computed from the step alone, a rate set by hand lasts until the next step of the schedule.

    Args:
        optimizer: whose groups' learning rates are taken as those to start from.

    Raises:
        TypeError: it is no optimizer.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: takes an optimizer, got a {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        self.base_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.n_steps = 0
        self._apply(0)

    def rate(self, base: float, n_steps: int) -> float:
        """The learning rate of a group with the rate `base` after `n_steps` steps."""
        raise NotImplementedError(f"{type(self).__name__} has no rate(self, base, n_steps)")

    def step(self) -> None:
        """Count a step, and set the learning rates that are due: call it after the optimizer's."""
        self._apply(self.n_steps + 1)
        self.n_steps += 1

    def _apply(self, n_steps: int) -> None:
        self.optimizer.set_rates([self.rate(base, n_steps) for base in self.base_rates])

    def state_dict(self) -> dict[str, Any]:
        """The number of steps and the rates at the start, for `load_state_dict`."""
        return {"n_steps": self.n_steps, "base_rates": list(self.base_rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another schedule was, and set its learning rates.

        Raises:
            TapeError: the state is of no schedule, or of one with another number of groups.
        """
        name, n = f"{type(self).__name__}.load_state_dict", len(self.optimizer.param_groups)
        known = state if isinstance(state, Mapping) else {}
        n_steps, rates = known.get("n_steps"), known.get("base_rates")
        is_count = isinstance(n_steps, int) and n_steps >= 0
        if not is_count or not isinstance(rates, list) or len(rates) != n:
            raise TapeError(f"{name}: needs n_steps and base_rates of {n} groups, got {state!r}")
        before = self.base_rates
        self.base_rates = [number(name, "base_rates", rate, least=0) for rate in rates]
        try:
            self._apply(n_steps)
        except BaseException:
            self.base_rates = before
            raise
        self.n_steps = n_steps


class StepLR(Schedule):
    """Multiplies the learning rate by `gamma` every `step_size` steps.

    rate(t) = base * gamma ** (t // step_size)

    Args:
        optimizer: whose learning rates are set.
        step_size: >= 1.
        gamma: >= 0.

    Raises:
        TypeError, ValueError: `step_size` or `gamma` is no number, or out of its range.

    >>> import tape
    >>> sgd = tape.optim.SGD([tape.tensor(1.0, requires_grad=True)], lr=1.0)
    >>> schedule = tape.optim.StepLR(sgd, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     print(sgd.lr)
    ...     schedule.step()
    1.0
    1.0
    0.5
    0.5
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = count("StepLR", "step_size", step_size, least=1)
        self.gamma = number("StepLR", "gamma", gamma, least=0)
        super().__init__(optimizer)

    def rate(self, base: float, n_steps: int) -> float:
        """The learning rate after `n_steps` steps."""
        return base * self.gamma ** (n_steps // self.step_size)


class CosineAnnealingLR(Schedule):
    """Lowers the learning rate to `eta_min` along half a cosine; then it rises and falls again.

    rate(t) = eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2

    Args:
        optimizer: whose learning rates are set.
        T_max: number of steps to the lowest rate, >= 1.
        eta_min: the lowest rate, >= 0.

    Raises:
        TypeError, ValueError: `T_max` or `eta_min` is no number, or out of its range.

    Source: Loshchilov and Hutter 2017, equation 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = count("CosineAnnealingLR", "T_max", T_max, least=1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min, least=0)
        super().__init__(optimizer)

    def rate(self, base: float, n_steps: int) -> float:
        """The learning rate after `n_steps` steps."""
        share = (1 + math.cos(math.pi * n_steps / self.T_max)) / 2
        return self.eta_min + (base - self.eta_min) * share


class LinearWarmup(Schedule):
    """Raises the learning rate evenly to its full size, which is where another schedule begins.

    rate(t) = base * (start_factor + (1 - start_factor) * t / length)   for t <= length
    rate(t) = the other schedule's rate(t - length)                     after that

    Args:
        optimizer: whose learning rates are set.
        length: number of steps to the full rate, >= 1.
        then: schedule of the same optimizer that follows, or None for a constant rate; it is
            stepped by this one.
        start_factor: share of the rate in step 0, in [0, 1].

    Raises:
        TypeError: an argument is not of its type.
        ValueError: an argument is out of its range, or `then` belongs to another optimizer.

    >>> import tape
    >>> sgd = tape.optim.SGD([tape.tensor(1.0, requires_grad=True)], lr=1.0)
    >>> cosine = tape.optim.CosineAnnealingLR(sgd, T_max=2)
    >>> schedule = tape.optim.LinearWarmup(sgd, 2, then=cosine, start_factor=0.5)
    >>> for _ in range(5):
    ...     print(sgd.lr)
    ...     schedule.step()
    0.5
    0.75
    1.0
    0.5
    0.0
    """

    def __init__(
        self,
        optimizer: Optimizer,
        length: int,
        then: Schedule | None = None,
        start_factor: float = 1 / 3,
    ) -> None:
        self.length = count("LinearWarmup", "length", length, least=1)
        self.start_factor = share("LinearWarmup", "start_factor", start_factor)
        self.then = then
        if then is not None and not isinstance(then, Schedule):
            raise TypeError(f"LinearWarmup: `then` is a {type(then).__name__}, not a schedule")
        if then is not None and (then.optimizer is not optimizer or then.n_steps):
            raise ValueError("LinearWarmup: `then` needs the same optimizer, and no step taken yet")
        if then is not None:
            optimizer.set_rates(then.base_rates)
        super().__init__(optimizer)

    def rate(self, base: float, n_steps: int) -> float:
        """The learning rate after `n_steps` steps."""
        after = max(n_steps - self.length, 0)
        full = base if self.then is None else self.then.rate(base, after)
        rise = self.start_factor + (1 - self.start_factor) * min(n_steps / self.length, 1)
        return full * rise if n_steps < self.length else full
