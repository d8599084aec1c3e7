"""Activations, losses and noise as modules: each is its function with settings."""

import inspect

import numpy as np
import pytest

import tape
from tape import nn
from tape.nn.applied import Applied

KINDS = sorted(Applied.__subclasses__(), key=lambda kind: kind.__name__)
ACTIVATIONS = [kind for kind in KINDS if kind.__module__ == "tape.nn.activation"]
X = tape.tensor([[0.5, -1.0, 2.0, 3.0], [1.0, 0.0, -2.0, -3.0]])


def parameters_of(function):
    """The names of a function's or an op's parameters."""
    return list(inspect.signature(getattr(function, "__wrapped__", function)).parameters)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_those_of_the_function_in_its_order(kind):
    known = parameters_of(kind.function)
    assert getattr(nn, kind.__name__) is kind
    assert getattr(tape, kind.function.__name__) is kind.function
    assert [name for name in known if name in kind.names] == list(kind.names)
    missing = set(known[1:]) - set(kind.names)
    operands = {"target", "labels", "x1", "x2", "var", "input_lengths", "label_lengths"}
    assert missing <= operands | {"positive", "negative"}, f"{kind.__name__} lacks {missing}"


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_an_activation_is_its_function(kind):
    settings = (0.5, -1.0) if kind is nn.Threshold else ()
    y = nn.Sequential(kind(*settings))(X)
    np.testing.assert_array_equal(y.numpy(), kind.function(X, *settings).numpy())
    assert list(kind(*settings).parameters()) == []


def test_settings_are_checked_and_shown():
    assert repr(nn.LeakyReLU(0.1)) == "LeakyReLU(negative_slope=0.1)"
    assert repr(nn.ReLU()) == "ReLU"
    with pytest.raises(TypeError, match="ReLU: takes 0 settings, got 1"):
        nn.ReLU(0.1)
    with pytest.raises(TypeError, match=r"ELU: the setting 'beta' is none of \('alpha',\)"):
        nn.ELU(beta=1.0)
    with pytest.raises(TypeError, match="ELU: the setting 'alpha' is given twice"):
        nn.ELU(1.0, alpha=1.0)


def test_weights_of_classes_are_saved_with_the_parameters():
    loss = nn.CrossEntropyLoss(np.array([1.0, 2.0, 3.0, 4.0]), reduction="sum")
    assert list(loss.state_dict()) == ["weight"]
    expected = tape.cross_entropy(X, [0, 2], [1.0, 2.0, 3.0, 4.0], reduction="sum")
    assert loss(X, [0, 2]).item() == expected.item()
    assert "reduction='sum'" in repr(loss)
    loss.weight = tape.ones(4)
    assert loss(X, [0, 2]).item() == tape.cross_entropy(X, [0, 2], reduction="sum").item()


def test_a_loss_takes_all_of_its_operands():
    lengths = [2], [1]
    x = tape.zeros((2, 1, 3))
    assert nn.CTCLoss()(x, [[1]], *lengths).item() == tape.ctc_loss(x, [[1]], *lengths).item()
    assert nn.TripletMarginLoss(2.0)(X, X, X).item() == pytest.approx(2.0)
    assert nn.CosineSimilarity(0)(X, X).shape == (4,)
    assert nn.PairwiseDistance(keepdims=True)(X, X).shape == (2, 1)


def test_prelu_learns_its_slopes():
    layer = nn.PReLU(4, init=0.5, dtype="float64")
    y = layer(X.astype("float64"))
    assert y.numpy()[0].tolist() == [0.5, -0.5, 2.0, 3.0]
    y.sum().backward()
    assert layer.weight.grad.tolist() == [0.0, -1.0, -2.0, -3.0]
    assert repr(layer).startswith("PReLU(4)")
    with pytest.raises(tape.ShapeError, match=r"prelu: weight \(4,\) .* in PReLU"):
        layer(X[:, :3])
    with pytest.raises(ValueError, match="PReLU: n must be at least 1, got 0"):
        nn.PReLU(0)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.Dropout1d, (2, 50, 3)),
        (nn.Dropout2d, (2, 50, 3, 1)),
        (nn.Dropout3d, (2, 50, 3, 1, 1)),
        (nn.AlphaDropout, (300,)),
        (nn.FeatureAlphaDropout, (2, 50, 3)),
    ],
)
def test_noise_is_there_in_training_only(kind, shape):
    layer, x = kind(0.5, np.random.default_rng(0)), tape.ones(shape)
    assert 50 < (layer(x) != 1.0).sum().item() <= 300
    assert layer.eval()(x) is x
    assert repr(layer) == f"{kind.__name__}(0.5)"
    with pytest.raises(ValueError, match=f"{kind.__name__}: p must be in"):
        kind(2.0)


def test_embedding_bag_has_the_settings_of_its_function():
    layer = nn.EmbeddingBag(4, 3, padding_idx=0, mode="sum", include_last_offset=True)
    assert not layer.weight.numpy()[0].any()
    y = layer([1, 2, 0, 3], [0, 2, 4])
    rows = layer.weight.numpy()
    np.testing.assert_allclose(y.numpy(), [rows[1] + rows[2], rows[3]], rtol=1e-6)
    scaled = layer([[1, 2]], per_sample_weights=[[2.0, 0.0]])
    np.testing.assert_allclose(scaled.numpy(), [2 * rows[1]], rtol=1e-6)
    assert repr(layer).startswith("EmbeddingBag(4, 3, padding_idx=0, mode='sum')")
    with pytest.raises(ValueError, match="EmbeddingBag: mode is 'min', none of sum, mean, max"):
        nn.EmbeddingBag(4, 3, mode="min")
