"""The clock of netopt: contenders in turns, medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Comparison", "compare", "fastest", "interleaved"]

ROUNDS = 15
SAMPLE_SECONDS = 1e-3  # long against the clock's grain, short against a scheduler's time slice
NOISE = 1.03  # what is slower by less counts as equally fast


class Comparison(NamedTuple):
    """Seconds before and after, medians over rounds in turns.

    Attributes:
        ratio: after over before, the median of the quotients of the rounds.
        least_ratio: of the best rounds of both, on which what else the machine does shows least.
    """

    before: float
    after: float
    ratio: float
    least_ratio: float

    @property
    def is_slower(self) -> bool:
        """Whether what came after is slower, beyond noise."""
        return self.least_ratio > NOISE


def interleaved(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int = ROUNDS,
    seconds: float = SAMPLE_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds that each takes for one call, one number a round, all of them in every round.

    Args:
        contenders: functions by name; each is called once before, to warm up.
        rounds: how many, >= 1.
        seconds: how long a sample takes about; fast functions are called several times for it.
        clock: of seconds.
    """
    repeats = {}
    for name, call in contenders.items():
        call()
        start = clock()
        call()
        taken = clock() - start
        repeats[name] = max(1, min(10_000, round(seconds / max(taken, 1e-7))))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in order:
                call = contenders[name]
                call()  # brings back what the others pushed out of the caches
                start = clock()
                for _ in range(repeats[name]):
                    call()
                found[name].append((clock() - start) / repeats[name])
            order.append(order.pop(0))
    finally:
        if was_enabled:
            gc.enable()
    return found


def compare(before: Callable[[], Any], after: Callable[[], Any], **options: Any) -> Comparison:
    """How long two functions take on this machine; the options are those of `interleaved`."""
    found = interleaved({"before": before, "after": after}, **options)
    ratios = [b / a for a, b in zip(found["before"], found["after"], strict=True)]
    a, b = (statistics.median(found[name]) for name in ("before", "after"))
    least = min(found["after"]) / min(found["before"])
    return Comparison(a, b, statistics.median(ratios), least)


def fastest(contenders: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """How long functions take on this machine, each in its best of a few rounds in turns."""
    return {name: min(taken) for name, taken in interleaved(contenders, rounds=7).items()}
