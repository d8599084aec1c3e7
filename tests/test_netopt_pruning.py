"""Structured pruning: filters and neurons that are gone, with all that belongs to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_nets import close, networks, normal, results, silence
from trees import values

import tape
from tape import nn, optim
from tape.netopt.sparsification import prune_structured


def pruned(net, amount, x, *args, **options):
    options = {"only_cheaper": False, "return_report": True, **options}
    return prune_structured(net, amount, x, *args, **options)


@settings(max_examples=40, deadline=None)
@given(networks(), st.data())
def test_filters_of_zeros_are_gone_without_a_trace(drawn, data):
    net, x = drawn
    amounts, left = silence(net, x, data.draw)
    before, y = values(net), net(x)
    new, report = pruned(net, amounts, x)
    close(new(x), y)
    assert values(net) == before
    layers = dict(new.named_modules())
    assert {path: layers[path].n_out for path in left} == left, report
    n = sum(p.size for p in new.parameters())
    assert report.total.parameters == (sum(p.size for p in net.parameters()), n)


@settings(max_examples=40, deadline=None)
@given(networks(maps_zero=False, padded=False), st.data())
def test_what_is_constant_goes_into_biases(drawn, data):
    net, x = drawn
    heads = [m for m in net.modules() if isinstance(m, nn.Dense) and m.bias is None]
    for head in heads:
        head.bias = nn.Parameter(np.zeros(head.n_out, "f"))
    amounts, _ = silence(net, x, data.draw)
    new, _ = pruned(net, amounts, x, compensate=True)
    close(new(x), net(x))


@settings(max_examples=40, deadline=None)
@given(
    networks(maps_zero=False), st.floats(0, 0.9), st.sampled_from(["layer", "global"]), st.data()
)
def test_any_amount_gives_a_model_that_runs_trains_and_keeps_names(drawn, amount, scope, data):
    net, x = drawn
    net.train(data.draw(st.booleans()))
    frozen = data.draw(st.sampled_from([None, *(m for m in net.modules() if m is not net)]))
    if frozen is not None:
        net.freeze(lambda m: m is frozen)
    new, report = pruned(net, amount, x, scope=scope)
    assert [p for p, _ in new.named_parameters()] == [p for p, _ in net.named_parameters()]
    assert [(p, m.training, m.is_frozen) for p, m in new.named_modules()] == [
        (p, m.training, m.is_frozen) for p, m in net.named_modules()
    ]
    assert [p.requires_grad for p in new.parameters()] == [
        p.requires_grad for p in net.parameters()
    ]
    shapes = [[a.shape for a in results(m.clone().eval()(x))] for m in (net, new)]
    assert shapes[0] == shapes[1]
    loss = sum(y.sum() for y in [new(x)] if isinstance(y, tape.Tensor))
    if isinstance(loss, tape.Tensor) and loss.requires_grad:
        loss.backward()
        assert all(p.grad is None or p.grad.shape == p.shape for p in new.parameters())
    for (_, old), (_, layer) in zip(net.named_modules(), new.named_modules(), strict=True):
        if isinstance(old, (nn.Conv2d, nn.Dense)):
            assert 1 <= layer.n_out <= old.n_out
            axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            assert layer.weight.shape[axis] == layer.n_out
    assert report.total.parameters[1] <= report.total.parameters[0]


def row(report, path):
    return report[path].action


def test_the_smallest_filters_go_with_all_that_belongs_to_them():
    net = nn.Sequential(
        nn.Conv2d(6, 3, n_in=2), nn.BatchNorm2d(6), tape.relu, nn.MaxPool2d(2), nn.Dropout(),
        nn.Conv2d(6, 3, groups=6, n_in=6, padding=1), nn.Flatten(), nn.Dense(4, 54), nn.Dense(2, 4),
    )  # fmt: skip
    x = normal(3, 2, 8, 8)
    new, report = pruned(net, 2, x, "0")
    kept = np.sort(np.argsort(np.abs(net[0].weight.numpy()).sum((1, 2, 3)))[2:])
    np.testing.assert_array_equal(new[0].weight, net[0].weight.numpy()[kept])
    np.testing.assert_array_equal(new[1].running_var, net[1].running_var.numpy()[kept])
    np.testing.assert_array_equal(new[5].weight, net[5].weight.numpy()[kept])
    columns = (kept[:, None] * 9 + np.arange(9)).ravel()
    np.testing.assert_array_equal(new[7].weight, net[7].weight.numpy()[:, columns])
    assert (new[5].groups, new[5].n_in, new[5].n_out, new[7].n_in) == (4, 4, 4, 36)
    actions = [
        "4 of 6 filters",
        "4 of 6 channels",
        "4 of 6 filters, takes 4 of 6",
        "takes 36 of 54",
    ]
    assert [r.action for r in report.changed] == actions
    assert row(report, "8") == "not chosen"
    assert report.total.multiply_adds[1] < report.total.multiply_adds[0]
    assert report["0"].parameters == (114, 76)
    text = str(report)
    assert "measured speed" in text
    assert "output drift" in text


@pytest.mark.parametrize(
    "given", [np.asarray, tape.asarray, lambda a: (tape.asarray(a),), lambda a: a[:, ::-1][:, ::-1]]
)
def test_a_batch_may_be_an_array_or_share_its_memory(given):
    net = nn.Sequential(nn.Conv2d(6, 3, n_in=2), nn.Flatten(), nn.Dense(3, 24))
    new, _ = pruned(net, 0.5, given(np.array(normal(2, 2, 4, 4))))
    assert new[0].n_out == 3


def test_what_the_model_gives_stays():
    net = nn.Sequential(nn.Dense(5, 4), nn.Dense(6, 5))
    new, report = pruned(net, 0.5, normal(3, 4))
    assert new[1].n_out == 6
    assert row(report, "1") == "takes 3 of 5"
    _, report = pruned(net, 0.5, normal(3, 4), "1")
    assert row(report, "1") == "kept: is what the model gives"


def test_layers_that_are_added_lose_the_same_filters_or_none():
    shortcut = nn.Conv2d(8, 1, n_in=8)
    net = nn.Sequential(
        nn.Conv2d(8, 1, n_in=3),
        nn.Residual(nn.Conv2d(8, 3, padding=1, n_in=8), nn.BatchNorm2d(8), shortcut=shortcut),
        nn.Conv2d(2, 1, n_in=8),
    )
    x = normal(2, 3, 5, 5)
    new, report = pruned(net, {"1.0": 3}, x)
    sizes = [np.abs(m.weight.numpy()).sum((1, 2, 3)) for m in (net[1].layers[0], shortcut)]
    kept = np.sort(np.argsort(sum(s / s.mean() for s in sizes))[3:])
    np.testing.assert_array_equal(new[1].layers[0].weight, net[1].layers[0].weight.numpy()[kept])
    np.testing.assert_array_equal(new[1].shortcut.weight, shortcut.weight.numpy()[kept])
    assert new[0].n_out == 8
    alone, report = pruned(net, 0.5, x, "1.0")
    assert row(report, "1.0") == "kept: goes with 1.shortcut, which is not chosen"
    assert alone[1].layers[0].n_out == 8


def test_shared_modules_and_tied_weights_stay_so():
    class Net(nn.Module):
        def __init__(self):
            self.first = nn.Dense(6, 4)
            self.twice = nn.Dense(6, 6, tape.tanh)
            self.tied = nn.Dense(6, 6, tape.relu)
            self.tied.weight = self.twice.weight
            self.decode = nn.Dense(4, 6)
            self.decode.weight = nn.Parameter(normal(4, 6))

        def forward(self, x):
            y = self.tied(self.twice(self.twice(self.first(x))))
            return self.decode(y) @ self.first.weight.T @ self.decode.weight.T

    net = Net()
    new, report = pruned(net, 0.5, normal(3, 4))
    assert new.tied.weight is new.twice.weight
    assert new.twice.weight.shape == (3, 3)
    assert new.first.weight.shape == (3, 4)
    assert new.decode.weight.shape == (4, 3)
    assert new.tied.n_out == new.twice.n_out == 3
    assert row(report, "decode") == "takes 3 of 6"


@pytest.mark.parametrize(
    "between",
    [nn.LayerNorm(6), tape.softmax, lambda y: y * tape.tensor(np.arange(6, dtype="f")),
     lambda y: tape.flip(y, axis=1), lambda y: y - y.mean(axis=1, keepdims=True)],
)  # fmt: skip
def test_what_is_looked_at_as_a_whole_stays_and_says_why(between):
    net = nn.Sequential(nn.Dense(6, 4), between, nn.Dense(4, 6), nn.Dense(2, 4))
    net(normal(2, 4))
    new, report = pruned(net, 0.5, normal(3, 4))
    assert new[0].n_out == 6
    assert "needs all" in row(report, "0")
    assert new[2].n_out == 2


def test_a_size_in_the_program_keeps_filters_and_says_so():
    class Written(nn.Module):
        def __init__(self):
            self.a, self.b, self.c = nn.Dense(6, 4), nn.Dense(6, 6), nn.Dense(2, 6)

        def forward(self, x):
            y = tape.reshape(self.a(x), (-1, 6))
            return self.c(self.b(y))

    new, report = pruned(Written(), 0.5, normal(3, 4))
    assert new.a.n_out == 6
    assert new.b.n_out == 3
    assert row(report, "a").startswith("kept: the model ")


def test_a_value_that_leaves_the_tape_keeps_filters():
    class Leaves(nn.Module):
        def __init__(self):
            self.a, self.b, self.c = nn.Dense(6, 4), nn.Dense(5, 6), nn.Dense(2, 5)

        def forward(self, x):
            y = self.a(x)
            return self.c(self.b(y) + tape.tensor(y.numpy().mean(1, keepdims=True)))

    net, x = Leaves(), normal(3, 4)
    new, report = pruned(net, 0.5, x)
    assert row(report, "a").startswith("kept: ")
    assert new.a.n_out == 6
    assert new.b.n_out == 3


def test_heads_that_only_training_calls_are_not_broken():
    class Training(nn.Module):
        def __init__(self):
            self.trunk, self.main = nn.Dense(6, 4), nn.Dense(2, 6)
            self.extra = nn.Dense(2, 6)

        def forward(self, x):
            y = tape.dropout(self.trunk(x), 0.5, self.training)
            return self.main(y) + self.extra(y) if self.training else self.main(y)

    net, state = Training(), tape.random.generator().bit_generator.state
    new, report = pruned(net, 0.5, normal(3, 4))
    assert tape.random.generator().bit_generator.state == state
    assert new.trunk.n_out == 6
    assert "does not train without them" in row(report, "trunk")
    assert row(report, "extra") == "kept: not called on x"
    assert new.train()(normal(3, 4)).shape == (3, 2)


def test_an_optimizer_goes_on_with_what_it_knows_of_the_filters_that_stay():
    net = nn.Sequential(nn.Dense(6, 4, tape.tanh), nn.Dense(3, 6))
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    x = normal(5, 4)
    for _ in range(3):
        optimizer.zero_grad()
        (net(x) ** 2).sum().backward()
        optimizer.step()
    before = optimizer.state_dict()["state"]
    new, _ = pruned(net, 0.5, x, optimizer=optimizer)
    after = optimizer.state_dict()["state"]
    kept = np.sort(np.argsort(np.abs(net[0].weight.numpy()).sum(1))[3:])
    cuts = [(kept,), (kept,), (slice(None), kept), (slice(None),)]
    for number, cut in enumerate(cuts):
        assert after[number]["step"] == 3
        arrays = [name for name, value in before[number].items() if np.ndim(value)]
        assert len(arrays) == 2
        for name in arrays:
            np.testing.assert_array_equal(after[number][name], before[number][name][cut])
    (new(x) ** 2).sum().backward()
    values_before = [np.array(p) for p in new.parameters()]
    optimizer.step()
    assert all((p.numpy() != v).any() for p, v in zip(new.parameters(), values_before, strict=True))


def test_an_error_in_training_leaves_optimizer_and_model_as_they_were():
    net = nn.Sequential(nn.Dense(6, 4), nn.Dense(3, 6))
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    groups, before = optimizer.param_groups, values(net)

    def train(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pruned(net, 0.5, normal(2, 4), optimizer=optimizer, train=train)
    assert optimizer.param_groups is groups
    assert values(net) == before


def test_rounds_prune_and_train_in_turns():
    seen = []

    def train(model):
        seen.append((model[0].n_out, model[2].n_out))
        return None

    net = nn.Sequential(nn.Dense(40, 4, tape.relu), tape.tanh, nn.Dense(20, 40), nn.Dense(3, 20))
    _new, report = pruned(
        net, 0.5, normal(5, 4), rounds=3, train=train, metric=lambda m: float(m[0].n_out)
    )
    assert seen == [(26, 13), (21, 10), (20, 10)]
    assert report.metric == {"original": 40, "transformed": 20, "trained": 20}
    assert report.retrained_drift == report.drift > 0
    assert row(report, "0") == "20 of 40 neurons"


def test_convolutions_of_sequences_and_volumes_lose_filters():
    net = nn.Sequential(
        nn.Conv1d(6, 3, n_in=2, activation=tape.relu), nn.BatchNorm1d(6), nn.Conv1d(4, 2, n_in=6),
        nn.Flatten(), nn.Dense(2, 28),
    )  # fmt: skip
    x = normal(3, 2, 10)
    amounts, _ = silence(net, x, lambda s: 2)
    new, _ = pruned(net, amounts, x)
    assert (new[0].n_out, new[2].n_out) == (4, 2)
    net = nn.Sequential(
        nn.Conv3d(6, 2, n_in=2, activation=tape.relu), nn.Conv3d(4, (2, 1, 1), n_in=6),
        nn.Flatten(), nn.Dense(2, 4 * 2 * 9),
    )  # fmt: skip
    x = normal(2, 2, 4, 4, 4)
    new, _ = pruned(net, 0.5, x)
    assert (new[0].n_out, new[1].n_out, new[3].n_in) == (3, 2, 36)


def test_feed_forward_parts_of_a_transformer_get_narrower():
    net = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 32), nn.Dense(3, 8))
    x = normal(2, 5, 8)
    net(x)
    new, report = pruned(net, 0.5, x)
    wide = {p: m.n_out for p, m in net.named_modules() if isinstance(m, nn.Dense)}
    thin = {p: m.n_out for p, m in new.named_modules() if isinstance(m, nn.Dense)}
    assert [thin[p] for p in wide if wide[p] == 32] == [16]
    assert all(thin[p] == wide[p] for p in wide if wide[p] != 32), report


def test_what_would_be_slower_stays(monkeypatch):
    from tape.netopt.measure import Comparison
    from tape.netopt.sparsification import structured

    monkeypatch.setattr(structured, "compare", lambda a, b: Comparison(1e-3, 2e-3, 2.0, 2.0))
    net = nn.Sequential(nn.Dense(6, 4), nn.Dense(3, 6))
    x = normal(2, 4)
    new, report = prune_structured(net, 0.5, x, return_report=True)
    assert new[0].n_out == 6
    assert report["0"].is_refused
    assert not report.changed
    assert row(report, "0") == "kept: 0 takes 2.00 ms without them, 1.00 ms with them"
    with pytest.warns(UserWarning, match="PruneStructured left 1 layers as they are") as seen:
        prune_structured(net, 0.5, x)
    assert seen[0].filename == __file__  # the line of the caller


def test_a_pruned_model_is_saved_and_loaded(tmp_path):
    net, x = nn.Sequential(nn.Dense(6, 4), nn.BatchNorm1d(6), nn.Dense(3, 6)), normal(5, 4)
    new, _ = pruned(net, 0.5, x)
    tape.save(tmp_path / "net.safetensors", new)
    other = nn.Sequential(nn.Dense(3, 4), nn.BatchNorm1d(3), nn.Dense(3, 3))
    tape.load(tmp_path / "net.safetensors", other)
    close(other.eval()(x), new.eval()(x))


@pytest.mark.parametrize("scope", [tape.no_grad, tape.reuse, lambda: nn.scope("outer")])
def test_what_is_open_around_it_does_not_matter(scope):
    net, x = nn.Sequential(nn.Dense(6, 4, tape.tanh), nn.Dense(3, 6)), normal(3, 4)
    expected, _ = pruned(net, 0.5, x)
    with scope():
        new, _ = pruned(net, 0.5, x)
    assert new[0].n_out == 3
    np.testing.assert_array_equal(new(x), expected(x))


def test_nothing_is_left_behind():
    import gc

    net, x = (
        nn.Sequential(nn.Conv2d(6, 3, n_in=2), nn.Flatten(), nn.Dense(3, 24)),
        normal(2, 2, 4, 4),
    )
    pruned(net, 0.5, x)
    gc.collect()
    gc.disable()
    try:
        before = tape.testing.live_nodes()
        pruned(net, 0.5, x)
        assert tape.testing.live_nodes() == before
    finally:
        gc.enable()
