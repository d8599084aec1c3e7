"""`netopt.plan`: ranks with which a model stays within a budget."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tape
from tape import netopt, nn
from tape.errors import NumericsError, SettingError, TapeError
from tape.netopt import cost
from tape.netopt.budget import read_budget
from tape.netopt.factorization import factor_convolution, factor_dense
from tape.netopt.plan import Option, within
from tape.netopt.record import record


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


def mixed():
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Conv2d(16, 3, padding=1, activation=tape.relu, n_in=3, rng=rng),
        nn.Conv2d(24, 3, padding=1, activation=tape.relu, n_in=16, rng=rng),
        nn.Conv2d(16, 1, activation=tape.relu, n_in=24, rng=rng),
        nn.Flatten(),
        nn.Dense(40, 16 * 36, tape.relu, rng=rng),
        nn.Dense(10, 40, rng=rng),
    )


class ByName(nn.Module):
    """Layers that get their operand by its name."""

    def __init__(self):
        self.dense, self.conv = nn.Dense(20, 30), nn.Conv2d(12, 3, n_in=8)

    def forward(self, x, images):
        return self.dense(x=x), self.conv(x=images)


@pytest.mark.parametrize("of", ["parameters", "multiply_adds"])
def test_layers_that_are_called_by_name_are_planned_and_counted(of):
    net, x = ByName(), (normal(40, 30), normal(2, 8, 6, 6))
    ranks = netopt.plan(net, x, "2x", of=of)
    assert set(ranks) == {"dense", "conv"}
    if of == "multiply_adds":
        assert ranks.cost[0] == 40 * 20 * 30 + 2 * 16 * 12 * 8 * 9
    _, report = factor_dense(
        net, rank=ranks, data_aware=True, x=x, only_cheaper=False, return_report=True
    )
    assert report["dense"].multiply_adds == (40 * 20 * 30, 40 * ranks["dense"] * 50)
    _, report = netopt.quantize_int8(net, x, only_cheaper=False, return_report=True)
    assert [row.path for row in report.changed] == ["dense", "conv"]


def test_layers_without_numbers_are_left_out_of_a_plan():
    net = nn.Sequential(nn.Dense(0, 30), nn.Dense(20, 0), nn.Dense(20, 20))
    assert set(netopt.plan(net, normal(5, 30), "2x", of="parameters")) == {"2"}


def test_a_batch_that_is_no_number_is_refused_by_the_layer_it_comes_to():
    net = nn.Sequential(nn.Dense(20, 30), nn.Dense(20, 20))
    with pytest.raises(NumericsError, match=r"plan: 0: what comes to it of x: 150 of 150 numbers"):
        netopt.plan(net, np.full((5, 30), np.nan, "f"), "2x", of="parameters")


def applied(net, ranks):
    """The model with both kinds of layers factored by a plan."""
    for factor in (factor_dense, factor_convolution):
        kinds = (nn.Dense,) if factor is factor_dense else (nn.Conv2d,)
        layers = {path for path, m in net.named_modules() if isinstance(m, kinds)}
        if layers & set(ranks):
            net = factor(net, rank=ranks, only_cheaper=False)
    return net


@given(st.floats(1.2, 6), st.sampled_from(["parameters", "multiply_adds"]))
@settings(max_examples=10)
def test_a_plan_costs_what_it_says_and_keeps_the_budget(times, of):
    net, x = mixed(), normal(4, 3, 6, 6)
    ranks = netopt.plan(net, x, f"{times:.3f}x", of=of)
    before, after = ranks.cost
    assert after <= before / times * (1 + 1e-3)
    new = applied(net, ranks)
    if of == "parameters":
        found = cost.n_parameters(net), cost.n_parameters(new)
    else:
        found = tuple(cost.multiply_adds(m, record(m, x)[1]) for m in (net, new))
    assert found == (before, after)


def test_a_larger_budget_leaves_less_error():
    net, x = mixed(), normal(8, 3, 6, 6)
    drifts = []
    for budget in (0.25, 0.5, 0.9, 0.9999):
        new = applied(net, netopt.plan(net, x, budget))
        drifts.append(np.linalg.norm(new(x).numpy() - net(x).numpy()))
    assert drifts == sorted(drifts, reverse=True)
    assert drifts[0] > drifts[-1]


def test_a_budget_that_is_no_bound_changes_nothing():
    net, x = mixed(), normal(2, 3, 6, 6)
    ranks = netopt.plan(net, x, 10**12)
    assert ranks == {}
    assert repr(ranks).startswith("Plan(nothing; multiply_adds ")


def test_a_rank_that_only_seems_faster_is_left_out(monkeypatch):
    def seconds(name):
        return 2.0 if name == "whole" else 1.0 if name.endswith("None") else 0.5

    module = sys.modules["tape.netopt.plan"]  # whose name netopt has for the function
    monkeypatch.setattr(module, "fastest", lambda calls: {name: seconds(name) for name in calls})
    net, x = nn.Sequential(nn.Dense(20, 20), nn.Dense(20, 20)), normal(5, 20)
    assert netopt.plan(net, x, "10 s", of="latency") == {}
    ranks = netopt.plan(net, x, "1.2 s", of="latency")
    assert set(ranks) == {"0", "1"}
    assert all(k < 10 for k in ranks.values())


def test_a_latency_is_measured():
    net, x = nn.Sequential(nn.Dense(600, 600), nn.Dense(600, 600)), normal(64, 600)
    ranks = netopt.plan(net, x, "2x", of="latency")
    assert set(ranks) <= {"0", "1"}
    assert ranks
    assert ranks.cost[1] <= ranks.cost[0] / 2 * 1.001
    assert netopt.plan(net, x, "10 s", of="latency") == {}


def test_ranks_go_where_the_spectrum_is_long():
    net, x = nn.Sequential(nn.Dense(50, 50), nn.Dense(50, 50)), normal(400, 50)
    u, v = (np.linalg.qr(normal(50, 50, seed=s).numpy())[0] for s in (1, 2))
    net[0].weight = nn.Parameter(u @ v)
    net[1].weight = nn.Parameter(u * np.geomspace(1, 1e-4, 50, dtype="f") @ v)
    ranks = netopt.plan(net, x, 0.75, of="parameters")
    assert set(ranks) == {"1"}  # in the other one all directions count the same
    assert ranks["1"] <= 12


def test_layers_that_share_a_weight_get_one_rank():
    net = nn.Sequential(nn.Dense(40, 40), nn.Dense(40, 40), nn.Dense(40, 40))
    net[2].weight = net[0].weight
    ranks = netopt.plan(net, normal(100, 40), "4x", of="parameters")
    assert ranks["0"] == ranks["2"]
    new = applied(net, ranks)
    assert new[0].first is new[2].first
    assert cost.n_parameters(new) == ranks.cost[1]


def test_a_filter_keeps_layers_out_of_the_plan():
    net = mixed()
    ranks = netopt.plan(net, normal(2, 3, 6, 6), 0.8, filter_function=lambda m: m is not net[5])
    assert ranks
    assert "5" not in ranks


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), max_size=6),
        min_size=1,
        max_size=4,
    ),
    st.floats(0, 1),
)
def test_what_is_chosen_fits_and_nothing_better_is_left_over(drawn, share):
    found = [[Option(None, 60, 0.0), *(Option(1, c, e) for c, e in its)] for its in drawn]
    least = sum(min(o.cost for o in its) for its in found)
    most = least + share * (60 * len(found) - least)
    chosen = within(found, most)
    total = sum(o.cost for o in chosen)
    assert total <= most
    for its, now in zip(found, chosen, strict=True):
        for option in its:
            assert option.error >= now.error or total - now.cost + option.cost > most


@pytest.mark.parametrize(
    ("budget", "of", "expected"),
    [
        ("2x", "parameters", (0.5, True)),
        (" 2.5 x ", "latency", (0.4, True)),
        (0.3, "multiply_adds", (0.3, True)),
        (1000, "parameters", (1000.0, False)),
        ("1.5 ms", "latency", (0.0015, False)),
        ("2s", "latency", (2.0, False)),
    ],
)
def test_budgets_are_read(budget, of, expected):
    assert read_budget(budget, of) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("budget", "of"),
    [
        *[(0, "parameters"), (-1, "parameters"), (float("nan"), "parameters")],
        *[("0.5x", "parameters"), ("x", "parameters"), ("2 ms", "parameters"), ("", "latency")],
        *[(3, "latency"), (1.0, "latency"), ("0 ms", "latency"), ("-2x", "latency")],
        ("2x", "flops"),
    ],
)
def test_budgets_that_mean_nothing_are_refused(budget, of):
    with pytest.raises(ValueError, match="plan: "):
        read_budget(budget, of)


def test_budgets_of_other_types_are_refused():
    with pytest.raises(TypeError, match="plan: budget must be a number"):
        read_budget(None, "parameters")


def test_bad_calls_are_refused():
    net, x = mixed(), normal(2, 3, 6, 6)
    with pytest.raises(SettingError, match=r"budget of parameters is 3, .* with the least ranks"):
        netopt.plan(net, x, 3, of="parameters")
    with pytest.raises(SettingError, match=r"latency is 0.00100 us, the model costs \S+ (u|m)s, "):
        netopt.plan(net, x, "0.001 us", of="latency")
    with pytest.raises(TapeError, match="nothing in this Sequential can be factored"):
        netopt.plan(nn.Sequential(nn.Flatten()), x, "2x")
    with pytest.raises(TypeError, match="plan: takes a module, got a int"):
        netopt.plan(3, x, "2x")
    with tape.no_grad():
        net[4].weight[0, 0] = np.nan
    with pytest.raises(NumericsError, match="plan: 4: 1 of 23040 numbers are NaN"):
        netopt.plan(net, x, "2x")
