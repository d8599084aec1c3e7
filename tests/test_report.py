"""What a tape says of reuse: counts, measured times, what it holds."""

import re

import numpy as np
import pytest

import tape
from tape import nn, shapes

pytestmark = pytest.mark.usefixtures("nothing_left")


def spend(seconds):
    """Wait, busily: sleeping is not as exact."""
    from time import perf_counter

    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


@tape.op(shape=shapes.same, linear=True)
def slow(x, /, by=0.002):
    """x, after a while."""
    spend(by)
    return x * 1.0


def test_hits_evaluations_and_times_of_each_op():
    x = tape.ones(3, requires_grad=True)
    with tape.Tape() as t:
        kept = [slow(x), slow(x), slow(x, by=0.01), slow(x), slow(x) * 2.0]
        report = t.report()
    rows = {row.op: row for row in report.ops}
    assert report.ops[0].op == "slow"
    assert rows["slow"][1:3] == (3, 2)
    assert rows["multiply"][1:3] == (0, 1)
    assert rows["slow"].seconds >= 0.012
    quick = rows["slow"].saved / 3  # the first one three times
    assert 0.002 <= quick <= rows["slow"].seconds - 0.01
    assert rows["multiply"].saved == 0
    assert (report.hits, report.evaluations) == (t.hits, t.evaluations) == (3, 3)
    assert report.seconds == pytest.approx(sum(row.seconds for row in report.ops))
    assert report.saved == rows["slow"].saved
    assert (report.nodes, report.bytes) == (3, 36) == (len(t.nodes), t.bytes)
    del kept
    assert t.report()[:5] == report[:5]
    assert t.report()[5:] == (0, 0)


def test_a_result_that_must_be_computed_again_has_saved_nothing():
    x, w = tape.ones(3, requires_grad=True), tape.ones(3)
    with tape.Tape() as t:
        y = slow(x) + w  # nobody keeps slow(x)'s value: no gradient reads it
        again = slow(x)
        assert t.report().hits == 1
        assert t.report().saved > 0.001
        again.numpy()
        assert t.report().evaluations == 3
        assert t.report().saved == 0
    del y, again


def test_the_report_prints_as_a_table():
    x = tape.ones((8, 8), requires_grad=True)
    with tape.Tape() as t:
        kept = [tape.exp(x) for _ in range(1001)]
        kept.append(slow(x))
    lines = str(t.report()).splitlines()
    assert lines[0] == "1,000 of 1,002 results handed out again (100%)"
    assert re.fullmatch(r"saved [\d.e+-]+ (us|ms|s); computing the others took .*", lines[1])
    assert lines[2] == "holds 2 results, 512 bytes"
    assert lines[3].split() == ["op", "hits", "evaluations", "time", "saved"]
    assert sorted(line.split()[0] for line in lines[4:]) == ["exp", "slow"]
    assert len({len(line) for line in lines[3:]}) == 1
    assert str(tape.Tape().report()).splitlines()[2:] == ["holds 0 results, 0 bytes"]


def test_a_shared_trunk_shows_in_the_report_of_a_training_step():
    trunk = nn.Dense(8, 8, activation=tape.tanh) >> nn.Dense(8, 8, activation=tape.tanh)
    net = nn.combine(trunk >> nn.Dense(1, 8), trunk >> nn.Dense(1, 8))
    with tape.Tape() as t:
        a, b = net(tape.ones((4, 8)))
        (a + b).sum().backward()
    report = t.report()
    assert report.hits == 2
    assert report.saved > 0
    del a, b
    assert report.evaluations == t.report().evaluations


def test_only_a_tape_of_ones_own_measures_and_each_its_own_ops():
    x = tape.ones(3, requires_grad=True)
    with tape.Tape() as outer:
        a = tape.exp(x)
        with tape.Tape() as inner:
            b = tape.tanh(x), tape.exp(x)
    c = tape.sin(x)
    assert [row.op for row in outer.report().ops] == ["exp"]
    assert sorted(row.op for row in inner.report().ops) == ["exp", "tanh"]
    del a, b, c


def test_ops_that_fail_are_not_counted():
    with tape.Tape() as t:
        with pytest.raises(tape.errors.ShapeError):
            tape.matmul(tape.ones((2, 3)), tape.ones((2, 3)))
        kept = np.add(tape.ones(2), 1.0)
    assert [(row.op, row.evaluations) for row in t.report().ops] == [("add", 1)]
    del kept
