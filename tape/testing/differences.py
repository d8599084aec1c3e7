"""The slope of a function beside differences on both sides, at kinks, jumps and next to poles."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["hold_slope", "jumps", "places"]

STEP, ALLOWED = 1e-6, 1e-4


def places(shape: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, ...]]:
    """All indices of an array, or a dozen of them."""
    places = list(np.ndindex(shape))
    return places if len(places) <= 12 else [places[i] for i in rng.permutation(len(places))[:12]]


def jumps(of: Any, xs: list[Any], k: int, at: Any, width: float) -> bool:
    """Whether a step a hundred times smaller moves the result as much, on one side at least."""
    here = of(xs)
    for sign in (1, -1):
        far, near = [np.array(x) for x in xs], [np.array(x) for x in xs]
        far[k][at] += sign * width
        near[k][at] += sign * width / 100
        if abs(of(near) - here) > 0.5 * abs(of(far) - here) > 0:
            return True
    return False


def hold_slope(of: Any, xs: list[Any], k: int, at: Any, slope: float, what: str) -> None:
    """AssertionError unless a slope is that on both sides, or lies between them."""
    here = of(xs)
    found = []
    for width in (STEP, STEP * abs(float(xs[k][at]))):  # next to a pole the first is too wide
        sides = []
        for step in (width, -width):
            moved = [np.array(x) for x in xs]
            moved[k][at] += step
            sides.append((of(moved) - here) / (moved[k][at] - xs[k][at] or np.nan))
        right, left = sides
        noise = 1e-14 * abs(here) / width if width else 0.0  # the last digits of both values
        scale = ALLOWED * max(1.0, abs(right), abs(left)) + noise
        if not np.isfinite(right + left):
            continue
        if abs(right - left) > 10 * scale:  # a kink, a jump, or a curve too sharp for this step
            if min(left, right) - scale <= slope <= max(left, right) + scale:
                return
        elif abs(slope - (right + left) / 2) <= scale:
            return
        if jumps(of, xs, k, at, width):
            return
        found.append((left, right))
    if found:
        left, right = found[0]
        raise AssertionError(
            f"{what}: {slope:.9g}, differences show {left:.9g} below and {right:.9g} above"
        )
