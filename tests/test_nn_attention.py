"""Attention and encoder layers against their formulas written out in NumPy."""

import itertools

import numpy as np
import pytest

import tape
from tape import nn
from tape.testing import gradcheck

N, L, S, E, HEADS = 2, 4, 5, 6, 3


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(state, query, key, value, added):
    """(y, weights (N, heads, L, S)) of arrays with the batch first."""
    if "in_proj_weight" in state:
        weights = np.split(state["in_proj_weight"], 3)
    else:
        weights = [state[f"{name}_proj_weight"] for name in "qkv"]
    biases = np.split(state["in_proj_bias"], 3)
    q, k, v = (
        (x @ w.T + b).reshape(N, -1, HEADS, E // HEADS).swapaxes(1, 2)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    shares = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(E // HEADS) + added)
    mixed = (shares @ v).swapaxes(1, 2).reshape(N, -1, E)
    return mixed @ state["out_proj.weight"].T + state["out_proj.bias"], shares


def filled(net, seed=3):
    """The net, its parameters small random numbers; and these by name."""
    rng = np.random.default_rng(seed)
    net.load_state_dict({name: rng.standard_normal(p.shape) for name, p in net.named_parameters()})
    return net, net.state_dict()


def drawn(*shape, seed=4):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("sizes", [(None, None), (7, 5), (6, 6)])
def test_attention_is_its_formula(sizes):
    settings = {"kdim": sizes[0], "vdim": sizes[1], "batch_first": True, "dtype": np.float64}
    net, state = filled(nn.MultiHeadAttention(E, HEADS, **settings))
    query, key = drawn(N, L, E), drawn(N, S, sizes[0] or E, seed=5)
    value = drawn(N, S, sizes[1] or E, seed=6)
    y, weights = net(*map(tape.tensor, (query, key, value)), average_attn_weights=False)
    wanted, shares = attention(state, query, key, value, 0.0)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(weights.numpy(), shares, rtol=1e-10)


def test_query_key_and_value_alike_take_one_product_and_give_the_same():
    net, state = filled(nn.MultiHeadAttention(E, HEADS, dtype=np.float64))
    x = drawn(L, N, E)
    (shared,) = [tape.tensor(x)]
    together, weights = net(shared, shared, shared)
    apart, _ = net(*(tape.tensor(x) for _ in range(3)), need_weights=False)
    np.testing.assert_allclose(together.numpy(), apart.numpy(), rtol=1e-12, atol=1e-13)
    wanted, shares = attention(state, *[x.swapaxes(0, 1)] * 3, 0.0)
    np.testing.assert_allclose(together.numpy(), wanted.swapaxes(0, 1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(weights.numpy(), shares.mean(1), rtol=1e-10)


@pytest.mark.parametrize(
    ("padding", "mask"), list(itertools.product((None, bool, float), (None, bool, float, "heads")))
)
def test_masks_bar_what_is_true_and_add_what_is_a_number(padding, mask):
    net, state = filled(nn.MultiHeadAttention(E, HEADS, batch_first=True, dtype=np.float64))
    x, added, given = drawn(N, L, E), np.zeros((N, HEADS, L, L)), {}
    if padding is bool:
        given["key_padding_mask"] = barred = np.arange(L) >= np.array([[L], [L - 1]])
        added = added + np.where(barred, -np.inf, 0.0)[:, None, None]
    elif padding is float:
        given["key_padding_mask"] = drawn(N, L, seed=7)
        added = added + given["key_padding_mask"][:, None, None]
    if mask is bool:
        given["attn_mask"] = barred = np.triu(np.ones((L, L), bool), 1)
        added = added + np.where(barred, -np.inf, 0.0)
    elif mask is float:
        given["attn_mask"] = drawn(L, L, seed=8)
        added = added + given["attn_mask"]
    elif mask == "heads":
        given["attn_mask"] = drawn(N * HEADS, L, L, seed=9)
        added = added + given["attn_mask"].reshape(N, HEADS, L, L)
    wanted, _ = attention(state, x, x, x, added)
    for need in (False, True):
        t = tape.tensor(x)
        y, _ = net(t, t, t, need_weights=need, **{k: tape.tensor(v) for k, v in given.items()})
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-10, atol=1e-12)


def test_causal_attention_needs_no_mask():
    net, _ = filled(nn.MultiHeadAttention(E, HEADS, dtype=np.float64))
    x, mask = tape.tensor(drawn(L, N, E)), tape.tensor(np.triu(np.ones((L, L), bool), 1))
    for need in (False, True):
        y, _ = net(x, x, x, need_weights=need, is_causal=True)
        wanted, _ = net(x, x, x, need_weights=need, attn_mask=mask)
        np.testing.assert_allclose(y.numpy(), wanted.numpy(), rtol=1e-12)
        padding = tape.tensor(drawn(N, L))
        y, _ = net(x, x, x, padding, need_weights=need, is_causal=True)
        wanted, _ = net(x, x, x, padding, need_weights=need, attn_mask=mask)
        np.testing.assert_allclose(y.numpy(), wanted.numpy(), rtol=1e-12)


def test_a_query_that_may_look_nowhere_gets_the_bias_or_with_weights_nan():
    net, state = filled(nn.MultiHeadAttention(E, HEADS, dtype=np.float64))
    x = tape.tensor(drawn(L, E), requires_grad=True)
    mask = np.zeros((L, L), bool)
    mask[1] = True
    y, _ = net(x, x, x, need_weights=False, attn_mask=tape.tensor(mask))
    np.testing.assert_allclose(y.numpy()[1], state["out_proj.bias"])
    assert np.isfinite(tape.grad(y.sum(), x).numpy()).all()
    y, weights = net(x, x, x, attn_mask=tape.tensor(mask))
    assert np.isnan(y.numpy()).any(1).tolist() == [False, True, False, False]
    assert np.isnan(weights.numpy()).all(1).tolist() == [False, True, False, False]


@pytest.mark.parametrize("need", [False, True])
@pytest.mark.parametrize(("learned", "zero"), [(True, False), (False, True), (True, True)])
def test_keys_that_all_may_look_at_stand_behind_those_given(learned, zero, need):
    sizes = {"add_bias_kv": learned, "add_zero_attn": zero, "batch_first": True}
    net, state = filled(nn.MultiHeadAttention(E, HEADS, **sizes, dtype=np.float64))
    x, d = drawn(N, L, E), E // HEADS
    barred = np.triu(np.ones((L, L), bool))  # the first query sees only what is added
    y, weights = net(*[tape.tensor(x)] * 3, attn_mask=tape.tensor(barred), need_weights=need)
    q, k, v = (
        x @ w.T + b
        for w, b in zip(
            np.split(state["in_proj_weight"], 3), np.split(state["in_proj_bias"], 3), strict=True
        )
    )
    if learned:
        k, v = (
            np.concatenate([a, np.broadcast_to(state[name], (N, 1, E))], 1)
            for a, name in ((k, "bias_k"), (v, "bias_v"))
        )
    if zero:
        k, v = (np.concatenate([a, np.zeros((N, 1, E))], 1) for a in (k, v))
    q, k, v = (a.reshape(N, -1, HEADS, d).swapaxes(1, 2) for a in (q, k, v))
    added = np.pad(np.where(barred, -np.inf, 0.0), ((0, 0), (0, learned + zero)))
    shares = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(d) + added)
    wanted = (shares @ v).swapaxes(1, 2).reshape(N, L, E)
    wanted = wanted @ state["out_proj.weight"].T + state["out_proj.bias"]
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-10, atol=1e-12)
    if need:
        np.testing.assert_allclose(weights.numpy(), shares.mean(1), rtol=1e-10)
    assert net(*[tape.tensor(x)] * 3, is_causal=True)[0].shape == (N, L, E)


def test_dropped_weights_are_given_as_they_were_used():
    net, _ = filled(nn.MultiHeadAttention(E, 1, dropout=0.5, dtype=np.float64))
    x = tape.tensor(drawn(8, E))
    _, weights = net(x, x, x)
    assert (weights.numpy() == 0).any()
    _, weights = net.eval()(x, x, x)
    assert (weights.numpy() > 0).all()


def normed(x, state, name):
    centred = x - x.mean(-1, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return y * state[f"{name}.weight"] + state[f"{name}.bias"]


@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_layer_is_its_formula(norm_first):
    layer = nn.TransformerEncoderLayer(
        E, HEADS, 8, dropout=0.0, batch_first=True, norm_first=norm_first, dtype=np.float64
    )
    net, state = filled(layer)
    own = {k.removeprefix("self_attn."): v for k, v in state.items()}

    def attended(x):
        return attention(own, x, x, x, 0.0)[0]

    def fed(x):
        hidden = np.maximum(x @ state["linear1.weight"].T + state["linear1.bias"], 0)
        return hidden @ state["linear2.weight"].T + state["linear2.bias"]

    x = drawn(N, L, E)
    if norm_first:
        z = x + attended(normed(x, state, "norm1"))
        wanted = z + fed(normed(z, state, "norm2"))
    else:
        z = normed(x + attended(x), state, "norm1")
        wanted = normed(z + fed(z), state, "norm2")
    np.testing.assert_allclose(net(tape.tensor(x)).numpy(), wanted, rtol=1e-9, atol=1e-11)
    single = net(tape.tensor(x[0])).numpy()
    np.testing.assert_allclose(single, wanted[0], rtol=1e-9, atol=1e-11)


def test_an_encoder_is_its_layers_and_they_learn_their_own():
    layer = nn.TransformerEncoderLayer(E, HEADS, 8, dropout=0.0, dtype=np.float64)
    net = nn.TransformerEncoder(layer, 2, nn.LayerNorm(E, dtype=np.float64))
    assert net.layers[0].linear1.weight is not net.layers[1].linear1.weight
    x = tape.tensor(drawn(L, N, E))
    mask = tape.tensor(np.triu(np.ones((L, L), bool), 1))
    wanted = net.norm(net.layers[1](net.layers[0](x, mask), mask))
    np.testing.assert_array_equal(net(x, mask).numpy(), wanted.numpy())
    assert "layers.1.self_attn.in_proj_weight" in net.state_dict()
    assert "layers.0.norm2.bias" in net.state_dict()
    assert "norm.weight" in net.state_dict()


def test_layers_of_an_encoder_share_the_generator_so_that_no_two_drop_alike():
    rng = np.random.default_rng(0)
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, HEADS, 8, rng=rng), 2)
    assert [layer.rng is rng and layer.self_attn.rng is rng for layer in net.layers] == [True] * 2


def test_second_derivatives_of_an_encoder_layer_are_finite_differences():
    net, _ = filled(nn.TransformerEncoderLayer(4, 2, 3, 0.0, "gelu", dtype=np.float64))
    x = tape.tensor(drawn(2, 1, 4), requires_grad=True)
    assert gradcheck(lambda x: (net(x) ** 2).sum(), [x], order=2)


def test_dropout_is_at_work_while_training_only():
    tape.random.seed(0)
    layer = nn.TransformerEncoderLayer(E, HEADS, 8, dropout=0.5)
    x = tape.ones((L, N, E))
    assert not np.array_equal(layer(x).numpy(), layer(x).numpy())
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), layer(x).numpy())


def test_what_does_not_fit_is_said():
    net = nn.MultiHeadAttention(E, HEADS)
    x = tape.zeros((L, N, E))
    with pytest.raises(ValueError, match="embed_dim 6 is no multiple of num_heads 4"):
        nn.MultiHeadAttention(E, 4)
    with pytest.raises(tape.ShapeError, match=r"query \(4, 2, 6\), key \(4, 2, 5\).*expected 6, 6"):
        net(x, tape.zeros((L, N, 5)), x)
    with pytest.raises(tape.ShapeError, match="keys and values need one number"):
        net(x, tape.zeros((S, N, E)), x)
    with pytest.raises(
        tape.ShapeError, match=r"attn_mask is \(4, 3\), expected \(4, 4\) or \(6, 4"
    ):
        net(x, x, x, attn_mask=tape.zeros((L, 3)))
    with pytest.raises(tape.ShapeError, match=r"key_padding_mask is \(4, 2\), expected \(2, 4\)"):
        net(x, x, x, key_padding_mask=tape.zeros((L, N)))
    with pytest.raises(tape.DTypeError, match="attn_mask is int64, expected bools or floats"):
        net(x, x, x, attn_mask=tape.zeros((L, L), dtype="int64"))
    with pytest.raises(ValueError, match="activation is 'swish'"):
        nn.TransformerEncoderLayer(E, HEADS, activation="swish")
    with pytest.raises(TypeError, match="encoder_layer is a module, got a int"):
        nn.TransformerEncoder(3, 2)
