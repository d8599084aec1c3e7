"""Schedules of pruning: how much is gone after so many steps."""

from __future__ import annotations

from collections.abc import Callable

from tape.errors import SettingError
from tape.nn.arguments import count, number

__all__ = ["Schedule", "constant", "one_shot", "polynomial"]


class Schedule:
    """An amount as a function of the number of steps.

    Attributes:
        every: it changes once in so many steps.

    >>> from tape.netopt import sparsification
    >>> schedule = sparsification.polynomial(0.8, end=100)
    >>> [round(schedule(step), 3) for step in (0, 50, 100, 200)]
    [0.0, 0.7, 0.8, 0.8]
    """

    def __init__(self, name: str, every: int, amount: Callable[[int], float]) -> None:
        self.name, self.every, self._amount = name, every, amount

    def __call__(self, step: int) -> float:
        """The share that is gone after a number of steps, in [0, 1)."""
        return self._amount(count("Schedule", "step", step))

    def __repr__(self) -> str:
        return self.name


def checked(owner: str, name: str, value: float) -> float:
    """A share in [0, 1).

    Raises:
        SettingError: it is outside.
    """
    x = number(owner, name, value)
    if not 0 <= x < 1:
        raise SettingError(f"{owner}: {name} is a share in [0, 1), got {value!r}")
    return x


def constant(amount: float) -> Schedule:
    """The same share from the beginning.

    >>> from tape.netopt import sparsification
    >>> sparsification.constant(0.5)(0)
    0.5
    """
    share = checked("constant", "amount", amount)
    return Schedule(f"constant({share:g})", 1, lambda step: share)


def one_shot(amount: float, at: int = 0) -> Schedule:
    """Nothing, and from step `at` on the whole share.

    >>> from tape.netopt import sparsification
    >>> [sparsification.one_shot(0.5, at=10)(step) for step in (9, 10)]
    [0.0, 0.5]
    """
    share, begin = checked("one_shot", "amount", amount), count("one_shot", "at", at)
    return Schedule(f"one_shot({share:g}, at={begin})", 1, lambda s: share if s >= begin else 0.0)


def polynomial(
    final: float,
    end: int,
    initial: float = 0.0,
    begin: int = 0,
    power: float = 3.0,
    every: int = 1,
) -> Schedule:
    """Fast at first, then ever slower.

    share(t) = final + (initial - final) * (1 - (t - begin) / (end - begin)) ** power

    Args:
        final: the share from step `end` on, in [0, 1).
        end: > begin.
        initial: the share at step `begin`, in [0, 1); before it nothing is gone.
        begin: the step with which it begins.
        power: > 0; 1 is a line.
        every: how many steps lie between changes, >= 1.

    Raises:
        SettingError, TypeError, ValueError: a setting is outside of its range.

    Source: Zhu and Gupta 2017, "To prune, or not to prune", section 3.

    >>> from tape.netopt import sparsification
    >>> sparsification.polynomial(0.9, end=4, power=1)(2)
    0.45
    """
    name = "polynomial"
    last, first = checked(name, "final", final), checked(name, "initial", initial)
    begin, end = count(name, "begin", begin), count(name, "end", end)
    every, power = count(name, "every", every, least=1), number(name, "power", power)
    if end <= begin:
        raise SettingError(f"{name}: end {end} must be after begin {begin}")
    if power <= 0:
        raise SettingError(f"{name}: power must be above 0, got {power!r}")

    def amount(step: int) -> float:
        if step < begin:
            return 0.0
        if step < end:
            step = begin + (step - begin) // every * every
        left = 1 - min(1.0, (step - begin) / (end - begin))
        return last + (first - last) * left**power

    settings = f"{last:g}, end={end}, initial={first:g}, begin={begin}, power={power:g}"
    return Schedule(f"polynomial({settings}, every={every})", every, amount)
