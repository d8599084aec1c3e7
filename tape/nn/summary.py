"""`Summary`: what a module is made of, what it computes and how much that takes, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tape.errors import nearest
from tape.nn.call import Called
from tape.nn.parameter import Uninferred, is_parameter
from tape.nn.tree import places
from tape.nn.work import Work

__all__ = ["Row", "Summary"]


class Row(NamedTuple):
    """One module, without the modules below it; so each column adds up.

    Attributes:
        path: where it is in the tree, "" for the whole.
        type: name of its class.
        calls: how often it was called; 0 if it was not reached.
        output_shape: shape of what it gave at its first call, or a list or dictionary of shapes
            if it gave several; None for what has none.
        parameters: numbers in its parameters, those shared with an earlier row left out.
        trainable: how many of these require a gradient.
        unknown: number of parameters whose sizes are not known.
        shared_with: paths of earlier modules or parameters that this one, or one of its
            parameters, is as well.
        multiply_adds: in products, convolutions and recurrences it computed itself.
        activation_bytes: bytes of the results it computed itself, views of others left out.
        is_used: whether a module above it computed with its parameters, without calling it.
    """

    path: str
    type: str
    calls: int = 0
    output_shape: Any = None
    parameters: int = 0
    trainable: int = 0
    unknown: int = 0
    shared_with: tuple[str, ...] = ()
    multiply_adds: int = 0
    activation_bytes: int = 0
    is_used: bool = False


class Summary:
    """The rows of a table on a module and all below, depth first; see `Module.summary`.

    A module at several places has a row for each, the later ones with nothing but `shared_with`.
    What the tape reuses was computed once and counts once. What is inside of `tape.checkpoint` is
    not seen. ``summary["features.0"]`` is the row of a path.

    Attributes:
        rows: `Row` of each module.
        has_run: whether there were inputs to run on.

    >>> from tape import nn
    >>> summary = nn.Sequential(nn.Conv2d(8, 3), nn.Flatten(), nn.Dense(10)).summary((1, 3, 8, 8))
    >>> summary.parameters, summary.multiply_adds
    (3114, 10656)
    >>> summary["0"].output_shape
    (1, 8, 6, 6)
    """

    def __init__(self, module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.has_run = bool(inputs or named)
        twin = module.clone()
        work = Work()
        if self.has_run:
            work.run(twin, inputs, named)
        self.rows = rows_of(twin, work)

    @property
    def parameters(self) -> int:
        """Numbers in all parameters, shared ones once."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """Numbers in all parameters that require a gradient, shared ones once."""
        return sum(row.trainable for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all modules."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the results of all modules."""
        return sum(row.activation_bytes for row in self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, path: str) -> Row:
        for row in self.rows:
            if row.path == path:
                return row
        raise KeyError(f"{path!r} is no module{nearest(str(path), [r.path for r in self.rows], 3)}")

    def table(self) -> list[list[str]]:
        """Title, rows and totals as texts; columns in which nothing stands are left out."""
        n, n_trainable, unknown = self.parameters, self.trainable, sum(r.unknown for r in self.rows)
        title = ["path", "type", "output shape", "parameters", "trainable", "shared with"]
        lines = [[*title, "multiply-adds", "activation bytes"]]
        for row in self.rows:
            sizes = counted(row.parameters, row.unknown), counted(row.trainable, row.unknown)
            work = f"{row.multiply_adds:,}", f"{row.activation_bytes:,}"
            cells = [row.path, row.type, self.reached(row), *sizes, ", ".join(row.shared_with)]
            lines.append([*cells, *work])
        totals = [counted(n, unknown), counted(n_trainable, unknown), ""]
        work = f"{self.multiply_adds:,}", f"{self.activation_bytes:,}"
        lines.append(["total", "", "", *totals, *work])
        left_out = {2, 6, 7} if not self.has_run else set()
        left_out |= {4} if n == n_trainable else set()
        left_out |= {5} if not any(row.shared_with for row in self.rows) else set()
        return [[cell for i, cell in enumerate(line) if i not in left_out] for line in lines]

    def reached(self, row: Row) -> str:
        """What stands in the column of shapes."""
        if row.calls == 0:
            is_alias = row.shared_with and not row.parameters and not row.unknown
            return "" if is_alias else "used from above" if row.is_used else "not reached"
        shape = written(row.output_shape)
        return f"{shape}, {row.calls} calls" if row.calls > 1 else shape

    def __str__(self) -> str:
        table = self.table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        is_number = [title in NUMBERS for title in table[0]]
        lines = [
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, is_number, strict=True)
            ).rstrip()
            for line in table
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape  # needed by notebooks alone

        title, *rows, totals = self.table()
        align = ["right" if name in NUMBERS else "left" for name in title]

        def line(cells: list[str], tag: str) -> str:
            parts = [
                f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
                for cell, side in zip(cells, align, strict=True)
            ]
            return f"<tr>{''.join(parts)}</tr>"

        lines = [f"<thead>{line(title, 'th')}</thead>", "<tbody>"]
        lines += [line(row, "td") for row in rows]
        return "\n".join(["<table>", *lines, line(totals, "th"), "</tbody>", "</table>"])


NUMBERS = {"parameters", "trainable", "multiply-adds", "activation bytes"}


def counted(n: int, unknown: int) -> str:
    """A number of parameters, with + if some are not known."""
    return f"{n:,}{'+' * bool(unknown)}"


def written(shape: Any) -> str:
    """An output's shape, or shapes, as they stand in the table."""
    if isinstance(shape, dict):
        return ", ".join(f"{key}: {written(part)}" for key, part in shape.items())
    if isinstance(shape, list):
        return ", ".join(map(written, shape))
    return "-" if shape is None else str(shape)


def rows_of(root: Any, work: Work) -> list[Row]:
    """The rows of a tree, with what its modules did."""
    rows: dict[Any, Row] = {}  # by id of the module, by path where it is shared
    for path, entry, owner, first in places(root):
        if isinstance(entry, Called):
            name, key = type(entry).__name__, id(entry)
            if first is not None:
                rows[path] = Row(path, name, shared_with=(first or "the whole",))
                continue
            outputs = work.outputs.get(key, [])
            rows[key] = Row(
                path,
                name,
                len(outputs),
                outputs[0] if outputs else None,
                multiply_adds=work.multiply_adds.get(key, 0),
                activation_bytes=work.activation_bytes.get(key, 0),
            )
        elif is_parameter(entry):
            row = rows[id(owner)]
            if not isinstance(entry, Uninferred) and entry.serial in work.operands:
                row = row._replace(is_used=row.calls == 0)
            if first is not None:
                row = row._replace(shared_with=(*row.shared_with, first))
            elif isinstance(entry, Uninferred):
                row = row._replace(unknown=row.unknown + 1)
            else:
                learned = entry.size if entry.requires_grad else 0
                row = row._replace(
                    parameters=row.parameters + entry.size, trainable=row.trainable + learned
                )
            rows[id(owner)] = row
    return list(rows.values())
