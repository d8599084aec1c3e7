"""Pooling to a size, interpolation, windows as columns: against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import DTypeError, ShapeError
from tape.testing import gradcheck

sizes = st.integers(1, 9)
seeds = st.integers(0, 99)
NUMBERS = [np.nan, np.inf, -np.inf, 0.0, 1.0, 2.0, 3.0]


def special(seed, shape):
    """Many ties, now and then NaN and infinities."""
    odds = [0.04, 0.03, 0.03, *[0.9 / 4] * 4]
    return np.random.default_rng(seed).choice(NUMBERS, shape, p=odds)


def bin_of(i, n, m):
    return slice(i * n // m, -(-(i + 1) * n // m))


@given(st.tuples(sizes, sizes), st.tuples(sizes, sizes), seeds)
def test_adaptive_pools_take_every_bin_and_nothing_else(image, size, seed):
    x = special(seed, (2, 3, *image))
    mean = tape.adaptive_avg_pool2d(x, size).numpy()
    largest, index = tape.adaptive_max_pool2d(x, size, return_indices=True)
    for i, j in np.ndindex(*size):
        rows, columns = bin_of(i, image[0], size[0]), bin_of(j, image[1], size[1])
        part = x[:, :, rows, columns]
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(mean[:, :, i, j], part.mean((2, 3)), rtol=1e-12)
        np.testing.assert_array_equal(largest.numpy()[:, :, i, j], part.max((2, 3)))
    found = np.take_along_axis(x.reshape(2, 3, -1), index.numpy().reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(found.reshape(largest.shape), largest.numpy())


@given(sizes, sizes, seeds)
def test_sequences_pool_as_images_of_one_row(n, m, seed):
    x = special(seed, (2, 3, n))
    image = x[:, :, None]
    for one, two in [
        (tape.adaptive_avg_pool1d, tape.adaptive_avg_pool2d),
        (tape.adaptive_max_pool1d, tape.adaptive_max_pool2d),
    ]:
        row = two(image, (1, m)).numpy()[:, :, 0]
        np.testing.assert_array_equal(one(x, m).numpy(), row)
        np.testing.assert_array_equal(one(x[0], m).numpy(), row[0])
    k, s, p = min(m, n), 1 + seed % 3, min(m, n) // 2
    y, index = tape.max_pool1d(x, k, s, p, return_indices=True)
    assert index.dtype.name == "int64"
    np.testing.assert_array_equal(y.numpy(), np.take_along_axis(x, index.numpy(), 2))
    rows = tape.max_pool2d(image, (1, k), (1, s), (0, p)).numpy()[:, :, 0]
    np.testing.assert_array_equal(y.numpy(), rows)
    rows = tape.avg_pool2d(image, (1, k), (1, s), (0, p), False, False).numpy()[:, :, 0]
    np.testing.assert_array_equal(tape.avg_pool1d(x, k, s, p, False, False).numpy(), rows)


def test_indices_are_those_of_the_plane_for_one_image_as_well():
    x = tape.tensor([[[1.0, 5.0], [7.0, 2.0]]])
    for y, index in [
        tape.max_pool2d(x, (1, 2), return_indices=True),
        tape.adaptive_max_pool2d(x, (2, 1), return_indices=True),
    ]:
        assert y.tolist() == [[[5.0], [7.0]]]
        assert index.tolist() == [[[1], [2]]]


@pytest.mark.parametrize("p", [1, 2, 3, 2.5])
def test_lp_pool_is_the_norm_of_each_window(p):
    x = np.random.default_rng(0).uniform(0.1, 2, (2, 3, 6))
    expected = np.linalg.norm(x.reshape(2, 3, 3, 2), p, axis=-1)
    np.testing.assert_allclose(tape.lp_pool1d(x, p, 2).numpy(), expected, rtol=1e-12)
    both = np.linalg.norm(x.reshape(2, 3, 6), p, axis=1)[:, None]
    np.testing.assert_allclose(tape.lp_pool2d(x, p, (3, 1)).numpy(), both, rtol=1e-12)
    assert gradcheck(lambda x: tape.lp_pool1d(x, p, 2), [x], order=2)


def test_lp_pool_of_infinite_order_takes_the_largest_or_least_modulus():
    x = tape.tensor([[[-3.0, 2.0], [1.0, -1.0]]])
    assert tape.lp_pool2d(x, np.inf, 2).tolist() == [[[3.0]]]
    assert tape.lp_pool2d(x, -np.inf, (1, 2)).tolist() == [[[2.0], [1.0]]]
    for p in (0, np.nan):
        with pytest.raises(ValueError, match="lp_pool1d: the order p must not be"):
            tape.lp_pool1d(x, p, 2)
    with pytest.raises(TypeError, match="lp_pool2d: the order p must be a number, got 'two'"):
        tape.lp_pool2d(x, "two", 2)


# -- interpolate -------------------------------------------------------------------------------


@given(sizes, sizes, st.booleans(), seeds)
def test_linear_interpolation_lies_on_the_line_through_the_pixels(n, m, align, seed):
    x = np.random.default_rng(seed).standard_normal(n)
    i = np.arange(m)
    at = i * ((n - 1) / (m - 1) if m > 1 else 0) if align else (i + 0.5) * n / m - 0.5
    expected = np.interp(at, np.arange(n), x)
    y = tape.interpolate(x[None, None], m, mode="linear", align_corners=align)
    np.testing.assert_allclose(y.numpy()[0, 0], expected, rtol=1e-9, atol=1e-12)
    plane = x[:, None] * np.array([1.0, 3.0])
    y = tape.interpolate(plane[None, None], (m, 3), mode="bilinear", align_corners=align)
    np.testing.assert_allclose(y.numpy()[0, 0, :, 1], expected * 2, rtol=1e-9, atol=1e-12)


@given(st.lists(sizes, min_size=1, max_size=2), st.integers(1, 4), seeds)
def test_whole_scales_repeat_the_nearest_and_average_areas_back(shape, r, seed):
    x = np.random.default_rng(seed).standard_normal((1, 2, *shape))
    expected = x
    for axis in range(2, x.ndim):
        expected = expected.repeat(r, axis)
    for mode in ("nearest", "nearest-exact"):
        y = tape.interpolate(x, scale_factor=r, mode=mode)
        np.testing.assert_array_equal(y.numpy(), expected)
    back = tape.interpolate(y, x.shape[2:], mode="area")
    np.testing.assert_allclose(back.numpy(), x, rtol=1e-12)


def test_bicubic_interpolation_goes_through_the_pixels_where_corners_lie_on_each_other():
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 5))
    y = tape.interpolate(x, (7, 13), mode="bicubic", align_corners=True).numpy()
    np.testing.assert_allclose(y[:, :, ::2, ::3], x, atol=1e-12)


MODES = [
    ("nearest", (5,), 8),
    ("nearest-exact", (5, 3), (3, 4)),
    ("linear", (5,), 7),
    ("bilinear", (3, 4), (5, 3)),
    ("bicubic", (3, 5), (4, 4)),
    ("trilinear", (2, 3, 2), (3, 2, 4)),
    ("area", (5, 4), (3, 3)),
]


@pytest.mark.parametrize(("mode", "shape", "size"), MODES)
def test_gradients_of_interpolation_are_right_to_the_second_order(mode, shape, size):
    x = np.random.default_rng(0).standard_normal((1, 2, *shape))
    assert gradcheck(lambda x: tape.interpolate(x, size, mode=mode) ** 2, [x], order=2)


def test_gradients_of_adaptive_pools_are_right_to_the_second_order():
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 7))
    for pool in (tape.adaptive_avg_pool2d, tape.adaptive_max_pool2d):
        assert gradcheck(lambda x, pool=pool: pool(x, (3, None)) ** 2, [x], order=2)


ONES = np.ones((2, 3, 4, 5))
REFUSED = [
    (lambda: tape.interpolate(ONES, mode="cubic", size=3), ValueError, "mode 'cubic' is not known"),
    (lambda: tape.interpolate(ONES, mode="linear", size=3), ShapeError, "takes x of 3 axes, got"),
    (lambda: tape.interpolate(ONES), ValueError, "either size or scale_factor"),
    (lambda: tape.interpolate(ONES, 3, 2), ValueError, "either size or scale_factor"),
    (lambda: tape.interpolate(ONES, (3, 3, 3)), ShapeError, "one number or 2 of them"),
    (lambda: tape.interpolate(ONES, 0), ShapeError, "lengths must be at least 1"),
    (lambda: tape.interpolate(ONES, 2.5), ShapeError, "integers of at least 0, got 2.5"),
    (lambda: tape.interpolate(ONES, scale_factor=0), ShapeError, "numbers above 0, got 0"),
    (lambda: tape.interpolate(ONES, scale_factor=0.1), ShapeError, "lengths must be at least 1"),
    (lambda: tape.interpolate(ONES, 2**70), ShapeError, "interpolate: size must be at most"),
    (lambda: tape.interpolate(ONES, scale_factor=1e30), ShapeError, "size must be at most"),
    (lambda: tape.adaptive_max_pool2d(ONES, 2**70), ShapeError, "output_size must be at most"),
    (lambda: tape.pad(ONES, 2**70, "replicate"), ShapeError, "pad: widths .* must be at most"),
    (lambda: tape.interpolate(ONES, 3, align_corners=True), ValueError, "for linear and cubic"),
    (lambda: tape.interpolate(ONES, 3, antialias=True), ValueError, "antialias is not supported"),
    (lambda: tape.interpolate(ONES > 0, 3), DTypeError, "interpolate: x is bool, expected float"),
    (lambda: tape.adaptive_avg_pool2d(ONES[:, :, :0], 2), ShapeError, "without elements to pool"),
    (lambda: tape.adaptive_avg_pool1d(ONES, 2), ShapeError, r"adaptive_avg_pool1d: .*\(N, C, L\)"),
    (lambda: tape.adaptive_max_pool2d(ONES, (2, 3, 4)), ShapeError, "integer or 2 of them"),
    (lambda: tape.adaptive_max_pool2d(ONES, -1), ShapeError, "at least 0, got -1"),
    (lambda: tape.adaptive_max_pool2d(ONES > 0, 3), DTypeError, "adaptive_max_pool2d: x is bool"),
    (lambda: tape.max_pool1d(ONES, 2), ShapeError, r"max_pool1d: x must be \(N, C, L\)"),
    (lambda: tape.max_pool1d(ONES[0], (2, 2)), ShapeError, "max_pool1d: kernel is an integer or"),
    (lambda: tape.avg_pool1d(ONES[0], 9), ShapeError, "avg_pool1d: a window of .* does not fit"),
    (lambda: tape.unfold(ONES, 9), ShapeError, "unfold: a window of .* does not fit"),
    (
        lambda: tape.fold(np.ones((2, 3, 9)), 4, 2),
        ShapeError,
        r"fold: x must be \(N, C \* 2 \* 2, L\)",
    ),
    (lambda: tape.fold(np.ones((4, 8)), 4, 2), ShapeError, r"8 columns, .* has 3 \* 3 windows"),
    (lambda: tape.pixel_shuffle(ONES, 2), ShapeError, r"2 \* 2 does not divide the 3 channels"),
    (lambda: tape.pixel_shuffle(ONES, 1.5), ShapeError, "upscale_factor must be an integer"),
    (lambda: tape.pixel_unshuffle(ONES, 2), ShapeError, "2 does not divide the image"),
    (lambda: tape.pixel_unshuffle(ONES[0, 0], 2), ShapeError, r"x must be \(\.\.\., C, H, W\)"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_what_does_not_fit_is_refused_in_words(call, error, match):
    with pytest.raises(error, match=match):
        call()


# -- windows as columns, channels as pixels ------------------------------------------------------


@given(st.integers(0, 2), st.integers(1, 2), st.integers(1, 2), seeds)
def test_a_convolution_is_a_product_with_the_columns(padding, stride, dilation, seed):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((2, 3, 6, 7)), rng.standard_normal((4, 3, 3, 2))
    settings = {"padding": padding, "stride": stride, "dilation": dilation}
    columns = tape.unfold(x, (3, 2), **settings)
    y = tape.conv2d(x, w, **settings)
    product = w.reshape(4, -1) @ columns.numpy()
    np.testing.assert_allclose(product.reshape(y.shape), y.numpy(), atol=1e-12)
    g = rng.standard_normal(columns.shape)
    back = tape.fold(g, (6, 7), (3, 2), **settings)
    assert (back.numpy() * x).sum() == pytest.approx((g * columns.numpy()).sum())
    assert tape.unfold(x[0], (3, 2), **settings).tolist() == columns.numpy()[0].tolist()


@given(st.lists(st.integers(0, 2), max_size=2), st.integers(1, 3), st.integers(0, 2), sizes)
def test_pixels_shuffled_and_back_are_as_before(lead, r, C, n):
    x = np.arange(np.prod([*lead, C * r * r, n, 2])).reshape(*lead, C * r * r, n, 2)
    y = tape.pixel_shuffle(x, r)
    assert y.shape == (*lead, C, n * r, 2 * r)
    assert tape.pixel_unshuffle(y, r).tolist() == x.tolist()
    if x.size:
        assert y.numpy()[..., 0, 0, r - 1] == pytest.approx(x[..., r - 1, 0, 0])


@pytest.mark.parametrize("pool", [tape.adaptive_avg_pool1d, tape.adaptive_max_pool1d])
def test_pooling_to_nothing_has_a_gradient_of_zeros(pool):
    x = tape.ones((1, 2, 5)).requires_grad_()
    y = pool(x, 0)
    assert y.shape == (1, 2, 0)
    assert not np.any(tape.grad(y.sum(), x).numpy())


def test_an_axis_that_keeps_its_length_is_copied_whatever_the_scale():
    x = tape.tensor(np.arange(10.0).reshape(1, 1, 5, 2))
    for mode in ("bilinear", "nearest"):
        y = tape.interpolate(x, scale_factor=(1.19, 2.0), mode=mode)  # lengths 5 and 4
        assert y.tolist() == tape.interpolate(x, (5, 4), mode=mode).tolist()
    doubled = tape.interpolate(x, scale_factor=(2.1, 1.0))
    assert doubled[0, 0, :, 0].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
