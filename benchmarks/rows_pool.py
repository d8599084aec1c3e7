"""Rows about pooling, by one thread and by two."""

from __future__ import annotations

import itertools

from .row import Contender, Line, MeasuredRow, TimedRow, faster_than
from .rows_kernels import DIRECTIONS, arrays, on_all_cores, through

IMAGES = (64, 32, 28, 28)


def pool(name: str, window: int, backward: bool, limit: float) -> TimedRow:
    """Windows two apart on the images of a small network."""
    count = (IMAGES[2] - window) // 2 + 1

    def call(functions, x):
        return getattr(functions, name)(x, window, 2)

    def in_library(library: str) -> Contender:
        return through(library, arrays(IMAGES), call, (*IMAGES[:2], count, count), backward)

    return TimedRow(
        f"{name} {window}x{window}, stride 2, of {IMAGES}, {DIRECTIONS[backward]}",
        {"tape": lambda: in_library("tape"), "torch": lambda: in_library("torch")},
        [faster_than("torch", limit)],
        tolerance=1e-5,
    )


POOLS_BY_TWO = """
import time
import numpy as np
import tape
import torch
x = np.random.default_rng(0).standard_normal({shape}).astype("float32")
ours, theirs = tape.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
call, other = getattr(tape, "{name}"), getattr(torch.nn.functional, "{name}")
g = np.ones(call(ours, {window}, 2).shape, "float32")
given, expected = tape.tensor(g), torch.tensor(g)
def of_tape():
    ours.grad = None
    call(ours, {window}, 2).backward(given)
def of_torch():
    theirs.grad = None
    other(theirs, {window}, 2).backward(expected)
best = {{}}
with tape.reuse(False):
    for _ in range({rounds}):
        for threads in (1, 2):
            tape.set_num_threads(threads)
            torch.set_num_threads(threads)
            for step in (of_tape, of_torch):
                step()
                start = time.perf_counter()
                step()
                now, key = time.perf_counter() - start, (step, threads)
                best[key] = min(best.get(key, 1e9), now)
print(best[of_tape, 1], best[of_tape, 2], best[of_torch, 2])
"""


def pools_by_two_threads(quick: bool) -> list[Line]:
    """Best times on the wall of forward and backward, with two threads on both sides."""
    lines = []
    for name, window in itertools.product(("avg_pool2d", "max_pool2d"), (2, 3)):
        rounds = 10 if quick else 40
        code = POOLS_BY_TWO.format(name=name, shape=IMAGES, window=window, rounds=rounds)
        one, two, torch = on_all_cores(code)
        lines.append(
            Line(
                f"{name} {window}x{window}, stride 2, {DIRECTIONS[True]}, two threads",
                f"{two * 1e6:.0f} us",
                "torch, two threads",
                f"{torch * 1e6:.0f} us",
                f"{torch / two:.2f}x, {one / two:.2f}x the speed of one thread",
                target=">= 2x",
                met=torch / two >= 2,
                figures={"one": one, "two": two, "torch": torch},
            )
        )
    return lines


ROWS = [
    *[
        pool(f"{name}_pool2d", window, backward, limit)
        for name, limit in (("avg", 2), ("max", 4))
        for window in (2, 3)
        for backward in (False, True)
    ],
    MeasuredRow("pooling, two threads", pools_by_two_threads),
]
