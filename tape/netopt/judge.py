"""Whether a new layer pays: what is larger or slower than the old one is refused, in words."""

from __future__ import annotations

from typing import Any, NamedTuple

from tape.netopt.cost import n_bytes
from tape.netopt.measure import compare
from tape.netopt.record import Call, called
from tape.netopt.report import duration, grouped
from tape.nn.module import Module

__all__ = ["Kept", "Place", "objection"]


class Kept(NamedTuple):
    """Why a layer stays as it is, for the report; refused if it would be larger or slower."""

    reason: str
    is_refused: bool = False


class Place(NamedTuple):
    """Where a layer stands.

    Attributes:
        path: of the layer, the first if it is shared.
        calls: ``(x, named, y_shape)`` of each of its calls on the calibration batch, x a tuple of
            operands and named a dictionary of those by name; none without a batch.
        shared: a dictionary that all layers of one run have in common.
    """

    path: str
    calls: list[Call]
    shared: dict[Any, Any]


def objection(
    old: Module, new: Module, optimization: Any, at: Place, calls: list[Call]
) -> Module | Kept:
    """The new layer, or why it does not pay: its bytes, and its time on these calls.

    What is judged is what the optimisation will lower the layer to, if it does.
    """
    final = optimization.lower(new, at) or new
    before, after = n_bytes(old), n_bytes(final)
    done = optimization.describe(new)
    if after > before:
        return Kept(f"{done} has {grouped(after)} bytes, the layer {grouped(before)}", True)
    if calls:
        a, b = old.clone().eval(), final.clone().eval()
        found = compare(lambda: called(a, calls), lambda: called(b, calls))
        if found.is_slower:
            return Kept(
                f"{done} takes {duration(found.after)}, the layer {duration(found.before)}", True
            )
    return new
