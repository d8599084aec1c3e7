"""Tensors handed to other libraries and taken from them: DLPack, buffers, NumPy's functions."""

import contextlib
import ctypes
import gc
import operator
import sys
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tape
from tape.testing import LAYOUTS

DTYPES = [
    *["bool", "float32", "float64", "int8", "int16", "int32", "int64"],
    *["uint8", "uint16", "uint32", "uint64"],
]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
)
# Those that DLPack has words for.
layouts = st.sampled_from(sorted(set(LAYOUTS) - {"byte-swapped", "misaligned"}))


def capsule_name(capsule):
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return name(capsule).decode()


class Holder:
    """What a consumer takes: an object that hands out one capsule."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return (1, 0)


# -- DLPack ----------------------------------------------------------------------------------------


@given(arrays, layouts)
def test_a_tensor_goes_to_numpy_and_back_without_a_copy(a, layout):
    a = np.asarray(LAYOUTS[layout](a))
    t = tape.asarray(a)
    there = np.from_dlpack(t)
    assert there.dtype == a.dtype
    np.testing.assert_array_equal(there, a)
    backwards = min(a.strides, default=0) < 0
    assert there.flags.writeable == backwards
    back = tape.from_dlpack(there)
    np.testing.assert_array_equal(back.numpy(), a)
    if a.size and not backwards:
        assert np.shares_memory(there, t.numpy())
        assert np.shares_memory(back.numpy(), t.numpy())


@given(arrays)
def test_what_runs_backwards_goes_to_other_libraries_as_a_copy(a):
    a = np.atleast_1d(a)[::-1]  # PyTorch ends the process at a stride below 0
    t = tape.asarray(a)
    if a.strides[0] < 0:
        for version in (None, (1, 0)):
            there = np.from_dlpack(Holder(t.__dlpack__(max_version=version)))
            assert min(there.strides) >= 0
            np.testing.assert_array_equal(there, a)
            with pytest.raises(BufferError, match=r"below 0|before version 1\.0"):
                t.__dlpack__(max_version=version, copy=False)


@given(arrays, layouts, st.sampled_from([None, False, True]))
def test_memory_of_another_library_is_shared_unless_a_copy_is_asked_for(a, layout, copy):
    a = np.asarray(LAYOUTS[layout](a))
    t = tape.from_dlpack(a, copy=copy, device="cpu")
    np.testing.assert_array_equal(t.numpy(), a)
    assert np.shares_memory(t.numpy(), a) == (not copy and a.size > 0)


def test_what_is_shared_is_never_reused_when_its_owner_writes():
    a = np.ones(3)
    t = tape.from_dlpack(a)
    assert (t * 2).tolist() == [2.0, 2.0, 2.0]
    a[0] = 5
    assert (t * 2).tolist() == [10.0, 2.0, 2.0]
    t[1] = 7  # a copy is written to, not the memory of another
    assert a.tolist() == [5.0, 1.0, 1.0]


def test_capsules_are_versioned_for_those_who_know_and_copies_for_those_who_do_not():
    t = tape.tensor([1.0, 2.0])
    assert capsule_name(t.__dlpack__(max_version=(1, 0))) == "dltensor_versioned"
    assert capsule_name(t.__dlpack__(max_version=(2, 3))) == "dltensor_versioned"
    assert capsule_name(t.__dlpack__(max_version=(0, 8))) == "dltensor"
    assert t.__dlpack_device__() == (1, 0)
    old = np.from_dlpack(Holder(t.__dlpack__()))
    assert not np.shares_memory(old, t.numpy())
    mine = np.from_dlpack(t, copy=True)
    mine[0] = 5
    assert t.tolist() == [1.0, 2.0] == old.tolist()


def test_a_capsule_is_taken_once():
    capsule = tape.tensor([1.0]).__dlpack__(max_version=(1, 0))
    np.from_dlpack(Holder(capsule))
    assert capsule_name(capsule) == "used_dltensor_versioned"
    with pytest.raises(ValueError, match="PyCapsule"):
        tape.from_dlpack(Holder(capsule))


@pytest.mark.usefixtures("nothing_left")
def test_memory_lives_as_long_as_somebody_looks_at_it():
    t = tape.tensor(np.arange(1000.0))
    there = np.from_dlpack(t)
    unused = t.__dlpack__(max_version=(1, 0))
    del t
    np.zeros(1000)  # what would take the place of freed memory
    assert there.sum() == 499500
    del there, unused

    class Owner(np.ndarray):
        pass

    a = np.arange(1000.0).view(Owner)
    gone = weakref.ref(a)
    t = tape.from_dlpack(a)
    y = t[1:]
    del a, t
    gc.collect()
    assert gone() is not None
    assert y.sum().item() == 499500
    del y
    gc.collect()
    assert gone() is None


def test_a_value_that_was_handed_out_is_not_written_over():
    t = tape.tensor([1.0, 2.0])
    there, buffer = np.from_dlpack(t), memoryview(t)
    t[0] = 5
    t += 1
    assert there.tolist() == buffer.tolist() == [1.0, 2.0]
    assert t.tolist() == [6.0, 3.0]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda t: t.requires_grad_().__dlpack__(), BufferError, r"detach\(\) it first"),
        (lambda t: np.from_dlpack(t.requires_grad_() * 2), BufferError, r"detach\(\) it first"),
        (lambda t: tape.from_dlpack(t.requires_grad_()), BufferError, r"detach\(\) it first"),
        (lambda t: t.__dlpack__(stream=1), BufferError, "stream 1 .* expected None"),
        (lambda t: t.__dlpack__(dl_device=(2, 0)), BufferError, r"device \(2, 0\), there is only"),
        (lambda t: t.__dlpack__(copy=False), BufferError, r"max_version=\(1, 0\)"),
        (lambda t: tape.from_dlpack([1.0]), TypeError, "a list has no __dlpack__"),
        (lambda t: tape.from_dlpack(t, device="gpu"), ValueError, "'gpu' is not there"),
        (lambda t: tape.from_dlpack(np.zeros(2, complex)), tape.DTypeError, "complex128"),
        (lambda t: tape.from_dlpack(np.zeros(2, "float16")), tape.DTypeError, "float16"),
        (lambda t: t.to_device("cpu", stream=3), ValueError, "stream 3"),
    ],
)
def test_what_cannot_be_handed_over_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(tape.tensor([1.0, 2.0]))


def test_pytorch_takes_and_gives_memory():
    torch = pytest.importorskip("torch")
    t = tape.tensor([1.0, 2.0])
    there = torch.from_dlpack(t)
    assert there.data_ptr() == t.numpy().ctypes.data
    x = torch.arange(3.0)
    back = tape.from_dlpack(x)
    x[0] = 5
    assert back.tolist() == [5.0, 1.0, 2.0]
    with pytest.raises(BufferError, match="grad"):
        tape.from_dlpack(x.requires_grad_())
    with pytest.raises(tape.DTypeError, match="from_dlpack"):
        tape.from_dlpack(torch.zeros(2, dtype=torch.bfloat16))


def test_jax_takes_and_gives_memory():
    jax = pytest.importorskip("jax")
    t = tape.tensor([1.0, 2.0])
    assert jax.dlpack.from_dlpack(t).tolist() == [1.0, 2.0]
    y = jax.numpy.arange(3.0)
    back = tape.from_dlpack(y)
    assert back.tolist() == [0.0, 1.0, 2.0]
    assert back.numpy().ctypes.data == y.unsafe_buffer_pointer()


# -- buffers, __array__ ----------------------------------------------------------------------------


@given(arrays, layouts)
def test_the_buffer_is_the_value_read_only(a, layout):
    a = np.asarray(LAYOUTS[layout](a))
    t = tape.asarray(a)
    view = memoryview(t)
    assert view.readonly
    assert view.shape == t.shape
    assert view.nbytes == t.nbytes
    np.testing.assert_array_equal(np.asarray(view), a)
    assert np.asarray(view).dtype == t.dtype
    np.testing.assert_array_equal(t.__array__(), a)
    assert t.__array__("float64").dtype == np.float64
    assert t.__array__(copy=True).flags.writeable


def test_a_writable_buffer_is_refused():
    t = tape.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        np.frombuffer(t, np.float32)[0] = 1
    with pytest.raises(TypeError, match="not writable"):
        ctypes.c_char.from_buffer(t)
    with pytest.raises(ValueError, match="uncopied"):
        t.__array__("float64", copy=False)


def test_a_number_is_a_complex_number():
    assert complex(tape.tensor(2.5)) == 2.5
    with pytest.raises(tape.ShapeError):
        complex(tape.tensor([1.0, 2.0]))


# -- NumPy's functions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numpy", "ours"),
    [
        (np.exp, tape.exp),
        (np.absolute, tape.abs),
        (np.arctan, tape.atan),
        (np.rint, tape.round),
        (np.add.reduce, lambda x: tape.sum(x, axis=0)),
        (np.multiply.reduce, lambda x: tape.prod(x, axis=0)),
        (np.maximum.reduce, lambda x: tape.max(x, axis=0)),
        (np.logical_or.reduce, lambda x: tape.any(x, axis=0)),
        (np.add.accumulate, lambda x: tape.cumulative_sum(x, axis=0)),
        (
            lambda x: np.add.reduce(x, axis=None, keepdims=True),
            lambda x: tape.sum(x, keepdims=True),
        ),
        (lambda x: np.multiply.accumulate(x, axis=1), lambda x: tape.cumulative_prod(x, axis=1)),
        (lambda x: np.add(x, np.ones(3)), lambda x: x + np.ones(3)),
        (lambda x: np.ones(3) @ x, lambda x: tape.matmul(np.ones(3), x)),
        (lambda x: np.float64(2) * x, lambda x: tape.multiply(np.float64(2), x)),
        (lambda x: np.ones((3, 3)) / x, lambda x: tape.divide(np.ones((3, 3)), x)),
    ],
)
def test_a_function_of_numpy_on_a_tensor_is_the_op_of_tape(numpy, ours):
    x = tape.tensor(np.linspace(0.5, 2.0, 9).reshape(3, 3), requires_grad=True)
    assert numpy(x).serial == ours(x).serial or np.ndim(ours(x))
    np.testing.assert_array_equal(numpy(x).numpy(), ours(x).numpy())
    assert numpy(x).dtype == ours(x).dtype
    if numpy(x).requires_grad:
        g, expected = tape.grad(numpy(x).sum(), x), tape.grad(ours(x).sum(), x)
        np.testing.assert_array_equal(g.numpy(), expected.numpy())


def test_every_function_that_numpy_has_is_the_op_of_its_value():
    from tape.ops.ufunc import FUNCTIONS

    assert len(FUNCTIONS) > 60
    for ufunc in FUNCTIONS:
        if ufunc.signature is not None or ufunc is np.divmod:
            continue
        is_bits = ufunc.__name__.startswith("bitwise") or "shift" in ufunc.__name__
        a = np.array([3, 1, 2]) if is_bits or ufunc is np.invert else np.array([0.5, 0.25, 0.75])
        operands = [a, a[::-1].copy()][: ufunc.nin]
        with np.errstate(all="ignore"):
            expected = ufunc(*operands)
        y = ufunc(*map(tape.asarray, operands))
        assert y.dtype == expected.dtype
        np.testing.assert_allclose(y.numpy(), expected, 1e-12, err_msg=ufunc.__name__)


def test_quotient_and_remainder_come_together():
    parts = np.divmod(tape.tensor([7.5, -7.5]), 2.0)
    assert [y.tolist() for y in parts] == [[3.0, -4.0], [1.5, 0.5]]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda t: np.add(t, 1, out=np.zeros(2)), r"np\.add: out= is not .* tape\.add\(\.\.\.\)"),
        (lambda t: np.exp(np.ones(2), out=t), r"write x\[\.\.\.\] = tape\.exp\("),
        (lambda t: operator.iadd(np.ones(2), t), "np.add: out= is not for tensors"),
        (lambda t: np.cbrt(t), r"use tape\.sign\(x\).*, or, for the value .* cbrt\(x\.numpy\(\)\)"),
        (lambda t: np.gcd(t, t), r"gcd: a ufunc that tape does not take: for the value alone"),
        (lambda t: np.modf(t), r"use tape\.trunc\(x\) and"),
        (lambda t: np.frompyfunc(abs, 1, 1)(t), "a ufunc that tape does not take"),
        (lambda t: np.exp(t, where=[True, False]), "it takes no where="),
        (lambda t: np.exp(t, dtype="float64"), "it takes no dtype="),
        (lambda t: np.add.at(t, [0], 1), r"np\.add\.at: not for tensors; use x\[key\] = value"),
        (lambda t: np.add.outer(t, t), "an axis of length one in each operand"),
        (lambda t: np.add.reduceat(t, [0]), "tape.sum, .* tape.cumulative_prod"),
        (lambda t: np.subtract.reduce(t), "tape.sum"),
        (lambda t: np.add.reduce(t, initial=1), "it takes no .'initial'."),
        (lambda t: np.maximum.reduce(t, dtype="float64"), "it takes no dtype"),
    ],
)
def test_what_numpy_has_and_tape_has_not_is_refused_with_what_to_use(call, match):
    with pytest.raises(TypeError, match=match):
        call(tape.tensor([1.0, 2.0]))


def test_no_reference_is_lost_by_a_buffer():
    t = tape.tensor([1.0, 2.0])
    before = sys.getrefcount(None), sys.getrefcount(t)
    for _ in range(1000):
        memoryview(t)
        with contextlib.suppress(TypeError):
            ctypes.c_char.from_buffer(t)
    assert abs(sys.getrefcount(None) - before[0]) < 100
    assert sys.getrefcount(t) == before[1]
