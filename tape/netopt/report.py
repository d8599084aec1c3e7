"""`Report`: what a transform did to each layer, or why not, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Report", "Row"]


@dataclass
class Row:
    """One layer: what was done, and its cost (before, after), None where not known."""

    path: str
    kind: str
    action: str
    is_changed: bool = False
    is_refused: bool = False
    parameters: tuple[int, int] | None = None
    multiply_adds: tuple[int, int] | None = None
    bytes: tuple[int, int] | None = None
    latency: tuple[float, float] | None = None
    error: float | None = None


@dataclass
class Report:
    """What a transform did: a row for each layer, the totals, and how far the results moved.

    Printed it is a table. Pairs are (before, after).

    Attributes:
        title: of the transform.
        rows: of all layers with parameters, in order.
        total: a row of the whole model; `latency` in seconds, measured in turns, is there if a
            batch was given, as are `multiply_adds`.
        drift: how far the transformed model's result is from the original's on that batch, as the
            norm of the difference over the norm of the original.
        retrained_drift: the same after training.
        lowered_error: how far the lowered result is from the trained one.
        metric: what the metric said of (original, transformed, and where it applies trained and
            lowered) models, by these names.
        speedup: measured speed of the last model over that of the original.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    total: Row = field(default_factory=lambda: Row("total", "", ""))
    drift: float | None = None
    retrained_drift: float | None = None
    lowered_error: float | None = None
    metric: dict[str, float] = field(default_factory=dict)
    speedup: float | None = None

    @property
    def changed(self) -> list[Row]:
        """The rows of layers that were changed."""
        return [row for row in self.rows if row.is_changed]

    def __getitem__(self, path: str) -> Row:
        """The row of the layer at a path."""
        for row in self.rows:
            if row.path == path:
                return row
        raise KeyError(path)

    def __str__(self) -> str:
        head = ["layer", "kind", "done", "parameters", "mult-adds", "bytes", "latency", "error"]
        lines = [head, *(cells(row) for row in [*self.rows, self.total])]
        kept = [i for i in range(len(head)) if i < 3 or any(line[i] for line in lines[1:])]
        table = [[line[i] for i in kept] for line in lines]
        widths = [max(len(line[i]) for line in table) for i in range(len(kept))]
        text = [self.title]
        for number, line in enumerate(table):
            if number in (1, len(table) - 1):
                text.append("  ".join("-" * width for width in widths))
            text.append("  ".join(pad(line, widths)).rstrip())
        return "\n".join([*text, *self.notes()])

    __repr__ = __str__

    def notes(self) -> list[str]:
        """The lines below the table."""
        found = [] if self.speedup is None else [f"measured speed {self.speedup:.2f}x"]
        if self.drift is not None:
            found.append(f"output drift {self.drift:.2e}")
        if self.retrained_drift is not None:
            found.append(f"output drift after training {self.retrained_drift:.2e}")
        if self.lowered_error is not None:
            found.append(f"lowered equals trained to {self.lowered_error:.2e}")
        if self.metric:
            said = [f"{name} {value:.4g}" for name, value in self.metric.items()]
            found.append("metric: " + ", ".join(said))
        return found


def pad(line: list[str], widths: list[int]) -> Iterable[str]:
    """Texts to the left, numbers to the right."""
    for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.ljust(width) if i < 3 else cell.rjust(width)


def cells(row: Row) -> list[str]:
    """The cells of a row."""
    return [
        row.path or "(the whole)",
        row.kind,
        row.action,
        pair(row.parameters, grouped),
        pair(row.multiply_adds, grouped),
        pair(row.bytes, grouped),
        pair(row.latency, duration),
        "" if row.error is None else f"{row.error:.3f}",
    ]


def pair(values: tuple[Any, Any] | None, form: Any) -> str:
    """(before, after) as text, one number if they are the same."""
    if values is None:
        return ""
    before, after = (form(value) for value in values)
    return before if before == after else f"{before} > {after}"


def grouped(n: int) -> str:
    """A whole number, in groups of three."""
    return f"{n:,}"


def duration(seconds: float) -> str:
    """Three figures and a unit."""
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:#.3g}".rstrip(".") + f" {unit}"
    return f"{seconds:#.3g} s"
