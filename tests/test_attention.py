"""Attention: masks, heads, dropped weights, gradients."""

import math

import numpy as np
import pytest

import tape
from tape.testing import gradcheck

Q, K, V = [np.random.default_rng(i).normal(size=(2, n, 3)) for i, n in enumerate((4, 5, 5))]
attend = tape.scaled_dot_product_attention
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
