"""Unstructured pruning: masks, what trains under them, schedules, and plain layers again."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_nets import close, networks, normal
from trees import values

import tape
from tape import netopt, nn, optim
from tape.errors import NumericsError, SettingError, ShapeError, TapeError
from tape.netopt import sparsification
from tape.netopt.sparsification import Pruner, lower_masks, polynomial, prune_magnitude


def masks(net):
    return {path: m.mask.numpy() for path, m in net.named_modules() if hasattr(m, "mask")}


def dense(*sizes, **more):
    layers = [nn.Dense(b, a, tape.tanh, **more) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*layers)


def trained(net, optimizer, steps=5, after=lambda: None):
    for i in range(steps):
        loss = (net(normal(6, net[0].n_in, seed=i)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
    return net


@settings(max_examples=25, deadline=None)
@given(networks(maps_zero=False), st.floats(0, 0.99), st.sampled_from(["layer", "global"]))
def test_the_smallest_weights_are_masked_and_plain_layers_compute_the_same(drawn, amount, scope):
    net, x = drawn
    before = values(net)
    sparse = prune_magnitude(net, amount, scope=scope)
    assert values(net) == before
    pairs = {}
    for path, mask in masks(sparse).items():
        layer = dict(net.named_modules())[path]
        pairs[id(layer.weight)] = np.abs(layer.weight.numpy()).ravel(), mask.ravel()
    if scope == "global":
        pairs = {0: tuple(np.concatenate(parts) for parts in zip(*pairs.values(), strict=True))}
    for size, mask in pairs.values():
        assert (~mask).sum() == min(round(amount * mask.size), mask.size - 1)
        assert size[~mask].max(initial=0) <= size[mask].min()
    plain = lower_masks(sparse, x)
    close(plain(x), sparse(x))
    assert [(p, type(m)) for p, m in plain.named_modules()] == [
        (p, type(m)) for p, m in net.named_modules()
    ]
    for path, layer in plain.named_modules():
        if path in masks(sparse):
            assert not layer.weight.numpy()[~masks(sparse)[path]].any()


def test_masked_weights_get_no_gradient():
    net = prune_magnitude(dense(6, 5, 4), 0.5)
    net(normal(3, 6)).sum().backward()
    for layer in net:
        assert not layer.weight.grad.numpy()[~layer.mask.numpy()].any()
        assert layer.weight.grad.numpy()[layer.mask.numpy()].all()


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.1)]
)
def test_momentum_does_not_bring_masked_weights_back(make):
    net = prune_magnitude(dense(6, 5, 4), 0.0)
    optimizer = make(net.parameters())
    trained(net, optimizer)
    pruner = Pruner(net, polynomial(0.7, end=4))
    seen = masks(net)

    def after():
        pruner.step()
        for path, mask in masks(net).items():
            assert not (mask & ~seen[path]).any()
            seen[path] = np.array(mask)
            weight = dict(net.named_modules())[path].masked_weight().numpy()
            assert not weight[~mask].any()

    trained(net, optimizer, 10, after)
    assert abs(pruner.sparsity - 0.7) < 0.02
    plain = lower_masks(net.eval())
    assert all((layer.weight.numpy() == 0).mean() > 0.6 for layer in plain)


def test_rounds_train_in_between_and_end_at_the_amount():
    seen = []

    def train(model):
        seen.append(np.mean(next(~m for m in masks(model).values())))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        return trained(model, optimizer, 2)

    net, x = dense(20, 20, 20), normal(4, 20)
    sparse, report = prune_magnitude(
        net, 0.8, rounds=3, train=train, x=x, metric=lambda m: 1.0, return_report=True
    )
    np.testing.assert_allclose(seen, [0.8 * (1 - (1 - r / 3) ** 3) for r in (1, 2, 3)], atol=0.01)
    assert report["0"].action == "80.0 % zeros"
    assert report.drift > 0
    assert report.retrained_drift > 0
    assert set(report.metric) == {"original", "transformed", "trained"}
    assert "by which nothing becomes smaller or faster" in str(report)
    assert sparse[0].sparsity == 0.8


def test_a_pruned_model_can_be_pruned_further():
    net = dense(10, 10)
    once = prune_magnitude(net, 0.5)
    twice = prune_magnitude(once, 0.8)
    assert twice[0].sparsity == 0.8
    assert once[0].sparsity == 0.5
    assert not (masks(twice)["0"] & ~masks(once)["0"]).any()
    assert prune_magnitude(twice, 0.2)[0].sparsity == 0.8


def test_ties_share_their_mask_and_stay_tied():
    a, b = nn.Dense(6, 6), nn.Dense(6, 6)
    b.weight = a.weight
    net = prune_magnitude(nn.Sequential(a, tape.tanh, b, a), 0.5)
    assert net[0].weight is net[2].weight
    assert net[0].mask is net[2].mask
    assert net[0] is net[3]
    tighter = prune_magnitude(net, 0.7)
    assert tighter[0].mask is tighter[2].mask
    plain = lower_masks(tighter.eval())
    assert plain[0].weight is plain[2].weight
    assert plain[0] is plain[3]
    close(plain(normal(2, 6)), tighter(normal(2, 6)))


def test_a_tie_to_what_has_no_mask_leaves_the_layer_alone():
    class Tied(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(5, 4)
            self.out = nn.Dense(5, 4)
            self.out.weight = self.embed.weight

        def forward(self, x):
            return self.out(self.embed(x))

    net, report = prune_magnitude(Tied(), 0.5, return_report=True)
    assert report["out"].action == "kept: its weight is also embed.weight, which gets no mask"
    assert type(net.out) is nn.Dense
    assert net.out.weight is net.embed.weight


def test_frozen_layers_stay_frozen_and_modes_stay():
    net = dense(5, 4, 3).train()
    net.freeze("0")
    net[1].weight.requires_grad_(False)
    sparse = prune_magnitude(net, 0.5)
    assert [(m.is_frozen, m.training) for m in sparse] == [(True, False), (False, True)]
    assert [p.requires_grad for p in sparse.parameters()] == [False, False, False, True]
    sparse.unfreeze()
    assert sparse[0].weight.requires_grad
    assert sparse[0].training


def test_an_optimizer_goes_on_with_its_moments():
    net = dense(5, 4)
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    trained(net, optimizer)
    before = optimizer.state_dict()["state"]
    sparse = prune_magnitude(net, 0.5, optimizer=optimizer)
    after = optimizer.state_dict()["state"]
    np.testing.assert_equal(after, before)
    trained(sparse, optimizer, 1)


def test_a_masked_model_is_saved_and_loaded(tmp_path):
    net = prune_magnitude(
        nn.Sequential(nn.Conv2d(4, 3, n_in=2), nn.Flatten(), nn.Dense(3, 16)), 0.6
    )
    tape.save(tmp_path / "net.safetensors", net)
    other = prune_magnitude(
        nn.Sequential(nn.Conv2d(4, 3, n_in=2), nn.Flatten(), nn.Dense(3, 16)), 0.1
    )
    tape.load(tmp_path / "net.safetensors", other)
    assert values(other) == values(net)
    close(other(normal(2, 2, 4, 4)), net(normal(2, 2, 4, 4)))


def test_a_failed_step_leaves_masks_and_weights_as_they_were():
    net = prune_magnitude(dense(4, 4, 4), 0.25)
    pruner = Pruner(net, sparsification.one_shot(0.5, at=1))
    net[1].weight = nn.Parameter(np.full((4, 4), np.nan, "f"))
    before = masks(net)
    before = {path: np.array(mask) for path, mask in before.items()}
    with pytest.raises(NumericsError, match=r"1 \(4, 4\)"):
        pruner.step()
    np.testing.assert_equal(masks(net), before)
    assert pruner.n_steps == 0


def test_a_pruner_goes_on_where_another_was():
    first = prune_magnitude(dense(9, 9), 0.0)
    pruner = Pruner(first, polynomial(0.6, end=10, every=2))
    for _ in range(5):
        pruner.step()
    again = Pruner(first.clone(), polynomial(0.6, end=10, every=2))
    again.load_state_dict(pruner.state_dict())
    assert again.n_steps == 5
    assert again.sparsity == pruner.sparsity
    with pytest.raises(TapeError, match="needs n_steps"):
        again.load_state_dict({"steps": 5})


@given(
    st.floats(0, 0.99),
    st.floats(0, 0.99),
    st.integers(0, 50),
    st.integers(1, 50),
    st.floats(0.5, 5),
    st.integers(1, 9),
)
def test_a_polynomial_goes_from_one_share_to_the_other(first, last, begin, length, power, every):
    first, last = sorted([first, last])
    end = begin + length
    s = polynomial(last, end, first, begin, power, every)
    values = [s(step) for step in range(end + 10)]
    assert values == sorted(values)
    assert all(v == 0 for v in values[:begin])
    assert values[begin] == pytest.approx(first)
    assert values[end] == pytest.approx(last)
    changes = [i for i in range(begin + 1, end) if values[i] != values[i - 1]]
    assert all((i - begin) % every == 0 for i in changes)


@pytest.mark.parametrize("amount", [1.0, -0.1, float("nan"), 1.5])
def test_a_share_is_in_0_to_1(amount):
    with pytest.raises(SettingError, match=r"must be in \[0, 1\)"):
        prune_magnitude(dense(3, 3), amount)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda n: prune_magnitude(n, 9), SettingError, "0: amount 9 of 9 weights leaves none"),
        (lambda n: prune_magnitude(n, -1), SettingError, "amount -1 is negative"),
        (lambda n: prune_magnitude(n, True), TypeError, "share, a count or a mapping"),
        (lambda n: prune_magnitude(n, "half"), TypeError, "share, a count or a mapping"),
        (lambda n: prune_magnitude(n, 0.5, "x*"), TapeError, "names no module"),
        (lambda n: prune_magnitude(n, 0.5, lambda m: False), TapeError, "none is chosen"),
        (lambda n: prune_magnitude(n, {"9": 0.5}), SettingError, "amount has '9'"),
        (lambda n: prune_magnitude(n, {"0": 2.0}), SettingError, "0: amount 2.0"),
        (lambda n: prune_magnitude(n, 0.5, scope="all"), SettingError, "scope is one of"),
        (lambda n: prune_magnitude(n, {"0": 0.5}, scope="global"), SettingError, "amounts by path"),
        (lambda n: prune_magnitude(n, 0.5, rounds=0), ValueError, "rounds must be at least 1"),
        (lambda n: prune_magnitude(n, 0.5, train=3), TypeError, "train is a function"),
        (lambda n: prune_magnitude([n], 0.5), TypeError, "takes a module"),
        (lambda n: prune_magnitude(nn.Sequential(nn.Dense(3)), 0.5), ShapeError, "no sizes yet"),
        (lambda n: prune_magnitude(nn.Sequential(tape.relu), 0.5), TapeError, "has no"),
        (lambda n: Pruner(n, polynomial(0.5, 3)), TapeError, "no masked layers"),
        (lambda n: Pruner(prune_magnitude(n, 0.1), 0.5), TypeError, "schedule is one such as"),
        (lambda n: lower_masks(n.eval()), TapeError, "finds nothing to lower"),
        (lambda n: lower_masks(prune_magnitude(n, 0.1)), TapeError, "in training mode"),
        (lambda n: polynomial(0.5, 3, begin=3), SettingError, "end 3 must be after begin 3"),
        (lambda n: polynomial(1.0, 3), SettingError, r"final is a share in \[0, 1\)"),
        (lambda n: polynomial(0.5, 3, power=0), SettingError, "power must be above 0"),
        (lambda n: sparsification.constant(-1), SettingError, "amount is a share"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call, error, match):
    net = dense(3, 3)
    before = values(net)
    with pytest.raises(error, match=match):
        call(net)
    assert values(net) == before


def test_nan_weights_are_named():
    net = dense(3, 3, 3)
    net[1].weight = nn.Parameter(np.full((3, 3), np.nan, "f"))
    with pytest.raises(NumericsError, match=r"1 \(3, 3\)"):
        prune_magnitude(net, 0.5)
    assert netopt.sparsification.prune_magnitude(net, 0.5, "0")[0].sparsity > 0.4
