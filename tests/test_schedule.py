"""Schedules against the formulas they are known by; resuming; what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizers import parameter

from tape import optim
from tape.errors import TapeError

# -- schedules ---------------------------------------------------------------------------------


def rates(optimizer, schedule, n):
    found = []
    for _ in range(n):
        found.append([group["lr"] for group in optimizer.param_groups])
        schedule.step()
    return np.array(found)


def two_groups():
    return optim.SGD(
        [{"params": parameter([1.0])}, {"params": parameter([1.0]), "lr": 2.0}], lr=0.5
    )


def test_step_lr_multiplies_every_so_many_steps():
    optimizer = two_groups()
    found = rates(optimizer, optim.StepLR(optimizer, step_size=3, gamma=0.1), 8)
    factors = 0.1 ** np.array([0, 0, 0, 1, 1, 1, 2, 2.0])
    np.testing.assert_allclose(found, factors[:, None] * [0.5, 2.0], rtol=1e-12)


def test_cosine_annealing_obeys_the_recurrence_it_is_usually_written_as():
    optimizer = two_groups()
    found = rates(optimizer, optim.CosineAnnealingLR(optimizer, T_max=7, eta_min=0.1), 8)
    assert found[0].tolist() == [0.5, 2.0]
    for t in range(1, 7):
        ratio = (1 + math.cos(math.pi * t / 7)) / (1 + math.cos(math.pi * (t - 1) / 7))
        np.testing.assert_allclose(found[t] - 0.1, ratio * (found[t - 1] - 0.1), rtol=1e-12)
    np.testing.assert_allclose(found[7], [0.1, 0.1], rtol=1e-12)


def test_warmup_alone_rises_evenly_and_then_stays():
    optimizer = two_groups()
    found = rates(optimizer, optim.LinearWarmup(optimizer, 4, start_factor=0.2), 7)
    np.testing.assert_allclose(found[:, 0] / 0.5, [0.2, 0.4, 0.6, 0.8, 1, 1, 1], rtol=1e-12)
    np.testing.assert_allclose(found[:, 1] / 2.0, [0.2, 0.4, 0.6, 0.8, 1, 1, 1], rtol=1e-12)


def test_warmup_hands_over_to_another_schedule_where_that_begins():
    optimizer, alone = two_groups(), two_groups()
    cosine = optim.CosineAnnealingLR(optimizer, T_max=5)
    found = rates(optimizer, optim.LinearWarmup(optimizer, 3, then=cosine, start_factor=0.0), 8)
    expected = rates(alone, optim.CosineAnnealingLR(alone, T_max=5), 5)
    assert found[3:].tolist() == expected.tolist()
    np.testing.assert_allclose(found[:3], np.array([[0, 0], [0.5, 2], [1, 4]]) / 3, rtol=1e-12)


@given(st.integers(0, 12), st.sampled_from(["step", "cosine", "warmup"]))
def test_a_schedule_resumes_where_it_was(n, kind):
    def make(optimizer):
        if kind == "step":
            return optim.StepLR(optimizer, 2, 0.5)
        cosine = optim.CosineAnnealingLR(optimizer, 6)
        return cosine if kind == "cosine" else optim.LinearWarmup(optimizer, 3, cosine)

    first, second = two_groups(), two_groups()
    schedule, resumed = make(first), make(second)
    rates(first, schedule, n)
    second.lr = 77.0
    resumed.load_state_dict(schedule.state_dict())
    assert rates(second, resumed, 3).tolist() == rates(first, schedule, 3).tolist()


BAD_SCHEDULES = [
    (lambda o: optim.StepLR(o, 0), "step_size must be at least 1, got 0"),
    (lambda o: optim.StepLR(o, math.inf), "step_size must be a whole number, got inf"),
    (lambda o: optim.StepLR(o, "a"), "StepLR: step_size must be a whole number, got 'a'"),
    (lambda o: optim.StepLR(3, 2), "StepLR: takes an optimizer, got a int"),
    (lambda o: optim.StepLR(o, 2, -1.0), "gamma must be at least 0"),
    (lambda o: optim.StepLR(o, 2, "a"), "gamma must be a number, got 'a'"),
    (lambda o: optim.CosineAnnealingLR(o, 2.5), "T_max must be a whole number"),
    (lambda o: optim.LinearWarmup(o, 3, then=4), "`then` is a int, not a schedule"),
    (lambda o: optim.CosineAnnealingLR(o, 2, -0.1), "eta_min must be at least 0"),
    (lambda o: optim.LinearWarmup(o, 3, start_factor=2.0), r"start_factor must be in \[0, 1\]"),
    (
        lambda o: optim.LinearWarmup(o, 3, then=optim.StepLR(two_groups(), 2)),
        "`then` needs the same optimizer",
    ),
]


@pytest.mark.parametrize(("make", "match"), BAD_SCHEDULES)
def test_a_schedule_that_makes_no_sense_is_refused_and_the_rates_stay(make, match):
    optimizer = two_groups()
    with pytest.raises((TypeError, ValueError), match=match):
        make(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 2.0]


def test_the_state_of_another_schedule_is_refused():
    optimizer = two_groups()
    schedule = optim.StepLR(optimizer, 1, 0.5)
    schedule.step()
    for state in [
        {},
        {"n_steps": -1, "base_rates": [1.0, 1.0]},
        {"n_steps": 3, "base_rates": [1.0]},
        {"n_steps": 3, "base_rates": [1.0, -1.0]},
    ]:
        with pytest.raises(ValueError if state.get("base_rates", [0])[-1] < 0 else TapeError):
            schedule.load_state_dict(state)
        assert schedule.n_steps == 1
        assert [group["lr"] for group in optimizer.param_groups] == [0.25, 1.0]
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.5]


def test_what_is_no_state_of_a_schedule_is_refused():
    for state in (None, [], 3):
        with pytest.raises(
            TapeError, match=r"StepLR\.load_state_dict: needs n_steps and base_rates"
        ):
            optim.StepLR(two_groups(), 1).load_state_dict(state)


def test_the_length_of_a_warmup_is_not_its_number_of_steps():
    schedule = optim.LinearWarmup(two_groups(), length=7)
    assert (schedule.length, schedule.n_steps) == (7, 0)
    schedule.step()
    assert (schedule.length, schedule.n_steps) == (7, 1)
