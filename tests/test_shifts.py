"""Sums of shifted multiples: the kernel behind lookups, against sums written out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isas import ISAS, beside_a_guard

import tape
from tape._kernels import table
from tape._kernels.shifts import shifted_sums

pytestmark = pytest.mark.usefixtures("_set_back")


@pytest.fixture(scope="module")
def _set_back():
    isa, threads = table.used(), tape.get_num_threads()
    yield
    table.use(isa)
    tape.set_num_threads(threads)


def written_out(x, starts, offsets, factors, bias, rows, width, pitch, relu):
    y = np.zeros((len(x), len(starts) - 1, rows, width))
    places = np.arange(rows)[:, None] * pitch + np.arange(width)
    for o, (a, b) in enumerate(itertools.pairwise(starts)):
        for e in range(a, b):
            y[:, o] += factors[e] * x[:, offsets[e] + places]
        y[:, o] += 0 if bias is None else bias[o]
    return np.maximum(y, 0) if relu else y


@st.composite
def sums(draw):
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    dtype = draw(st.sampled_from(["f", "d"]))
    rows, width = draw(st.integers(1, 9)), draw(st.integers(1, 70))
    pitch = width + draw(st.integers(0, 5))
    beyond = draw(st.integers(0, 50))
    images, kinds = draw(st.integers(0, 3)), draw(st.integers(0, 9))
    counts = rng.integers(0, 6, kinds)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    x = rng.standard_normal((images, (rows - 1) * pitch + width + beyond)).astype(dtype)
    offsets = rng.integers(0, beyond + 1, starts[-1]).astype(np.intp)
    factors = rng.standard_normal(starts[-1]).astype(dtype)
    bias = rng.standard_normal(kinds).astype(dtype) if draw(st.booleans()) else None
    return x, starts, offsets, factors, bias, rows, width, pitch


@pytest.mark.parametrize("isa", ISAS)
@given(sums(), st.booleans())
def test_sums_are_those_written_out_and_read_nothing_beyond(isa, drawn, relu):
    table.use(isa)
    x, starts, offsets, factors, *rest = drawn
    guarded = [beside_a_guard(a) if a.size else a for a in (x, starts, offsets, factors)]
    y = shifted_sums(*guarded, *rest, relu=relu)
    assert y.dtype == x.dtype
    tolerance = 1e-5 if x.dtype == "f" else 1e-13
    expected = written_out(x, starts, offsets, factors, *rest, relu)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 40, 60), (5, 3, 200), (2, 64, 1)])
def test_results_do_not_depend_on_how_many_threads_there_are(shape):
    images, kinds, width = shape
    rng = np.random.default_rng(0)
    starts = (np.arange(kinds + 1) * 50).astype(np.intp)
    offsets = rng.integers(0, 3000, kinds * 50).astype(np.intp)
    x = rng.standard_normal((images, 3000 + 40 * width)).astype("f")
    factors = rng.standard_normal(offsets.size).astype("f")
    found = []
    for threads in (1, 2, 5):
        tape.set_num_threads(threads)
        found.append(shifted_sums(x, starts, offsets, factors, None, 40, width, width))
    assert all(np.array_equal(y, found[0]) for y in found)


def test_nan_stays_nan_under_relu():
    x = np.array([[np.nan, -1.0, 2.0]])
    terms = np.array([0, 1]), np.array([0]), np.array([1.0])
    y = shifted_sums(x, *terms, None, 1, 3, 3, relu=True)
    np.testing.assert_array_equal(y, [[[[np.nan, 0.0, 2.0]]]])


GOOD = {
    "x": np.zeros((1, 9)),
    "starts": np.array([0, 2]),
    "offsets": np.array([0, 1]),
    "factors": np.ones(2),
    "bias": None,
    "rows": 2,
    "width": 3,
    "pitch": 4,
}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": np.zeros((1, 9), int)}, TypeError, "x is int64, expected float32 or float64"),
        ({"x": np.zeros(9)}, ValueError, r"x has shape \(9,\), expected 2 axes"),
        ({"starts": np.array([0.0, 2.0])}, TypeError, "starts must be an array"),
        ({"offsets": np.array([[0, 1]])}, TypeError, "offsets must be an array"),
        ({"starts": np.array([0, 3])}, ValueError, "starts go from 0 to 3, not 0 to 2"),
        ({"starts": np.array([0, 3, 2])}, ValueError, "starts fall from 3 to 2"),
        ({"starts": np.array([], np.intp)}, ValueError, "do not match"),
        ({"offsets": np.array([0, 3])}, ValueError, "offset 3 is not from 0 to 2"),
        ({"offsets": np.array([-1, 0])}, ValueError, "offset -1 is not from 0 to 2"),
        ({"factors": np.ones(3)}, ValueError, "do not match"),
        ({"factors": np.ones(2, "f")}, TypeError, "must be float64 as x"),
        ({"bias": np.ones(2)}, ValueError, "do not match"),
        ({"rows": 0}, ValueError, "0 rows of 3 numbers"),
        ({"pitch": 2}, ValueError, "2 rows of 3 numbers of 2"),
        ({"rows": 2**62}, ValueError, "are more than 9 numbers"),
        ({"width": 8, "pitch": 8}, ValueError, "offset 0 is not from 0 to -7"),
    ],
)
def test_calls_that_would_read_elsewhere_are_refused(change, error, words):
    assert shifted_sums(**GOOD).shape == (1, 1, 2, 3)
    with pytest.raises(error, match=words):
        shifted_sums(**{**GOOD, **change})
