"""What a row is: its contenders, what is claimed of them, and the lines it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

PEERS = ("numpy", "torch", "jax")  # a missing one leaves its cells empty; numpy is always there
TITLES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: an expression over local names, evaluated again and again.

    An expression, not a function, so that a call of 30 ns does not blur an op of 150 ns.
    Its value is dropped before the next evaluation begins.

    Args:
        expression: what is timed.
        names: the local names it may use.
        prepare: a statement run before every single evaluation, outside the clock.
        scope: entered around each sample, outside the clock.
        comparable: False keeps its value out of the check that all contenders agree.
    """

    expression: str
    names: Mapping[str, object]
    prepare: str = "pass"
    scope: Callable[[], AbstractContextManager] = nullcontext
    comparable: bool = True


@dataclass(frozen=True)
class Claim:
    """What is said about the first contender against another one.

    `kind` "faster" reads the ratio as (time of the other) / (own time) and wants it >= `limit`;
    "cost" reads it as (own time) / (time of the other) and wants it <= `limit`.
    """

    against: str
    kind: str
    limit: float | None = None

    def met(self, ratio: float) -> bool | None:
        """Whether `ratio` satisfies the limit; None if there is none."""
        if self.limit is None:
            return None
        return ratio >= self.limit if self.kind == "faster" else ratio <= self.limit

    @property
    def target(self) -> str:
        """The limit as it is printed."""
        if self.limit is None:
            return ""
        return f"{'>=' if self.kind == 'faster' else '<='} {self.limit:g}x"


def faster_than(peer: str, limit: float | None = None) -> Claim:
    """The first contender is at least `limit` times as fast as `peer`."""
    return Claim(peer, "faster", limit)


def cost_over(other: str, limit: float | None = None) -> Claim:
    """The first contender takes at most `limit` times as long as `other`."""
    return Claim(other, "cost", limit)


@dataclass(frozen=True)
class Line:
    """One printed comparison; `figures` are the raw numbers, `failed` an error's text."""

    row: str
    ours: str
    against: str
    theirs: str = "-"
    result: str = "-"
    spread: str = ""
    target: str = ""
    met: bool | None = None
    figures: Mapping[str, object] = field(default_factory=dict)
    failed: str = ""


@dataclass(frozen=True)
class TimedRow:
    """Contenders by name, the first of them ours, each built by a function when its turn comes.

    A contender whose name begins with a peer (`PEERS`) that is not installed is left out.
    `tolerance` is the relative difference allowed between the values contenders compute.
    """

    name: str
    contenders: Mapping[str, Callable[[], Contender]]
    claims: Sequence[Claim]
    tolerance: float = 1e-4


@dataclass(frozen=True)
class MeasuredRow:
    """A row that does its own measuring: `measure(quick)` returns its lines."""

    name: str
    measure: Callable[[bool], list[Line]]
