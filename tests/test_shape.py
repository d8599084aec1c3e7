"""Views, rearrangements, joining and cutting against NumPy; gradients by tracing every element."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tape
from tape.errors import AxisError, DTypeError, ShapeError

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
SOLID = npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def distinct(shape):
    """An array whose elements all differ."""
    return np.arange(1.0, np.prod(shape, dtype=int) + 1).reshape(shape)


def check(ours, numpys, *shapes):
    """The function has NumPy's values, and each element's gradient is the sum of g where it went.

    `numpys` is run on the numbers of the elements to see where each went; 0 is none.
    """
    arrays, ids, n = [], [], 0
    for shape in shapes:
        arrays.append(-distinct(shape))
        ids.append(n + distinct(shape).astype(int))
        n += arrays[-1].size
    ts = [tape.tensor(x, requires_grad=True) for x in arrays]
    ys, expected, went = ours(*ts), numpys(*arrays), numpys(*ids)
    if isinstance(ys, tape.Tensor):
        ys, expected, went = [ys], [expected], [went]
    assert len(ys) == len(expected)
    for y, e in zip(ys, expected, strict=True):
        np.testing.assert_array_equal(y.numpy(), e, strict=True)
    gs = [distinct(y.shape) + 100 * i for i, y in enumerate(ys)]
    total = np.zeros(n + 1)
    for ids_of_y, g in zip(went, gs, strict=True):
        np.add.at(total, ids_of_y, g)
    loss = sum(((y * g).sum() for y, g in zip(ys, gs, strict=True)), tape.tensor(0.0))
    if not ys:
        return
    for t, i in zip(ts, ids, strict=True):
        np.testing.assert_array_equal(tape.grad(loss, t).numpy(), total[i], strict=True)


def axes_of(ndim):
    """Some axes, counted from either end."""
    one = st.integers(-ndim, ndim - 1) if ndim else st.nothing()
    return st.lists(one, unique_by=lambda a: a % ndim, max_size=ndim).map(tuple)


# -- another shape --------------------------------------------------------------------------------


@st.composite
def refactored(draw):
    """A shape, and one with as many elements, perhaps with a -1 in it."""
    shape = draw(SHAPES)
    left, new = int(np.prod(shape)), []
    while left > 1 and len(new) < 3:
        new.append(draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0])))
        left //= new[-1]
    new.append(left)
    if 0 not in new and draw(st.booleans()):
        new[draw(st.integers(0, len(new) - 1))] = -1
    return shape, tuple(new)


@given(refactored())
def test_reshape_is_numpys(case):
    shape, new = case
    check(lambda x: tape.reshape(x, new), lambda x: x.reshape(new), shape)
    check(lambda x: x.reshape(*new), lambda x: x.reshape(new), shape)
    check(lambda x: x.reshape(list(new)), lambda x: x.reshape(new), shape)
    check(lambda x: x.flatten(), lambda x: x.flatten(), shape)


@given(st.data())
def test_expand_dims_and_squeeze_are_numpys_and_undo_each_other(data):
    shape = data.draw(SHAPES)
    n_new = data.draw(st.integers(1, 3))
    axes = data.draw(axes_of(len(shape) + n_new).filter(lambda a: len(a) == n_new) | st.just(None))
    axes = tuple(range(n_new)) if axes is None else axes
    check(lambda x: x.expand_dims(axis=axes), lambda x: np.expand_dims(x, axes), shape)
    wide = np.expand_dims(np.zeros(shape), axes).shape
    check(lambda x: x.squeeze(axis=axes), lambda x: np.squeeze(x, axes), wide)
    check(lambda x: x.squeeze(), lambda x: np.squeeze(x), wide)


def test_expand_dims_puts_the_axis_in_front_unless_told():
    assert tape.expand_dims(tape.tensor([1.0, 2.0])).shape == (1, 2)
    assert tape.expand_dims(tape.tensor([1.0, 2.0]), axis=-1).shape == (2, 1)


# -- axes in another order ------------------------------------------------------------------------


@given(st.data())
def test_axes_in_another_order_are_numpys(data):
    shape = data.draw(SHAPES)
    ndim = len(shape)
    order = tuple(
        a - ndim * data.draw(st.booleans()) for a in data.draw(st.permutations(range(ndim)))
    )
    check(lambda x: tape.permute_dims(x, order), lambda x: x.transpose(order), shape)
    check(lambda x: x.transpose(order), lambda x: x.transpose(order), shape)
    check(lambda x: x.transpose(), lambda x: x.T, shape)
    check(lambda x: x.T, lambda x: x.T, shape)
    source = data.draw(axes_of(ndim))
    to = data.draw(axes_of(ndim).filter(lambda a: len(a) == len(source)) | st.just(source))
    check(lambda x: tape.moveaxis(x, source, to), lambda x: np.moveaxis(x, source, to), shape)
    if ndim:
        a, b = data.draw(st.tuples(*[st.integers(-ndim, ndim - 1)] * 2))
        check(lambda x: x.swapaxes(a, b), lambda x: x.swapaxes(a, b), shape)
        check(lambda x: tape.moveaxis(x, a, b), lambda x: np.moveaxis(x, a, b), shape)
    if ndim > 1:
        check(lambda x: x.mT, lambda x: x.swapaxes(-1, -2), shape)


# -- elements in another order, repeated, framed --------------------------------------------------


@given(st.data())
def test_flip_and_roll_are_numpys(data):
    shape = data.draw(SHAPES)
    axis = data.draw(axes_of(len(shape)) | st.none())
    check(lambda x: x.flip(axis=axis), lambda x: np.flip(x, axis), shape)
    if axis is not None:
        shift = tuple(data.draw(st.integers(-7, 7)) for _ in axis)
        if axis:
            check(lambda x: x.roll(shift, axis), lambda x: np.roll(x, shift, axis), shape)
            check(lambda x: x.roll(2, axis), lambda x: np.roll(x, 2, axis), shape)
            check(lambda x: x.roll(-3, axis[0]), lambda x: np.roll(x, -3, axis[0]), shape)
    check(lambda x: x.roll(5), lambda x: np.roll(x, 5), shape)


@given(st.data())
def test_tile_and_repeat_are_numpys(data):
    shape = data.draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    reps = data.draw(st.lists(st.integers(0, 3), max_size=4).map(tuple) | st.integers(0, 3))
    check(lambda x: x.tile(reps), lambda x: np.tile(x, reps), shape)
    n = data.draw(st.integers(0, 3))
    check(lambda x: x.repeat(n), lambda x: np.repeat(x, n), shape)
    if shape:
        axis = data.draw(st.integers(-len(shape), len(shape) - 1))
        check(lambda x: x.repeat(n, axis=axis), lambda x: np.repeat(x, n, axis), shape)


@given(st.data())
def test_pad_is_numpys(data):
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    pair = st.tuples(st.integers(0, 2), st.integers(0, 2))
    widths = data.draw(
        st.integers(0, 2)
        | pair
        | st.tuples(pair)
        | st.tuples(*[pair] * len(shape))
        | st.lists(pair, min_size=len(shape), max_size=len(shape))
    )
    check(lambda x: tape.pad(x, widths), lambda x: np.pad(x, widths), shape)
    value = data.draw(st.sampled_from([0.0, -0.0, 1.5, np.inf, np.nan]))
    x = distinct(shape)
    np.testing.assert_array_equal(
        tape.pad(x, widths, value=value).numpy(), np.pad(x, widths, constant_values=value)
    )


def test_the_frame_of_pad_takes_a_value_that_fits():
    assert tape.pad(tape.tensor([1, 2]), 1).tolist() == [0, 1, 2, 0]
    assert tape.pad(tape.tensor([1, 2]), (0, 1), value=7).tolist() == [1, 2, 7]
    for value in (0.5, 300, -1, np.nan, np.inf):
        with pytest.raises(DTypeError, match=r"pad: .* does not fit"):
            tape.pad(tape.tensor([1, 2], dtype="uint8"), 1, value=value)


@pytest.mark.parametrize(
    ("mode", "numpys"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
@given(st.data())
def test_pad_repeats_what_stands_at_the_borders(mode, numpys, data):
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    most = [n - (mode == "reflect") for n in shape]
    widths = [data.draw(st.tuples(st.integers(0, m), st.integers(0, m))) for m in most]
    x = distinct(shape)
    expected = np.pad(x, widths, mode=numpys)
    np.testing.assert_array_equal(tape.pad(x, widths, mode).numpy(), expected)
    assert tape.testing.gradcheck(lambda x: tape.pad(x, widths, mode) ** 2, [x], order=2)


def test_negative_widths_cut_off():
    x = tape.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    assert tape.pad(x, (-1, 2), value=9.0).tolist() == [2.0, 3.0, 4.0, 9.0, 9.0]
    assert tape.pad(x, (2, -3), "replicate").tolist() == [1.0, 1.0, 1.0]
    assert tape.pad(x, (-1, 2), "reflect").tolist() == [2.0, 3.0, 4.0, 3.0, 2.0]
    assert tape.pad(x, (-1, 2), "circular").tolist() == [2.0, 3.0, 4.0, 2.0, 3.0]
    assert tape.pad(x, -2).tolist() == []
    assert tape.grad(tape.pad(x, (-1, 2)).sum(), x).tolist() == [0.0, 1.0, 1.0, 1.0]
    for mode in ("constant", "replicate", "circular"):
        with pytest.raises(ShapeError, match=r"pad: widths .* cut off more than there is of x"):
            tape.pad(x, (-5, 2), mode)
    with pytest.raises(ShapeError, match=r"pad: circular takes at most 1 from a length of 1"):
        tape.pad(x, (-3, 2), "circular")


def test_a_frame_that_takes_more_than_there_is_is_refused():
    x = tape.ones((2, 3))
    with pytest.raises(ShapeError, match=r"pad: reflect takes at most 1 from a length of 2"):
        tape.pad(x, 2, "reflect")
    with pytest.raises(ShapeError, match=r"pad: circular takes at most 2 from a length of 2"):
        tape.pad(x, 3, "circular")
    with pytest.raises(ShapeError, match=r"pad: replicate has nothing to repeat"):
        tape.pad(tape.ones((0, 3)), 1, "replicate")
    with pytest.raises(
        ValueError, match=r'pad: mode \'wrap\' is not known; it is called "circular"'
    ):
        tape.pad(x, 1, "wrap")
    with pytest.raises(ValueError, match=r"pad: mode 3 is not known"):
        tape.pad(x, 1, 3)
    with pytest.raises(ValueError, match=r"pad: value 1.0 is for mode .constant., got"):
        tape.pad(x, 1, "reflect", 1.0)


@given(npst.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3))
def test_broadcast_arrays_is_numpys(shapes):
    check(tape.broadcast_arrays, np.broadcast_arrays, *shapes.input_shapes)


def test_broadcast_arrays_names_the_shapes():
    assert tape.broadcast_arrays() == []
    with pytest.raises(ShapeError, match=r"broadcast_arrays: shapes \(2,\) and \(3,\) do not"):
        tape.broadcast_arrays(np.zeros(2), np.zeros(3))


# -- joined and cut -------------------------------------------------------------------------------


@given(st.data())
def test_concat_and_stack_are_numpys(data):
    shape = data.draw(SOLID)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    parts = [list(shape) for _ in lengths]
    for part, n in zip(parts, lengths, strict=True):
        part[axis] = n
    parts = [tuple(part) for part in parts]
    check(lambda *x: tape.concat(x, axis=axis), lambda *x: np.concatenate(x, axis), *parts)
    check(lambda *x: tape.concat(x, axis=None), lambda *x: np.concatenate(x, None), *parts)
    same = [shape] * len(lengths)
    new = data.draw(st.integers(-len(shape) - 1, len(shape)))
    check(lambda *x: tape.stack(x, axis=new), lambda *x: np.stack(x, new), *same)
    check(lambda *x: tape.stack(*x), lambda *x: np.stack(x), *same)


@given(st.data())
def test_split_and_unstack_are_numpys(data):
    rest = data.draw(npst.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
    axis = data.draw(st.integers(0, len(rest)))
    n = data.draw(st.integers(0, 30))
    shape = (*rest[:axis], n, *rest[axis:])
    way = axis - data.draw(st.booleans()) * len(shape)
    check(lambda x: tape.unstack(x, way), lambda x: list(np.moveaxis(x, axis, 0)), shape)
    sections = data.draw(st.sampled_from([k for k in range(1, n + 2) if n % k == 0]))
    check(lambda x: x.split(sections, axis=way), lambda x: np.split(x, sections, axis), shape)
    cuts = data.draw(st.lists(st.integers(-3, n + 3), max_size=9))
    check(lambda x: x.split(cuts, way), lambda x: np.split(x, cuts, axis), shape)
    cuts = sorted(abs(c) for c in cuts)
    check(lambda x: x.split(tuple(cuts), way), lambda x: np.split(x, cuts, axis), shape)


def test_cutting_into_many_pieces_makes_no_gradient_of_full_size_for_each():
    x = tape.tensor(np.zeros((64, 100)), requires_grad=True)
    for cut in [
        lambda x: tape.unstack(x, axis=1),
        lambda x: x.split(100, axis=1),
        lambda x: [x[:, i] for i in range(100)],
        lambda x: [x[:, [i, i]] for i in range(100)],
    ]:
        with tape.Tape() as t:
            y = tape.stack(cut(x))
            before = t.evaluations
            slope = tape.grad(y, x, np.ones(y.shape))
            # One cut of g for each piece; adding them up is no op of its own.
            assert t.evaluations - before < 105
        assert np.unique(slope.numpy()).tolist() in ([1.0], [2.0])


def test_axes_may_be_given_one_by_one():
    x = tape.tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    for y in (x.transpose(2, 0, 1), x.permute_dims(2, 0, 1), x.transpose(axes=(2, 0, 1))):
        np.testing.assert_array_equal(y, x.numpy().transpose(2, 0, 1))
    assert x.permute_dims([2, 0, 1]).shape == x.permute_dims(axes=(2, 0, 1)).shape == (4, 2, 3)
    assert x.transpose().shape == (4, 3, 2)
    row = x[0, 0].permute_dims(0)
    row.sum().backward()
    assert x.grad.sum().item() == 4


def test_numbers_among_tensors_take_their_dtype_when_joined():
    x = tape.tensor([1.0, 2.0])
    assert tape.stack([x[0], 2.0, 3]).dtype == "float32"
    assert tape.stack([1.0, 2.0]).dtype == "float32"
    assert tape.stack([1, 2]).dtype == "int64"
    assert tape.concat([x, 5.0], axis=None).tolist() == [1.0, 2.0, 5.0]
    joined = tape.concat([x, tape.tensor([1, 2])])
    assert joined.dtype == np.result_type(np.float32, np.int64)


def test_each_operand_gets_its_gradient_in_its_own_dtype():
    a = tape.tensor([1.0], dtype="float32", requires_grad=True)
    b = tape.tensor([1.0], dtype="float64", requires_grad=True)
    ga, gb = tape.grad(tape.concat([a, b]).sum(), [a, b])
    assert (ga.dtype, gb.dtype) == ("float32", "float64")


def test_what_is_joined_twice_is_joined_once():
    a, b = tape.tensor([1.0], requires_grad=True), tape.tensor([2.0])
    with tape.Tape() as t:
        first, second = tape.concat([a, b]), tape.concat((a, b), axis=0)
        assert t.hits == 1
        other = tape.concat([b, a])
        assert t.hits == 1
    assert first.tolist() == second.tolist() == other.tolist()[::-1]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: tape.unstack(x, 2), AxisError, "unstack: axis 2 is out of range for 2 axes"),
        (lambda x: tape.unstack(x[0, 0]), AxisError, "unstack: axis 0 .* 0 axes"),
        (lambda x: x.split(2, axis=-3), AxisError, "split: axis -3 is out of range"),
        (lambda x: x.split(2), ShapeError, "split: axis 0 of length 3 has no 2 equal sections"),
        (lambda x: x.split(0), ShapeError, "has no 0 equal sections"),
        (lambda x: x.split(-1, axis=1), ShapeError, "has no -1 equal sections"),
        (lambda x: x.reshape(5, -1), ShapeError, r"reshape: 12 elements of \(3, 4\) do not fill"),
        (lambda x: x.reshape(3, 2.0), DTypeError, r"a shape holds integers, got 2\.0"),
        (lambda x: x.squeeze(axis=0), ShapeError, r"squeeze: axis 0 of \(3, 4\) has length 3"),
        (lambda x: x.astype("float16"), DTypeError, "astype: dtype float16 is not supported"),
        (lambda x: x.astype(None), DTypeError, "astype: dtype None is not supported"),
        (lambda x: x.astype("nonsense"), DTypeError, "astype: dtype 'nonsense' is not supported"),
        (lambda x: x.astype([1]), DTypeError, "astype: dtype .* is not supported"),
        (lambda x: x.tile((1, 0.5)), ShapeError, "tile: repetitions .* must be integers"),
    ],
)
def test_errors_name_the_function_and_the_numbers(call, error, words):
    x = tape.tensor(np.zeros((3, 4)))
    with pytest.raises(error, match=words):
        call(x)


# -- another dtype --------------------------------------------------------------------------------

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_astype_is_numpys(dtype):
    for source in DTYPES:
        x = np.array([0, 1, 2, 100], source)
        got = tape.tensor(x).astype(dtype)
        np.testing.assert_array_equal(got.numpy(), x.astype(dtype), strict=True)
    for name in [dtype, np.dtype(dtype), np.dtype(dtype).type, np.dtype(dtype).newbyteorder()]:
        assert tape.astype([0.0, 1.0], name).dtype == np.dtype(dtype)
        assert tape.astype([0.0, 1.0], name).dtype.isnative


def test_the_gradient_of_a_cast_is_cast_back():
    x = tape.tensor([0.1, 0.2], dtype="float32", requires_grad=True)
    y = x.astype("float64")
    g = tape.grad((y * y).sum(), x)
    assert g.dtype == "float32"
    assert g.tolist() == (2 * x).tolist()


def test_a_float_cast_to_integers_needs_no_gradient():
    x = tape.tensor([1.9, -1.9], requires_grad=True)
    assert not x.astype("int64").requires_grad
    assert x.astype("int64").tolist() == [1, -1]


def test_a_cast_is_reused_however_the_dtype_is_called():
    x = tape.tensor([1.0], requires_grad=True)
    with tape.Tape() as t:
        a = [x.astype(d) for d in ("float64", np.float64, np.dtype("float64"), "f8", float)]
        assert (t.evaluations, t.hits) == (1, 4)
    assert len({y.serial for y in a}) == 1


def test_a_cast_to_the_same_dtype_copies_unless_told_not_to():
    x = tape.tensor([1.0, 2.0])
    assert x.astype("float32", copy=False) is x
    y = x.astype("float32")
    y[0] = 5.0
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [5.0, 2.0])


def test_a_nan_cast_to_integers_does_not_warn():
    assert tape.tensor([np.nan, 1.0]).astype("int64").shape == (2,)
