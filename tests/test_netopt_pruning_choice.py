"""Structured pruning: which filters and neurons go, by what they are worth, and bad input."""

import numpy as np
import pytest
from pruning_nets import normal
from trees import values

import tape
from tape import nn, optim
from tape.errors import NumericsError, SettingError, ShapeError, TapeError
from tape.netopt.factorization import factor_dense
from tape.netopt.sparsification import prune_magnitude, prune_structured


def pruned(net, amount, x, *args, **options):
    options = {"only_cheaper": False, "return_report": True, **options}
    return prune_structured(net, amount, x, *args, **options)


def row(report, path):
    return report[path].action


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_global_amount_takes_what_is_worth_least_anywhere(rounds):
    net = nn.Sequential(nn.Dense(10, 4), nn.Dense(10, 10), nn.Dense(3, 10))
    worth = {id(net[0]): np.arange(10) + 1, id(net[1]): np.ones(10)}
    if rounds > 1:  # copies are other objects
        worth = {}
    importance = (lambda m: worth.get(id(m), np.ones(m.n_out))) if worth else "l2"
    new, _ = pruned(net, 8, normal(3, 4), scope="global", importance=importance, rounds=rounds)
    assert new[0].n_out + new[1].n_out == 12
    if worth:  # below the mean of their layer are 5 of the first
        assert (new[0].n_out, new[1].n_out) == (5, 7)


def test_at_least_one_filter_of_each_layer_stays():
    net = nn.Sequential(nn.Dense(10, 4), nn.Dense(10, 10), nn.Dense(3, 10))
    new, _ = pruned(net, 0.99, normal(3, 4))
    assert (new[0].n_out, new[1].n_out) == (1, 1)
    new, _ = pruned(net, 0.99, normal(3, 4), scope="global")
    assert (new[0].n_out, new[1].n_out) == (1, 1)


def test_filters_are_left_in_multiples():
    net = nn.Sequential(nn.Dense(40, 4), nn.Dense(12, 40), nn.Dense(3, 12))
    new, report = pruned(net, 0.5, normal(3, 4), round_to=8)
    assert (new[0].n_out, new[1].n_out) == (24, 8)
    new, report = pruned(net, 0.1, normal(3, 4), round_to=8)
    assert (new[0].n_out, new[1].n_out) == (40, 12)
    assert row(report, "1") == "kept: amount 0.1 of 12 is none that could go"


def test_batch_norms_say_what_filters_are_worth():
    net = nn.Sequential(
        nn.Conv2d(4, 1, n_in=2), nn.BatchNorm2d(4), tape.relu, nn.Conv2d(2, 1, n_in=4)
    )
    with tape.no_grad():
        net[1].weight[...] = tape.tensor(np.float32([0.1, -3.0, 0.2, 1.0]))
    new, _ = pruned(net, 2, normal(2, 2, 3, 3), "0", importance="batch_norm")
    np.testing.assert_array_equal(new[1].weight, np.float32([-3.0, 1.0]))
    plain = nn.Sequential(nn.Dense(4, 2), nn.Dense(3, 4))
    _, report = pruned(plain, 0.5, normal(2, 2), importance="batch_norm")
    assert row(report, "0") == "kept: no batch norm says what its filters are worth"


def test_results_say_what_neurons_are_worth():
    net = nn.Sequential(nn.Dense(3, 2, tape.relu), nn.Dense(2, 3))
    with tape.no_grad():
        net[0].weight[...] = tape.tensor(np.float32([[1, 1], [-9, -9], [2, 0]]))
        net[0].bias[...] = tape.zeros(3)
    new, _ = pruned(net, {"0": 1}, tape.ones((4, 2)), importance="activation")
    np.testing.assert_array_equal(new[0].weight, np.float32([[1, 1], [2, 0]]))


def test_group_norms_lose_whole_groups():
    net = nn.Sequential(nn.Conv2d(8, 1, n_in=2), nn.GroupNorm(4, 8), nn.Conv2d(3, 1, n_in=8))
    new, report = pruned(net, 5, normal(2, 2, 3, 3), "0")
    assert (new[0].n_out, new[1].num_groups) == (4, 2)
    one = nn.Sequential(nn.Conv2d(8, 1, n_in=2), nn.GroupNorm(1, 8), nn.Conv2d(3, 1, n_in=8))
    new, report = pruned(one, 0.5, normal(2, 2, 3, 3), "0")
    assert new[0].n_out == 8
    assert row(report, "0") == "kept: standardize in 1 needs all"


def test_masked_and_factored_layers_are_pruned_too():
    net = nn.Sequential(nn.Dense(8, 6, tape.relu), nn.Dense(8, 8, tape.relu), nn.Dense(2, 8))
    x = normal(4, 6)
    sparse = prune_magnitude(net, 0.5)
    new, _ = pruned(sparse, 0.5, x)
    assert new[1].mask.shape == new[1].weight.shape == (4, 4)
    factored = factor_dense(net, rank=2, filter_function="1", only_cheaper=False)
    new, report = pruned(factored, {"0": 4}, x)
    assert (new[1].n_in, new[1].rank, new[1].n_out) == (4, 2, 8)
    assert row(report, "1") == "4 of 8 channels"


def nan(net):
    net[0].weight = nn.Parameter(np.full(net[0].weight.shape, np.nan, "f"))
    return net


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda n, x: pruned(n, 1.0, x), SettingError, r"1.0 as a share must be in \[0, 1\)"),
        (lambda n, x: pruned(n, -0.5, x), SettingError, r"must be in \[0, 1\)"),
        (lambda n, x: pruned(n, float("nan"), x), SettingError, r"must be in \[0, 1\)"),
        (lambda n, x: pruned(n, 6, x), SettingError, "0: amount 6 of 6 filters leaves none"),
        (lambda n, x: pruned(n, -1, x), SettingError, "amount -1 is negative"),
        (lambda n, x: pruned(n, True, x), TypeError, "share, a count or a mapping"),
        (lambda n, x: pruned(n, {"7": 1}, x), SettingError, "amount has '7', which is no dense"),
        (lambda n, x: pruned(n, 0.5, x, "conv*"), TapeError, "names no module"),
        (lambda n, x: pruned(n, 0.5, x, lambda m: False), TapeError, "none is chosen"),
        (lambda n, x: pruned(n, 0.5, x, 3), TypeError, "chosen by a path"),
        (lambda n, x: pruned(n, 0.5, x, importance="l3"), SettingError, "importance is one of"),
        (lambda n, x: pruned(n, 0.5, x, importance=lambda m: 1), SettingError, "give 6 numbers"),
        (lambda n, x: pruned(n, 0.5, x, scope="all"), SettingError, "scope is one of"),
        (lambda n, x: pruned(n, {"0": 1}, x, scope="global"), SettingError, "amounts by path"),
        (lambda n, x: pruned(n, 0.5, x, round_to=0), ValueError, "round_to must be at least 1"),
        (lambda n, x: pruned(n, 0.5, x, rounds=0), ValueError, "rounds must be at least 1"),
        (lambda n, x: pruned(n, 0.5, x, train=1), TypeError, "train is a function"),
        (lambda n, x: pruned([n], 0.5, x), TypeError, "takes a module"),
        (lambda n, x: pruned(nn.Sequential(nn.Dense(3)), 0.5, x), ShapeError, "no sizes yet"),
        (lambda n, x: pruned(nn.Sequential(tape.relu), 0.5, x), TapeError, "has no"),
        (lambda n, x: pruned(nan(n), 0.5, x), NumericsError, r"0: \d+ of \d+ numbers are NaN"),
        (lambda n, x: pruned(n, 0.5, normal(2, 5)), ShapeError, "4"),
        (lambda n, x: pruned(n, 0.5, x, optimizer=optim.SGD(nn.Dense(1, 1).parameters(), lr=1.0)),
         ValueError, "none of the 4 parameters"),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_changes_nothing(call, error, match):
    net = nn.Sequential(nn.Dense(6, 4, tape.relu), nn.Dense(3, 6))
    before = values(net)
    with pytest.raises(error, match=match):
        call(net, normal(2, 4))
    assert str(values(net)) == str(before) or np.isnan(net[0].weight.numpy()).all()
