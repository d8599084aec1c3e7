"""Pooling (pool.h) on every instruction set of this machine and any number of threads."""

import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from isas import ISAS, beside_a_guard
from layouts import dtypes, generators

import tape
from tape._kernels import table
from tape._kernels.avg_pool import avg_pool2d, avg_pool2d_scatter
from tape._kernels.max_pool import max_pool2d, max_pool2d_gather, max_pool2d_scatter
from tape._kernels.window import window_count

pytestmark = pytest.mark.usefixtures("kernels_as_before")


def counts(shape, kernel, stride, padding, dilation, ceil_mode=False):
    """Numbers of windows, or None where none fits."""
    try:
        return [
            window_count(size, k, s, *p, d, ceil_mode=ceil_mode)
            for size, k, s, p, d in zip(shape[2:], kernel, stride, padding, dilation, strict=True)
        ]
    except ValueError:
        return None


def max_reference(x, kernel, stride, padding, dilation, ceil_mode=False):
    """Tap by tap: the first maximum in reading order, the last NaN."""
    out = counts(x.shape, kernel, stride, padding, dilation, ceil_mode)
    y = np.full((*x.shape[:2], *out), -np.inf, x.dtype)
    index = np.full(y.shape, -1, np.int32)
    for tap in np.ndindex(*kernel):
        ih, iw = (
            np.arange(n) * s + t * d - p[0]
            for n, s, t, d, p in zip(out, stride, tap, dilation, padding, strict=True)
        )
        oh, ow = (
            np.nonzero((i >= 0) & (i < n))[0] for i, n in zip((ih, iw), x.shape[2:], strict=True)
        )
        rows, columns = np.ix_(oh, ow)
        ih, iw = np.ix_(ih[oh], iw[ow])
        v, best, where = x[:, :, ih, iw], y[:, :, rows, columns], index[:, :, rows, columns]
        larger = (where < 0) | (v > best) | np.isnan(v)
        y[:, :, rows, columns] = np.where(larger, v, best)
        index[:, :, rows, columns] = np.where(larger, ih * x.shape[3] + iw, where)
    return y, index


def numbers(rng, shape, dtype):
    """Many ties, now and then NaN, infinity and both zeros."""
    special = [np.nan, -np.inf, np.inf, -0.0, 0.0, 1.0, -1.0, 2.0, 3.0, -2.0]
    odds = [0.02] * 3 + [0.94 / 7] * 7
    return rng.choice(np.array(special, dtype), shape, p=odds)


@st.composite
def geometries(draw):
    pair = st.integers(0, 3), st.integers(0, 3)
    size, stride = st.integers(1, 50), st.sampled_from([1, 2, 2, 3, 4, 5, 9])
    shape = draw(st.tuples(st.just(1), st.integers(1, 3), size, size))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    padding = draw(st.tuples(st.tuples(*pair), st.tuples(*pair)))
    dilation = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    settings = kernel, draw(st.tuples(stride, stride)), padding, dilation
    ceil_mode = draw(st.booleans())
    assume(counts(shape, *settings, ceil_mode))
    return shape, settings, ceil_mode


@pytest.mark.parametrize("isa", ISAS)
@given(geometries(), dtypes, generators)
def test_max_pool_is_right_on_every_instruction_set(isa, geometry, dtype, rng):
    table.use(isa)
    shape, settings, ceil_mode = geometry
    x = numbers(rng, shape, dtype)
    y, index = max_pool2d(x, *settings, ceil_mode=ceil_mode)
    expected, where = max_reference(x, *settings, ceil_mode)
    np.testing.assert_array_equal(index, where)
    assert y.tobytes() == np.where(where < 0, y, expected).tobytes()
    assert np.all(y[where < 0] == -np.inf)


NONE = ((0, 0), (0, 0))
LARGE = [  # more than one band of rows, streams by tap, windows of the whole image
    ((2, 2, 300, 70), ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))),
    ((1, 2, 90, 333), ((2, 3), (1, 1), NONE, (1, 1))),
    ((1, 2, 90, 333), ((2, 3), (3, 2), ((0, 1), (1, 0)), (5, 40))),
    ((2, 3, 64, 64), ((64, 64), (1, 1), NONE, (1, 1))),
    ((2, 1, 40, 5000), ((5, 5), (7, 11), ((2, 2), (2, 2)), (1, 1))),
    ((1, 1, 6, 2), ((2, 2), (2**30, 2**30), ((1, 0), (1, 0)), (1, 1))),
    ((1, 1, 3, 1), ((2, 1), (1, 1), ((2**20, 0), (0, 0)), (2**20, 1))),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("shape", "settings"), LARGE)
def test_images_larger_than_a_band_and_settings_that_leave_gaps_pool_alike(isa, shape, settings):
    table.use(isa)
    x = numbers(np.random.default_rng(1), shape, np.float32)
    y, index = max_pool2d(x, *settings)
    expected, where = max_reference(x, *settings)
    np.testing.assert_array_equal(index, where)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(7, 5, 60, 61), (1, 2, 500, 300)])
def test_threads_change_no_bit_of_a_pooling_nor_of_its_gradient(isa, shape):
    table.use(isa)
    rng = np.random.default_rng(2)
    x = numbers(rng, shape, np.float32)
    results = []
    for threads in (1, 2, 3, 8):
        tape.set_num_threads(threads)
        y, index = max_pool2d(x, (3, 3), (2, 2), ((1, 1), (0, 0)))
        g = np.random.default_rng(3).standard_normal(y.shape).astype(np.float32)
        back = max_pool2d_scatter(g, index, *shape[2:]), max_pool2d_gather(x, index)
        results.append([a.tobytes() for a in (y, index, *back)])
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("threads", [1, 4])
def test_of_several_bad_indices_the_first_is_named(threads):
    tape.set_num_threads(threads)
    g = np.zeros((8, 8, 100, 100), np.float32)
    index = np.zeros(g.shape, np.int32)
    index[2, 1, 3, 4], index[7, 7, 1, 1] = 10_000, -2
    for call in (
        lambda: max_pool2d_scatter(g, index, 100, 100),
        lambda: max_pool2d_gather(g, index),
    ):
        with pytest.raises(ValueError, match="index 10000 is outside of an image of 100 x 100"):
            call()


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_read_beyond_the_last_plane(isa, dtype):
    table.use(isa)
    rng = np.random.default_rng(4)
    for h, w in [(1, 1), (3, 3), (5, 40), (11, 11), (28, 28), (9, 65)]:
        for k, s in [(1, 1), (1, 2), (2, 2), (3, 2), (3, 1), (2, 3)]:
            if k <= min(h, w):
                x = beside_a_guard(numbers(rng, (2, 2, h, w), dtype))
                y, index = max_pool2d(x, (k, k), (s, s))
                expected, where = max_reference(x, (k, k), (s, s), NONE, (1, 1))
                np.testing.assert_array_equal(index, where)
                np.testing.assert_array_equal(y, expected)
                max_pool2d_gather(beside_a_guard(x), beside_a_guard(index))


def avg_reference(x, kernel, stride, padding, ceil_mode, counts_padding, divisor):
    """The sum of every window in a wider type, and what it is divided by."""
    out = counts(x.shape, kernel, stride, padding, (1, 1), ceil_mode)
    y, pixels = np.zeros((*x.shape[:2], *out), np.longdouble), np.zeros(out)
    for tap in np.ndindex(*kernel):
        ih, iw = (
            np.arange(n) * s + t - p[0]
            for n, s, t, p in zip(out, stride, tap, padding, strict=True)
        )
        sides = list(zip((ih, iw), x.shape[2:], padding, strict=True))
        padded = [(i < n + p[1]) for i, n, p in sides]
        inside = [(i >= 0) & (i < n) for i, n, _ in sides]
        pixels += np.outer(*(padded if counts_padding else inside))
        rows, columns = np.ix_(*(np.nonzero(i)[0] for i in inside))
        ih, iw = np.ix_(ih[inside[0]], iw[inside[1]])
        y[:, :, rows, columns] += x[:, :, ih, iw]
    return y, np.broadcast_to(divisor, out) if divisor else np.maximum(pixels, 1)


@pytest.mark.parametrize("isa", ISAS)
@given(geometries(), dtypes, generators, st.booleans(), st.sampled_from([0, 0, 7, -3]))
def test_means_and_their_gradient_are_right_on_every_instruction_set(
    isa, geometry, dtype, rng, counts_padding, divisor
):
    table.use(isa)
    shape, (kernel, stride, padding, _), ceil_mode = geometry
    assume(counts(shape, kernel, stride, padding, (1, 1), ceil_mode))
    modes = {"ceil_mode": ceil_mode, "count_include_pad": counts_padding, "divisor": divisor}
    x = rng.standard_normal(shape).astype(dtype)
    y = avg_pool2d(x, kernel, stride, padding, **modes)
    total, pixels = avg_reference(x, kernel, stride, padding, *modes.values())
    few = 2 * sum(kernel) * np.finfo(dtype).eps
    np.testing.assert_allclose(y, (total / pixels).astype(dtype), rtol=few, atol=few)
    whole = rng.integers(-8, 9, shape).astype(dtype)  # the adjoint, in exact numbers
    modes["divisor"] = 1
    y = avg_pool2d(whole, kernel, stride, padding, **modes)
    g = rng.integers(-8, 9, y.shape).astype(dtype)
    dx = avg_pool2d_scatter(g, *shape[2:], kernel, stride, padding, **modes)
    assert (dx * whole).sum() == (g * y).sum()


def means_and_gradient(x, settings, **modes):
    y = avg_pool2d(x, *settings, **modes)
    g = np.random.default_rng(3).standard_normal(y.shape).astype(x.dtype)
    return y, avg_pool2d_scatter(g, *x.shape[2:], *settings, **modes)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("k", [2, 3])
def test_threads_change_no_bit_of_a_mean_nor_of_its_gradient(isa, k):
    table.use(isa)
    x = np.random.default_rng(2).standard_normal((7, 5, 60, 61)).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 8):
        tape.set_num_threads(threads)
        both = means_and_gradient(x, ((k, k), (2, 2), ((1, 1), (0, 0))), count_include_pad=False)
        results.append([a.tobytes() for a in both])
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((1, 1, 6, 2), ((2, 2), (2**30, 2**30), ((1, 0), (1, 0)))),
        ((1, 1, 3, 4), ((2**30, 2**30), (1, 1), ((2**29, 2**29), (2**29, 2**29 - 1)))),
        ((1, 2, 3, 3), ((2**30, 2**30), (2**30, 2**30), ((2**30, 2**29), (2**30, 2**29)))),
        ((1, 2, 3, 3), ((2, 2), (1, 1), ((40, 0), (0, 40)))),
        ((2, 0, 3, 3), ((2, 2), (1, 1), NONE)),
        ((2, 1, 0, 3), ((2, 2), (1, 1), ((1, 1), (1, 1)))),
    ],
)
def test_windows_that_are_mostly_padding_have_means(shape, settings):
    x = np.ones(shape)
    y, dx = means_and_gradient(x, settings, divisor=1)
    rows, columns = (
        np.maximum(
            0,
            np.minimum(np.arange(n) * s - p[0] + k, size) - np.maximum(np.arange(n) * s - p[0], 0),
        )
        for n, k, s, p, size in zip(y.shape[2:], *settings, shape[2:], strict=True)
    )
    np.testing.assert_array_equal(y, np.broadcast_to(np.outer(rows, columns), y.shape))
    assert dx.shape == shape


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_mean_reads_beyond_the_last_plane(isa, dtype):
    table.use(isa)
    rng = np.random.default_rng(4)
    for h, w in [(1, 1), (3, 3), (5, 40), (11, 11), (28, 28), (9, 65)]:
        for k, s in [(1, 1), (1, 2), (2, 2), (3, 2), (3, 1), (2, 3)]:
            if k <= min(h, w):
                x = rng.standard_normal((2, 2, h, w)).astype(dtype)
                y = avg_pool2d(beside_a_guard(x), (k, k), (s, s))
                np.testing.assert_array_equal(y, avg_pool2d(x, (k, k), (s, s)))
                dx = avg_pool2d_scatter(y, h, w, (k, k), (s, s))
                again = avg_pool2d_scatter(beside_a_guard(y), h, w, (k, k), (s, s))
                np.testing.assert_array_equal(again, dx)
