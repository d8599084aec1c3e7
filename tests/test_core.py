"""Tensors as values: what they hold, share and copy, how Python sees them, what they refuse."""

import copy
import enum
import operator
import pickle

import numpy as np
import pytest
from hypothesis import given

import tape
from tape.errors import DTypeError, GradError, ShapeError
from tape.testing import LAYOUTS, arrays

pytestmark = pytest.mark.usefixtures("nothing_left")


class Foreign:
    """An object that hands out the array it works on, as many libraries do."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


# -- data in --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_tensor_copies(layout):
    a = LAYOUTS[layout](np.arange(6.0).reshape(2, 3))
    t, before = tape.tensor(a), np.array(a)
    assert not np.shares_memory(t.numpy(), a)
    np.testing.assert_array_equal(t, before)
    assert t.numpy().flags.c_contiguous
    if a.flags.writeable:
        a[...] = 9
        np.testing.assert_array_equal(t, before)


def test_asarray_shares_memory_and_leaves_the_array_writable():
    a = np.zeros(3)
    t = tape.asarray(a)
    assert np.shares_memory(t.numpy(), a)
    a[1] = 5
    assert t.tolist() == [0, 5, 0]
    assert tape.asarray(t) is t


def test_an_object_with_an_array_is_copied_by_tensor_and_shared_by_asarray():
    thing = Foreign(np.zeros(2))
    t, shared = tape.tensor(thing), tape.asarray(thing)
    thing.array[0] = 7
    assert t.tolist() == [0, 0]
    assert shared.tolist() == [7, 0]
    assert t.dtype == np.float64


@given(arrays())
def test_asarray_holds_the_same_numbers_in_any_layout(a):
    t = tape.asarray(a)
    np.testing.assert_array_equal(t, a)
    assert t.dtype.isnative
    assert t.shape == a.shape


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.5, 2], "float32"),
        ([[1, 2.5]], "float32"),
        ((), "float32"),
        ([[]], "float32"),
        (3, "int64"),
        ([True, False], "bool"),
        (np.float64(1.5), "float64"),
        ([np.float64(1.5)], "float64"),
        ([np.zeros(2)], "float64"),
        (np.zeros(2, "float32"), "float32"),
        (np.zeros(2, ">i4"), "int32"),
        (range(3), "int64"),
    ],
)
def test_python_floats_become_float32_and_all_else_keeps_its_dtype(data, dtype):
    assert tape.tensor(data).dtype == dtype
    assert tape.asarray(data).dtype == dtype


@pytest.mark.parametrize(
    "data", [["a"], [None], [1j], np.zeros(2, "float16"), np.zeros(2, "datetime64[s]"), object()]
)
def test_data_of_other_dtypes_is_refused(data):
    with pytest.raises(DTypeError, match="is not supported"):
        tape.tensor(data)


def test_masked_arrays_tensors_in_lists_and_endless_lists_are_refused():
    with pytest.raises(DTypeError, match=r"call \.filled"):
        tape.tensor(np.ma.masked_array([1.0], [True]))
    with pytest.raises(DTypeError, match=r"join them with tape\.stack"):
        tape.tensor([tape.tensor(1.0, requires_grad=True)])
    endless = []
    endless.append(endless)
    with pytest.raises((ValueError, TypeError)):
        tape.tensor(endless)


# -- data out -------------------------------------------------------------------------------------


def test_numpy_is_a_read_only_view_and_array_of_it_a_copy():
    t = tape.tensor([1.0, 2.0])
    view = t.numpy()
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 5
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True
    mine = np.array(t)
    mine[0] = 5
    assert t.tolist() == [1, 2]
    assert np.shares_memory(np.asarray(t), view)
    assert np.asarray(t, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="avoid copy"):
        np.asarray(t, np.float64, copy=False)


def test_a_view_keeps_the_old_value_when_the_tensor_moves_on():
    t = tape.tensor([1.0, 2.0])
    view = t.numpy()
    t += 1
    t.assign([7.0, 8.0])
    assert view.tolist() == [1, 2]
    assert t.tolist() == [7, 8]


def test_numbers_come_out_as_python_numbers():
    assert tape.tensor(3).item() == 3
    assert float(tape.tensor([[2.5]])) == 2.5
    assert int(tape.tensor(4.0)) == 4
    assert [10, 20, 30][tape.tensor(1)] == 20
    assert bool(tape.tensor([0.0])) is False
    assert f"{tape.tensor(1.0):.2f}" == "1.00"
    for convert in (float, bool, int):
        with pytest.raises((ValueError, TypeError)):
            convert(tape.tensor([1.0, 2.0]))


@pytest.mark.parametrize("convert", [bool, float, int, tape.Tensor.item])
def test_a_tensor_that_is_not_one_number_says_its_shape(convert):
    with pytest.raises(ShapeError, match=r"a tensor of shape \(2, 3\) has 6 elements"):
        convert(tape.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"shape \(0,\) has 0 elements"):
        convert(tape.zeros(0))
    for t in (tape.tensor([1, 2]), tape.tensor(1.0)):
        with pytest.raises(TypeError, match=r"tensor of shape .* is no index"):
            operator.index(t)


def test_python_floats_are_rounded_once_to_the_dtype_asked_for():
    for make in (tape.tensor, tape.asarray):
        assert make(0.1, dtype="float64").item() == 0.1
        assert make([0.1], dtype="float64").tolist() == [0.1]
        assert make((0.1, 3), dtype=np.float64).tolist() == [0.1, 3.0]
        assert make([2**24 + 1, 0.5], dtype="int64").tolist() == [2**24 + 1, 0]


def test_a_gradient_can_be_deleted_an_element_cannot():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    del x.grad
    assert x.grad is None
    with pytest.raises(TypeError, match=r"no element of a tensor \(2,\) can be deleted"):
        del x[0]


def test_length_and_iteration_go_along_the_first_axis():
    t = tape.tensor([[1, 2], [3, 4]])
    assert len(t) == 2
    assert [row.tolist() for row in t] == [[1, 2], [3, 4]]
    with pytest.raises(TypeError, match="0-d"):
        len(tape.tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(tape.tensor(1.0))


def test_equality_is_elementwise_and_hash_is_of_the_handle():
    t, same = tape.tensor([1.0, 2.0]), tape.tensor([1.0, 3.0])
    assert (t == same).tolist() == [True, False]
    assert (t != same).tolist() == [False, True]
    assert (t == None) is False  # noqa: E711
    assert (t != "text") is True
    assert len({t, same, t}) == 2
    assert {t: 1}[t] == 1


def test_comparison_with_a_list_is_elementwise():
    t = tape.tensor([0.1, 2.0])
    assert (t == [0.1, 3.0]).tolist() == [True, False]  # as weak as a number: float32
    assert (t != (0.1, 3.0)).tolist() == [False, True]
    assert (t < [[1], [3]]).tolist() == [[True, False], [True, True]]
    assert (t > [1.0, 1.0]).tolist() == [False, True]
    assert (tape.tensor([1, 300], dtype="int16") == [1, 70000]).tolist() == [True, False]
    with pytest.raises(ShapeError, match=r"equal: shapes \(2,\) and \(3,\) do not broadcast"):
        t == [1, 2, 3]  # noqa: B015
    with pytest.raises(ShapeError, match="differ in length"):
        t == [[1], [2, 3]]  # noqa: B015
    assert (t == ["a"]) is False


def test_divmod_is_floor_division_and_remainder():
    for a, b in [(tape.tensor([7, -7]), 2), (7, tape.tensor([2, -2]))]:
        quotient, rest = divmod(a, b)
        assert (quotient * b + rest).tolist() == (a + quotient * 0).tolist()
    assert [y.tolist() for y in divmod(tape.tensor([7.5]), 2.0)] == [[3.0], [1.5]]


def test_repr_shows_values_briefly_shape_dtype_and_op():
    w = tape.tensor(np.zeros((100, 100), "float32"), requires_grad=True)
    assert repr(w).count("\n") < 8
    assert "shape=(100, 100), float32, requires_grad)" in repr(w)
    w.name = "w"
    assert "name='w'" in repr(w)
    assert repr(w * 2).endswith("op=multiply)")
    assert repr(w.astype("float64")).endswith("op=astype)")
    assert repr(tape.max_pool2d(tape.ones((1, 2, 2)), 2)).endswith("op=squeeze)")
    assert repr(tape.max_pool2d(tape.ones((1, 1, 2, 2)), 2)).endswith("op=max_pool2d)")
    assert repr(tape.tensor(1.5)) == "tensor(1.5, shape=(), float32)"


def test_properties():
    t = tape.tensor(np.zeros((2, 3, 4), "int32"))
    facts = (t.shape, t.ndim, t.size, t.nbytes, t.device, t.op, t.grad, t.is_leaf)
    assert facts == ((2, 3, 4), 3, 24, 96, "cpu", None, None, True)
    assert t.T.shape == (4, 3, 2)
    assert t.mT.shape == (2, 4, 3)
    with pytest.raises(TypeError, match="name: a string or None, got int"):
        t.name = 5


# -- copies and subclasses ------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_a_leaf_of_its_own(duplicate):
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    x.name = "x"
    (x * x).sum().backward()
    twin = duplicate(x)
    assert (twin.requires_grad, twin.name, twin.grad.tolist()) == (True, "x", [2, 4])
    assert twin.grad is not x.grad
    twin.zero_grad()
    with tape.no_grad():
        twin += 1
        x += 10
    assert (x.tolist(), twin.tolist()) == ([11, 12], [2, 3])
    (twin * 2).sum().backward()
    assert twin.grad.tolist() == [2, 2]
    del twin
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5, 7]


def test_a_copy_of_borrowed_memory_is_a_copy():
    a = np.zeros(2)
    twin = copy.deepcopy(tape.asarray(a))
    a[0] = 1
    assert twin.tolist() == [0, 0]


def test_a_copy_of_a_gradient_has_no_graph():
    x = tape.tensor([2.0], requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    twin = copy.deepcopy(x)
    assert (twin.grad.tolist(), twin.grad.requires_grad, x.grad.requires_grad) == (
        [12],
        False,
        True,
    )
    x.zero_grad()


def test_a_computed_tensor_is_not_copied_nor_any_tensor_pickled():
    x = tape.tensor([1.0], requires_grad=True)
    with pytest.raises(GradError, match="detach"):
        copy.deepcopy(x * 2)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(x)


def test_a_subclass_that_forgets_init_is_an_empty_tensor():
    class Forgetful(tape.Tensor):
        def __init__(self):
            pass

    t = Forgetful()
    assert t.shape == (0,)
    assert repr(t)
    t.requires_grad_()
    assert tape.Tensor.__new__(tape.Tensor).tolist() == []


def test_init_a_second_time_replaces_the_value():
    t = tape.tensor([1.0])
    t.__init__([2.0, 3.0])
    assert t.tolist() == [2, 3]


# -- operators ------------------------------------------------------------------------------------


def test_numbers_and_arrays_work_on_either_side():
    t = tape.tensor([1.0, 2.0])
    for left in (2, 2.0, np.float32(2), np.array([2.0, 2.0], "float32"), np.array(2.0, "float32")):
        for result, want in [(left - t, [1, 0]), (left / t, [2, 1]), (left**t, [2, 4])]:
            assert isinstance(result, tape.Tensor)
            assert result.tolist() == want
            assert result.dtype == np.float32


def test_python_numbers_are_weak_and_numpy_ones_are_not():
    t = tape.tensor([1.0], dtype="float32")
    assert (t * 2.0).dtype == np.float32
    assert (t * np.float64(2)).dtype == np.float64
    assert (tape.tensor(np.array([1], "uint8")) < 300).tolist() == [True]
    assert tape.exp(1.0).dtype == np.float32

    class Scale(enum.IntEnum):
        DOUBLE = 2

    assert (t * Scale.DOUBLE).tolist() == [2]


@pytest.mark.parametrize("other", ["text", None, [1.0], 1j, object()])
def test_operands_of_other_types_are_a_type_error(other):
    t = tape.tensor([1.0])
    with pytest.raises(TypeError):
        t + other
    with pytest.raises(TypeError):
        other * t
    with pytest.raises(DTypeError, match="add: operand 1 is a"):
        tape.add(t, other)


# -- leaves ---------------------------------------------------------------------------------------


def test_requires_grad_of_a_leaf_can_be_switched():
    t = tape.tensor([1.0])
    serial = t.serial
    assert t.requires_grad_() is t
    assert t.requires_grad
    assert t.serial != serial
    assert (t.is_leaf, (t * 2).is_leaf) == (True, False)
    t.requires_grad = False
    assert not (t * 2).requires_grad
    with pytest.raises(GradError, match="detach"):
        (tape.tensor([1.0], requires_grad=True) * 2).requires_grad_(False)
    with pytest.raises(DTypeError, match="floating point, this one is int64"):
        tape.tensor([1]).requires_grad_()


def test_what_is_computed_without_a_graph_is_a_leaf_that_can_want_a_gradient():
    y = tape.tensor([1.0, 2.0]) * 2
    assert y.is_leaf
    y.requires_grad_()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4, 8]


def test_detach_is_a_new_leaf_on_the_same_buffer():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    z = y.detach()
    assert np.shares_memory(z.numpy(), y.numpy())
    assert (z.requires_grad, z.op, z.is_leaf) == (False, None, True)
    assert z.serial != y.serial
    z += 1
    assert y.tolist() == [2, 4]


def test_grad_takes_only_what_fits():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="grad: a tensor or None, got ndarray"):
        x.grad = np.zeros(2)
    with pytest.raises(ShapeError, match=r"a gradient of shape \(3,\) for a tensor \(2,\)"):
        x.grad = tape.tensor([1.0, 2.0, 3.0])
    with pytest.raises(DTypeError, match="a float64 gradient for a float32 tensor"):
        x.grad = tape.tensor(np.zeros(2))
    with pytest.raises(GradError, match="its own gradient"):
        x.grad = x
    x.grad = tape.tensor([5.0, 6.0])
    x.zero_grad()
    assert x.grad is None


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda a, b: a + b, r"add: shapes \(2, 3\) and \(2, 2\) do not broadcast"),
        (lambda a, b: a @ b, r"matmul: inner dimensions differ: \(2, 3\) @ \(2, 2\) \(3 and 2\)"),
        (lambda a, b: a.sum(axis=2), r"sum: axis 2 is out of range for 2 axes"),
        (lambda a, b: a.sum(axis=(0, 0)), "sum: axis .* names an axis twice"),
        (lambda a, b: a.reshape((4, 2)), r"reshape: 6 elements of \(2, 3\) do not fill"),
        (
            lambda a, b: (a * 2).backward(),
            r"backward: a tensor of shape \(2, 3\) needs a cotangent",
        ),
        (lambda a, b: b.backward(b), r"backward: .* depends on nothing that requires a gradient"),
        (lambda a, b: tape.grad(a.sum(), b), r"grad: xs\[0\] \(2, 2\) does not require a gradient"),
        (lambda a, b: tape.sum(a, axes=1), "sum: no setting 'axes'; it has axis"),
        (lambda a, b: tape.sum(a, {0}), "sum: .*set"),
    ],
)
def test_mistakes_are_told_with_op_and_numbers_and_change_nothing(act, message):
    a = tape.tensor(np.ones((2, 3)), requires_grad=True)
    b = tape.tensor(np.ones((2, 2)))
    before = tape.live_nodes()
    with tape.Tape() as t:
        with pytest.raises((tape.TapeError, TypeError), match=message):
            act(a, b)
        assert t.nodes == []
    assert tape.live_nodes() == before
    assert a.grad is None


def test_a_leaf_that_wants_no_gradient_any_more_gets_none_from_an_older_graph():
    x, y = (tape.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    loss = (x * y).sum()
    x.requires_grad_(False)
    loss.backward()
    assert x.grad is None
    assert y.grad.tolist() == [1.0, 2.0]
    z = tape.tensor([1.0, 2.0], requires_grad=True)
    loss = (y * z).sum()
    for a, b in ((y, z), (z, y)):  # whichever comes first
        with a.register_hook(lambda g, b=b: b.requires_grad_(False).zero_grad()):
            loss = (y * z).sum()
            loss.backward()
        assert not b.requires_grad
        b.requires_grad_()
