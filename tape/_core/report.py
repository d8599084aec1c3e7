"""`Report`: what a tape has reused, what that saved, and what the tape holds."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Report", "Reused"]


class Reused(NamedTuple):
    """What a tape has counted of one op.

    Attributes:
        op: its name.
        hits: how many of its results were handed out again.
        evaluations: how many were computed.
        seconds: that computing took.
        saved: seconds that computing would have taken in place of the hits.
    """

    op: str
    hits: int
    evaluations: int
    seconds: float
    saved: float


class Report(NamedTuple):
    """What `Tape.report` says; it prints as a table.

    Attributes:
        ops: a `Reused` for each op, those that saved most first.
        hits, evaluations: of all ops.
        seconds, saved: of all ops.
        nodes: live results on the tape.
        bytes: that these take.
    """

    ops: tuple[Reused, ...]
    hits: int
    evaluations: int
    seconds: float
    saved: float
    nodes: int
    bytes: int

    def __repr__(self) -> str:
        asked = self.hits + self.evaluations
        share = f" ({self.hits / asked:.0%})" if asked else ""
        lines = [
            f"{self.hits:,} of {asked:,} results handed out again{share}",
            f"saved {time(self.saved)}; computing the others took {time(self.seconds)}",
            f"holds {self.nodes:,} results, {self.bytes:,} bytes",
        ]
        if not self.ops:
            return "\n".join(lines)
        head = ("op", "hits", "evaluations", "time", "saved")
        rows = [
            (row.op, f"{row.hits:,}", f"{row.evaluations:,}", time(row.seconds), time(row.saved))
            for row in self.ops
        ]
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in [head, *rows]:
            cells = [cell.rjust(n) for cell, n in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
        return "\n".join(lines)


def time(seconds: float) -> str:
    """Seconds as one reads them: with a unit that leaves few digits before the point."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if abs(seconds) * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us" if seconds else "0 us"
