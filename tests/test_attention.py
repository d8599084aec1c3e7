"""Attention, bags of embeddings, and dropout of channels."""

import math

import numpy as np
import pytest

import tape
from tape.testing import gradcheck

Q, K, V = [np.random.default_rng(i).normal(size=(2, n, 3)) for i, n in enumerate((4, 5, 5))]
attend = tape.scaled_dot_product_attention
WEIGHT = tape.tensor([[1.0, -1.0], [2.0, -2.0], [4.0, -4.0]], dtype="float64")
bag = tape.embedding_bag
REFUSED = [
    (
        lambda: attend(Q, K[..., :2], V),
        tape.ShapeError,
        r"attention: queries and keys need one len",
    ),
    (lambda: attend(Q, K, V[:, :4]), tape.ShapeError, r"one number: .* value \(2, 4, 3\)"),
    (lambda: attend(Q[0, 0], K, V), tape.ShapeError, r"needs two axes or more: query \(3,\)"),
    (
        lambda: attend(Q, K, V, np.ones((5, 5), bool)),
        tape.ShapeError,
        r"attn_mask \(5, 5\) does not|do not broadcast",
    ),
    (
        lambda: attend(Q, K, V, np.ones((4, 5), int)),
        tape.DTypeError,
        "attn_mask is int64, expected",
    ),
    (lambda: attend(Q, K, V, np.ones((4, 5)), is_causal=True), ValueError, "not both"),
    (lambda: attend(Q, K, V, dropout_p=2), ValueError, "dropout_p is 2, expected a probability"),
    (
        lambda: bag([[0]], WEIGHT, mode="min"),
        ValueError,
        "embedding_bag: mode is 'min', none of sum",
    ),
    (lambda: bag([[0]], WEIGHT, max_norm=-1.0), ValueError, "max_norm must be a number of at"),
    (
        lambda: bag([[0]], WEIGHT, mode="max", scale_grad_by_freq=True),
        ValueError,
        "scale_grad_by_freq is for modes 'sum' and 'mean'",
    ),
    (lambda: bag([[0]], WEIGHT, per_sample_weights=[[1.0]]), ValueError, "mode 'sum', not 'mean'"),
    (
        lambda: bag([[3]], WEIGHT),
        tape.IndexRangeError,
        r"embedding_bag: index 3 at \(0,\) .* 3 rows",
    ),
    (lambda: bag([0], WEIGHT), tape.ShapeError, r"indices \(1,\) must be \(B, n\), or \(n\) with"),
    (lambda: bag([[0]], WEIGHT, [0]), tape.ShapeError, "are bags already: no offsets"),
    (lambda: bag([0, 1], WEIGHT, [1]), tape.ShapeError, r"offsets \[1\] must start with 0"),
    (lambda: bag([0, 1], WEIGHT, [0, 3]), tape.ShapeError, "end within 2 indices"),
    (lambda: bag([0, 1], WEIGHT, [0.0]), tape.DTypeError, "offsets must be integers"),
    (lambda: bag([[0]], WEIGHT, padding_idx=3), tape.IndexRangeError, "padding_idx 3 is none of 3"),
    (lambda: bag([[0]], WEIGHT[0]), tape.ShapeError, r"weight \(N, m\) has two axes, got \(2,\)"),
    (
        lambda: bag([[0]], WEIGHT, mode="sum", per_sample_weights=[1.0]),
        tape.ShapeError,
        r"per_sample_weights \(1,\), but indices \(1, 1\)",
    ),
    (lambda: tape.dropout2d(WEIGHT), tape.ShapeError, r"dropout2d: x \(3, 2\) must have 3 axes"),
    (
        lambda: tape.dropout1d(WEIGHT, 1.5),
        ValueError,
        "dropout1d: p is 1.5, expected a probability",
    ),
    (lambda: tape.alpha_dropout(WEIGHT, -1), ValueError, "alpha_dropout: p is -1, expected"),
    (lambda: tape.feature_alpha_dropout(WEIGHT[0]), tape.ShapeError, "must have a batch axis"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_a_wrong_call_is_refused_in_the_name_of_the_function(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"is_causal": True},
        {"scale": 0.5},
        {"attn_mask": np.tri(4, 5, dtype=bool)},
        {"attn_mask": np.arange(20.0).reshape(4, 5) / 9},
    ],
)
def test_attention_has_gradients_to_second_order(settings):
    assert gradcheck(lambda q, k, v: attend(q, k, v, **settings), [Q, K, V], order=2)


@pytest.mark.parametrize("kind", [bool, float])
def test_a_query_that_may_look_nowhere_gets_nothing_and_gives_no_gradient(kind):
    mask = np.ones((4, 5), bool)
    mask[2] = False
    q, k = tape.tensor(Q, requires_grad=True), tape.tensor(K, requires_grad=True)
    y = attend(q, k, V, mask if kind is bool else np.where(mask, 0.0, -math.inf))
    assert not y.numpy()[:, 2].any()
    gradients = [g.numpy() for g in tape.grad(y.sum(), [q, k])]
    assert not gradients[0][:, 2].any()
    assert all(np.isfinite(g).all() for g in gradients)


def test_heads_of_keys_serve_several_heads_of_queries():
    q = np.random.default_rng(3).normal(size=(4, 4, 3))
    y = attend(q, K, V, enable_gqa=True).numpy()
    truth = attend(q, np.repeat(K, 2, 0), np.repeat(V, 2, 0)).numpy()
    np.testing.assert_array_equal(y, truth)
    with pytest.raises(tape.ShapeError, match=r"heads of query \(3, 4, 3\) are no multiple"):
        attend(q[:3], K, V, enable_gqa=True)


def test_dropped_weights_are_drawn_from_rng():
    rngs = [np.random.default_rng(0) for _ in range(2)]
    first, second = [attend(Q, K, V, dropout_p=0.5, rng=rng).numpy() for rng in rngs]
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, attend(Q, K, V).numpy())


@pytest.mark.parametrize(
    ("mode", "truth"),
    [("sum", [7.0, 0.0, 2.0]), ("mean", [7 / 3, 0.0, 2.0]), ("max", [4.0, 0.0, 2.0])],
)
def test_bags_are_put_together_and_an_empty_one_is_zero(mode, truth):
    y = bag([2, 0, 1, 1], WEIGHT, [0, 3, 3], mode=mode)
    np.testing.assert_allclose(y.numpy()[:, 0], truth)
    assert gradcheck(lambda w: bag([[2, 0, 1], [1, 1, 0]], w, mode=mode), [WEIGHT.numpy()], order=2)


def test_padding_is_in_no_bag():
    weight = tape.tensor(WEIGHT.numpy(), requires_grad=True)
    y = bag([[2, 0], [2, 2]], weight, padding_idx=-1)
    assert y.tolist() == [[1.0, -1.0], [0.0, 0.0]]
    assert not tape.grad(y.sum(), weight).numpy()[2].any()


def test_the_last_offset_may_end_the_last_bag():
    y = bag([0, 1, 2, 2], WEIGHT, [0, 1, 3], mode="sum", include_last_offset=True)
    assert y.numpy()[:, 0].tolist() == [1.0, 6.0]


def test_weights_of_samples_have_gradients():
    def weighed(w, scales):
        return bag([[0, 2]], w, mode="sum", per_sample_weights=scales)

    assert gradcheck(weighed, [WEIGHT.numpy(), np.array([[0.5, -2.0]])], order=2)


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


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_take_long_rows_scaled_and_share_gradients_by_frequency(mode):
    weight = tape.tensor([[3.0, 4.0], [0.3, 0.4]], dtype="float64", requires_grad=True)
    y = bag([0, 1, 1], weight, [0], mode=mode, max_norm=1.0)
    rows = tape.tensor([[0.6, 0.8], [0.3, 0.4]], dtype="float64", requires_grad=True)
    wanted = bag([0, 1, 1], rows, [0], mode=mode)
    np.testing.assert_allclose(y.numpy(), wanted.numpy(), rtol=1e-6)
    slope, kept = tape.grad(y.sum(), weight), tape.grad(wanted.sum(), rows)
    assert slope.tolist() == kept.tolist()  # as if the rows had been that short
    if mode != "max":
        shared = bag([0, 1, 1], weight, [0], mode=mode, scale_grad_by_freq=True)
        kept = kept.numpy() / [[1.0], [2.0]]
        assert tape.grad(shared.sum(), weight).tolist() == kept.tolist()
