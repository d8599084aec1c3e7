"""Rows about trees of ten thousand modules: what surgery on them takes, against a second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from .row import Line, MeasuredRow
from .timing import duration

COUNT = 10_000
LIMIT = 1.0  # seconds


def side_by_side() -> Any:
    """A sequence of layers."""
    from tape import nn

    return nn.Sequential(*[nn.Dense(1, 1) for _ in range(COUNT - 1)])


def in_each_other() -> Any:
    """A chain of modules, each with a parameter and the next one."""
    from tape import nn

    class Link(nn.Module):
        def __init__(self, next: Any) -> None:
            self.scale, self.next = nn.Parameter(1.0), next

    module = None
    for _ in range(COUNT):
        module = Link(module)
    return module


ACTS: dict[str, Callable[[Any], Any]] = {
    "freeze and unfreeze": lambda module: module.freeze().unfreeze(),
    "clone": lambda module: module.clone(),
    "names": lambda module: sum(1 for _ in module.named_modules()),
    "state dict": lambda module: module.state_dict(),
}


def row(name: str, make: Callable[[], Any]) -> MeasuredRow:
    """The acts on one tree."""

    def measure(quick: bool) -> list[Line]:
        lines = []
        for act, run in ACTS.items():
            taken = []
            for _ in range(1 if quick else 5):
                module = make()
                start = time.process_time()
                made = run(module)
                taken.append(time.process_time() - start)
                del made, module
            seconds = statistics.median(taken)
            lines.append(
                Line(
                    f"{name}: {act}",
                    duration(seconds),
                    "the limit",
                    duration(LIMIT),
                    f"{LIMIT / seconds:.1f}x the speed",
                    target="<= 1 s",
                    met=seconds <= LIMIT,
                    figures={"ours_seconds": seconds, "limit": LIMIT},
                )
            )
        return lines

    return MeasuredRow(name, measure)


ROWS = [
    row("10,000 modules side by side", side_by_side),
    row("10,000 modules in each other", in_each_other),
]
