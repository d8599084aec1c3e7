"""Lines as an aligned text table, a Markdown table, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .row import Line

COLUMNS = ("row", "tape", "against", "other", "result", "quartiles", "target", "met")
WIDTHS = (0, 10, 24, 10, 17, 13, 8, 3)  # the first is as wide as the longest row name
VERDICT = {True: "yes", False: "NO", None: ""}


def cells(line: Line) -> tuple[str, ...]:
    """The line's cells in the order of `COLUMNS`."""
    if line.failed:
        return (line.row, "", "", "", "failed", "", "", "NO")
    verdict = VERDICT[line.met]
    if line.result == "-" and line.target:
        verdict = "-"
    return (
        line.row, line.ours, line.against, line.theirs,
        line.result, line.spread, line.target, verdict,
    )  # fmt: skip


class TextTable:
    """Prints a head, then each line as soon as it is measured; `names` are the rows to come."""

    def __init__(self, names: Iterable[str]):
        self.widths = (max(map(len, names), default=0), *WIDTHS[1:])
        self.last = ""
        self.put(COLUMNS)
        print("  ".join("-" * width for width in self.widths))

    def put(self, values: Sequence[str]) -> None:
        """Print one line of cells; a row's name is printed once."""
        first = "" if values[0] == self.last else values[0]
        self.last = values[0]
        texts = (f"{text:<{w}}" for text, w in zip((first, *values[1:]), self.widths, strict=True))
        print("  ".join(texts).rstrip(), flush=True)

    def add(self, line: Line) -> None:
        """Print a measured line."""
        self.put(cells(line))


class MarkdownTable:
    """The same as a Markdown table, for the README."""

    def __init__(self, names: Iterable[str]):
        print("| " + " | ".join(COLUMNS) + " |")
        print("|" + "---|" * len(COLUMNS))

    def add(self, line: Line) -> None:
        """Print a measured line."""
        print("| " + " | ".join(cells(line)) + " |", flush=True)


def summary(lines: Sequence[Line]) -> str:
    """How many of the targets that could be measured are met, and which are not."""
    judged = [line for line in lines if line.met is not None]
    missed = [f"{line.row} / {line.against}" for line in judged if not line.met]
    failed = [f"{line.row} ({line.failed.splitlines()[0]})" for line in lines if line.failed]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets met"
    lacking = sum(bool(line.target) and line.met is None for line in lines)
    text += f"; {lacking} not measured, for want of a peer" if lacking else ""
    text += f"; missed: {'; '.join(missed)}" if missed else ""
    return text + (f"; FAILED: {'; '.join(failed)}" if failed else "")


def write_json(path: Path, about: Mapping[str, str], lines: Sequence[Line]) -> None:
    """Everything measured, with the raw figures, as one JSON object."""
    keys = ("row", "against", "target", "met", "failed", "figures")
    data = {"machine": about, "lines": [{k: getattr(ln, k) for k in keys} for ln in lines]}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
