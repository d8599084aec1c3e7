"""Writing in place: who may, who keeps the old value, and what a recorded graph then gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape._core.memory import overwrite
from tape.errors import DTypeError, GradError, ShapeError

pytestmark = pytest.mark.usefixtures("nothing_left")


def address(t):
    """Where the values lie."""
    return t.numpy().ctypes.data


def add_one(arrays):
    for a in arrays:
        a += 1


# Everything that can hold a value besides the handle that is written to.
HOLDERS = {
    "another handle by an op": lambda x: tape.positive(x),
    "a detached handle": lambda x: x.detach(),
    "an array": lambda x: x.numpy(),
    "a slice of an array": lambda x: x.numpy()[:1],
    "a buffer": lambda x: memoryview(x.numpy()),
    "a view by an op": lambda x: x.reshape((1, 2)),
    "a consumer that reads it": lambda x: x * x,
    "a shallow copy": lambda x: __import__("copy").copy(x),
}


@pytest.mark.parametrize("name", sorted(HOLDERS))
@pytest.mark.parametrize("wanted", [False, True])
def test_whoever_holds_a_value_keeps_it(name, wanted):
    x = tape.tensor([3.0, 4.0], requires_grad=wanted)
    holder = HOLDERS[name](x)
    before = np.array(holder)
    overwrite([x], add_one)
    assert x.tolist() == [4, 5]
    np.testing.assert_array_equal(np.array(holder), before)
    assert x.requires_grad == wanted
    del holder


def test_a_sole_owner_is_written_in_place():
    x = tape.tensor([3.0, 4.0], requires_grad=True)
    where, serial = address(x), x.serial
    overwrite([x], add_one)
    assert address(x) == where
    assert x.serial != serial
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 1


def test_borrowed_memory_is_never_written_to():
    a = np.array([1.0, 2.0])
    x = tape.asarray(a)
    overwrite([x], add_one)
    assert a.tolist() == [1, 2]
    assert x.tolist() == [2, 3]
    y = tape.asarray(a)
    y += 1
    assert a.tolist() == [1, 2]


def test_read_only_arrays_stay_as_they_are():
    a = np.array([1.0, 2.0])
    a.flags.writeable = False
    for make in (tape.tensor, tape.asarray):
        x = make(a)
        x += 1
        x.assign([7.0, 7.0])
        overwrite([x], add_one)
        assert x.tolist() == [8, 8]
    assert a.tolist() == [1, 2]
    assert not a.flags.writeable


def test_a_failing_update_leaves_copies_alone_and_values_read_only():
    x, y = tape.tensor([1.0]), tape.tensor([1.0])
    held = y.numpy()

    def fail(arrays):
        raise KeyError

    with pytest.raises(KeyError):
        overwrite([x, y], fail)
    assert x.tolist() == y.tolist() == held.tolist() == [1]
    assert not x.numpy().flags.writeable


# -- handles move ---------------------------------------------------------------------------------


def test_in_place_operators_move_the_handle_only():
    x = tape.tensor([1.0, 2.0])
    y = x.detach()
    x += 1
    x *= 2
    x -= 1
    x /= 2
    x **= 2
    assert x.tolist() == [2.25, 6.25]
    assert y.tolist() == [1, 2]


@given(st.sampled_from(["__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__"]))
def test_in_place_with_itself(name):
    x = tape.tensor([1.0, 2.0])
    want = getattr(x, name.replace("__i", "__"))(x).tolist()
    assert getattr(x, name)(x) is x
    assert x.tolist() == want


def test_in_place_keeps_shape_and_dtype_or_is_refused():
    x = tape.tensor([1.0, 2.0])
    with pytest.raises(ShapeError, match=r"\(2, 2\) in place does not fit the tensor \(2,\)"):
        x += tape.tensor([[1.0, 1.0], [1.0, 1.0]])
    i = tape.tensor([1, 2])
    with pytest.raises(DTypeError, match="float64 in place does not fit a int64 tensor"):
        i += 0.5
    i += 1
    assert i.dtype == np.int64
    assert (x.tolist(), i.tolist()) == ([1, 2], [2, 3])


def test_a_wider_result_is_narrowed_to_the_tensor():
    x = tape.tensor([1.0, 2.0])
    x += np.array([0.5, 0.5])
    assert x.dtype == np.float32
    assert x.tolist() == [1.5, 2.5]


def test_in_place_on_a_view_does_not_reach_through_it():
    x = tape.tensor([[1.0, 2.0], [3.0, 4.0]])
    row = x.reshape((4,))
    row += 1
    assert x.tolist() == [[1, 2], [3, 4]]
    x *= 10
    assert row.tolist() == [2, 3, 4, 5]


def test_a_result_shared_by_reuse_is_not_an_alias():
    x = tape.tensor([1.0, 2.0])
    a, b = tape.exp(x), tape.exp(x)
    assert a.serial == b.serial
    before = b.tolist()
    a += 1
    assert b.tolist() == before
    assert tape.exp(x).tolist() == before


# -- leaves that want a gradient ------------------------------------------------------------------


def test_while_recording_a_leaf_is_not_changed_in_place():
    w = tape.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradError, match=r"add: a leaf .* under tape.no_grad\(\)"):
        w += 1
    assert w.tolist() == [1, 2]


def test_an_update_keeps_requires_grad():
    w = tape.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        (w * w).sum().backward()
        with tape.no_grad():
            w -= 0.25 * w.grad
        assert w.grad is not None
        w.zero_grad()
        assert w.requires_grad
        assert w.is_leaf
    assert w.tolist() == [0.125, 0.25]


def test_assign_keeps_what_the_tensor_is():
    w = tape.tensor([1.0, 2.0], requires_grad=True)
    assert w.assign(np.array([3, 4])) is w
    assert w.requires_grad
    assert w.dtype == np.float32
    with pytest.raises(ShapeError):
        w.assign([1.0])
    with pytest.raises(DTypeError, match=r"complex|assign"):
        w.assign([1j, 2j])
    with pytest.raises(DTypeError, match="assign: float64 values do not fit a int64 tensor"):
        tape.tensor([1]).assign(np.array([0.5]))
    assert w.tolist() == [3, 4]


def test_a_graph_recorded_before_an_update_gives_the_gradient_of_the_old_values():
    w = tape.tensor([1.0, 2.0], requires_grad=True)
    loss = (w * w * w).sum()
    with tape.no_grad():
        w += 10
    later = (w * w).sum()
    loss.backward()
    assert w.grad.tolist() == [3, 12]
    later.backward()
    assert w.grad.tolist() == [3 + 22, 12 + 24]


def test_gradients_by_a_leaf_count_all_values_it_had():
    w = tape.tensor([1.0, 2.0], requires_grad=True)
    first = w * w
    with tape.no_grad():
        w += 1
    total = (first + w * w * w).sum()
    assert tape.grad(total, w).tolist() == [2 + 12, 4 + 27]
    total.backward()
    assert w.grad.tolist() == [2 + 12, 4 + 27]


def test_an_intermediate_result_changed_in_place_is_differentiated_as_changed():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    h = x * x
    before = h.reshape((2,))
    h += x
    h *= h
    (h + before).sum().backward()
    assert x.grad.tolist() == [2 * 2 * 3 + 2, 2 * 6 * 5 + 4]


def test_a_leaf_without_a_wish_becomes_part_of_the_graph_in_place():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    h = tape.tensor([5.0, 5.0])
    h += x * 2
    assert h.requires_grad
    assert not h.is_leaf
    h.sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_a_graph_on_borrowed_memory_stays_right_after_the_memory_is_written():
    a = np.array([1.0, 2.0])
    w = tape.tensor([3.0, 4.0], dtype="float64", requires_grad=True)
    x = tape.asarray(a)
    y = x * w
    view = (x.reshape((1, 2)) * w).sum()
    wanted = tape.asarray(a).requires_grad_()
    z = wanted * wanted
    a[:] = 100
    y.sum().backward()
    assert w.grad.tolist() == [1, 2]
    view.backward()
    assert w.grad.tolist() == [2, 4]
    z.sum().backward()
    assert wanted.grad.tolist() == [2, 4]


def test_an_op_that_returns_its_operand_or_a_view_of_borrowed_memory_is_safe():
    @tape.op(shape=tape.shapes.same)
    def same(x, /):
        return x

    @tape.op(shape=tape.shapes.broadcast, saves="a b")
    def product(a, b, /):
        return (a * b).reshape(1, -1)[0]

    product.defvjp("a")(lambda g, b: g * b)
    a = np.array([1.0, 2.0])
    y = same(a)
    a[0] = 9  # still writable
    assert same(tape.asarray(a)).tolist() == [9, 2]
    del y
    w = tape.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    h = product(w, a)
    assert tape.grad((h * h).sum(), w).tolist() == [2 * 81, 16]


def test_gradients_of_two_leaves_are_two_tensors():
    x, z = (tape.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    ((x + z) * 2.0).reshape((2,)).sum().backward()
    (tape.tanh(x + z) * 0.0).sum().backward()
    for create_graph in (False, True):
        a, b = tape.grad(tape.square(x + z).sum(), [x, z], create_graph=create_graph)
        a += 1
        assert (a - b).tolist() == [1, 1]
    (x + z).backward(tape.tensor([1.0, 1.0]))
    assert x.grad is not z.grad
    x.grad += 1
    assert (x.grad - z.grad).tolist() == [1, 1]
    overwrite([x.grad, z.grad], add_one)
    assert (x.grad - z.grad).tolist() == [1, 1]


def test_the_cotangent_is_not_accumulated_into():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    g = tape.tensor([1.0, 1.0])
    (x + x).backward(g)
    assert g.tolist() == [1, 1]
    assert x.grad.tolist() == [2, 2]
    x.grad += 5
    assert g.tolist() == [1, 1]
