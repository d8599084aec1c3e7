"""The command line: `python -m benchmarks [limits] [--quick] [--threads N] [-k TEXT] ...`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import machine


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed and memory of tape beside NumPy, PyTorch and JAX, in turns.",
    )
    parser.add_argument("what", nargs="?", choices=["limits"], help="only the peaks of this core")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter memory rows")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads for everybody")
    parser.add_argument("-k", default="", metavar="TEXT", help="only rows whose name contains TEXT")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures too")
    options = parser.parse_args()
    if not 1 <= options.threads <= (os.cpu_count() or 1):
        parser.error(f"--threads {options.threads}: this machine has {os.cpu_count()} cores")
    return options


def main() -> int:
    """Measure the chosen rows and print them."""
    options = arguments()
    machine.limit_threads(options.threads)
    # Only now may NumPy and the peers be loaded.
    from . import (
        limits,
        report,
        rows_bits,
        rows_int8,
        rows_kernels,
        rows_loops,
        rows_memory,
        rows_netopt,
        rows_ops,
        rows_pool,
        rows_sequence,
        rows_sparse,
        rows_train,
        rows_tree,
        timing,
    )

    known = [
        *rows_ops.ROWS,
        *rows_train.ROWS,
        *rows_sequence.ROWS,
        *rows_sparse.ROWS,
        *limits.ROWS,
        *rows_kernels.ROWS,
        *rows_pool.ROWS,
        *rows_bits.ROWS,
        *rows_int8.ROWS,
        *rows_netopt.ROWS,
        *rows_loops.ROWS,
        *rows_memory.ROWS,
        *rows_tree.ROWS,
    ]
    wanted = (options.what or options.k).lower()
    rows = [row for row in known if wanted in row.name.lower()]
    if not rows:
        print(f"no row's name contains {wanted!r}; the rows are:", file=sys.stderr)
        print(*(f"  {row.name}" for row in known), sep="\n", file=sys.stderr)
        return 2
    about = machine.describe(options.threads)
    clock, about["clock"] = machine.clock(options.threads)
    print(*(f"{key}: {value}" for key, value in about.items()), sep=", ", end="\n\n")
    table = (report.MarkdownTable if options.markdown else report.TextTable)(r.name for r in rows)
    lines = []
    for row in rows:
        for line in timing.lines_of(row, options.quick, clock):
            table.add(line)
            lines.append(line)
    print(f"\n{report.summary(lines)}")
    if options.json:
        report.write_json(options.json, about, lines)
    return 1 if any(line.failed for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
