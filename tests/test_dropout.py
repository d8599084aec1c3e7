"""Dropout of channels, and dropout that keeps mean and variance."""

import numpy as np
import pytest

import tape

X = tape.ones((3, 2))
REFUSED = [
    (lambda: tape.dropout2d(X), tape.ShapeError, r"dropout2d: x \(3, 2\) must have 3 axes"),
    (
        lambda: tape.dropout1d(X, 1.5),
        ValueError,
        "dropout1d: p is 1.5, expected a probability",
    ),
    (lambda: tape.alpha_dropout(X, -1), ValueError, "alpha_dropout: p is -1, expected"),
    (lambda: tape.feature_alpha_dropout(X[0]), tape.ShapeError, "must have a batch axis"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_a_wrong_call_is_refused_in_the_name_of_the_function(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (tape.dropout1d, (20, 30, 4)),
        (tape.dropout1d, (300, 4)),
        (tape.dropout2d, (20, 30, 2, 2)),
        (tape.dropout3d, (20, 30, 1, 2, 2)),
    ],
)
def test_whole_channels_are_dropped(function, shape):
    x = tape.ones(shape, requires_grad=True)
    y = function(x, 0.25, rng=np.random.default_rng(0))
    channels = y.numpy().reshape(-1, 4)
    assert set(np.unique(channels[:, 0]).tolist()) == {0.0, np.float32(4 / 3)}
    assert (channels == channels[:, :1]).all()
    assert 0.65 < (channels[:, 0] != 0).mean() < 0.85
    np.testing.assert_array_equal(tape.grad(y.sum(), x).numpy(), y.numpy())
    assert function(x, 0.25, training=False) is x
    assert not function(x, 1.0).numpy().any()


@pytest.mark.parametrize("function", [tape.alpha_dropout, tape.feature_alpha_dropout])
def test_alpha_dropout_keeps_mean_and_variance(function):
    x = tape.random.normal((300, 400), rng=np.random.default_rng(0))
    y = function(x, 0.3, rng=np.random.default_rng(1)).numpy()
    assert y.dtype == np.float32
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02
    assert function(x, 0.0) is x
    assert not function(x, 1.0).numpy().any()
