"""Look-ups by integers against NumPy; gradients against counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tape
from tape.errors import AxisError, DTypeError, IndexRangeError, ShapeError


@st.composite
def lookups(draw, max_dims=3):
    """An array, an axis, and indices into it, some of them negative or equal."""
    x = draw(npst.arrays("float64", npst.array_shapes(max_dims=max_dims), elements=st.just(0.0)))
    x += np.arange(x.size).reshape(x.shape)
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    shape = draw(npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=5))
    dtype = draw(st.sampled_from(["int64", "int32", "uint8"]))
    low = 0 if dtype == "uint8" else -n
    return x, axis, draw(npst.arrays(dtype, shape, elements=st.integers(low, n - 1)))


@given(lookups())
def test_take_is_numpys_and_its_gradient_counts_every_use(case):
    x, axis, indices = case
    t = tape.tensor(x, requires_grad=True)
    for way in [axis, None]:
        if way is None and indices.size:
            indices = indices % x.size
        y = tape.take(t, tape.tensor(indices), axis=way)
        np.testing.assert_array_equal(y.numpy(), np.take(x, indices, way), strict=True)
        g = np.arange(1.0, y.size + 1).reshape(y.shape)
        chosen = np.take(np.arange(x.size).reshape(x.shape), indices, way)
        by_hand = np.bincount(chosen.ravel(), g.ravel(), x.size).reshape(x.shape)
        np.testing.assert_array_equal(tape.grad(y, t, g).numpy(), by_hand)


@given(st.data())
def test_take_along_axis_is_numpys_and_its_gradient_counts_every_use(data):
    shape = data.draw(npst.array_shapes(max_dims=3, max_side=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    lengths = [data.draw(st.sampled_from([n, 1])) for n in shape]
    lengths[axis] = data.draw(st.integers(0, 5))
    n = shape[axis]
    indices = data.draw(npst.arrays("int64", tuple(lengths), elements=st.integers(-n, n - 1)))
    x = np.arange(float(np.prod(shape))).reshape(shape)
    t = tape.tensor(x, requires_grad=True)
    y = tape.take_along_axis(t, tape.tensor(indices), axis=axis)
    np.testing.assert_array_equal(y.numpy(), np.take_along_axis(x, indices, axis=axis), strict=True)
    g = np.arange(1.0, y.size + 1).reshape(y.shape)
    chosen = np.take_along_axis(np.arange(x.size).reshape(shape), indices, axis=axis)
    by_hand = np.bincount(chosen.ravel(), g.ravel(), x.size).reshape(shape)
    np.testing.assert_array_equal(tape.grad(y, t, g).numpy(), by_hand)


def test_take_along_axis_sorts_by_argsort():
    x = np.random.default_rng(0).normal(size=(3, 5))
    order = x.argsort(axis=0)
    assert tape.take_along_axis(x, order, axis=0).tolist() == np.sort(x, axis=0).tolist()


def test_take_names_itself_in_its_errors():
    x = tape.tensor(np.zeros((2, 3)))
    with pytest.raises(IndexRangeError, match=r"take: index 3 at \(1,\) .* axis 1 of length 3"):
        tape.take(x, [0, 3], axis=1)
    with pytest.raises(AxisError, match="take: axis 2 is out of range"):
        tape.take(x, [0], axis=2)
    with pytest.raises(DTypeError, match="take: indices must be integers, got float64"):
        tape.take(x, np.zeros(2), axis=1)


# -- embedding ------------------------------------------------------------------------------------


@given(lookups(max_dims=1), st.integers(1, 4), st.sampled_from(["float32", "float64"]))
def test_embedding_looks_rows_up_and_adds_their_gradients_up(case, m, dtype):
    x, _, indices = case
    indices = np.abs(indices) % x.size
    weight = np.arange(x.size * m, dtype=dtype).reshape(x.size, m)
    t = tape.tensor(weight, requires_grad=True)
    y = tape.embedding(indices, t)
    np.testing.assert_array_equal(y.numpy(), weight[indices], strict=True)
    g = np.arange(y.size, dtype=dtype).reshape(y.shape)
    by_hand = np.zeros_like(weight)
    np.add.at(by_hand, indices, g)
    np.testing.assert_array_equal(tape.grad(y, t, g).numpy(), by_hand, strict=True)


@pytest.mark.parametrize("padding_idx", [1, -2])
def test_the_row_of_the_padding_gets_no_gradient(padding_idx):
    indices = tape.tensor([[0, 1], [1, 2]])
    weight = tape.tensor(np.ones((3, 2)), requires_grad=True)
    y = tape.embedding(indices, weight, padding_idx=padding_idx)
    assert y.tolist() == np.ones((2, 2, 2)).tolist()
    slope = tape.grad((y * y).sum(), weight, create_graph=True)
    assert slope.tolist() == [[2.0, 2.0], [0.0, 0.0], [2.0, 2.0]]
    # The second derivative does not find a way around it either.
    assert tape.grad(slope.sum(), weight).tolist() == [[2.0, 2.0], [0.0, 0.0], [2.0, 2.0]]


@pytest.mark.parametrize("index", [4, -1, -5, 2**31, -(2**31), 2**63 - 1, -(2**63)])
def test_an_embedding_tells_the_index_that_has_no_row(index):
    weight = tape.tensor(np.zeros((4, 2)), requires_grad=True)
    words = rf"embedding: index {index} at \(1, 0\) is out of range for a weight of 4 rows"
    with pytest.raises(IndexRangeError, match=words):
        tape.embedding(np.array([[0, 3], [index, 1]]), weight)


def test_an_embedding_of_the_same_tokens_is_computed_once():
    weight = tape.tensor(np.zeros((4, 2)), requires_grad=True)
    tokens = tape.tensor([1, 2])
    with tape.Tape() as t:
        a, b = tape.embedding(tokens, weight), tape.embedding(tokens, weight)
        assert (t.evaluations, t.hits) == (1, 1)
    assert a.serial == b.serial


@pytest.mark.parametrize("padding_idx", [None, 1])
def test_several_look_ups_in_one_weight_add_up(padding_idx):
    weight = tape.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    tokens = [tape.tensor(2), tape.tensor([0, 1, 1]), tape.tensor([[2, 2]])]
    rows = [tape.embedding(t, weight, padding_idx=padding_idx) for t in tokens]
    loss = sum((row * row).sum() for row in rows)
    counts = np.array([[1], [2 if padding_idx is None else 0], [3]])
    assert tape.grad(loss, weight).tolist() == (2 * counts * weight.numpy()).tolist()


@pytest.mark.parametrize("norm_type", [1, 2.0, 2.5, np.inf])
def test_longer_rows_are_looked_up_scaled_and_keep_their_gradient(norm_type):
    weight = tape.tensor([[3.0, -4.0], [0.1, 0.2]], dtype="float64", requires_grad=True)
    y = tape.embedding([1, 0, 0], weight, max_norm=2.0, norm_type=norm_type)
    norms = np.linalg.norm(y.numpy(), norm_type, 1)
    np.testing.assert_allclose(norms[1:], 2.0, rtol=1e-7)
    assert y.tolist()[0] == [0.1, 0.2]
    assert weight.tolist()[0] == [3.0, -4.0]
    assert tape.grad(y.sum(), weight).tolist() == [[2.0, 2.0], [1.0, 1.0]]


def test_gradients_of_rows_are_divided_by_how_often_they_were_looked_up():
    weight = tape.tensor(np.ones((4, 1)), requires_grad=True)
    y = tape.embedding([[0, 2], [2, 3]], weight, padding_idx=3, scale_grad_by_freq=True)
    g = np.array([[[1.0], [2.0]], [[4.0], [8.0]]])
    assert tape.grad(y, weight, g).tolist() == [[1.0], [0.0], [3.0], [0.0]]


def test_a_look_up_leaves_no_node_behind():
    weight = tape.tensor(np.zeros((4, 2)), requires_grad=True)
    before = tape.live_nodes()
    y = tape.embedding(tape.tensor([1, 2]), weight)[[0, 0]].sum()
    y.backward()
    del y
    weight.grad = None
    assert tape.live_nodes() == before


# -- one_hot, argwhere ----------------------------------------------------------------------------


@given(lookups(max_dims=1), st.sampled_from(["float32", "int64", "bool"]))
def test_one_hot_has_its_one_at_the_label(case, dtype):
    x, _, labels = case
    labels, n = np.abs(labels) % x.size, x.size
    y = tape.one_hot(labels, n, dtype=dtype)
    np.testing.assert_array_equal(y.numpy(), np.eye(n, dtype=dtype)[labels], strict=True)


@pytest.mark.parametrize("label", [3, -1, -4, 2**31, -(2**31), 2**63 - 1, -(2**63)])
def test_one_hot_tells_the_label_that_has_no_class(label):
    words = rf"one_hot: label {label} at \(1,\) is out of range for 3 classes"
    with pytest.raises(IndexRangeError, match=words):
        tape.one_hot(np.array([0, label, 7]), 3)


def test_labels_and_tokens_may_be_lists_of_integers():
    weight = tape.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert tape.embedding([[1], [0]], weight).tolist() == [[[3, 4]], [[1, 2]]]
    assert tape.embedding(1, weight).tolist() == [3, 4]
    assert tape.embedding([], weight).shape == (0, 2)
    assert tape.one_hot([1, 0], 2).tolist() == [[0, 1], [1, 0]]
    assert tape.one_hot([], 2).shape == (0, 2)
    tape.embedding([1, 1], weight).sum().backward()
    assert weight.grad.tolist() == [[0, 0], [2, 2]]


def test_one_hot_of_one_label_and_of_bad_settings():
    assert tape.one_hot(2, 3).tolist() == [0.0, 0.0, 1.0]
    assert tape.one_hot(2, 3).dtype == "float32"
    with pytest.raises(DTypeError, match="labels must be integers, got bool"):
        tape.one_hot(np.array([True]), 3)
    with pytest.raises(DTypeError, match=r"complex64.* is not supported"):
        tape.one_hot(np.array([1]), 3, dtype="complex64")
    with pytest.raises(ShapeError, match=r"n_classes 2\.5 must be"):
        tape.one_hot(np.array([1]), 2.5)


@given(npst.arrays("int64", npst.array_shapes(min_side=0, max_dims=3), elements=st.integers(0, 1)))
def test_argwhere_and_nonzero_are_numpys(x):
    np.testing.assert_array_equal(tape.argwhere(x).numpy(), np.argwhere(x), strict=True)
    for got, expected in zip(tape.nonzero(x), np.nonzero(x), strict=True):
        np.testing.assert_array_equal(got.numpy(), expected, strict=True)


def test_nonzero_needs_an_axis_and_what_it_finds_is_a_key():
    with pytest.raises(ShapeError, match="nonzero: a 0-d tensor"):
        tape.nonzero(tape.tensor(1.0))
    x = tape.tensor([[0.0, 2.0], [3.0, 0.0]], requires_grad=True)
    assert x[tape.nonzero(x)].tolist() == [2.0, 3.0]
    assert tape.grad(x[tape.nonzero(x)].sum(), x).tolist() == [[0.0, 1.0], [1.0, 0.0]]
