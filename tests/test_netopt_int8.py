"""`quantize_int8`: layers on 8 bits are near the float ones, save and load, refuse in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import generators

import tape
from tape import nn
from tape.netopt.quantization.int8 import codes_for, quantize_int8
from tape.netopt.quantization.quantized import (
    Codes,
    QuantizedConv2d,
    QuantizedDense,
    quantized_weight,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network():
    return nn.Sequential(
        nn.Conv2d(16, 3, padding=1, activation=tape.relu, n_in=3),
        nn.Conv2d(8, 3, stride=2, groups=2, activation=tape.tanh, n_in=16),
        nn.Flatten(),
        nn.Dense(20, 8 * 4 * 4, activation=tape.relu),
        nn.Dense(10, 20, bias=False),
    )


X = normal(32, 3, 10, 10)


def quantized(model=None, **options):
    return quantize_int8(model or network(), X, only_cheaper=False, **options)


def test_a_quantized_network_is_near_the_float_one():
    net = network()
    before = net.state_dict()
    fast, report = quantized(net, return_report=True)
    kinds = [type(part).__name__ for part in fast]
    assert kinds == ["QuantizedConv2d", "QuantizedConv2d", "Flatten", *["QuantizedDense"] * 2]
    assert report.drift < 0.03
    assert all(row.error < 0.01 for row in report.rows)
    assert report.total.bytes[1] < report.total.bytes[0] / 2
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    y, expected = fast(tape.tensor(X[0])[None]), net(tape.tensor(X[0])[None])
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), expected.numpy(), atol=0.1)


@given(generators, st.integers(1, 40), st.integers(1, 40))
def test_the_error_of_a_layer_is_that_of_rounding(rng, n_in, n_out):
    layer = nn.Dense(n_out, n_in, init=lambda shape, rng_, dtype=None: rng.normal(size=shape))
    x = rng.normal(size=(5, n_in)).astype(np.float32)
    fast = quantize_int8(layer, x, only_cheaper=False)
    w, step = layer.weight.numpy(), fast.scale.numpy()
    expected = x.astype(np.float64) @ w.astype(np.float64).T + layer.bias.numpy()
    # Half a step of x for each weight, half a step of the weight for each x, and their product.
    x_step = fast.x_codes.scale
    bound = x_step * abs(w).sum(1) + (abs(x).sum(1, keepdims=True) + x_step * n_in) * step
    assert (abs(fast(tape.tensor(x)).numpy() - expected) <= bound + 1e-4).all()


@given(generators, st.integers(1, 9), st.integers(0, 9))
def test_weights_are_rounded_to_the_nearest_of_their_row(rng, rows, columns):
    w = rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-20, 20, (rows, 1))
    whole, scale = quantized_weight(w)
    assert abs(whole.astype(int)).max(initial=0) <= 127
    steps = scale[:, None].astype(float)
    assert (abs(w - whole * steps) <= 0.501 * steps).all()
    if columns:
        assert (abs(whole.astype(int)).max(1) == 127).all()


@given(generators, st.sampled_from([-3.0, 0.0, 5.0]))
def test_zero_is_a_code_and_the_range_is_covered(rng, shift):
    x = rng.normal(size=200).astype(np.float32) + np.float32(shift)
    scale, zero_point = codes_for([x], 1.0, "x")
    assert 0 <= zero_point <= 255
    q = np.clip(np.rint(x / scale) + zero_point, 0, 255)
    np.testing.assert_allclose((q - zero_point) * scale, x, atol=1.01 * scale)


def test_coverage_cuts_outliers_off():
    x = np.append(normal(10_000), np.float32(1e4))
    assert codes_for([x], 1.0, "x").scale > 1000 * codes_for([x], 0.999, "x").scale
    assert codes_for([np.zeros(3, np.float32)], 1.0, "x") == Codes(1.0, 0)


def test_quantized_networks_save_and_load(tmp_path):
    fast = quantized()
    expected = fast(tape.tensor(X)).numpy()
    tape.save(tmp_path / "net.safetensors", fast)
    other = quantize_int8(network(), 3 * X, only_cheaper=False)
    assert not np.array_equal(other(tape.tensor(X)).numpy(), expected)
    tape.load(tmp_path / "net.safetensors", other)  # what the kernels were given is made again
    np.testing.assert_array_equal(other(tape.tensor(X)).numpy(), expected)
    np.testing.assert_array_equal(other.clone()(tape.tensor(X)).numpy(), expected)


def test_layers_follow_what_is_loaded_into_any_of_their_buffers():
    layer = QuantizedDense(2, 3).fill(normal(2, 3), normal(2), Codes(0.01, 128))
    x = tape.tensor(normal(4, 3, seed=1))
    for name, value in {
        "weight": np.ones((2, 3), np.int8),
        "scale": np.full(2, 0.5, np.float32),
        "bias": np.full(2, 7, np.float32),
        "x_scale": np.float32(0.02),
        "zero_point": np.uint8(0),
    }.items():
        before = layer(x).numpy()
        layer.load_state_dict({**layer.state_dict(), name: value})
        after = layer(x).numpy()
        assert not np.array_equal(before, after), name
        fresh = QuantizedDense(2, 3)
        fresh.load_state_dict(layer.state_dict())
        np.testing.assert_array_equal(fresh(x).numpy(), after)


def test_single_images_and_other_paddings():
    rng = np.random.default_rng(0)
    for padding in (1, "same", "valid", ((1, 0), (2, 1))):
        layer = nn.Conv2d(4, 3, padding=padding, n_in=2)
        x = rng.standard_normal((2, 7, 6)).astype(np.float32)
        fast = quantize_int8(layer, x, only_cheaper=False)
        assert isinstance(fast, QuantizedConv2d)
        np.testing.assert_allclose(fast(tape.tensor(x)).numpy(), layer(x).numpy(), atol=0.1)


def test_walking_back_is_refused():
    x = tape.tensor(X, requires_grad=True)
    with pytest.raises(tape.GradError, match="is lowered, it computes forward only"):
        quantized()(x).sum().backward()


def test_what_is_no_faster_stays():
    net = nn.Sequential(nn.Dense(3, 4), nn.Dense(2, 3))
    small, report = quantize_int8(net, normal(2, 4), return_report=True)
    assert not report.changed
    assert all(row.is_refused for row in report.rows)
    assert isinstance(small[0], nn.Dense)


def test_layers_that_the_batch_does_not_reach_stay():
    class Half(nn.Module):
        def __init__(self):
            self.used, self.unused = nn.Dense(3, 4), nn.Dense(3, 4)

        def forward(self, x):
            return self.used(x)

    fast, report = quantize_int8(Half(), normal(2, 4), only_cheaper=False, return_report=True)
    assert isinstance(fast.used, QuantizedDense)
    assert isinstance(fast.unused, nn.Dense)
    assert "kept: not called on x" in str(report)


def broken():
    net = network()
    with tape.no_grad():
        net[3].weight[0, 0] = np.nan
    return net


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantize_int8(network(), None), tape.TapeError, "needs x, a batch"),
        (lambda: quantized(coverage=0), tape.TapeError, r"coverage is in \(0, 1\], got 0"),
        (lambda: quantized(coverage="all"), tape.TapeError, "coverage is a number"),
        (lambda: quantized(broken()), tape.TapeError, "3 .*NaN or infinity"),
        (
            lambda: quantize_int8(network(), np.full_like(X, np.nan)),
            tape.TapeError,
            "what comes to it of x has NaN",
        ),
        (lambda: quantize_int8(nn.Flatten(), X), tape.TapeError, "no Dense or Conv2d layers"),
        (lambda: QuantizedDense(2, 3)(tape.ones((1, 4))), tape.ShapeError, "4 features"),
        (lambda: QuantizedConv2d(2, 3, n_in=1)(tape.ones((1, 2, 2))), tape.ShapeError, "height"),
        (
            lambda: QuantizedConv2d(3, 3, groups=2, n_in=2),
            tape.ShapeError,
            "2 groups do not divide n_out = 3",
        ),
    ],
)
def test_bad_input_is_refused_with_numbers(call, error, message):
    with pytest.raises(error, match=message):
        call()
