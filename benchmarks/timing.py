"""The clock: contenders in turns, calibrated samples, medians and ratios within a round."""

from __future__ import annotations

import gc
import importlib.util
import statistics
import time
import timeit
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .row import PEERS, TITLES, Claim, Contender, Line, MeasuredRow, TimedRow

Clock = Callable[[], float]
SAMPLE_SECONDS = 3e-3  # long against the clock's grain, short against a scheduler's time slice
ROUNDS = {False: 31, True: 7}  # by --quick
CHECKED_CALLS = 3  # so that a training step is compared after updates too


@dataclass(frozen=True)
class Samples:
    """Seconds per evaluation, one entry per round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """The median over rounds."""
        return statistics.median(self.seconds)

    def quotients(self, other: Samples) -> list[float]:
        """`self / other`, round by round, sorted."""
        return sorted(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


def lines_of(
    row: TimedRow | MeasuredRow, quick: bool, clock: Clock = time.process_time
) -> list[Line]:
    """The row's lines; a row that raises gives one line that says so and stops no other row."""
    try:
        return row.measure(quick) if isinstance(row, MeasuredRow) else run(row, quick, clock)
    except Exception as error:
        traceback.print_exc()
        return [Line(row.name, "", "", failed=f"{type(error).__name__}: {error}")]


def run(row: TimedRow, quick: bool, clock: Clock) -> list[Line]:
    """The row's lines: build the contenders one can build, check them, time them in turns."""
    contenders = build(row)
    check_agreement(row, contenders)
    samples = interleave(contenders, ROUNDS[quick], clock)
    return [line(row, claim, samples) for claim in row.claims]


def build(row: TimedRow) -> dict[str, Contender]:
    """The contenders whose libraries are installed."""
    return {name: make() for name, make in row.contenders.items() if installed(name)}


def installed(name: str) -> bool:
    """False only for a contender whose name begins with a peer that cannot be found."""
    library = name.partition(",")[0]
    return library not in PEERS or importlib.util.find_spec(library) is not None


def check_agreement(row: TimedRow, contenders: Mapping[str, Contender]) -> None:
    """Raise AssertionError unless all comparable contenders compute the same values."""
    expected: list[np.ndarray] | None = None
    for name, contender in contenders.items():
        if not contender.comparable:
            continue
        found = []
        for _ in range(CHECKED_CALLS):
            with contender.scope():
                names = dict(contender.names)
                exec(contender.prepare, names)
                found += arrays(eval(contender.expression, names))
        expected = found if expected is None else expected
        if len(found) != len(expected):
            raise AssertionError(f"{row.name}: {name} gives {len(found)} arrays, {len(expected)}")
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(
                a, b, rtol=row.tolerance, atol=row.tolerance, err_msg=f"{row.name}: {name}"
            )


def arrays(value: object) -> list[np.ndarray]:
    """A result of any of the libraries as a flat list of NumPy arrays."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in arrays(item)]
    if hasattr(value, "detach"):
        value = value.detach()
    return [np.array(value)]


def interleave(
    contenders: Mapping[str, Contender], rounds: int, clock: Clock
) -> dict[str, Samples]:
    """Time every contender once per round, in an order that rotates from round to round."""
    timers = {name: timer(contender, clock) for name, contender in contenders.items()}
    # A contender that prepares does so before each evaluation: one evaluation per sample.
    repeats = {
        name: 1 if contender.prepare != "pass" else calibrate(contender, timers[name])
        for name, contender in contenders.items()
    }
    order = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in order}
    gc.collect()
    for number in range(rounds + 1):
        for name in order:
            with contenders[name].scope():
                timers[name].timeit(1)  # brings back what the others pushed out of the caches
                taken = timers[name].timeit(repeats[name]) / repeats[name]
            if number > 0:  # the first round warms up
                seconds[name].append(taken)
        order.append(order.pop(0))
    return {name: Samples(values) for name, values in seconds.items()}


def timer(contender: Contender, clock: Clock) -> timeit.Timer:
    """A `timeit.Timer` in which the contender's names are locals."""
    bind = [f"{name} = _names[{name!r}]" for name in contender.names]
    return timeit.Timer(
        contender.expression,
        "\n".join([*bind, contender.prepare]),
        clock,
        globals={"_names": contender.names},
    )


def calibrate(contender: Contender, stopwatch: timeit.Timer) -> int:
    """How many evaluations take about `SAMPLE_SECONDS`."""
    repeats = 1
    while True:
        with contender.scope():
            taken = min(stopwatch.repeat(2, repeats))
        if taken >= SAMPLE_SECONDS / 2:
            return max(1, round(repeats * SAMPLE_SECONDS / taken))
        repeats *= 2


def line(row: TimedRow, claim: Claim, samples: Mapping[str, Samples]) -> Line:
    """The printed comparison of the row's first contender with the one the claim names."""
    ours = next(iter(samples.values()))
    library, comma, variant = claim.against.partition(",")
    against = TITLES.get(library, library) + comma + variant
    figures: dict[str, object] = {"ours_seconds": ours.median, "limit": claim.limit}
    if claim.against not in samples:
        return Line(row.name, duration(ours.median), against, target=claim.target, figures=figures)
    theirs = samples[claim.against]
    faster = claim.kind == "faster"
    ratios = theirs.quotients(ours) if faster else ours.quotients(theirs)
    ratio = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4)
    figures |= {"theirs_seconds": theirs.median, "ratio": ratio, "quartiles": [low, high]}
    return Line(
        row.name,
        duration(ours.median),
        against,
        duration(theirs.median),
        f"{ratio:.2f}x {'the speed' if faster else 'the time'}",
        f"{low:.2f}-{high:.2f}",
        claim.target,
        claim.met(ratio),
        figures,
    )


def duration(seconds: float) -> str:
    """Three figures and a unit: `0.148 us`, `12.3 ms`."""
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:#.3g}".rstrip(".") + f" {unit}"
    return f"{seconds:#.3g} s"
