"""Tensors made from nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
CONSTANT = {"zeros": 0, "ones": 1, "full": 2.5}
numbers = st.integers(-50, 50) | st.floats(-50, 50)


def made(name, shape, **options):
    values = [2.5] if name == "full" else []
    return getattr(tape, name)(shape, *values, **options)


@pytest.mark.parametrize("name", CONSTANT)
@given(shape=shapes)
def test_constants_are_float32_leaves(name, shape):
    t = made(name, shape)
    assert (t.shape, t.dtype, t.is_leaf, t.requires_grad) == (shape, np.float32, True, False)
    assert np.all(t.numpy() == CONSTANT[name])


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_can_be_written_to_and_differentiated(name):
    t = made(name, 3, requires_grad=True)
    assert tape.grad((t * t).sum(), t).tolist() == [2 * CONSTANT[name]] * 3
    with tape.no_grad():
        t += 1.0
    assert t.tolist() == [CONSTANT[name] + 1] * 3


def test_full_has_the_dtype_of_its_number():
    assert tape.full(2, 1).dtype == np.int64
    assert tape.full(2, True).dtype == np.bool_
    assert tape.full(2, 1.0).dtype == np.float32
    assert tape.full(2, np.float64(1)).dtype == np.float64
    assert tape.full(2, tape.tensor(3.0)).tolist() == [3, 3]
    assert tape.full(2, 1, dtype="float64").dtype == np.float64


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like"])
def test_likes_take_shape_and_dtype(name):
    like = getattr(tape, name)
    for x in (tape.zeros((2, 3), dtype="int32"), np.zeros((2, 3), np.int32)):
        assert (like(x).shape, like(x).dtype) == ((2, 3), np.int32)
    assert like(tape.zeros(2), dtype=np.float64).dtype == np.float64
    assert like(1.5).dtype == np.float32
    assert like([[1, 2]]).shape == (1, 2)


def test_full_like_takes_shape_and_dtype():
    t = tape.full_like(tape.zeros((2, 1), dtype="int32"), 7)
    assert (t.tolist(), t.dtype) == ([[7], [7]], np.int32)


@given(numbers, numbers, numbers.filter(lambda s: abs(s) > 0.01))
def test_arange_counts_as_numpy_does(start, stop, step):
    t, truth = tape.arange(start, stop, step), np.arange(start, stop, step)
    whole = truth.dtype == np.int64
    assert t.dtype == (np.int64 if whole else np.float32)
    np.testing.assert_array_equal(t.numpy(), truth if whole else truth.astype(np.float32))


def test_arange_of_one_number_starts_at_zero():
    assert tape.arange(3).tolist() == [0, 1, 2]
    assert tape.arange(2.5).tolist() == [0, 1, 2]
    assert tape.arange(3, dtype="float64").dtype == np.float64
    assert tape.arange(np.int32(3)).dtype == np.int64


def test_arange_refuses_what_has_no_end():
    for bad in [(0, 5, 0), (0, np.inf), (np.nan,)]:
        with pytest.raises(ValueError, match="arange: no range from"):
            tape.arange(*bad)


@given(st.floats(-9, 9), st.floats(-9, 9), st.integers(0, 20), st.booleans())
def test_linspace_is_numpys_rounded(start, stop, num, endpoint):
    t = tape.linspace(start, stop, num, endpoint=endpoint)
    truth = np.linspace(start, stop, num, endpoint=endpoint).astype(np.float32)
    np.testing.assert_array_equal(t.numpy(), truth)


@given(st.integers(0, 5), st.none() | st.integers(0, 5), st.integers(-6, 6))
def test_eye_has_ones_on_one_diagonal(rows, cols, k):
    np.testing.assert_array_equal(tape.eye(rows, cols, k=k).numpy(), np.eye(rows, cols, k))


@given(shapes.filter(lambda s: len(s) > 1), st.integers(-5, 5) | st.integers())
def test_triangles_add_up_to_the_matrix(shape, k):
    x = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal((tape.tril(x, k) + tape.triu(x, k=k + 1)).numpy(), x)


def test_only_the_triangle_gets_a_gradient():
    x = tape.ones((2, 2), requires_grad=True)
    assert tape.grad(tape.tril(x).sum(), x).tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("name", CONSTANT)
def test_bad_shapes_are_refused(name):
    with pytest.raises(tape.ShapeError, match=rf"{name}: the shape \(2, -1\) has a negative"):
        made(name, (2, -1))
    for wrong in ("23", 1.5, (1.5,), None):
        with pytest.raises(tape.ShapeError, match=f"{name}: a shape is an integer or several"):
            made(name, wrong)


HUGE, BEYOND = 2**46, 2**61  # more than there is memory for, more than there are addresses


@pytest.mark.parametrize("n", [HUGE, BEYOND, 2**70])
def test_what_no_memory_holds_is_refused_with_its_bytes(n):
    one = tape.tensor(1.0)
    calls = {
        **{name: lambda name=name: made(name, (n, 2), dtype="float64") for name in CONSTANT},
        "empty": lambda: tape.empty((n, 2), dtype="float64"),
        "arange": lambda: tape.arange(2 * n),
        "linspace": lambda: tape.linspace(0.0, 1.0, 2 * n),
        "eye": lambda: tape.eye(n, 2, dtype="float64"),
        "normal": lambda: tape.random.normal((n, 2), dtype="float64"),
        "uniform": lambda: tape.random.uniform((n, 2), dtype="float64"),
        "integers": lambda: tape.random.integers(0, 9, (n, 2)),
        "bernoulli": lambda: tape.random.bernoulli(0.5, (n, 2)),
        "fftfreq": lambda: tape.fft.fftfreq(2 * n),
        "repeat": lambda: tape.repeat(one.astype("float64"), 2 * n),
        "tile": lambda: tape.tile(one.astype("float64"), 2 * n),
    }
    for name, call in calls.items():
        with pytest.raises(tape.SizeError, match=rf"^{name}: an array .* takes {16 * n} bytes"):
            call()


@pytest.mark.parametrize("n", [2**40, 2**62])
def test_no_op_makes_more_than_memory_holds(n):
    x = tape.ones((3, 4))
    wide = tape.broadcast_to(tape.tensor(1.0), (2**30, 1))
    for name, call in {
        "add": lambda: tape.broadcast_to(x[0, 0], (2**40, 1)) + wide.mT,
        "broadcast_to": lambda: tape.broadcast_to(x, (n, n, 3, 4)),
        "fft": lambda: tape.fft.fft(x, n=n),
        "multiply": lambda: tape.outer(wide, wide),
        "one_hot": lambda: tape.one_hot(tape.tensor([0]), n),
        "pad": lambda: tape.pad(x, n),
        "repeat": lambda: tape.repeat(x, [n, n, n], axis=0),
        "tile": lambda: tape.tile(x, (n, n)),
    }.items():
        with pytest.raises(tape.SizeError, match=rf"^{name}: an array .* takes \d+ bytes, more"):
            call()
    assert issubclass(tape.SizeError, MemoryError)
    assert issubclass(tape.SizeError, tape.ShapeError)


@pytest.mark.parametrize("step", [1e-30, 5e-324])
def test_a_range_of_too_many_numbers_is_refused(step):
    with pytest.raises(tape.SizeError, match="arange: an array"):
        tape.arange(0.0, 1e300, step)


def test_unknown_dtypes_and_devices_are_refused():
    with pytest.raises(tape.DTypeError, match="complex128 is not supported"):
        tape.zeros(2, dtype=complex)
    with pytest.raises(tape.DTypeError, match="float16 is not supported"):
        tape.arange(2, dtype=np.float16)
    with pytest.raises(tape.DTypeError, match="floating point"):
        tape.zeros(2, dtype=int, requires_grad=True)
    with pytest.raises(ValueError, match="'cuda' is not there, only None or 'cpu'"):
        tape.ones(2, device="cuda")
    with pytest.raises(TypeError, match="eye: k is an integer, got 'a'"):
        tape.eye(2, k="a")
    assert tape.ones(2, device="cpu").device == "cpu"
    with pytest.raises(tape.ShapeError, match=r"full: the value has shape \(2,\)"):
        tape.full(2, [1, 2])
