"""Transform, train, lower: what an `Optimization` is asked for, and what the report says."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import Round, Rounded, Whole, network, normal
from trees import Scale, values

import tape
from tape import netopt, nn
from tape.errors import GradError, TapeError
from tape.netopt import measure
from tape.netopt.record import record


def test_the_three_steps_run_in_order_and_leave_the_original_alone():
    net, x, trained = network(), normal(5, 3), []
    before, text = values(net), repr(net)

    def train(model):
        trained.append(model)
        assert isinstance(model[0], Rounded)
        assert model[0].activation is tape.tanh
        model(x).sum().backward()
        assert model[0].weight.grad is not None

    low, report = netopt.optimize(net, Round(), train, x=x, only_cheaper=False)
    assert len(trained) == 1
    assert isinstance(low[0], Whole)
    np.testing.assert_allclose(low(x).numpy(), trained[0].eval()(x).numpy(), rtol=1e-5, atol=1e-6)
    assert report["0"].action == "Rounded, Whole"
    assert report["0"].bytes == (64, 28)
    assert report.lowered_error < 1e-6
    assert report["1"].action == "kept: BatchNorm1d is not supported"
    assert report["2"].action == "kept: has one output"
    assert (values(net), repr(net)) == (before, text)


def test_backward_through_a_lowered_layer_raises():
    low, _ = netopt.optimize(network(), Round(), only_cheaper=False)
    first = nn.Sequential(nn.Dense(3, 3), low)
    y = first(normal(5, 3))
    with pytest.raises(GradError, match="Whole is lowered, it computes forward only: train the"):
        y.sum().backward()
    assert first[0].weight.grad is None
    with pytest.raises(GradError, match="Whole is lowered"):
        tape.grad(first(normal(5, 3)).sum(), first[0].weight)


def test_what_training_returns_is_used_if_it_is_a_model():
    net, other = network(), network().eval()
    transformed, _ = netopt.transform(other, Round(), only_cheaper=False)
    low, _ = netopt.optimize(net, Round(), lambda model: transformed, only_cheaper=False)
    np.testing.assert_array_equal(low[0].bias.numpy(), other[0].bias.numpy())


def test_lowering_a_model_in_training_or_an_unconverted_one_is_refused():
    net = network()
    with pytest.raises(TapeError, match="the whole is in training mode: train first, then call"):
        netopt.lower(netopt.transform(net, Round(), only_cheaper=False).model, Round())
    with pytest.raises(TapeError, match="Round finds nothing to lower in this Sequential: trans"):
        netopt.lower(net.eval(), Round())


def test_a_lowered_model_that_computes_something_else_is_refused():
    class Wrong(Round):
        """Whole weights, lowered wrongly."""

        def lower(self, layer, at):
            low = super().lower(layer, at)
            return low and Whole(layer.weight, layer.bias + 1, layer.activation)

    net, x = network().eval(), normal(5, 3)
    new, _ = netopt.transform(net, Wrong(), only_cheaper=False)
    with pytest.raises(TapeError, match=r"the lowered model is off by a relative .*\n.*\n.*\n"):
        netopt.lower(new, Wrong(), x=x)
    _, report = netopt.lower(new, Wrong(), x=x, check_lowered=False)
    assert report.lowered_error > 1e-2


def test_a_metric_sees_copies_in_evaluation_mode():
    net, seen = network(), []

    def metric(model):
        seen.append(model)
        return float(not model.training)

    _, report = netopt.optimize(net, Round(), lambda m: None, metric=metric, only_cheaper=False)
    assert report.metric == {"original": 1.0, "transformed": 1.0, "trained": 1.0, "lowered": 1.0}
    assert all(model is not net for model in seen)
    assert net.training


def test_the_report_counts_what_layers_cost():
    net = nn.Sequential(
        nn.Conv2d(6, 3, stride=2, padding=1, groups=2, n_in=4),
        nn.ConvTranspose2d(2, 2, n_in=6),
        nn.Flatten(),
        nn.Dense(30, 32),
    )
    _, report = netopt.transform(net, Round(), x=normal(2, 4, 5, 5), only_cheaper=False)
    assert report["0"].multiply_adds == (2 * 9 * 6 * 2 * 9,) * 2
    assert report["1"].multiply_adds == (2 * 9 * 6 * 2 * 4,) * 2
    assert report["3"].multiply_adds[0] == 2 * 30 * 32
    assert report.total.parameters[0] == sum(p.size for p in net.parameters())
    assert report.total.latency[0] > 0
    assert report.speedup > 0
    assert report.drift > 0
    text = str(report)
    assert "1,920" in text
    assert "measured speed" in text
    with pytest.raises(KeyError):
        report["7"]


def test_recording_leaves_the_model_alone_and_sees_every_call():
    shared = nn.Dense(3, 3)
    net = nn.Sequential(shared, nn.BatchNorm1d(3, 3), nn.Sequential(shared), Scale())
    before, text = values(net), repr(net)
    y, calls = record(net, normal(4, 3))
    assert y.shape == (4, 3)
    assert len(calls[id(shared)]) == 2
    assert calls[id(shared)][0].y_shape == (4, 3)
    assert (values(net), repr(net)) == (before, text)
    assert net.training


def test_several_operands_and_results_are_recorded():
    class Two(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Dense(2, 3), nn.Dense(2, 4)

        def forward(self, x, y):
            return {"a": self.a(x), "b": [self.b(y)]}

    _, report = netopt.transform(Two(), Round(), x=(normal(5, 3), normal(6, 4)), only_cheaper=False)
    assert report.drift > 0
    assert report["b"].multiply_adds[0] == 48


def test_a_slower_layer_is_refused_by_measurement():
    class Slow(nn.Dense):
        def forward(self, x):
            for _ in range(20):
                y = super().forward(x)
            return y

    class Slower(netopt.Optimization):
        """Dense layers, slower."""

        kinds = (nn.Dense,)

        def transform(self, layer, at):
            new = Slow(layer.n_out, layer.n_in)
            new.weight, new.bias = layer.weight, layer.bias
            return new

    net, x = nn.Sequential(nn.Dense(30, 30)), normal(64, 30)
    new, report = netopt.transform(net, Slower(), x=x)
    assert type(new[0]) is nn.Dense
    assert "kept: Slow takes" in report["0"].action
    assert report["0"].is_refused
    assert type(netopt.transform(net, Slower())[0][0]) is Slow  # nothing to measure on


@given(st.lists(st.integers(1, 260), min_size=2, max_size=4), st.integers(1, 40), st.data())
@settings(max_examples=12)
def test_an_accepted_transform_never_raises_latency_beyond_noise(sizes, rows, data):
    rng = np.random.default_rng(0)
    layers = [nn.Dense(b, a, tape.relu, rng=rng) for a, b in itertools.pairwise(sizes)]
    net, x = nn.Sequential(*layers), normal(rows, sizes[0])
    share = data.draw(st.sampled_from([0.05, 0.2, 0.45, 0.9]))
    new, report = netopt.factorization.factor_dense(net, rank=share, x=x, return_report=True)
    for row in report.rows:
        assert row.bytes[1] <= row.bytes[0]
    if report.changed:
        a, b = net.clone().eval(), new.clone().eval()
        with tape.no_grad():
            ratios = [measure.compare(lambda: a(x), lambda: b(x)).least_ratio for _ in range(3)]
        assert min(ratios) <= 1.1, report
    else:
        assert repr(new) == repr(net)


def test_contenders_are_timed_in_turns():
    ticks = iter(range(10_000))
    order = []
    found = measure.interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        rounds=3,
        seconds=1e-9,
        clock=lambda: next(ticks),
    )
    assert found == {"a": [1.0] * 3, "b": [1.0] * 3}
    assert "".join(order) == "aabb" + "aabb" + "bbaa" + "aabb"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net: netopt.transform(3, Round()), "transform: takes a module, got a int"),
        (lambda net: netopt.transform(net, Round), "optimization is an Optimization, got <class"),
        (lambda net: netopt.lower(net, 3), "lower: optimization is an Optimization, got 3"),
        (lambda net: netopt.optimize(net, Round(), 3), "train is a function of a model, got 3"),
        (lambda net: netopt.transform(net, Bad()), "transform: 0: 3 is no module, Kept or None"),
    ],
)
def test_bad_calls_are_refused(call, words):
    with pytest.raises(TypeError, match=words):
        call(network())


class Bad(Round):
    """Gives no modules."""

    def transform(self, layer, at):
        return 3


def test_an_optimization_that_says_nothing_is_an_error():
    class Silent(netopt.Optimization):
        kinds = (nn.Dense,)

    with pytest.raises(NotImplementedError, match=r"Silent has no transform\(self, layer, at\)"):
        netopt.transform(network(), Silent())
    with pytest.raises(NotImplementedError, match=r"Lowered has no run\(self, x\)"):
        netopt.Lowered()(normal(2, 2))


def test_a_layer_that_the_model_does_not_call_is_left_to_whoever_uses_its_weight():
    class Uses(nn.Module):
        def __init__(self):
            self.layer = nn.Dense(20, 20)

        def forward(self, x):
            return x @ self.layer.weight

    net, x = Uses(), normal(5, 20)
    new, report = netopt.factorization.factor_dense(net, rank=2, x=x, return_report=True)
    assert report["layer"].action == "kept: not called on x"
    np.testing.assert_array_equal(new(x).numpy(), net(x).numpy())


def test_an_optimizer_stays_where_it_is_if_the_new_model_does_not_run():
    class Fails(nn.Dense):
        def forward(self, x):
            raise ArithmeticError

    class Breaks(netopt.Optimization):
        """Layers that fail."""

        kinds = (nn.Dense,)

        def transform(self, layer, at):
            return Fails(layer.n_out, layer.n_in)

    net = network()
    optimizer = tape.optim.Adam(net.parameters())
    before = [id(p) for p in optimizer.param_groups[0]["params"]]
    with pytest.raises(ArithmeticError):
        netopt.transform(net, Breaks(), x=normal(5, 3), optimizer=optimizer, only_cheaper=False)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == before


def test_operands_by_name_are_replayed_by_name():
    class Calls(nn.Module):
        def __init__(self):
            self.layer = nn.Dense(20, 20)

        def forward(self, x):
            return self.layer(x=x)

    new, report = netopt.factorization.factor_dense(
        Calls(), rank=2, x=normal(5, 20), only_cheaper=False, return_report=True
    )
    assert report["layer"].is_changed
    assert new(normal(5, 20)).shape == (5, 20)
