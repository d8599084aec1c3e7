"""Budgets as one writes them: "2x", 0.5, 100_000, "1.5 ms"."""

from __future__ import annotations

import re
from typing import NamedTuple

from tape.errors import SettingError
from tape.nn.arguments import number

__all__ = ["KINDS", "Budget", "read_budget"]

KINDS = ("multiply_adds", "parameters", "latency")
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


class Budget(NamedTuple):
    """A share of what there is, or a number."""

    value: float
    is_share: bool

    def out_of(self, whole: float) -> float:
        """The budget as a number, for a model that costs `whole`."""
        return self.value * whole if self.is_share else self.value


def read_budget(budget: float | str, of: str) -> Budget:
    """What a budget means.

    Args:
        budget: "2x", a share in (0, 1), a number from 1 on, or a time such as "1.5 ms".
        of: one of `KINDS`; only "latency" takes a time, and it takes no other number.

    Raises:
        SettingError: it means nothing.

    >>> from tape.netopt.budget import read_budget
    >>> read_budget("4x", "parameters")
    Budget(value=0.25, is_share=True)
    >>> read_budget("300 us", "latency")
    Budget(value=0.0003, is_share=False)
    """
    if of not in KINDS:
        raise SettingError(f"plan: a budget is of one of {KINDS}, got {of!r}")
    if isinstance(budget, str):
        found = re.fullmatch(r"\s*(\d*\.?\d+)\s*(x|s|ms|us)\s*", budget)
        value = float(found[1]) if found else 0.0
        if found and found[2] == "x" and value >= 1:
            return Budget(1 / value, True)
        if found and found[2] != "x" and of == "latency" and value > 0:
            return Budget(value * SECONDS[found[2]], False)
    else:
        value = number("plan", "budget", budget)
        if 0 < value < 1:
            return Budget(value, True)
        if value >= 1 and of != "latency":
            return Budget(value, False)
    form = 'a time such as "1.5 ms"' if of == "latency" else "a number from 1 on"
    raise SettingError(
        f'plan: a budget of {of} is "2x" for half, a share in (0, 1), or {form}; got {budget!r}'
    )
