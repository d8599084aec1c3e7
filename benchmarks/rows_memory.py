"""Rows that need a process of their own: import time, long chains, long training loops."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys

from .row import Line, MeasuredRow
from .timing import duration

MEGABYTE = 1e6


def probe(name: str, count: int) -> dict[str, float]:
    """What `benchmarks.probe` reports from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.probe", name, str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def size(count: float) -> str:
    """Bytes as megabytes with a sign: `+12.3 MB`."""
    return f"{count / MEGABYTE:+.1f} MB"


IMPORT = "import tape"
IMPORT_LIMIT = 0.050


def import_time(quick: bool) -> list[Line]:
    """Processor time of an interpreter that imports tape and of one that imports NumPy."""

    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def start(module: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=kept)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    start("tape")  # writes the bytecode
    pairs = [(start("tape"), start("numpy")) for _ in range(7 if quick else 15)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    extra = [a - b for a, b in pairs]
    more = statistics.median(extra)
    low, _, high = (quartile * 1e3 for quartile in statistics.quantiles(extra, n=4))
    return [
        Line(
            IMPORT,
            duration(ours),
            "import numpy",
            duration(theirs),
            f"{more * 1e3:+.0f} ms",
            f"{low:+.0f}..{high:+.0f}",
            f"<= +{IMPORT_LIMIT * 1e3:.0f} ms",
            more <= IMPORT_LIMIT,
            {"ours_seconds": ours, "theirs_seconds": theirs, "limit": IMPORT_LIMIT},
        )
    ]


CHAIN = "chain of 1,000,000 ops, recorded, differentiated, freed"
LINEAR = 16.0  # ten times the length, and room for caches that no longer hold it
KEPT_SHARE = 0.05  # of what the graph took: an allocator keeps some pages for itself


def long_chain(quick: bool) -> list[Line]:
    """Time against a chain a tenth as long, memory and live nodes against before."""
    repeats = 1 if quick else 3
    short = statistics.median(probe("chain", 100_000)["seconds"] for _ in range(3 * repeats))
    runs = [probe("chain", 1_000_000) for _ in range(repeats)]
    long = statistics.median(run["seconds"] for run in runs)
    kept, growth = (max(run[key] for run in runs) for key in ("kept", "peak_growth"))
    nodes = max(run["kept_nodes"] for run in runs)
    return [
        Line(
            CHAIN,
            duration(long),
            "100,000 ops",
            duration(short),
            f"{long / short:.1f}x the time",
            target=f"<= {LINEAR:g}x",
            met=long / short <= LINEAR,
            figures={"ours_seconds": long, "theirs_seconds": short, "limit": LINEAR},
        ),
        Line(
            CHAIN,
            size(kept),
            "its peak",
            size(growth),
            f"{kept / growth:.1%} kept",
            target=f"<= {KEPT_SHARE:.0%}",
            met=kept <= KEPT_SHARE * growth,
            figures={"kept_bytes": kept, "peak_bytes": growth, "limit": KEPT_SHARE},
        ),
        Line(
            CHAIN,
            "",
            "live nodes before",
            "",
            f"{nodes:+.0f} nodes",
            target="+0",
            met=nodes == 0,
            figures={"kept_nodes": nodes},
        ),
    ]


LOOP = "training loop, 10,000 steps"
FLAT = 0.5 * MEGABYTE


def training_loop(quick: bool) -> list[Line]:
    """Memory and live nodes after many steps against after the first few."""
    steps = 1_000 if quick else 10_000
    kept = probe("loop", steps)
    return [
        Line(
            LOOP,
            size(kept["kept"]),
            f"after {max(100, steps // 10):,} steps",
            "",
            f"{kept['kept_nodes']:+.0f} nodes",
            "",
            f"<= {size(FLAT)}",
            kept["kept"] <= FLAT and kept["kept_nodes"] == 0,
            dict(kept),
        )
    ]


ROWS = [
    MeasuredRow(IMPORT, import_time),
    MeasuredRow(CHAIN, long_chain),
    MeasuredRow(LOOP, training_loop),
]
