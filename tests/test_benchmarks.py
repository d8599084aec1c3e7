"""The benchmark harness: what it compares, refuses and prints. Nothing here looks at a speed."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _harness(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])  # an installed tape stays first
    from benchmarks import timing

    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-5)
    monkeypatch.setattr(timing, "ROUNDS", {True: 3})


def summing(values, **options):
    """A contender that sums `values`."""
    from benchmarks.row import Contender

    return lambda: Contender("sum(values)", {"values": values}, **options)


def test_every_claim_is_about_a_contender_of_its_row():
    from benchmarks import rows_ops, rows_train

    for row in [*rows_ops.ROWS, *rows_train.ROWS]:
        others = list(row.contenders)[1:]
        assert row.claims
        assert {claim.against for claim in row.claims} <= set(others), row.name


def test_targets_are_judged_in_their_own_direction():
    from benchmarks.row import TimedRow, cost_over, faster_than
    from benchmarks.timing import lines_of

    contenders = {"ours": summing(range(10)), "other": summing(list(range(10)))}
    claims = [faster_than("other", 1e-9), faster_than("other", 1e9), cost_over("other", 1e9),
              cost_over("other", 1e-9), faster_than("other")]  # fmt: skip
    lines = lines_of(TimedRow("row", contenders, claims), quick=True, clock=time.process_time)
    assert [line.met for line in lines] == [True, False, True, False, None]


def test_missing_peer_leaves_empty_cells(monkeypatch):
    from benchmarks import report, timing
    from benchmarks.row import TimedRow, faster_than

    monkeypatch.setattr(timing.importlib.util, "find_spec", lambda name: None)
    contenders = {"ours": summing([1]), "torch": lambda: pytest.fail("built")}
    row = TimedRow("row", contenders, [faster_than("torch", 2)])
    [line] = timing.lines_of(row, quick=True, clock=time.process_time)
    assert report.cells(line)[2:] == ("PyTorch", "-", "-", "", ">= 2x", "-")


def test_contenders_that_disagree_are_not_timed(capsys):
    from benchmarks.row import TimedRow, faster_than
    from benchmarks.timing import lines_of

    row = TimedRow("row", {"ours": summing([1]), "b": summing([2])}, [faster_than("b", 1)])
    [line] = lines_of(row, quick=True, clock=time.process_time)
    assert line.failed.startswith("AssertionError")
    assert "row: b" in capsys.readouterr().err


def test_preparation_runs_before_every_evaluation_and_scope_around_it():
    from contextlib import contextmanager

    from benchmarks.row import Contender
    from benchmarks.timing import interleave

    log = []

    @contextmanager
    def scope():
        log.append("in")
        yield
        log.append("out")

    contender = Contender("log.append('run')", {"log": log}, "log.append('prepare')", scope)
    interleave({"only": contender}, rounds=2, clock=time.process_time)
    once = [
        "prepare",
        "run",
    ]  # a first evaluation of each turn is not timed: caches are warm after it
    assert log == ["in", *once, *once, "out"] * 3  # two rounds after one to warm up


def test_unknown_row_lists_the_known_ones():
    command = [sys.executable, "-m", "benchmarks", "-k", "no such row"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "reuse hit" in done.stderr
