"""What comes back from training: what reports say of it, and what a failure there leaves."""

import numpy as np
import pytest
from rounding import Round, Rounded, Whole, network, normal
from trees import values

import tape
from tape import netopt, nn
from tape.errors import TapeError
from tape.netopt import cost
from tape.netopt.sparsification import prune_magnitude, prune_structured


def trained_sgd():
    """A network and an optimizer with momentum that has made a step."""
    net = network()
    optimizer = tape.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(normal(5, 3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return net, optimizer


def fail(model):
    raise ArithmeticError


@pytest.mark.parametrize(
    ("kind", "at"),
    [("steps", "train"), ("steps", "metric"), ("steps", "lower"), ("masks", "train"),
     ("masks", "metric"), ("filters", "train"), ("filters", "metric")],
)  # fmt: skip
def test_an_optimizer_is_back_on_the_original_if_a_later_step_fails(kind, at):
    net, optimizer = trained_sgd()
    before, groups = values(net), optimizer.param_groups
    parameters = [id(p) for p in groups[0]["params"]]
    moments = [a.copy() for a in optimizer.state_dict()["state"][0].values() if np.ndim(a)]
    calls = []

    def train(model):
        calls.append(model)
        model(normal(5, 3)).sum().backward()
        optimizer.step()
        if at == "train":
            fail(model)

    def metric(model):
        return fail(model) if at == "metric" and calls else 1.0

    class Wrong(Round):
        """Layers that are not lowered."""

        def lower(self, layer, at):
            return fail(layer) if calls and isinstance(layer, Rounded) else None

    options = {"metric": metric, "optimizer": optimizer}
    run = {
        "steps": lambda: netopt.optimize(net, Wrong(), train, only_cheaper=False, **options),
        "masks": lambda: prune_magnitude(net, 0.5, train=train, **options),
        "filters": lambda: prune_structured(
            net, {"0": 1}, normal(5, 3), train=train, only_cheaper=False, **options
        ),
    }
    with pytest.raises(ArithmeticError):
        run[kind]()
    assert len(calls) == 1
    assert values(net) == before
    assert optimizer.param_groups is groups
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == parameters
    after = [a for a in optimizer.state_dict()["state"][0].values() if np.ndim(a)]
    np.testing.assert_array_equal(moments, after)
    net(normal(5, 3)).sum().backward()
    optimizer.step()
    assert values(net) != before


def test_the_report_finds_layers_in_what_training_returned():
    x = normal(5, 3)
    wrapped, report = netopt.optimize(
        network(), Round(), lambda model: nn.Sequential(model, tape.tanh), x=x, only_cheaper=False
    )
    assert type(wrapped[0][0]) is Whole
    assert report["0"].action == "Rounded, Whole"
    assert report["0"].bytes == (64, 28)
    assert report.total.bytes[1] == cost.n_bytes(wrapped)

    class Other(Round):
        """Layers of which training leaves one behind."""

        def transform(self, layer, at):
            return Rounded(layer.weight, layer.bias)

    def without_first(model):
        return nn.Sequential(nn.Dense(4, 3), *model[1:])

    new, report = netopt.optimize(network(), Other(), without_first, x=x, only_cheaper=False)
    assert report["0"].action == "Rounded, not in the trained model"
    assert report["0"].parameters is None
    assert report["2"].action == "Rounded, Whole"
    assert type(new[0]) is nn.Dense
    assert report.total.parameters[1] == cost.n_parameters(new)


def test_totals_are_those_of_the_model_that_training_returned():
    net, x = network(), normal(5, 3)
    other = nn.Sequential(nn.Dense(1, 3))
    new, report = netopt.factorization.factor_dense(
        net, rank=1, x=x, train=lambda model: other, only_cheaper=False, return_report=True
    )
    assert new is other
    assert report.total.parameters == (16 + 8 + 5, 4)
    assert report.total.multiply_adds == (5 * (12 + 4), 15)
    assert "not in the trained model" in report["0"].action
    with pytest.raises(TapeError, match=r"results of shapes \[\(5, 1\)\] became ones of \[\(5, 2"):
        netopt.optimize(net, Round(), lambda model: nn.Dense(2, 3), x=x, only_cheaper=False)


def test_a_metric_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="metric gave None for a model, not a number"):
        netopt.transform(network(), Round(), metric=lambda model: None, only_cheaper=False)
    _, report = netopt.transform(network(), Round(), metric=lambda m: np.nan, only_cheaper=False)
    assert np.isnan(report.metric["transformed"])


def test_training_is_called_also_if_no_layer_was_changed():
    class Keep(Round):
        """Layers as they are."""

        def transform(self, layer, at):
            return netopt.Kept("stays")

    seen = []
    new, report = netopt.optimize(network(), Keep(), seen.append)
    assert report.changed == []
    assert seen == [new]
