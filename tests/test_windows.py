"""Windows over images (tape._kernels.window, max_pool, avg_pool) against plain loops."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from layouts import KEEPING, dtypes, generators, laid_out, layouts

from tape._kernels.avg_pool import avg_pool2d, avg_pool2d_scatter
from tape._kernels.max_pool import max_pool2d, max_pool2d_gather, max_pool2d_scatter
from tape._kernels.window import fold, unfold, window_count


def count(size, window, stride, before, after, dilation, ceil_mode=False):
    """Number of windows along an axis by definition, or 0 where not one fits."""
    span, total = (window - 1) * dilation + 1, before + size + after
    full = sum(o * stride + span <= total for o in range(total + 1))
    leftover = (full - 1) * stride + span < total
    return full + (ceil_mode and leftover and full * stride < before + size)


@dataclass
class Case:
    """Images and window settings that fit each other."""

    shape: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    ceil_mode: bool

    def __post_init__(self):
        self.counts = tuple(
            count(*sizes, self.ceil_mode)
            for sizes in zip(
                *[self.shape[2:], self.kernel, self.stride],
                *[*zip(*self.padding, strict=True), self.dilation],
                strict=True,
            )
        )

    def taps(self):
        """Every tap of every window: (oh, ow, r, s, ih, iw), also outside of the image."""
        for oh, ow, r, s in np.ndindex(*self.counts, *self.kernel):
            ih = oh * self.stride[0] + r * self.dilation[0] - self.padding[0][0]
            iw = ow * self.stride[1] + s * self.dilation[1] - self.padding[1][0]
            yield oh, ow, r, s, ih, iw

    def holds(self, ih, iw):
        return 0 <= ih < self.shape[2] and 0 <= iw < self.shape[3]

    def numbers(self, rng, dtype, *shape):
        """Small whole numbers, whose sums are exact in every dtype."""
        return rng.integers(-9, 10, shape or self.shape).astype(dtype)


@st.composite
def cases(draw, max_dilation=3, ceil_modes=False):
    pairs = st.tuples
    small, batch = st.integers(0, 2), st.sampled_from([1, 2, 3, 1, 2, 0])
    size, dilation = st.sampled_from(range(9, -1, -1)), st.integers(1, max_dilation)
    case = Case(
        shape=(draw(batch), draw(batch), draw(size), draw(size)),
        kernel=draw(pairs(st.integers(1, 4), st.integers(1, 4))),
        stride=draw(pairs(st.integers(1, 3), st.integers(1, 3))),
        padding=draw(pairs(pairs(small, small), pairs(small, small))),
        dilation=draw(pairs(dilation, dilation)),
        ceil_mode=ceil_modes and draw(st.booleans()),
    )
    assume(min(case.counts) > 0)
    return case


def settings_of(case):
    return case.kernel, case.stride, case.padding, case.dilation


# Unfold and fold


@given(
    *[st.integers(0, 12), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4)],
    *[st.integers(0, 4), st.integers(1, 4), st.booleans()],
)
def test_windows_are_counted_by_definition(size, window, stride, before, after, dilation, ceil):
    expected = count(size, window, stride, before, after, dilation, ceil)
    if expected == 0:
        with pytest.raises(ValueError, match=r"^window_count: a window of"):
            window_count(size, window, stride, before, after, dilation, ceil_mode=ceil)
    else:
        counted = window_count(size, window, stride, before, after, dilation, ceil_mode=ceil)
        assert counted == expected


def test_a_window_beyond_the_padding_must_start_before_the_padding_after_the_image():
    assert window_count(5, 2, 2, ceil_mode=True) == 3
    assert window_count(3, 1, 3, ceil_mode=True) == 1
    assert window_count(3, 2, 3, 1, 1, ceil_mode=True) == 2
    assert window_count(2, 2, 3, 1, 1, ceil_mode=True) == 1
    assert window_count(2, 3, 2, ceil_mode=True) == 1


@given(cases(), dtypes, layouts, generators, st.sampled_from([0.0, -np.inf, 2.5]))
def test_unfold_takes_the_pixel_under_every_tap(case, dtype, layout, rng, fill):
    x = case.numbers(rng, dtype)
    n, c = case.shape[:2]
    expected = np.full((n, c, *case.kernel, *case.counts), fill, dtype)
    for oh, ow, r, s, ih, iw in case.taps():
        if case.holds(ih, iw):
            expected[:, :, r, s, oh, ow] = x[:, :, ih, iw]
    cols = unfold(laid_out(x, layout), *settings_of(case), fill)
    assert cols.dtype == dtype
    assert cols.shape == (n, c * np.prod(case.kernel), np.prod(case.counts))
    np.testing.assert_array_equal(cols, expected.reshape(cols.shape))


@given(cases(), dtypes, layouts, generators)
def test_fold_is_the_adjoint_of_unfold(case, dtype, layout, rng):
    x = case.numbers(rng, dtype)
    cols = unfold(x, *settings_of(case))
    c = case.numbers(rng, dtype, *cols.shape)
    dx = fold(laid_out(c, layout), case.shape, *settings_of(case))
    assert dx.dtype == dtype
    assert dx.shape == x.shape
    assert (dx * x).sum() == (c * cols).sum()


@given(cases(), generators)
def test_fold_is_the_adjoint_to_rounding_for_any_numbers(case, rng):
    x = rng.normal(size=case.shape)
    c = rng.normal(size=unfold(x, *settings_of(case)).shape)
    left = (fold(c, case.shape, *settings_of(case)) * x).sum()
    right = (c * unfold(x, *settings_of(case))).sum()
    assert left == pytest.approx(right, rel=1e-12, abs=1e-12)


def test_taps_outside_of_every_column_read_nothing():
    # An image of its own allocation: a sanitizer would see a step beyond its last row.
    x = np.ones((1, 1, 400, 1))
    cols = unfold(x, (1, 3), (1, 1), ((0, 0), (2, 2)), (1, 2), fill=-3.0)
    np.testing.assert_array_equal(cols[0], np.repeat([[-3.0], [1.0], [-3.0]], 400, axis=1))


# Maximum


def max_reference(case, x):
    """The first maximum in reading order; NaN takes over from whatever came before."""
    y = np.full((*case.shape[:2], *case.counts), -np.inf, x.dtype)
    index = np.full(y.shape, -1, np.int32)
    for n, c in np.ndindex(*case.shape[:2]):
        for oh, ow, _, _, ih, iw in case.taps():
            at = n, c, oh, ow
            if case.holds(ih, iw):
                v = x[n, c, ih, iw]
                if index[at] < 0 or v > y[at] or np.isnan(v):
                    y[at], index[at] = v, ih * case.shape[3] + iw
    return y, index


@given(cases(ceil_modes=True), dtypes, layouts, generators)
def test_max_pool_names_the_first_maximum(case, dtype, layout, rng):
    special = [np.nan, -np.inf, np.inf, -0.0, *[0.0] * 2, *[1.0] * 4, *[-1.0] * 4]
    x = rng.choice(np.array(special, dtype), case.shape)
    if rng.random() < 0.5:
        x = case.numbers(rng, dtype)
    y, index = max_pool2d(laid_out(x, layout), *settings_of(case), ceil_mode=case.ceil_mode)
    expected, where = max_reference(case, x)
    assert y.dtype == dtype
    assert index.dtype == np.int32
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, where)


def test_a_window_that_holds_no_pixel_is_minus_infinity_from_nowhere():
    x = np.ones((1, 1, 2, 2))
    y, index = max_pool2d(x, (2, 1), (1, 1), ((1, 1), (0, 0)), (3, 1))
    assert np.all(y == -np.inf)
    assert np.all(index == -1)
    assert not max_pool2d_scatter(np.ones_like(y), index, 2, 2).any()
    assert not max_pool2d_gather(x, index).any()


@given(cases(ceil_modes=True), dtypes, layouts, layouts, generators)
def test_scatter_and_gather_are_adjoint(case, dtype, layout, other, rng):
    x = case.numbers(rng, dtype)
    y, index = max_pool2d(x, *settings_of(case), ceil_mode=case.ceil_mode)
    g = case.numbers(rng, dtype, *y.shape)
    where = laid_out(index, other if other != "byte-swapped" else "C")
    dx = max_pool2d_scatter(laid_out(g, layout), where, *case.shape[2:])
    taken = max_pool2d_gather(laid_out(x, layout), where)
    np.testing.assert_array_equal(taken, np.where(index < 0, 0, y))
    assert dx.dtype == taken.dtype == dtype
    assert (dx * x).sum() == (g * taken).sum()


# Average


def avg_reference(case, x, count_include_pad):
    total = np.zeros((*case.shape[:2], *case.counts))
    pixels = np.zeros(case.counts)
    (top, bottom), (left, right) = case.padding
    for oh, ow, _, _, ih, iw in case.taps():
        if case.holds(ih, iw):
            total[:, :, oh, ow] += x[:, :, ih, iw]
        padded = -top <= ih < case.shape[2] + bottom and -left <= iw < case.shape[3] + right
        pixels[oh, ow] += padded if count_include_pad else case.holds(ih, iw)
    return total / np.maximum(pixels, 1)


undilated = cases(max_dilation=1, ceil_modes=True)


@given(undilated, dtypes, layouts, generators, st.booleans())
def test_avg_pool_is_the_mean_of_every_window(case, dtype, layout, rng, count_include_pad):
    x = case.numbers(rng, dtype)
    y = avg_pool2d(
        laid_out(x, layout),
        *settings_of(case)[:3],
        ceil_mode=case.ceil_mode,
        count_include_pad=count_include_pad,
    )
    assert y.dtype == dtype
    expected = avg_reference(case, x, count_include_pad)
    np.testing.assert_allclose(y, expected.astype(dtype), rtol=2 * np.finfo(dtype).eps)


@given(undilated, dtypes, layouts, generators, st.booleans())
def test_avg_pool_scatter_is_the_adjoint_of_avg_pool(case, dtype, layout, rng, include):
    flags = {"ceil_mode": case.ceil_mode, "count_include_pad": include}
    x = case.numbers(rng, dtype)
    y = avg_pool2d(x, *settings_of(case)[:3], **flags)
    g = case.numbers(rng, dtype, *y.shape)
    dx = avg_pool2d_scatter(laid_out(g, layout), *case.shape[2:], *settings_of(case)[:3], **flags)
    assert dx.dtype == dtype
    assert dx.shape == x.shape
    left, right = float((dx * x).sum()), float((g * y).sum())
    scale = float(np.abs(dx * x).sum()) + 1
    assert left == pytest.approx(right, abs=32 * float(np.finfo(dtype).eps) * scale)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_reach_exactly_the_windows_that_hold_them(value):
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 1, 2] = value
    y = avg_pool2d(x, (2, 2))[0, 0]
    hit = np.zeros((3, 3), bool)
    hit[0:2, 1:3] = True
    np.testing.assert_array_equal(y[hit], np.full(4, value))
    np.testing.assert_array_equal(y[~hit], np.zeros(5))


def test_rows_longer_than_a_vector_agree_with_loops():
    rng = np.random.default_rng(3)
    for stride, padding in [((1, 1), (1, 1)), ((2, 2), (0, 1)), ((1, 3), (2, 0))]:
        case = Case((2, 1, 5, 37), (3, 3), stride, (padding, padding), (1, 1), False)
        x = case.numbers(rng, np.float32)
        y, index = max_pool2d(x, *settings_of(case))
        expected, where = max_reference(case, x)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(index, where)
        mean = avg_pool2d(x, *settings_of(case)[:3])
        np.testing.assert_allclose(mean, avg_reference(case, x, True), rtol=3e-7, atol=1e-7)


# Bad calls

X = np.zeros((1, 2, 4, 5), np.float32)
INDEX = np.zeros((1, 2, 3, 3), np.int32)
KEPT = {"kernel": (2, 2), "stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
MAX = 2**31 - 1


@pytest.mark.parametrize("op", [unfold, max_pool2d])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stride": (0, 1)}, f"stride is (0, 1), expected numbers from 1 to {MAX}"),
        ({"stride": (1, -2)}, f"stride is (1, -2), expected numbers from 1 to {MAX}"),
        ({"stride": 2}, "stride is 2, expected two whole numbers"),
        ({"dilation": (1, 0)}, f"dilation is (1, 0), expected numbers from 1 to {MAX}"),
        ({"kernel": (0, 2)}, f"kernel is (0, 2), expected numbers from 1 to {MAX}"),
        ({"kernel": (2, 2, 2)}, "kernel is (2, 2, 2), expected two whole numbers"),
        ({"kernel": (2, 2**40)}, f"kernel is (2, {2**40}), expected numbers from 1 to {MAX}"),
        (
            {"padding": ((0, -1), (0, 0))},
            f"padding of height is (0, -1), expected numbers from 0 to {MAX}",
        ),
        ({"padding": (1, 1)}, "padding of height is 1, expected two whole numbers"),
        ({"padding": 1}, "padding is 1, expected ((top, bottom), (left, right))"),
        (
            {"kernel": (2, 3), "dilation": (1, 4), "padding": ((0, 0), (1, 2))},
            "a window of 3 with dilation 4 spans 9, but width is only 1 + 5 + 2 with its padding",
        ),
    ],
)
def test_settings_out_of_range_are_refused_with_their_numbers(op, changed, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (compared whole below)
        op(X, **{**KEPT, **changed})
    assert str(error.value) == f"{op.__name__}: {message}"


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: unfold(X.tolist(), (2, 2)), TypeError, "unfold: x is a list, expected a NumPy"),
        (lambda: unfold(X.astype(int), (2, 2)), TypeError, "unfold: x is int64, expected float32"),
        (lambda: avg_pool2d(X[0], (2, 2)), ValueError, "avg_pool2d: x has shape (2, 4, 5), exp"),
        (lambda: avg_pool2d(X, (5, 2)), ValueError, "avg_pool2d: a window of 5 with dilation 1"),
        (lambda: unfold(X, (2.5, 2)), TypeError, "cannot be interpreted as an integer"),
        (
            lambda: unfold(X, (2, 2), (1, 1), ((MAX, MAX), (MAX, MAX))),
            ValueError,
            f"unfold: {2**32 + 1} times {2**32 + 2} elements are more than memory can address",
        ),
        (
            lambda: fold(np.zeros((1, 8, 9)), (1, 2, 4, 5), (2, 2)),
            ValueError,
            "fold: cols has shape (1, 8, 9), expected (1, 8, 12) for images (1, 2, 4, 5)",
        ),
        (
            lambda: fold(np.zeros((1, 8, 12)), (4, 5), (2, 2)),
            ValueError,
            "fold: image_shape is (4, 5), expected (N, C, H, W)",
        ),
        (
            lambda: fold(np.zeros((1, 8, 12)), (1, -2, 4, 5), (2, 2)),
            ValueError,
            "fold: image_shape is (1, -2, 4, 5), expected sizes of at least 0",
        ),
        (
            lambda: max_pool2d(np.zeros((0, 1, 2**16, 2**16)), (2, 2)),
            ValueError,
            f"max_pool2d: a plane of 65536 x 65536 pixels is more than {MAX}",
        ),
        (
            lambda: max_pool2d_scatter(X[:, :, :3, :3], INDEX + 20, 4, 5),
            ValueError,
            "max_pool2d_scatter: index 20 is outside of an image of 4 x 5 pixels",
        ),
        (
            lambda: max_pool2d_gather(X, INDEX - 2),
            ValueError,
            "max_pool2d_gather: index -2 is outside of an image of 4 x 5 pixels",
        ),
        (
            lambda: max_pool2d_scatter(X, INDEX, 4, 5),
            ValueError,
            "max_pool2d_scatter: index has shape (1, 2, 3, 3), but g (1, 2, 4, 5)",
        ),
        (
            lambda: max_pool2d_gather(X[:, :1], INDEX),
            ValueError,
            "max_pool2d_gather: index has shape (1, 2, 3, 3), but x (1, 1, 4, 5)",
        ),
        (
            lambda: max_pool2d_gather(X, INDEX.astype(np.int64)),
            TypeError,
            "max_pool2d_gather: index is not an array of int32, as max_pool2d gives it",
        ),
        (
            lambda: max_pool2d_scatter(X[:, :, :3, :3], INDEX, -1, 5),
            ValueError,
            "max_pool2d_scatter: the image is -1 x 5, expected sizes of at least 0",
        ),
        (
            lambda: avg_pool2d_scatter(X, 4, 5, (2, 2)),
            ValueError,
            "avg_pool2d_scatter: g has shape (1, 2, 4, 5), but an image of 4 x 5 has 3 x 4 windows",
        ),
        (
            lambda: avg_pool2d_scatter(X, -4, 5, (2, 2)),
            ValueError,
            f"avg_pool2d_scatter: height is -4, expected a number from 0 to {2**62}",
        ),
    ],
)
def test_operands_that_do_not_fit_are_refused_with_their_numbers(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert message in str(error.value)


@pytest.mark.parametrize("layout", KEEPING)
def test_a_layout_changes_no_number(layout):
    array = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(laid_out(array, layout), array)
