"""Convolutions that look up a dictionary: equal to those of the filters that this makes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import values

import tape
from tape import netopt, nn
from tape.errors import DTypeError, GradError, NumericsError, ShapeError, TapeError
from tape.netopt import sparsification as s
from tape.netopt.sparsification.dictionary import coded, learned_dictionary, strongest
from tape.testing import gradcheck


def normal(*shape, seed=0, dtype="d"):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def assert_near(a, b):
    tolerance = 1e-5 if a.dtype == "float32" else 1e-12
    size = np.abs(b.numpy()).max(initial=1.0)
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=tolerance * size)


@st.composite
def layers(draw):
    """(layer of any geometry, images)."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    n_in, n_out = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 4))
    size = draw(st.integers(1, 6))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    window, dilation = draw(pair), draw(pair)
    pads = st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2)
    padding = draw(st.sampled_from(["valid", "same"]) | pads)
    layer = s.LookupConv2d(
        n_out,
        window,
        size,
        draw(st.integers(1, size)),
        draw(st.sampled_from([0.0, 0.3])),
        (1, 1) if padding == "same" else draw(pair),
        padding,
        dilation,
        groups,
        draw(st.booleans()),
        draw(st.sampled_from([None, tape.relu, tape.tanh, nn.ReLU()])),
        n_in,
        init=nn.init.normal(1.0),
        init_bias=nn.init.normal(),
        dtype=draw(st.sampled_from(["float32", "float64"])),
    )
    sizes = [draw(st.integers(d * (k - 1) + 1, 12)) for k, d in zip(window, dilation, strict=True)]
    lead = draw(st.sampled_from([(), (0,), (1,), (3,)]))
    return layer, normal(*lead, n_in, *sizes, dtype=layer.dictionary.dtype)


@given(layers())
def test_lookups_are_a_convolution_with_the_filters_that_they_make(drawn):
    layer, x = drawn
    p = strongest(layer.coefficients.numpy(), layer.lookups, layer.threshold)
    assert (np.count_nonzero(p, axis=1) <= layer.lookups).all()
    assert not (np.abs(p[p != 0]) <= layer.threshold).any()
    w = tape.tensor(np.einsum("okrs,kc->ocrs", p, layer.dictionary.numpy()))
    geometry = layer.stride, layer.padding, layer.dilation, layer.groups
    y = tape.conv2d(x, w, layer.bias, *geometry, layer.activation)
    assert_near(layer(x), y)
    low = s.LoweredLookupConv2d(layer)
    assert_near(low(x), y)
    assert low.factor.shape == (layer.n_out, layer.lookups, *layer.kernel)


@pytest.mark.parametrize("settings", [{}, {"stride": 2, "padding": 1, "groups": 2}])
def test_gradients_are_right_to_second_order_where_every_entry_counts(settings):
    layer = s.LookupConv2d(2, (2, 3), 3, 3, n_in=4, activation=tape.tanh, dtype="d", **settings)

    def run(x, dictionary, coefficients, bias):
        vars(layer).update(dictionary=dictionary, coefficients=coefficients, bias=bias)
        return layer(x)

    shapes = [(2, 4, 4, 4), layer.dictionary.shape, layer.coefficients.shape, (2,)]
    assert gradcheck(run, [normal(*shape, seed=i) for i, shape in enumerate(shapes)], order=2)


def test_what_does_not_count_gets_the_gradient_of_what_does():
    layer = s.LookupConv2d(1, 1, 3, 1, n_in=1, bias=False, dtype="d")
    layer.dictionary = nn.Parameter(np.array([[1.0], [2.0], [3.0]]))
    layer.coefficients = nn.Parameter(np.array([0.1, -0.5, 0.2]).reshape(1, 3, 1, 1))
    y = layer(tape.tensor(np.full((1, 1, 1, 1), 10.0)))
    assert y.item() == -0.5 * 2 * 10
    y.sum().backward()
    assert layer.coefficients.grad.numpy().ravel().tolist() == [10, 20, 30]
    assert layer.dictionary.grad.numpy().ravel().tolist() == [0, -5, 0]


def test_the_penalty_drives_coefficients_below_the_threshold():
    layer = s.LookupConv2d(4, 3, 6, 6, 0.05, n_in=3, init=nn.init.normal(0.3))
    x, target = normal(4, 3, 6, 6, dtype="f"), normal(4, 4, 4, 4, dtype="f", seed=1)
    optimizer = tape.optim.Adam(layer.parameters(), lr=0.01)

    def counting():
        return np.count_nonzero(strongest(layer.coefficients.numpy(), 6, 0.05))

    before = counting()
    assert layer.penalty().item() == pytest.approx(np.abs(layer.coefficients.numpy()).sum())
    for _ in range(150):
        loss = ((layer(x) - target) ** 2).mean() + 0.1 * layer.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert counting() < before / 4
    low = s.LoweredLookupConv2d(layer)
    assert_near(low(x), layer(x))
    assert np.count_nonzero(low.factor.numpy()) == counting()


def test_of_equal_coefficients_the_first_count_in_both_forms():
    layer = s.LookupConv2d(2, 1, 4, 2, n_in=4, init=nn.init.ones)
    layer.dictionary = nn.Parameter(np.eye(4, dtype="f"))
    x = tape.tensor(np.arange(4, dtype="f").reshape(1, 4, 1, 1))
    assert layer(x).tolist() == s.LoweredLookupConv2d(layer)(x).tolist() == [[[[1.0]], [[1.0]]]]


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 10), st.data())
def test_codes_are_better_with_each_lookup_and_never_worse_than_none(n, m, k, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    vectors, dictionary = rng.standard_normal((n, m)), rng.standard_normal((k, m))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    errors = [np.linalg.norm(vectors, axis=1)]
    for count in range(1, k + 1):
        y = coded(vectors, dictionary, count)
        assert (np.count_nonzero(y, axis=1) <= count).all()
        errors.append(np.linalg.norm(vectors - y @ dictionary, axis=1))
    assert all((b <= a + 1e-6).all() for a, b in itertools.pairwise(errors))


@given(st.integers(4, 40), st.integers(2, 6), st.integers(1, 6), st.integers(0, 99))
def test_vectors_that_few_entries_make_are_learned_exactly(n, m, k, seed):
    rng = np.random.default_rng(seed)
    dictionary = rng.standard_normal((k, m))
    # One entry each: drawn vectors are its multiples.
    which = rng.permutation(np.arange(n) % k)
    vectors = rng.uniform(1, 2, (n, 1)) * dictionary[which]
    found, factors = learned_dictionary(vectors, k, k)
    np.testing.assert_allclose(factors @ found, vectors, atol=1e-6)
    found, factors = learned_dictionary(vectors, n, 1)
    np.testing.assert_allclose(factors @ found, vectors, atol=1e-6)
    length = np.linalg.norm(found, axis=1)
    assert np.all((np.abs(length - 1) < 1e-9) | (length == 0))


@given(st.integers(1, 6), st.integers(2, 6), st.integers(0, 20))
def test_a_dictionary_of_all_channels_with_all_lookups_loses_nothing(n_out, n_in, seed):
    net = nn.Sequential(nn.Conv2d(n_out, (2, 3), n_in=n_in, dtype="d", activation=tape.tanh))
    net[0].weight = nn.Parameter(normal(n_out, n_in, 2, 3, seed=seed).numpy())
    new = s.lookup_convolution(net, 1.0, n_in, only_cheaper=False)
    x = normal(2, n_in, 5, 5)
    np.testing.assert_allclose(new(x).numpy(), net(x).numpy(), atol=1e-6)


def planted(n_out, n_in, size, lookups, seed=0):
    """A kernel of 3 x 3 made of few lookups in a small dictionary."""
    rng = np.random.default_rng(seed)
    p = rng.standard_normal((n_out, size, 3, 3))
    p = strongest(p, lookups)
    return np.einsum("okrs,kc->ocrs", p, rng.standard_normal((size, n_in))).astype("f")


def test_large_layers_become_smaller_and_faster():
    net = nn.Sequential(nn.Conv2d(128, 3, padding=1, activation=tape.relu, n_in=128))
    net[0].weight = nn.Parameter(planted(128, 128, 16, 1))
    x = normal(2, 128, 28, 28, dtype="f")
    before = values(net)
    new, report = s.lookup_convolution(net, 32, 2, x=x, return_report=True)
    assert report["0"].action == "dictionary of 32, 2 lookups, lowered to lookups"
    assert report["0"].bytes[1] * 20 < report["0"].bytes[0]
    assert report["0"].error < 0.5
    assert report.total.multiply_adds[1] * 20 < report.total.multiply_adds[0]
    assert report.speedup > 1
    assert report.lowered_error <= 1e-5
    assert values(net) == before
    assert type(new[0]) is s.LoweredLookupConv2d


def test_layers_that_would_be_larger_or_have_nothing_to_look_up_are_named():
    net = nn.Sequential(
        nn.Conv2d(2, 1, n_in=8),
        nn.Conv2d(8, 3, groups=8, n_in=8),
        nn.Conv1d(8, 3, n_in=8),
        nn.Conv2d(0, 3, n_in=2),
    )
    _, report = s.lookup_convolution(net, 8, 4, return_report=True)
    assert [row.action for row in report.rows] == [
        "kept: dictionary of 8, 4 lookups has 304 bytes, the layer 72",
        "kept: has one channel in a group, there is nothing to look up",
        "kept: Conv1d is not supported",
        "kept: has no numbers",
    ]
    assert report["0"].is_refused
    with pytest.warns(UserWarning, match="LookupConvolution left 1 layers"):
        s.lookup_convolution(net, 8, 4)


def test_training_goes_between_and_its_model_is_what_is_lowered():
    net = nn.Sequential(nn.Conv2d(8, 3, n_in=16), nn.Flatten())
    seen = []

    def train(model):
        seen.append(type(model[0]))
        with tape.no_grad():
            model[0].coefficients[...] = 0.0
        return model

    low = s.lookup_convolution(net, 4, 2, train=train)
    assert seen == [s.LookupConv2d]
    y = low(normal(1, 16, 5, 5, dtype="f"))
    np.testing.assert_array_equal(y.numpy().reshape(8, -1).T, np.tile(net[0].bias.numpy(), (9, 1)))


def test_shared_layers_modes_and_what_is_frozen_stay():
    shared = nn.Conv2d(8, 3, padding="same", activation=tape.tanh, n_in=8)
    net = nn.Sequential(shared, nn.Conv2d(8, 3, padding=1, n_in=8, bias=False), shared).eval()
    net[1].weight = shared.weight
    net.freeze("0")
    new, _ = netopt.transform(net, s.LookupConvolution({"0": 4, "1": 4}, 2), only_cheaper=False)
    assert new[0] is new[2]
    assert new[0].dictionary is new[1].dictionary
    assert new[0].coefficients is new[1].coefficients
    assert new[1].bias is None
    assert [m.is_frozen for m in new] == [True, False, True]
    assert not any(m.training for m in new.modules())
    assert list(new.state_dict())[:3] == ["0.dictionary", "0.coefficients", "0.bias"]


def test_lowered_layers_save_and_load_and_refuse_backward(tmp_path):
    low, other = (s.LoweredLookupConv2d(s.LookupConv2d(4, 3, 5, 2, n_in=3)) for _ in range(2))
    x = normal(2, 3, 6, 6, dtype="f")
    assert not np.array_equal(low(x).numpy(), other(x).numpy())
    tape.save(tmp_path / "low.safetensors", low)
    tape.load(tmp_path / "low.safetensors", other)
    assert np.array_equal(low(x).numpy(), other(x).numpy())
    assert low.index.dtype == "uint8"
    assert not list(low.parameters())
    x.requires_grad_()
    with pytest.raises(GradError, match="LoweredLookupConv2d is lowered"):
        low(x).sum().backward()


def test_an_index_beyond_the_dictionary_is_refused_and_reads_nothing():
    for groups, index in ((1, 200), (2, 5)):  # 5 would be in the maps of the other group
        low = s.LoweredLookupConv2d(s.LookupConv2d(4, 3, 5, 2, groups=groups, n_in=4))
        state = low.state_dict()
        state["index"] = np.full((4, 2, 3, 3), index, np.uint8)
        low.load_state_dict(state)
        with pytest.raises(TapeError, match=rf"looks up vectors {index} to {index} of a .* of 5"):
            low(normal(1, 4, 6, 6, dtype="f"))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda net: s.lookup_convolution(net, 0), ValueError, "size must be at least 1, got 0"),
        (lambda net: s.lookup_convolution(net, 1.5), ValueError, r"in \(0, 1\], got 1.5"),
        (lambda net: s.lookup_convolution(net, np.nan), ValueError, r"in \(0, 1\], got nan"),
        (lambda net: s.lookup_convolution(net, "4"), TypeError, "size must be a whole number"),
        (lambda net: s.lookup_convolution(net, {"0": -1}), ValueError, "size must be at least 1"),
        (lambda net: s.lookup_convolution(net, 4, 0), ValueError, "lookups must be at least 1"),
        (lambda net: s.lookup_convolution(net, 4, threshold=-1), ValueError, "threshold must be"),
        (lambda net: s.lookup_convolution(net, 4, 1, "nowhere"), TapeError, "nowhere"),
        (lambda net: s.lookup_convolution(net, 4, 1, lambda m: 0), TapeError, "none is chosen"),
        (lambda net: netopt.lower(net.eval(), s.LookupConvolution(2)), TapeError, "nothing to"),
        (lambda net: s.LookupConv2d(4, 3, 2, 3), ValueError, "lookups = 3 are more than size = 2"),
        (lambda net: s.LookupConv2d(4, 3, 4, groups=3), ShapeError, "3 groups do not divide n_out"),
        (lambda net: s.LookupConv2d(4, 3, 4, groups=2, n_in=3), ShapeError, "divide n_in = 3"),
    ],
)
def test_bad_calls_are_refused_in_words_and_leave_the_model_alone(call, error, words):
    net = nn.Sequential(nn.Conv2d(4, 3, n_in=4))
    before = values(net)
    with pytest.raises(error, match=words):
        call(net)
    assert values(net) == before


def test_layers_refuse_what_does_not_fit_them():
    low = s.LoweredLookupConv2d(s.LookupConv2d(4, 3, 5, n_in=3))
    for shape, words in [
        ((1, 4, 5, 5), "LoweredLookupConv2d: x has 4 channels, w expects 3"),
        ((1, 3, 2, 5), "LoweredLookupConv2d: a window of .* does not fit the image"),
        ((3, 5), r"LoweredLookupConv2d: x must be \(N, C, H, W\) or \(C, H, W\), got \(3, 5\)"),
    ]:
        with pytest.raises(ShapeError, match=words):
            low(normal(*shape, dtype="f"))
    with pytest.raises(DTypeError, match="x is int64"):
        low(tape.tensor(np.ones((1, 3, 5, 5), np.int64)))


def test_weights_that_are_no_numbers_are_named():
    net = nn.Sequential(nn.Conv2d(4, 3, n_in=4))
    with tape.no_grad():
        net[0].weight[0, 0, 0, 0] = np.nan
    with pytest.raises(NumericsError, match=r"0 \(4, 4, 3, 3\): 1 of 144 numbers"):
        s.lookup_convolution(net, 2)


def test_coefficients_that_training_made_no_numbers_show_and_are_not_lowered():
    layer = s.LookupConv2d(2, 1, 4, 2, n_in=3)
    with tape.no_grad():
        layer.coefficients[0, 3] = np.nan
    y = layer(normal(1, 3, 2, 2, dtype="f")).numpy()
    assert np.isnan(y[:, 0]).all()
    assert np.isfinite(y[:, 1]).all()
    with pytest.raises(NumericsError, match=r"lower: the layer\.coefficients .*: 1 of 8"):
        netopt.lower(layer.eval(), s.LookupConvolution(4))
