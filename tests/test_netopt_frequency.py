"""Layers by way of frequencies: equal to what they stand for, taken only where they are faster."""

import copy
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import values

import tape
from tape import netopt, nn
from tape.errors import DTypeError, GradError, NumericsError, ShapeError, TapeError
from tape.netopt import frequency as f
from tape.netopt.frequency import circular, fft_layers
from tape.testing import check_op, gradcheck

KINDS = {1: (nn.Conv1d, f.FftConv1d), 2: (nn.Conv2d, f.FftConv2d)}


def normal(*shape, seed=0, dtype="d"):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


@pytest.fixture(params=["by products", "by NumPy's transform"])
def transforms(request, monkeypatch):
    if request.param != "by products":
        monkeypatch.setattr(circular, "LONGEST", 0)
        monkeypatch.setattr(fft_layers, "LONGEST", 0)


def test_a_circular_product_is_what_it_says_to_any_order(transforms):
    check_op(circular.circular_product)


def measuring(times):
    """A stand-in for `compare`: what came after takes so many times as long."""
    from tape.netopt.measure import Comparison

    return lambda before, after: Comparison(1.0, times, times, times)


@st.composite
def convolutions(draw):
    """(a convolution of any geometry, the same by FFT, an input)."""
    n = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    n_in, n_out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    each = st.lists(st.integers(1, 3), min_size=n, max_size=n).map(tuple)
    window, dilation = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n)), draw(each)
    pads = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=n, max_size=n)
    padding = draw(st.sampled_from(["valid", "same"]) | pads.map(tuple))
    stride = (1,) * n if padding == "same" else draw(each)
    sizes = [draw(st.integers(d * (k - 1) + 1, 13)) for k, d in zip(window, dilation, strict=True)]
    dtype = draw(st.sampled_from(["float32", "float64"]))
    settings = {
        "kernel": tuple(window),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, tape.tanh, nn.ReLU()])),
        "n_in": n_in,
        "init_bias": nn.init.normal(),
        "dtype": dtype,
    }
    direct, by_fft = (kind(n_out, **settings) for kind in KINDS[n])
    by_fft.weight, by_fft.bias = direct.weight, direct.bias
    lead = draw(st.sampled_from([(), (1,), (3,)]))
    return direct, by_fft, normal(*lead, n_in, *sizes, dtype=dtype, seed=draw(st.integers(0, 9)))


def assert_near(a, b):
    tolerance = 1e-5 if a.dtype == "float32" else 1e-12
    size = np.abs(b.numpy()).max(initial=1.0)
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=tolerance * size)


@given(convolutions(), st.sampled_from([0, circular.LONGEST]))
def test_convolution_by_fft_is_convolution_in_any_geometry(drawn, longest):
    direct, by_fft, x = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(circular, "LONGEST", longest)
        patch.setattr(fft_layers, "LONGEST", longest)
        y = by_fft(x)
        assert_near(y, direct(x))
        assert_near(f.SpectralConv(by_fft)(x), y)


@given(convolutions(), st.integers(1, 6))
def test_tiles_of_images_give_what_the_whole_gives(drawn, size):
    direct, by_fft, x = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fft_layers, "TILES", (size,))
        patch.setattr(fft_layers.FftPlan, "cost", property(lambda plan: -plan.x[0]))  # most tiles
        fft_layers.tiled.cache_clear()
        low = f.SpectralConv(by_fft)
        assert_near(low(x), direct(x))
        y = direct(x).shape[-direct.n_axes :]
        tiles = fft_layers.lowered_plan(low, fft_layers.images_of(low, x)[0].shape)[1]
        images = x.shape[0] if x.ndim == direct.n_axes + 2 else 1
        assert images == 0 or math.prod(tiles) == math.prod(-(-n // size) for n in y)
    fft_layers.tiled.cache_clear()


def test_large_images_with_many_channels_are_cut_into_tiles_that_need_less_memory():
    layer = f.FftConv2d(32, 15, padding=7, n_in=32)
    low, x = f.SpectralConv(layer), normal(1, 32, 130, 120, dtype="f")
    direct = nn.Conv2d(32, 15, padding=7, n_in=32)
    direct.weight, direct.bias = layer.weight, layer.bias
    assert_near(low(x), direct(x))
    plan, tiles = fft_layers.lowered_plan(low, x.shape)
    assert min(tiles) > 1
    whole = fft_layers.FftPlan(x.shape, layer.weight.shape, fft_layers.plane_of(layer))
    assert low.made.last[2].nbytes == 4 * plan.spectrum_size < whole.spectrum_size


@given(convolutions())
def test_gradients_by_fft_are_those_of_convolution(drawn):
    direct, by_fft, x = drawn
    x = x.requires_grad_()
    both = []
    for layer in (direct, by_fft):
        operands = [x, layer.weight, *([] if layer.bias is None else [layer.bias])]
        both.append(tape.grad((layer(x) * 1.5).sum(), operands))
    for a, b in zip(*both, strict=True):
        assert_near(b, a)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": (2, 1), "padding": ((3, 1), (0, 2)), "groups": 2},
        {"dilation": 2, "padding": "same", "groups": 4},
    ],
)
def test_gradients_by_fft_are_right_to_second_order(settings):
    layer = f.FftConv2d(4, (3, 2), n_in=4, dtype="d", activation=tape.tanh, **settings)

    def run(x, w, b):
        vars(layer).update(weight=w, bias=b)
        return layer(x)

    shapes = [(2, 4, 5, 4), layer.weight.shape, (4,)]
    assert gradcheck(run, [normal(*shape, seed=i) for i, shape in enumerate(shapes)], order=2)


def test_large_images_are_transformed_by_fft_with_fast_lengths():
    direct = nn.Conv2d(2, 31, padding=15, n_in=2)
    by_fft = f.FftConv2d(2, 31, padding=15, n_in=2)
    by_fft.weight, by_fft.bias = direct.weight, direct.bias
    x = normal(1, 2, 300, 264, dtype="f")
    assert_near(f.SpectralConv(by_fft)(x), direct(x))
    assert (
        max(fft_layers.FftPlan(x.shape, direct.weight.shape, fft_layers.plane_of(by_fft)).lengths)
        == 315
    )


def test_convolutions_are_changed_where_that_is_faster_here():
    net = nn.Sequential(
        nn.Conv2d(32, 25, padding="same", activation=tape.relu, n_in=32),
        nn.Conv2d(32, 3, padding=1, n_in=32),
        nn.Conv2d(4, 1, n_in=32),
        nn.Conv3d(1, 3, n_in=1),
    )
    net.layers.pop()
    before = values(net)
    x = normal(2, 32, 32, 32, dtype="f")
    fast, report = f.fft_convolution(net, x=x, return_report=True)
    assert type(fast[0]) is f.SpectralConv
    assert report["0"].action.startswith("FFT, lowered to spectra of ")
    assert report["1"].is_refused
    assert report["2"].is_refused
    assert [type(layer) for layer in fast[1:]] == [nn.Conv2d, nn.Conv2d]
    assert report.speedup > 1
    assert report.drift < 1e-5
    assert report.lowered_error <= 1e-5
    assert report.total.multiply_adds[1] < report.total.multiply_adds[0]
    assert_near(fast(x), net(x))
    assert values(net) == before


def test_what_is_counted_or_measured_to_be_slower_is_refused_with_both_numbers(monkeypatch):
    net = nn.Sequential(nn.Conv2d(4, 9, padding=4, n_in=4))
    x = normal(1, 4, 24, 24, dtype="f")
    monkeypatch.setattr(netopt.frequency.fft_conv, "compare", measuring(1.0))
    _, report = f.fft_convolution(net, x=x, return_report=True)
    assert report["0"].action == "kept: FFT takes 1.00 s, the layer 1.00 s"
    assert report["0"].is_refused
    _, report = f.fft_convolution(net, x=x, most_bytes=1000, return_report=True)
    assert "most_bytes is 1,000" in report["0"].action
    with pytest.warns(UserWarning, match="FftConvolution left 1 layers as they are"):
        f.fft_convolution(net, x=x, most_bytes=0)
    small = nn.Sequential(nn.Conv2d(4, 3, stride=2, n_in=4))
    _, report = f.fft_convolution(small, x=x, return_report=True)
    assert "multiply-adds, the layer" in report["0"].action


def test_without_a_batch_nothing_is_known_and_nothing_is_changed():
    net = nn.Sequential(
        nn.Conv2d(4, 9, n_in=4), nn.Conv3d(2, 3, n_in=1), nn.ConvTranspose2d(4, 3, n_in=4)
    )
    _new, report = f.fft_convolution(net, return_report=True)
    assert report["0"].action == "kept: not measured, there is no x"
    assert report["1"].action == "kept: Conv3d is not supported"
    assert report["2"].action == "kept: ConvTranspose2d is not supported"
    forced = f.fft_convolution(net, only_cheaper=False)
    assert [type(layer).__name__ for layer in forced] == [
        "SpectralConv",
        "Conv3d",
        "ConvTranspose2d",
    ]


def test_spectra_follow_the_weight_and_the_size_of_images():
    layer = f.FftConv2d(3, 5, padding=2, n_in=2)
    low = f.SpectralConv(layer)
    for size in ((9, 8), (9, 8), (5, 7)):
        x = normal(1, 2, *size, dtype="f")
        assert_near(low(x), layer(x))
    other = f.FftConv2d(3, 5, padding=2, n_in=2)
    low.load_state_dict(other.state_dict())
    assert_near(low(x), other(x))
    twin = copy.deepcopy(low)
    assert twin.made.last[2] is None
    assert_near(twin(x), other(x))


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_lowered_layers_save_and_load_and_refuse_backward(kind, tmp_path):
    def made(seed):
        tape.random.seed(seed)
        if kind == "conv":
            return f.SpectralConv(f.FftConv2d(3, 4, n_in=2)), normal(2, 2, 6, 6, dtype="f")
        return f.SpectralDense(f.BlockCirculantDense(6, 4, n_in=10)), normal(2, 10, dtype="f")

    (low, x), (other, _) = made(0), made(1)
    assert not np.array_equal(low(x).numpy(), other(x).numpy())
    tape.save(tmp_path / "low.safetensors", low)
    tape.load(tmp_path / "low.safetensors", other)
    assert np.array_equal(low(x).numpy(), other(x).numpy())
    assert not list(low.parameters())
    x.requires_grad_()
    with pytest.raises(GradError, match="is lowered, it computes forward only"):
        low(x).sum().backward()


@st.composite
def circulants(draw):
    """(layer, rows for it)."""
    k = draw(st.integers(1, 7))
    n_out, n_in = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    layer = f.BlockCirculantDense(
        n_out,
        k,
        n_in,
        activation=draw(st.sampled_from([None, tape.tanh, nn.ReLU()])),
        bias=draw(st.booleans()),
        init_bias=nn.init.normal(),
        dtype=draw(st.sampled_from(["float32", "float64"])),
    )
    lead = draw(st.sampled_from([(), (0,), (1,), (5,), (2, 3)]))
    return layer, normal(*lead, n_in, dtype=layer.weight.dtype)


@given(circulants())
def test_a_circulant_layer_is_the_dense_layer_of_its_whole_matrix(drawn):
    layer, x = drawn
    w = layer.expanded()
    assert w.shape == (layer.n_out, layer.n_in)
    y = tape.linear(x, tape.tensor(w), layer.bias, layer.activation)
    assert_near(layer(x), y)
    assert_near(f.SpectralDense(layer)(x), y)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 99))
def test_the_projection_leaves_nothing_that_a_circulant_matrix_could_take(n_out, n_in, k, seed):
    w = normal(n_out, n_in, seed=seed).numpy()
    layer = f.BlockCirculantDense(n_out, k, n_in, dtype="d")
    layer.weight = nn.Parameter(f.circulant_projection(w, k))
    left = w - layer.expanded()
    for at in itertools.product(*map(range, layer.weight.shape)):
        unit = np.zeros(layer.weight.shape)
        unit[at] = 1
        layer.weight = nn.Parameter(unit)
        basis = layer.expanded()
        assert abs(np.sum(left * basis)) < 1e-12
        assert np.count_nonzero(basis) <= k


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
def test_a_matrix_of_circulant_blocks_is_its_own_projection(n_out, n_in, k):
    layer = f.BlockCirculantDense(n_out, k, n_in, dtype="d")
    w = layer.expanded()
    layer.weight = nn.Parameter(f.circulant_projection(w, k))
    np.testing.assert_allclose(layer.expanded(), w, atol=1e-14)


@pytest.mark.parametrize(("n_out", "n_in", "k"), [(4, 6, 2), (5, 7, 3), (3, 3, 3)])
def test_gradients_of_circulant_layers_are_right_to_second_order(n_out, n_in, k):
    layer = f.BlockCirculantDense(n_out, k, n_in, tape.tanh, dtype="d")

    def run(x, w, b):
        vars(layer).update(weight=w, bias=b)
        return layer(x)

    shapes = [(3, n_in), layer.weight.shape, (n_out,)]
    assert gradcheck(run, [normal(*shape, seed=i) for i, shape in enumerate(shapes)], order=2)


def test_a_circulant_layer_learns_a_circulant_matrix():
    x, w = normal(64, 8, dtype="f"), normal(8, seed=2).numpy()
    target = x.numpy() @ np.stack([np.roll(w, i) for i in range(8)]).astype("f")
    layer = f.BlockCirculantDense(8, 8, n_in=8, bias=False)
    optimizer = tape.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(200):
        loss = ((layer(x) - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3


def test_large_dense_layers_become_smaller_and_faster():
    net = nn.Sequential(nn.Dense(2048, 2048, activation=tape.relu), nn.Dense(10, 2048))
    for rows in (1, 64):
        x = normal(rows, 2048, dtype="f")
        _small, report = f.circulant_dense(net, 64, "0", x=x, return_report=True)
        assert report["0"].action == "circulant blocks of 64, lowered to spectra"
        assert report["1"].action == "not chosen"
        assert report["0"].bytes[1] * 30 < report["0"].bytes[0]
        assert report["0"].error == pytest.approx(np.sqrt(63 / 64), abs=0.01)
        assert report.speedup > 1


def test_training_goes_between_projection_and_spectra():
    net = nn.Sequential(nn.Dense(32, 16, activation=tape.tanh))
    seen = []

    def train(model):
        seen.append(type(model[0]))
        with tape.no_grad():
            model[0].weight[...] = 0.5

    small = f.circulant_dense(net, 4, train=train)
    assert seen == [f.BlockCirculantDense]
    x = normal(3, 16, dtype="f")
    expected = np.tanh(0.5 * x.numpy().sum(1, keepdims=True) + net[0].bias.numpy())
    np.testing.assert_allclose(small(x).numpy(), expected, rtol=1e-5)


def test_shared_layers_modes_and_what_is_frozen_stay():
    shared = nn.Dense(16, 16, activation=tape.tanh)
    net = nn.Sequential(shared, nn.Dense(16, 16), shared).eval()
    net[1].weight = shared.weight
    net.freeze("0")
    new, _ = netopt.transform(net, f.CirculantDense(4), only_cheaper=False)
    assert new[0] is new[2]
    assert new[0].weight is new[1].weight
    assert [m.is_frozen for m in new] == [True, False, True]
    assert not any(m.training for m in new.modules())
    convs = nn.Sequential(nn.Conv2d(4, 3, n_in=4), nn.Conv2d(4, 3, n_in=4))
    convs[1].weight = convs[0].weight
    new, _ = netopt.transform(convs, f.FftConvolution(measured=False))
    assert new[0].weight is new[1].weight
    assert new[0].weight is not convs[0].weight
    assert list(new.state_dict()) == list(convs.state_dict())


def test_blocks_by_path_and_blocks_that_do_not_fit():
    net = nn.Sequential(nn.Dense(16, 16), nn.Dense(16, 16), nn.Dense(3, 16), nn.Dense(0, 3))
    _, report = f.circulant_dense(net, {"0": 4, "2": 4}, return_report=True)
    assert [row.action for row in report.rows] == [
        "circulant blocks of 4, lowered to spectra",
        "kept: not in the plan",
        "kept: a block of 4 does not fit (3, 16)",
        "kept: not in the plan",
    ]


def test_blocks_that_would_make_a_layer_larger_are_refused():
    net = nn.Sequential(nn.Dense(3, 3))
    _, report = f.circulant_dense(net, 2, return_report=True)
    assert report["0"].is_refused
    assert "has 76 bytes, the layer 48" in report["0"].action


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda net: f.circulant_dense(net, 1), ValueError, "block must be at least 2, got 1"),
        (lambda net: f.circulant_dense(net, 2.5), TypeError, "block must be a whole number"),
        (lambda net: f.circulant_dense(net, {"1": 0}), ValueError, "at least 2, got 0"),
        (lambda net: f.circulant_dense(net, 2, "nowhere"), TapeError, "nowhere"),
        (lambda net: f.fft_convolution(net, most_bytes=-1), ValueError, "most_bytes must be at"),
        (lambda net: f.fft_convolution(net, lambda m: False), TapeError, "none is chosen"),
        (lambda net: f.BlockCirculantDense(4, 0), ValueError, "block must be at least 1, got 0"),
        (lambda net: f.circulant_projection(np.ones(3), 2), ShapeError, r"a matrix, got \(3,\)"),
        (lambda net: f.BlockCirculantDense(4, 2).expanded(), ShapeError, "before the first x"),
        (lambda net: netopt.lower(net.eval(), f.CirculantDense(2)), TapeError, "nothing to lower"),
        (lambda net: netopt.lower(net, f.FftConvolution()), TapeError, "training mode"),
    ],
)
def test_bad_calls_are_refused_in_words_and_leave_the_model_alone(call, error, words):
    net = nn.Sequential(nn.Conv2d(4, 3, n_in=4), nn.Dense(8, 8))
    before = values(net)
    with pytest.raises(error, match=words):
        call(net)
    assert values(net) == before


def test_layers_refuse_what_does_not_fit_them_by_name():
    conv, dense = f.FftConv2d(4, 3, n_in=4), f.BlockCirculantDense(8, 2, n_in=8)
    pairs = [(conv, f.SpectralConv(conv)), (dense, f.SpectralDense(dense))]
    bad = [
        [
            ((1, 3, 5, 5), "x has 3 channels, w expects 4"),
            ((1, 4, 2, 5), "does not fit the image"),
            ((4,), "must be"),
        ],
        [((2, 7), r"x \(2, 7\) has not 8 features"), ((), "features|axes")],
    ]
    for layers, cases in zip(pairs, bad, strict=True):
        for layer, (shape, words) in itertools.product(layers, cases):
            with pytest.raises(ShapeError, match=words) as raised:
                layer(normal(*shape, dtype="f"))
            assert type(layer).__name__ in str(raised.value)
    for layer in pairs[0]:
        with pytest.raises(DTypeError, match=f"{type(layer).__name__}: x is int64, expected float"):
            layer(tape.tensor(np.ones((1, 4, 5, 5), np.int64)))
    rows = tape.tensor(np.arange(16).reshape(2, 8))  # which `nn.Dense` takes as float64
    np.testing.assert_allclose(dense(rows).numpy(), rows.numpy() @ dense.expanded().T, rtol=1e-6)
    np.testing.assert_allclose(pairs[1][1](rows).numpy(), dense(rows).numpy(), rtol=1e-5)


def test_weights_that_are_no_numbers_are_named():
    net = nn.Sequential(nn.Conv2d(4, 3, n_in=4), nn.Dense(8, 8))
    with tape.no_grad():
        net[0].weight[0, 0, 0, 0] = np.nan
        net[1].weight[0, 0] = np.inf
    with pytest.raises(NumericsError, match=r"0 \(4, 4, 3, 3\): 1 of 144 numbers"):
        f.fft_convolution(net, only_cheaper=False)
    with pytest.raises(NumericsError, match=r"1 \(8, 8\): 1 of 64 numbers"):
        f.circulant_dense(net, 2)


@pytest.mark.parametrize(
    ("layer", "optimization"),
    [
        (f.FftConv2d(4, 3, n_in=4), f.FftConvolution()),
        (f.BlockCirculantDense(8, 2, n_in=8), f.CirculantDense()),
    ],
)
def test_what_training_made_no_numbers_is_not_lowered(layer, optimization):
    net = nn.Sequential(layer).eval()
    with tape.no_grad():
        layer.weight[(0,) * layer.weight.ndim] = np.nan
    with pytest.raises(NumericsError, match=r"lower: 0\.weight \(.*\): 1 of \d+ numbers"):
        netopt.lower(net, optimization)
