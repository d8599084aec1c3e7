"""What one core can do at most: the loops that bound products, of floats and of signs."""

from __future__ import annotations

import time
from collections.abc import Callable

from .isa import using
from .row import Line, MeasuredRow


def best_rate(work: Callable[[int], float], quick: bool) -> float:
    """Operations in a second of `work(rounds)`, which says how many it did; the best of many."""
    rounds = max(1, round(4e8 / work(1)))
    rates = []
    for _ in range(10 if quick else 40):
        start = time.thread_time()
        done = work(rounds)
        rates.append(done / (time.thread_time() - start))
    return max(rates)


def limits(quick: bool) -> list[Line]:
    """The peaks of every instruction set that this machine has."""
    from tape._kernels import table
    from tape._kernels.bit_filters import popcount_peak

    kinds = [
        ("multiply-add, float32", "GFLOP/s", lambda rounds: table.fma_peak(False, rounds)),
        ("multiply-add, float64", "GFLOP/s", lambda rounds: table.fma_peak(True, rounds)),
        ("compare and count bits", "Gbit-MAC/s", popcount_peak),
    ]
    lines = []
    for what, unit, work in kinds:
        for isa in (name for name, here in table.built().items() if here):
            with using(isa)():
                rate = best_rate(work, quick)
            figures = {"rate": rate, "unit": unit}
            text = f"{rate * 1e-9:.0f} {unit}"
            lines.append(Line(f"limits: {what}", text, isa, figures=figures))
    return lines


ROWS = [MeasuredRow("limits", limits)]
