"""Ops on signs: exact like conv2d and matmul of floats, straight-through gradients, thresholds."""

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isas import ISAS
from layouts import generators

import tape
from tape import DTypeError, ShapeError
from tape._kernels import table


def sign(x):
    return np.where(x < 0, x.dtype.type(-1), x.dtype.type(1))


@given(
    generators,
    st.sampled_from([(1, 0), (2, 1), ((1, 2), (0, 1)), (1, "same")]),
    st.sampled_from([1, 3]),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([0.5, 1.0, None]),
)
def test_binary_conv2d_is_conv2d_of_signs_with_gates(rng, how, groups, dtype, window):
    stride, padding = how
    images = rng.standard_normal((2, 5 * groups, 6, 7)).astype(dtype)
    kernel = rng.standard_normal((2 * groups, 5, 3, 2)).astype(dtype)
    settings = {"stride": stride, "padding": padding, "groups": groups}
    x, w = tape.tensor(images, requires_grad=True), tape.tensor(kernel, requires_grad=True)
    y = tape.binary_conv2d(x, w, **settings, window=window)
    sx, sw = (tape.tensor(sign(a), requires_grad=True) for a in (images, kernel))
    expected = tape.conv2d(sx, sw, **settings)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    g = rng.standard_normal(y.shape).astype(dtype)
    for found, of_signs, at in zip(
        tape.grad(y, [x, w], g=g), tape.grad(expected, [sx, sw], g=g), (images, kernel), strict=True
    ):
        is_open = np.abs(at) <= (np.inf if window is None else window)
        np.testing.assert_array_equal(found.numpy(), of_signs.numpy() * is_open)
    packed = tape.binary_conv2d(tape.pack_bits(images), tape.pack_bits(kernel), **settings)
    assert packed.dtype == "float32"
    np.testing.assert_array_equal(packed.numpy(), y.numpy())
    single = tape.binary_conv2d(x[0], tape.pack_bits(kernel), **settings)
    np.testing.assert_array_equal(single.numpy(), y.numpy()[0])


@given(generators, st.sampled_from([(), (3,), (2, 4), (0,)]), st.integers(0, 70))
def test_binary_matmul_is_matmul_of_signs_with_gates(rng, stack, k):
    rows, columns = rng.standard_normal((*stack, k)), rng.standard_normal((k, 5))
    x, w = tape.tensor(rows, requires_grad=True), tape.tensor(columns, requires_grad=True)
    y = tape.binary_matmul(x, w)
    np.testing.assert_array_equal(y.numpy(), sign(rows) @ sign(columns))
    g = rng.standard_normal(y.shape)
    dx, dw = tape.grad(y, [x, w], g=g)
    np.testing.assert_allclose(dx, (g @ sign(columns).T) * (np.abs(rows) <= 1), atol=1e-12)
    outer = sign(rows).reshape(int(np.prod(stack)), k).T @ g.reshape(-1, 5)
    np.testing.assert_allclose(dw, outer * (np.abs(columns) <= 1), atol=1e-12)
    packed = tape.binary_matmul(tape.pack_bits(rows), tape.pack_bits(columns, axis=0))
    np.testing.assert_array_equal(packed.numpy(), y.numpy())
    none = tape.binary_matmul(rows, tape.pack_bits(columns[:, :0], axis=0))
    assert none.shape == (*stack, 0)


@pytest.mark.parametrize("pad_value", [0, 1, -1])
def test_what_the_padding_holds_counts(pad_value):
    rng = np.random.default_rng(0)
    images, kernel = rng.standard_normal((1, 3, 4, 4)), rng.standard_normal((2, 3, 3, 3))
    framed = np.pad(sign(images), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=pad_value)
    w = tape.tensor(kernel, requires_grad=True)
    y = tape.binary_conv2d(images, w, padding=1, pad_value=pad_value, window=None)
    sw = tape.tensor(sign(kernel), requires_grad=True)
    expected = tape.conv2d(framed, sw)
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    g = rng.standard_normal(y.shape)
    np.testing.assert_allclose(tape.grad(y, w, g=g), tape.grad(expected, sw, g=g), atol=1e-12)


def test_the_signs_of_special_numbers():
    x = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-42, -1e-42], np.float32)
    wanted = [1, 1, 1, 1, 1, -1, 1, -1]
    strict = [-1, -1, -1, -1, 1, -1, 1, -1]
    assert tape.unpack_bits(tape.pack_bits(x)).tolist() == wanted
    assert tape.unpack_bits(tape.pack_bits(x, strict=True)).tolist() == strict
    assert tape.sign_ste(x).tolist() == wanted
    assert tape.sign_ste(x, strict=True).tolist() == strict
    assert tape.binary_matmul(x[:, None], np.ones((1, 1), np.float32))[:, 0].tolist() == wanted


def test_the_window_of_sign_ste_can_be_set():
    x = tape.tensor([-3.0, -1.0, 0.2, 1.0, np.nan], requires_grad=True)
    for window, wanted in [(1.0, [0, 1, 1, 1, 0]), (0.5, [0, 0, 1, 0, 0]), (None, [1] * 5)]:
        assert tape.grad(tape.sign_ste(x, window).sum(), x).tolist() == wanted


@pytest.mark.parametrize("isa", ISAS)
def test_packed_weights_are_arranged_once_for_each_way_to_use_them(isa):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((1, 40, 6, 7)).astype(np.float32)
    kernel = rng.standard_normal((9, 40, 3, 3)).astype(np.float32)
    packed, rows = tape.pack_bits(kernel), rng.standard_normal((3, 40)).astype(np.float32)
    matrix = tape.pack_bits(kernel[:, :, 0, 0].T, axis=0)
    before = table.used()
    try:
        for name in (isa, ISAS[-1], isa):
            table.use(name)
            for settings in ({}, {"padding": 1}, {"padding": 1, "pad_value": -1}, {"stride": 2}):
                found = [tape.binary_conv2d(images, packed, **settings).numpy() for _ in range(2)]
                expected = tape.binary_conv2d(images, kernel, **settings).numpy()
                np.testing.assert_array_equal(found, [expected] * 2)
            for _ in range(2):
                found = tape.binary_matmul(rows, matrix).numpy()
                np.testing.assert_array_equal(found, sign(rows) @ sign(kernel[:, :, 0, 0].T))
        made = packed.kept[1]
        tape.binary_conv2d(images, packed, stride=2)
        assert packed.kept[1] is made
    finally:
        table.use(before)
    x = tape.tensor(images, requires_grad=True)
    g = tape.grad(tape.binary_conv2d(x, packed).sum(), x)
    np.testing.assert_array_equal(g, tape.grad(tape.binary_conv2d(x, kernel).sum(), x))


def test_second_derivatives_go_straight_through():
    rng = np.random.default_rng(0)
    x = tape.tensor(rng.uniform(-0.9, 0.9, (2, 3)), requires_grad=True)
    w = tape.tensor(rng.uniform(-0.9, 0.9, (3, 4)), requires_grad=True)
    y = tape.binary_matmul(x, w)
    dx = tape.grad((y * y).sum(), x, create_graph=True)  # 2 y @ sign(w).T
    v = tape.tensor(rng.standard_normal((2, 3)))
    signs = sign(w.numpy())
    np.testing.assert_allclose(tape.grad((dx * v).sum(), x), 2 * v.numpy() @ signs @ signs.T)


def test_only_bits_are_saved_of_activations():
    w = tape.tensor(np.ones((3, 2), np.float32), requires_grad=True)
    x = tape.tensor(np.linspace(-2, 2, 30, dtype=np.float32).reshape(10, 3), requires_grad=True)
    hidden = x * 1.5
    alive = weakref.ref(hidden.numpy().base if hidden.numpy().base is not None else hidden.numpy())
    y = tape.binary_matmul(hidden, w)
    values = hidden.numpy().copy()
    del hidden
    assert alive() is None
    expected = np.full((10, 3), 2.0) * 1.5 * (np.abs(values) <= 1)
    np.testing.assert_array_equal(tape.grad(y.sum(), x), expected)


def normalised(a, mean, deviation, gain, shift):
    """Batch norm of correlations as float32 arithmetic makes it, each step rounded."""
    return (a - mean) / deviation * gain + shift


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("strict", [False, True])
def test_thresholds_are_batch_norm_and_sign_to_the_last_bit(isa, strict):
    rng = np.random.default_rng(0)
    n, k = 400, 45
    means = rng.uniform(-k, k, n).astype(np.float32)
    means[:60] = np.round(means[:60])  # ties: f(a) is 0 for some a
    deviation = rng.uniform(0.01, 9, n).astype(np.float32)
    gain = rng.standard_normal(n).astype(np.float32)
    shift = rng.standard_normal(n).astype(np.float32)
    shift[:40] = 0
    gain[40:50], gain[50:55], shift[50:55] = 0, -0.0, 0
    gain[60:70], gain[70:80] = 1e30, -1e-30
    shift[80:90], shift[90:100] = 1e30, -1e30
    of = (means, deviation, gain, shift)
    least, flip = tape.sign_thresholds(lambda a: normalised(a, *of), k, n, strict)
    numbers = np.arange(-k, k + 1, dtype=np.float32)
    y = normalised(numbers[:, None], *of)
    below = ~(y > 0) if strict else y < 0
    np.testing.assert_array_equal((numbers[:, None] < least) ^ flip, below)

    before = table.used()
    table.use(isa)
    try:
        x, w = rng.standard_normal((3, 5, 9, 8)), rng.standard_normal((n, 5, 3, 3))
        settings = ((1, 1), ((1, 1), (1, 1)))
        filters = tape.BitFilters(tape.pack_bits(w), *settings, least=least, flip=flip)
        fused = filters.signs(tape.pack_bits(x), (1, 1, 1, 1))
        a = tape.binary_conv2d(x.astype(np.float32), w.astype(np.float32), padding=1).numpy()
    finally:
        table.use(before)
    y = normalised(a, *[p[:, None, None] for p in of])
    unfused = np.where(~(y > 0) if strict else y < 0, -1, 1)
    np.testing.assert_array_equal(tape.unpack_bits(fused).numpy(), unfused)


def test_a_chain_of_packed_layers_is_the_chain_of_floats():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 40, 12, 12)).astype(np.float32)
    kernels = [rng.standard_normal((40, 40, 3, 3)).astype(np.float32) for _ in range(3)]
    bits, floats = tape.pack_bits(x, border=(1, 1, 1, 1)), x
    for w in kernels:
        least = rng.integers(-20, 20, 40).astype(np.int32)
        filters = tape.BitFilters(tape.pack_bits(w), (1, 1), ((1, 1), (1, 1)), least=least)
        bits = tape.binary_max_pool2d(filters.signs(bits), 2, stride=1, border=(1, 1, 1, 1))
        a = tape.binary_conv2d(floats, w, padding=1) - tape.tensor(least[:, None, None] - 0.5)
        floats = tape.max_pool2d(sign(a.numpy().astype(np.float32)), 2, stride=1)
    np.testing.assert_array_equal(tape.unpack_bits(bits).numpy(), floats.numpy())


IMAGES, KERNEL = np.ones((1, 4, 5, 5), np.float32), np.ones((6, 4, 3, 3), np.float32)
BITS = tape.pack_bits(IMAGES)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tape.binary_conv2d(IMAGES, KERNEL[:, :3]), ShapeError, "x has 4 channels, w exp"),
        (lambda: tape.binary_conv2d(IMAGES, KERNEL[0]), ShapeError, r"w must be .* \(4, 3, 3\)"),
        (lambda: tape.binary_conv2d(IMAGES[0, 0], KERNEL), ShapeError, r"x must be .* \(5, 5\)"),
        (lambda: tape.binary_conv2d(IMAGES, KERNEL, stride=0), ShapeError, "at least 1"),
        (lambda: tape.binary_conv2d(IMAGES, KERNEL, padding=-1), ShapeError, "not be negative"),
        (lambda: tape.binary_conv2d(IMAGES, KERNEL, groups=4), ShapeError, "does not divide"),
        (lambda: tape.binary_conv2d(IMAGES, KERNEL, pad_value=0.5), ShapeError, "0, 1 or -1"),
        (lambda: tape.binary_conv2d(IMAGES, KERNEL, window=-1), ShapeError, "window is a number"),
        (lambda: tape.binary_conv2d(IMAGES[:, :, :2], KERNEL), ShapeError, "does not fit"),
        (lambda: tape.binary_conv2d(IMAGES.astype(int), KERNEL), DTypeError, "x is int64"),
        (lambda: tape.binary_conv2d(IMAGES, KERNEL.astype(int)), DTypeError, "2d: w is int64"),
        (
            lambda: tape.binary_conv2d(IMAGES, KERNEL, stride=1.5),
            ShapeError,
            "binary_conv2d: strid",
        ),
        (lambda: tape.binary_conv2d(IMAGES, KERNEL, groups="2"), ShapeError, "integer, got '2'"),
        (lambda: tape.binary_conv2d(2.0, KERNEL), ShapeError, r"x must be .* got \(\)"),
        (lambda: tape.binary_conv2d(IMAGES, 2.0), ShapeError, r"binary_conv2d: w must .* got \(\)"),
        (lambda: tape.binary_conv2d(tape.pack_bits(IMAGES, 2), KERNEL), ShapeError, "along axis 2"),
        (lambda: tape.binary_matmul(np.ones((2, 3)), np.ones((4, 2))), ShapeError, r"\(2, 3\) and"),
        (lambda: tape.binary_matmul(np.ones((2, 3)), np.ones(3)), ShapeError, r"and \(3,\)"),
        (lambda: tape.binary_matmul(np.ones((2, 3), int), np.ones((3, 2))), DTypeError, "int64"),
        (lambda: tape.binary_matmul(IMAGES, [[1.0]]), DTypeError, "matmul: w is list"),
        (lambda: tape.pack_bits(BITS), DTypeError, "packed already"),
        (lambda: tape.pack_bits(IMAGES, border=1), ShapeError, "border is 1, expected"),
        (lambda: tape.pack_bits(IMAGES, border=(0.5, 0, 0, 0)), ShapeError, "border is .0.5"),
        (lambda: tape.binary_max_pool2d(BITS, 2, border=1), ValueError, "border is 1, expected"),
        (lambda: tape.pack_bits([1.0]), DTypeError, "x is list"),
        (lambda: tape.pack_bits(IMAGES, 4), tape.AxisError, "axis 4"),
        (lambda: tape.pack_bits(IMAGES, 0, border=(1, 1, 1, 1)), ShapeError, "along axis 1"),
        (lambda: tape.unpack_bits(IMAGES), DTypeError, "expected PackedBits"),
        (lambda: tape.sign_ste(np.ones(3, int)), DTypeError, "sign_ste: x is int64"),
        (lambda: tape.sign_ste(IMAGES, 10**400), ShapeError, "window is a number"),
        (lambda: tape.binary_max_pool2d(IMAGES, 2), DTypeError, "expected PackedBits"),
        (lambda: tape.binary_max_pool2d(BITS, 6), ShapeError, "does not fit"),
        (lambda: tape.sign_thresholds(lambda a: a * np.nan, 9, 3), ValueError, "filter 0 at -9"),
        (
            lambda: tape.sign_thresholds(lambda a: a, -1, 3),
            ValueError,
            "reach is -1, expected a wh",
        ),
        (lambda: tape.sign_thresholds(lambda a: a, 1.5, 3), ValueError, "reach is 1.5, expected"),
        (lambda: tape.sign_thresholds(lambda a: a, 2**80, 3), ValueError, "reach is 12089"),
        (lambda: tape.sign_thresholds(lambda a: a, 9, -1), ValueError, "filters is -1, expected"),
        (lambda: tape.pack_bits(IMAGES, border=(2**31, 0, 0, 0)), ShapeError, "border is .21474"),
        (lambda: tape.sign_thresholds(lambda a: a[:2], 9, 3), ValueError, r"shape \(2,\)"),
        (
            lambda: tape.binary_conv2d(IMAGES, KERNEL, padding=2**28),
            MemoryError,
            r"no memory for a result of shape \(1, ",
        ),
        (lambda: tape.linear_bits(BITS, KERNEL), DTypeError, "expected float32 or float64"),
    ],
)
def test_bad_calls_are_refused_with_numbers(call, error, message):
    with pytest.raises(error, match=message):
        call()
