"""Elements by their place and by their order: scatter and gather, topk, median, quantile."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape.testing import arrays, gradcheck

X = tape.tensor([[4.0, 1.0, 2.0], [0.0, 5.0, 3.0]], dtype="float64")
REFUSED = [
    (
        lambda: tape.masked_fill(X, X, 1.0),
        tape.DTypeError,
        "masked_fill: mask is float64, expected",
    ),
    (
        lambda: tape.masked_fill(X, X > 1, X),
        tape.ShapeError,
        r"masked_fill: value has shape \(2, 3",
    ),
    (lambda: tape.gather(X, 2, [[0]]), tape.AxisError, "gather: axis 2 is out of range"),
    (lambda: tape.gather(X, 0, [0]), tape.ShapeError, r"gather: x \(2, 3\) and index \(1,\) must"),
    (
        lambda: tape.gather(X, 0, [[0], [0], [2]]),
        tape.IndexRangeError,
        r"gather: index 2 at \(2, 0",
    ),
    (lambda: tape.gather(X, 0, [[-1]]), tape.IndexRangeError, r"gather: index -1 at \(0, 0\)"),
    (
        lambda: tape.gather(X, 1, [[0], [0], [0]]),
        tape.ShapeError,
        r"index \(3, 1\) is longer than x",
    ),
    (lambda: tape.gather(X, 0, [[0.5]]), tape.DTypeError, "gather: index must be integers"),
    (
        lambda: tape.scatter(X, 0, [[0]], [1.0]),
        tape.ShapeError,
        r"scatter: src \(1,\) is too sh",
    ),
    (lambda: tape.scatter(X, 0, [[2]], 1.0), tape.IndexRangeError, "scatter: index 2 at"),
    (lambda: tape.scatter_add(X, 1, [[3]], X), tape.IndexRangeError, "scatter_add: index 3 at"),
    (
        lambda: tape.index_add(X, 0, [[0]], X),
        tape.ShapeError,
        r"index_add: index \(1, 1\) must have",
    ),
    (
        lambda: tape.index_add(X, 0, [0], X),
        tape.ShapeError,
        r"source \(2, 3\) must be \(1, 3\) for",
    ),
    (lambda: tape.index_add(X, 0, [2], X[:1]), tape.IndexRangeError, "index_add: index 2 at"),
    (
        lambda: tape.topk(X, 4),
        ValueError,
        r"topk: k is 4, not in \[0, 3\], along axis 1 of \(2, 3\)",
    ),
    (lambda: tape.topk(X, 1, 2), tape.AxisError, "topk: axis 2 is out of range"),
    (lambda: tape.quantile(X, 1.5), ValueError, r"quantile: q 1.5 is not in \[0, 1\]"),
    (lambda: tape.quantile(X, math.nan), ValueError, "quantile: q nan is not in"),
    (
        lambda: tape.quantile(X, 0.5, method="best"),
        ValueError,
        "quantile: method is 'best', none of",
    ),
    (lambda: tape.quantile(X[:0], 0.5, 0), tape.ShapeError, r"axis 0 of \(0, 3\) is empty"),
    (lambda: tape.quantile(X, [[0.5]]), tape.ShapeError, r"quantile: q has shape \(1, 1\)"),
    (lambda: tape.cumulative_max(X), tape.AxisError, "cumulative_max: .* has 2 axes: give the one"),
    (
        lambda: tape.cumulative_min(X, axis=2),
        tape.AxisError,
        "cumulative_min: axis 2 is out of range",
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_a_wrong_call_is_refused_in_the_name_of_the_function(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_gather_is_the_adjoint_of_scatter_add():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 5, (4, 2))
    x, source = rng.normal(size=(5, 3)), rng.normal(size=(4, 2))
    added = tape.scatter_add(tape.zeros((5, 3), dtype="float64"), 0, index, source)
    assert np.sum(added.numpy() * x) == pytest.approx(
        np.sum(tape.gather(x, 0, index).numpy() * source)
    )
    assert gradcheck(lambda x: tape.gather(x, 0, index), [x], order=2)
    assert gradcheck(lambda x, s: tape.scatter_add(x, 0, index, s), [x, source], order=2)


def test_of_a_place_written_twice_the_last_is_kept_and_x_gets_no_gradient():
    x = tape.zeros(3, requires_grad=True)
    y = tape.scatter(x, 0, [1, 1], tape.tensor([7.0, 8.0]))
    assert y.tolist() == [0.0, 8.0, 0.0]
    assert tape.grad(y.sum(), x).tolist() == [1.0, 0.0, 1.0]


def test_scatter_takes_the_beginning_of_a_longer_src():
    y = tape.scatter(tape.zeros((2, 3)), 1, [[2], [0]], tape.tensor([[1.0, 9.0], [2.0, 9.0]]))
    assert y.tolist() == [[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]]


def test_no_index_moves_nothing():
    none = np.zeros((0, 3), np.int64)
    assert tape.gather(X, 0, none).shape == (0, 3)
    for function in (tape.scatter, tape.scatter_add):
        np.testing.assert_array_equal(function(X, 0, none, none.astype(float)).numpy(), X.numpy())


def test_a_filled_number_does_not_change_the_dtype():
    x = tape.tensor([1, 2, 3])
    assert tape.masked_fill(x, x > 1, 0).dtype == np.int64
    assert tape.masked_fill(tape.ones(2), [True, False], X[0, 0]).dtype == np.float32


@given(arrays(shape=(3, 4), elements=st.integers(-3, 3).map(float)), st.sampled_from([0, 1, -1]))
def test_topk_is_the_beginning_of_a_stable_order(x, axis):
    n = x.shape[axis]
    for k in (0, 1, n):
        values, indices = tape.topk(x, k, axis)
        order = np.argsort(-x, axis, kind="stable")[(slice(None),) * (axis % 2) + (slice(0, k),)]
        np.testing.assert_array_equal(indices.numpy(), order)
        np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, order, axis))
        smallest, _ = tape.topk(x, k, axis, largest=False)
        np.testing.assert_array_equal(smallest.numpy(), -tape.topk(-x, k, axis)[0].numpy())


@given(
    arrays(
        shape=st.sampled_from([(2, 500), (600,), (500, 3)]),
        elements=st.sampled_from([0.0, 1.0, 1.0, 1.0, 5.0, 200.0]),
    ),
    st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]),
    st.sampled_from([1, 2, 7]),
    st.booleans(),
    st.sampled_from([0.0, 0.02, 0.98]),
)
def test_a_few_of_many_are_the_beginning_of_a_stable_order_too(x, dtype, k, largest, share):
    x = x.astype(dtype)
    if x.dtype.kind == "f":
        x[np.random.default_rng(0).random(x.shape) < share] = np.nan
    axis = int(np.argmax(x.shape))
    values, indices = tape.topk(x, k, axis, largest=largest)
    rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
    found = np.moveaxis(indices.numpy(), axis, -1).reshape(-1, k)
    for row, places in zip(rows, found, strict=True):
        last = [(np.isnan(a), 0 if np.isnan(a) else float(a)) for a in row]
        sign = -1 if largest else 1
        order = sorted(range(len(row)), key=lambda i: (sign * last[i][0], sign * last[i][1], i))
        assert places.tolist() == order[:k]
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, indices.numpy(), axis))


def test_nan_is_the_largest_and_spoils_median_and_quantile():
    x = tape.tensor([1.0, math.nan, 3.0], requires_grad=True)
    values, indices = tape.topk(x, 2)
    assert indices.tolist() == [1, 2]
    assert math.isnan(values.tolist()[0])
    assert math.isnan(tape.median(x).item())
    assert math.isnan(tape.quantile(x, 0.0).item())
    assert math.isnan(tape.cumulative_max(x).tolist()[2])


def test_the_median_of_an_even_number_is_the_lower_one():
    x = tape.tensor([4.0, 1.0, 2.0, 3.0], requires_grad=True)
    y = tape.median(x)
    assert (y.item(), tape.quantile(x, 0.5).item()) == (2.0, 2.5)
    assert tape.grad(y, x).tolist() == [0.0, 0.0, 1.0, 0.0]


@given(
    arrays(shape=(3, 4)),
    st.sampled_from(["linear", "lower", "higher", "midpoint", "nearest"]),
    st.sampled_from([None, 0, 1]),
    st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
def test_quantile_is_numpys(x, method, axis, q):
    truth = np.quantile(x, q, axis, method=method, keepdims=True)
    y = tape.quantile(x, np.array(q), axis, keepdims=True, method=method)
    np.testing.assert_allclose(y.numpy(), truth, rtol=1e-12, atol=1e-12)


def test_quantile_has_gradients_by_values_and_by_share():
    x = np.array([[3.0, 1.0, 7.0], [2.0, 5.0, 4.0]])
    assert gradcheck(lambda x, q: tape.quantile(x, q, 1), [x, np.array([0.3, 0.8])], order=2)


def test_running_extremes_hand_the_gradient_to_the_last_of_equal_ones():
    x = tape.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    y = tape.cumulative_max(x)
    assert y.tolist() == [1.0, 3.0, 3.0, 3.0]
    assert tape.grad(y.sum(), x).tolist() == [1.0, 1.0, 2.0, 0.0]
    assert tape.cumulative_min(-x).tolist() == [-1.0, -3.0, -3.0, -3.0]


def test_logcumsumexp_neither_overflows_nor_makes_nan_of_nothing():
    x = tape.tensor([-math.inf, 1000.0, 1000.0], dtype="float64", requires_grad=True)
    y = tape.logcumsumexp(x)
    assert y.tolist() == [-math.inf, 1000.0, 1000.0 + math.log(2)]
    assert tape.grad(y.sum(), x).tolist() == pytest.approx([0.0, 1.5, 0.5])


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_unique_gives_what_numpy_gives_and_a_gradient_to_the_first(axis):
    x = np.array([[3.0, 1.0, 3.0], [3.0, 1.0, 3.0], [np.nan, 0.0, np.nan]])
    for options in ({}, {"equal_nan": False}):
        truth = np.unique(x, True, True, True, axis, **options)
        found = tape.unique(x, True, True, True, axis, **options)
        for part, expected in zip(found, truth, strict=True):
            np.testing.assert_array_equal(part.numpy(), expected)
    leaf = tape.tensor(x, requires_grad=True)
    y, counts = tape.unique(leaf, return_counts=True, axis=axis)
    assert counts.dtype.name == "int64"
    assert tape.grad(y, leaf, g=np.ones(y.shape)).numpy().sum() == y.size
    assert tape.unique(leaf, axis=axis).shape == y.shape


def test_unique_of_nothing_and_along_an_axis_that_is_not_there():
    assert tape.unique(tape.zeros((0, 2))).shape == (0,)
    assert tape.unique(3.0).tolist() == [3.0]
    with pytest.raises(tape.AxisError, match="unique: axis 2 is out of range for 2 axes"):
        tape.unique(tape.zeros((2, 2)), axis=2)


@pytest.mark.parametrize("reduce", ["add", "multiply"])
def test_scatter_reduces_as_often_as_an_index_comes(reduce):
    x = tape.tensor([1.0, 2.0, 3.0], dtype="float64", requires_grad=True)
    src = tape.tensor([4.0, 0.0, 5.0, 6.0], dtype="float64", requires_grad=True)
    y = tape.scatter(x, 0, [0, 0, 2, 0], src, reduce=reduce)
    assert y.tolist() == ([11.0, 2.0, 8.0] if reduce == "add" else [0.0, 2.0, 15.0])
    slopes = tape.grad(y.sum(), [x, src])
    if reduce == "add":
        assert [s.tolist() for s in slopes] == [[1.0] * 3, [1.0] * 4]
    else:  # of each factor the product of the others, also at zero
        assert [s.tolist() for s in slopes] == [[0.0, 1.0, 5.0], [0.0, 24.0, 3.0, 0.0]]
    gradcheck(lambda x, src: tape.scatter(x, 0, [0, 0, 2, 0], src, reduce=reduce), [x, src])
    assert (
        tape.scatter(x, 0, [1, 1], 3.0, reduce=reduce).tolist()[1]
        == {"add": 8, "multiply": 18}[reduce]
    )
    with pytest.raises(ValueError, match="scatter: reduce is 'max', not 'add', 'multiply' or None"):
        tape.scatter(x, 0, [1], 3.0, reduce="max")


AXIS_ALONE = [
    tape.sum, tape.max, tape.argmax, tape.any, tape.count_nonzero, tape.logsumexp, tape.softmax,
    tape.log_softmax, tape.softmin, tape.cumulative_sum, tape.cumulative_prod, tape.cumulative_max,
    tape.logcumsumexp, tape.sort, tape.argsort, tape.median, tape.linalg.vector_norm,
    lambda x, axis: tape.quantile(x, 0.5, axis), lambda x, axis: tape.topk(x, 1, axis)[0],
]  # fmt: skip


@pytest.mark.parametrize("function", AXIS_ALONE)
def test_a_number_counts_as_a_line_of_one_element(function):
    x = tape.tensor(2.0, dtype="float64", requires_grad=True)
    line = function(tape.reshape(x, (1,)), axis=0)
    for axis in (0, -1):
        y = function(x, axis=axis)
        assert y.shape == ()
        assert y.item() == line.sum().item()
        if y.requires_grad:
            assert tape.grad(y, x).item() == tape.grad(line.sum(), x).item()
    for axis in (1, -2, (0, 0), True):
        with pytest.raises((tape.AxisError, TypeError)):
            function(x, axis=axis)


def test_a_quantile_beside_an_infinity_is_taken_from_the_nearer_end():
    x = tape.tensor([1.0, -np.inf, np.inf], dtype="float64")
    assert tape.quantile(x, [0.4, 0.5, 0.7]).tolist() == [-np.inf, 1.0, np.inf]


def test_the_gradient_of_a_quantile_with_nan_goes_to_the_last_nan():
    x = tape.tensor([[np.nan, 1.0, 2.0]], dtype="float64", requires_grad=True)
    for q, g in ((0.5, 1.0), ([0.0, 0.5], 2.0)):
        assert tape.grad(tape.quantile(x, q, 1).sum(), x).tolist() == [[g, 0.0, 0.0]]
