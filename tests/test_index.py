"""x[key] and x[key] = value against NumPy; gradients against counting by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tape
from tape.errors import AxisError, DTypeError, GradError, IndexRangeError, ShapeError


# Hypothesis likes small numbers: without more weight on full shapes most examples would be empty.
def array_shapes(min_dims, max_dims, max_side):
    full = npst.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=1, max_side=max_side)
    empty = npst.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=0, max_side=max_side)
    return st.integers(0, 5).flatmap(lambda k: empty if k == 5 else full)


SHAPES = array_shapes(1, 4, 4) | array_shapes(0, 4, 4)


def distinct(shape, dtype="float64"):
    """An array whose elements all differ."""
    return np.arange(1, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype)


def zeros(*shape):
    return tape.tensor(np.zeros(shape, "float32"))


def slices():
    bounds = st.none() | st.integers(-6, 6)
    steps = st.none() | st.integers(-3, 3).filter(bool)
    long = st.builds(slice, st.none() | st.integers(-2, 1), st.none(), steps)
    return long | st.just(slice(None)) | st.builds(slice, bounds, bounds, steps)


@st.composite
def index_arrays(draw, n, shape):
    """Integers in [-n, n) of a shape that broadcasts with `shape`; for n = 0 none."""
    if n == 0:
        return np.zeros((*shape[:-1], 0), np.int64)
    kept = [k if draw(st.booleans()) else 1 for k in shape][draw(st.integers(0, len(shape))) :]
    dtype = draw(st.sampled_from(["int64", "int32", "int8", "uint8", "uint64"]))
    low = 0 if dtype.startswith("u") else -n
    return draw(npst.arrays(dtype, tuple(kept), elements=st.integers(low, n - 1)))


@st.composite
def keys(draw, shape):
    """Any key for an array of this shape, arrays and numbers mixed; valid but for masks' counts."""
    common = draw(array_shapes(1, 2, 3))
    parts, axis, has_rest = [], 0, False
    while axis < len(shape) and draw(st.integers(0, 4)) < 4:
        n = shape[axis]
        kind = draw(st.sampled_from(["array", "array", "mask", "slice", "number", "rest"]))
        if kind == "number" and n:
            parts.append(draw(st.integers(-n, n - 1) | st.integers(-n, n - 1).map(np.int64)))
            axis += 1
        elif kind == "array":
            parts.append(draw(index_arrays(n, common)))
            axis += 1
        elif kind == "mask":
            width = draw(st.integers(0, len(shape) - axis))
            parts.append(draw(npst.arrays(bool, shape[axis : axis + width])))
            axis += width
        elif kind == "rest" and not has_rest:
            has_rest = True
            parts.append(...)
            axis += draw(st.integers(0, len(shape) - axis))
        else:
            parts.append(draw(slices()))
            axis += 1
        if draw(st.integers(0, 5)) == 0:
            parts.append(None)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


@st.composite
def cases(draw):
    """An array and a key that NumPy takes for it, arrays of the key perhaps as tensors."""
    shape = draw(SHAPES)
    key = draw(keys(shape))
    x = distinct(shape)
    try:
        x[key]
    except (IndexError, ValueError):
        assume(False)
    return x, key, draw(st.booleans())


def with_tensors(key):
    """The key with tensors in place of arrays."""
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(tape.tensor(p) if isinstance(p, np.ndarray) else p for p in parts)
    return parts if isinstance(key, tuple) else parts[0]


def counted(x, key, g):
    """x's gradient through x[key] by its definition: each element gets g wherever it went."""
    chosen = np.arange(x.size).reshape(x.shape)[key]
    return np.bincount(np.ravel(chosen), np.ravel(g), x.size).reshape(x.shape)


# -- reading --------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(cases())
def test_reading_is_numpys(case):
    x, key, as_tensors = case
    y = tape.tensor(x)[with_tensors(key) if as_tensors else key]
    np.testing.assert_array_equal(y.numpy(), x[key], strict=True)


@settings(max_examples=300)
@given(cases(), st.sampled_from(["float32", "float64"]))
def test_the_gradient_of_reading_counts_every_use(case, dtype):
    x, key, as_tensors = case
    t = tape.tensor(x, dtype=dtype, requires_grad=True)
    y = t[with_tensors(key) if as_tensors else key]
    g = distinct(y.shape, dtype)
    got = tape.grad(y, t, g)
    np.testing.assert_array_equal(got.numpy(), counted(x, key, g).astype(dtype), strict=True)


@given(st.data())
def test_gradients_of_several_reads_of_one_tensor_add_up(data):
    x, key, _ = data.draw(cases())
    uses = [(key, data.draw(st.booleans()))]
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(keys(x.shape))
        try:
            x[key]
        except IndexError:
            continue
        uses.append((key, data.draw(st.booleans())))
    t = tape.tensor(x, dtype="float32", requires_grad=True)
    ys = [t[with_tensors(key) if as_tensors else key] for key, as_tensors in uses]
    gs = [distinct(y.shape, "float32") + i for i, y in enumerate(ys)]
    loss = sum((y * g).sum() for y, g in zip(ys, gs, strict=True)) + (t * 0.5).sum()
    by_hand = sum(counted(x, key, g) for (key, _), g in zip(uses, gs, strict=True)) + 0.5
    for create_graph in (False, True):
        (got,) = tape.grad(loss, [t], create_graph=create_graph)
        np.testing.assert_array_equal(got.numpy(), by_hand.astype("float32"))
    loss.backward()
    np.testing.assert_array_equal(t.grad.numpy(), by_hand.astype("float32"))


@given(cases())
def test_the_gradient_of_reading_is_differentiable(case):
    x, key, as_tensors = case
    t, key_ = tape.tensor(x, requires_grad=True), with_tensors(key) if as_tensors else key
    y = t[key_]
    g = tape.tensor(distinct(y.shape), requires_grad=True)
    slope = tape.grad(y, t, g, create_graph=True)
    h = distinct(x.shape)
    np.testing.assert_array_equal(tape.grad(slope, g, h).numpy(), h[key])


def test_slices_of_few_elements_and_any_step():
    ends = [None, *range(-5, 6)]
    for n in range(5):
        x = distinct((n,))
        t = tape.tensor(x, requires_grad=True)
        for start, stop, step in itertools.product(ends, ends, [None, 1, 2, 3, -1, -2, -3]):
            key = slice(start, stop, step)
            y = t[key]
            g = distinct(y.shape)
            assert y.tolist() == x[key].tolist()
            assert tape.grad(y, t, g).tolist() == counted(x, key, g).tolist()


BEYOND = [2**31, -(2**31), 2**31 - 1, 2**63, -(2**63), 2**63 - 1, 2**64, 10**30]


@pytest.mark.parametrize("index", [3, -4, *BEYOND])
def test_a_number_out_of_range_is_refused_with_axis_and_length(index):
    x = zeros(2, 3)
    with pytest.raises(
        IndexRangeError, match=f"index {index} is out of range for axis 1 of length 3"
    ):
        x[0, index]
    with pytest.raises(IndexRangeError, match=f"index {index} is out of range for axis 1"):
        x[0, index] = 1.0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_an_array_out_of_range_is_refused_with_the_place(dtype):
    facts = np.iinfo(dtype)
    x = tape.tensor(distinct((2, 3)), requires_grad=True)
    for index in [i for i in [3, -4, facts.min, facts.max, *BEYOND] if facts.min <= i <= facts.max]:
        if -3 <= index < 3:
            continue
        array = np.array([[0, 2], [index, 1]], dtype)
        words = rf"index {index} at \(1, 0\) is out of range for axis 1 of length 3"
        for key in [(slice(None), array), (0, array), (slice(0, 0), array), (..., array, None)]:
            with pytest.raises(IndexRangeError, match=words):
                x[key]
        for call in [
            lambda i: tape.take(x, i, axis=1),
            lambda i: tape.take_along_axis(x, i, axis=1),
        ]:
            with pytest.raises(IndexRangeError, match=words):
                call(array)


def test_an_index_is_checked_even_where_the_result_is_empty():
    with pytest.raises(IndexRangeError, match="index 9"):
        zeros(3, 4)[np.array([9]), np.zeros(0, int)]
    with pytest.raises(IndexRangeError, match=r"index 0 .* axis 0 of length 0"):
        zeros(0, 4)[[0]]


def test_zero_d_indices_count_as_numbers_and_bools_as_masks():
    x = distinct((3, 4))
    t = tape.tensor(x)
    for key in [
        np.array(1),
        np.uint8(2),
        True,
        False,
        np.True_,
        np.array(False),
        (0, True),
        (True, [1]),
    ]:
        expected = x[key]
        assert t[key].shape == expected.shape
        assert t[key].tolist() == expected.tolist()
    assert t[tape.tensor(1), tape.tensor(-1)].tolist() == x[1, -1]
    assert t[tape.tensor(True)].tolist() == x[None].tolist()
    assert t[tape.tensor(1) : tape.tensor(3)].tolist() == x[1:3].tolist()


def test_lists_and_empty_lists_are_index_arrays():
    x = distinct((3, 4))
    t = tape.tensor(x)
    for key in [
        [0, 2],
        [[0], [1]],
        [],
        ([], []),
        [True, False, True],
        (slice(None), [3, -4]),
        range(2),
    ]:
        expected = x[list(key)] if isinstance(key, range) else x[key]
        np.testing.assert_array_equal(t[key].numpy(), expected, strict=True)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (1.0, "got 1.0"),
        ("a", "got 'a'"),
        (np.array([1.0]), r"got float64 of shape \(1,\)"),
        ([0.5], r"got float64 of shape \(1,\)"),
        (slice(0, 1.5), "got a slice with 1.5"),
        ([[0], [1, 2]], "an uneven list"),
        ((0, {}), "got {}"),
        (1j, "got 1j"),
    ],
)
def test_what_is_no_index_is_refused(key, words):
    x = zeros(2, 3)
    with pytest.raises(DTypeError, match=words) as info:
        x[key]
    assert info.value.op == "get_item"
    with pytest.raises(DTypeError, match=words) as info:
        x[key] = 0.0
    assert info.value.op == "set_item"


def test_chained_reads_give_the_gradient_of_the_composition():
    x = distinct((4, 5, 3))
    t = tape.tensor(x, requires_grad=True)
    y = t[1:][:, ::-2][[0, 2, 0]][..., 1][1]
    picked = x[1:][:, ::-2][[0, 2, 0]][..., 1][1]
    assert y.tolist() == picked.tolist()
    expected = np.zeros_like(x)
    expected[3, ::-2, 1] = [1, 2, 3]
    np.testing.assert_array_equal(tape.grad(y, t, [1.0, 2.0, 3.0]).numpy(), expected)


def test_a_key_read_twice_is_computed_once():
    x = tape.tensor(distinct((4, 5)), requires_grad=True)
    i, m = tape.tensor([0, 2]), tape.tensor([True, False, True, True])
    for key in [
        0,
        (slice(1, None), ..., None),
        i,
        (i, slice(0, 2)),
        m,
        (slice(None), i),
        (np.int64(1),),
    ]:
        with tape.Tape() as t:
            a, b = x[key], x[key]
            assert (t.evaluations, t.hits) == (1, 1), key
        assert a.serial == b.serial
    with tape.Tape() as t:
        a, b = x[1], x[True]
        assert t.hits == 0


def test_an_array_that_may_change_is_never_taken_for_the_same_index():
    x, i = tape.tensor(distinct((4,)), requires_grad=True), np.array([0, 1])
    first = x[i]
    i[0] = 3
    second = x[i]
    assert (first.tolist(), second.tolist()) == ([1.0, 2.0], [4.0, 2.0])
    assert tape.grad(first.sum(), x).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert tape.grad(second.sum(), x).tolist() == [0.0, 1.0, 0.0, 1.0]


def test_a_read_keeps_the_index_and_not_what_it_read_from():
    x = tape.tensor(distinct((300, 1000)), requires_grad=True)
    with tape.Tape() as t:
        y = (x * 2.0)[[0, 1]]
        held = t.bytes
    assert held < x.nbytes
    assert y.shape == (2, 1000)


def test_gradients_of_equal_indices_are_the_same_bits_on_every_run():
    rng = np.random.default_rng(0)
    w = tape.tensor(rng.normal(size=(7, 5)), dtype="float32", requires_grad=True)
    i = tape.tensor(rng.integers(0, 7, 1000))
    g = rng.normal(size=(1000, 5)).astype("float32")
    first = tape.grad(w[i], w, g).numpy()
    slow = np.zeros((7, 5), "float32")
    np.add.at(slow, i.numpy(), g)
    for _ in range(3):
        assert tape.grad(w[i], w, g).numpy().tobytes() == first.tobytes() == slow.tobytes()


# -- writing --------------------------------------------------------------------------------------


def writable(case):
    """The case, and a value of a shape that broadcasts to x[key] but is not always that."""
    shape = case[0][case[1]].shape
    lengths = st.tuples(*[st.sampled_from([n, 1]) for n in shape])
    drops = st.integers(0, len(shape))
    return st.tuples(st.just(case), st.builds(lambda s, k: s[k:], lengths, drops))


WRITES = cases().flatmap(writable)


@given(WRITES, st.booleans())
def test_writing_is_numpys(write, as_number):
    (x, key, as_tensors), shape = write
    value = -1.5 if as_number else -distinct(shape)
    t, expected = tape.tensor(x), x.copy()
    t[with_tensors(key) if as_tensors else key] = value
    expected[key] = value
    np.testing.assert_array_equal(t.numpy(), expected, strict=True)


@given(WRITES)
def test_a_recorded_write_is_numpys_and_has_both_gradients(write):
    (x, key, as_tensors), shape = write
    chosen = np.arange(x.size).reshape(x.shape)[key]
    assume(np.unique(chosen).size == chosen.size)
    leaf = tape.tensor(x, requires_grad=True)
    value = tape.tensor(-distinct(shape), requires_grad=True)
    y, expected = leaf * 1.0, x.copy()
    y[with_tensors(key) if as_tensors else key] = value
    expected[key] = value.numpy()
    np.testing.assert_array_equal(y.numpy(), expected, strict=True)
    g = distinct(x.shape)
    gx, gv = tape.grad(y, [leaf, value], g)
    expected = g.copy()
    expected[key] = 0.0
    np.testing.assert_array_equal(gx.numpy(), expected)
    ones = g[key].reshape((1,) * (len(shape) - g[key].ndim) + g[key].shape)
    lead = tuple(range(ones.ndim - len(shape)))
    stretched = tuple(i for i in range(len(lead), ones.ndim) if shape[i - len(lead)] == 1)
    by_hand = ones.sum(axis=stretched, keepdims=True).sum(axis=lead)
    np.testing.assert_array_equal(gv.numpy(), by_hand)


@given(WRITES)
def test_a_write_that_fails_leaves_everything_as_it_was(write):
    (x, key, _), shape = write
    t = tape.tensor(x)
    with pytest.raises(ShapeError):
        t[key] = np.zeros((*shape, 7, 5))
    with pytest.raises(DTypeError):
        t[key] = np.zeros(shape, complex)
    assert t.numpy().tobytes() == x.tobytes()
    t[key] = 0.0


def test_where_a_place_is_named_twice_the_last_value_stays():
    t = tape.tensor(distinct((3,)), requires_grad=True)
    value = tape.tensor([10.0, 20.0], requires_grad=True)
    y = t * 1.0
    y[[1, 1]] = value
    assert y.tolist() == [1.0, 20.0, 3.0]
    gx, gv = tape.grad(y, [t, value], [1.0, 2.0, 3.0])
    assert (gx.tolist(), gv.tolist()) == ([1.0, 0.0, 3.0], [2.0, 2.0])


def test_whoever_held_the_old_value_keeps_it():
    x = tape.tensor([1.0, 2.0, 3.0])
    same, view, array = x.detach(), x[1:], x.numpy()
    x[1] = 20.0
    assert x.tolist() == [1.0, 20.0, 3.0]
    assert same.tolist() == array.tolist() == [1.0, 2.0, 3.0]
    assert view.tolist() == [2.0, 3.0]
    view[0] = 7.0
    assert (x.tolist(), view.tolist()) == ([1.0, 20.0, 3.0], [7.0, 3.0])


def test_a_sole_owner_is_written_to_in_place():
    x = zeros(1000)
    address = x.numpy().__array_interface__["data"][0]
    x[3] = 1.0
    x[[1, 2]] = tape.tensor([5.0, 6.0])
    x[x == 5.0] = 7.0
    assert x[:4].tolist() == [0.0, 7.0, 6.0, 1.0]
    assert x.numpy().__array_interface__["data"][0] == address


def test_a_borrowed_array_is_not_written_to():
    a = np.zeros(3)
    t = tape.asarray(a)
    t[0] = 5.0
    assert (a.tolist(), t.tolist()) == ([0.0, 0.0, 0.0], [5.0, 0.0, 0.0])


def test_a_graph_recorded_before_a_write_gives_the_old_gradient():
    x = tape.tensor([1.0, 2.0, 3.0], requires_grad=True)
    before = (x * x).sum()
    with tape.no_grad():
        x[0] = 10.0
    after = (x * x).sum()
    assert (before.item(), after.item()) == (14.0, 113.0)
    assert tape.grad(before, x).tolist() == [2.0, 4.0, 6.0]
    assert tape.grad(after, x).tolist() == [20.0, 4.0, 6.0]
    assert x.requires_grad
    assert x.is_leaf


def test_what_depends_on_a_tensor_is_computed_anew_after_a_write():
    x = tape.tensor([1.0, 2.0])
    y = x * 2.0
    x[0] = 5.0
    assert (x * 2.0).tolist() == [10.0, 4.0]
    assert y.tolist() == [2.0, 4.0]


def test_a_leaf_that_is_recorded_is_not_written_to():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradError, match=r"x\[key\] = value.*no_grad"):
        x[0] = 5.0
    with pytest.raises(GradError):
        x[0] += 5.0
    assert x.tolist() == [1.0, 2.0]


def test_augmented_writes_read_add_and_write():
    x = tape.tensor(distinct((2, 3)))
    x[0] += 10.0
    x[:, [0, 2]] *= 2.0
    x[x > 20.0] -= 20.0
    assert x.tolist() == [[2.0, 12.0, 6.0], [8.0, 5.0, 12.0]]
    leaf = tape.tensor(distinct((2, 3)), requires_grad=True)
    y = leaf * 2.0
    y[0] *= 3.0
    assert tape.grad(y.sum(), leaf).tolist() == [[6.0] * 3, [2.0] * 3]


def test_a_tensor_without_gradient_takes_one_from_the_value_written_into_it():
    buffer, v = zeros(3), tape.tensor([1.0, 2.0], requires_grad=True)
    buffer[1:] = v * 2.0
    assert buffer.requires_grad
    assert tape.grad((buffer * buffer).sum(), v).tolist() == [8.0, 16.0]


def test_a_tensor_written_into_itself_is_read_before():
    x = tape.tensor([1.0, 2.0, 3.0, 4.0])
    x[1:] = x[:-1]
    assert x.tolist() == [1.0, 1.0, 2.0, 3.0]
    x[...] = x[::-1]
    assert x.tolist() == [3.0, 2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", 1.5),
        ("int64", np.float64(2.0)),
        ("int32", [1.0, 2.0]),
        ("bool", 1),
        ("uint8", 300),
        ("uint8", -1),
        ("uint8", [300, 0]),
        ("uint8", np.array([1, 2])),
        ("float32", 1j),
        ("float32", "a"),
        ("float32", None),
    ],
)
def test_a_value_of_another_kind_is_refused(dtype, value):
    x = tape.tensor([0, 1], dtype=dtype)
    with pytest.raises(DTypeError) as info:
        x[:] = value
    assert info.value.op == "set_item"
    assert x.tolist() == [0, 1]
    assert x.dtype == dtype


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float64", 0.1, [0.1, 0.1]),
        ("float64", [0.1, 0.2], [0.1, 0.2]),
        ("float32", np.array([1e300, 2.0]), [np.inf, 2.0]),
        ("float32", np.int64(3), [3.0, 3.0]),
        ("float32", [1, 2], [1.0, 2.0]),
        ("uint8", [255, 0], [255, 0]),
        ("int32", np.array([1, 2], "int64"), [1, 2]),
        ("int64", True, [1, 1]),
        ("bool", [False, True], [False, True]),
        ("int64", [[1, 2]], [1, 2]),
    ],
)
def test_a_value_of_the_same_kind_is_cast(dtype, value, expected):
    x = tape.tensor([0, 1], dtype=dtype)
    x[:] = value
    assert (x.tolist(), x.dtype) == (expected, dtype)
    x[0:0] = []


def test_tensors_in_a_list_are_no_value_since_their_gradient_would_be_lost():
    x = zeros(2)
    with pytest.raises(DTypeError, match=r"tape\.stack"):
        x[:] = [tape.tensor(1.0, requires_grad=True), 2.0]


def test_a_mask_that_chooses_another_number_of_places_than_the_arrays_beside_it():
    x, mask = zeros(3, 4), np.array([True, True, False])
    for use in [lambda key: x[key], lambda key: x.__setitem__(key, 1.0)]:
        with pytest.raises(ShapeError, match="a mask chooses 2 places"):
            use((mask, [0, 1, 2]))
    y = x[0, :3]
    with pytest.raises(ShapeError, match=r"a value \(3,\) does not broadcast to x\[key\] \(2,\)"):
        y[mask] = np.zeros(3)


def test_errors_of_too_many_indices_and_of_masks():
    x = zeros(3, 4)
    with pytest.raises(AxisError, match=r"the key is for 3 axes, x \(3, 4\) has 2"):
        x[0, 0, 0]
    with pytest.raises(ShapeError, match=r"a mask \(4, 3\) does not fit axes 0 on of x \(3, 4\)"):
        x[np.ones((4, 3), bool)]
    with pytest.raises(ShapeError, match="the key is for 3 axes"):
        x[np.ones((3, 4, 1), bool)]
