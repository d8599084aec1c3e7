"""Choices between elements: maximum and minimum at ties and NaN; clip by numbers and tensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape


def gradient_at(f, values):
    x = tape.tensor(np.array(values), requires_grad=True)
    return np.array(tape.grad(f(x).sum(), x))


@given(
    st.lists(st.floats(-10, 10) | st.sampled_from([np.nan, np.inf, -np.inf]), min_size=1),
    st.none() | st.floats(-5, 5),
    st.none() | st.floats(-5, 5),
)
def test_clip_is_minimum_of_maximum_for_numbers_and_tensors(values, low, high):
    x = np.array(values)
    truth = x if low is None else np.maximum(x, low)
    truth = truth if high is None else np.minimum(truth, high)
    np.testing.assert_array_equal(np.array(tape.clip(x, low, high)), truth)
    bounds = [None if b is None else np.array(b) for b in (low, high)]
    np.testing.assert_array_equal(np.array(tape.clip(x, *bounds)), truth)
    np.testing.assert_array_equal(np.array(tape.clip(x, low, bounds[1])), truth)
    np.testing.assert_array_equal(np.array(tape.clip(x, bounds[0], high)), truth)


@pytest.mark.parametrize("op", [tape.maximum, tape.minimum])
def test_the_larger_one_is_right_forward_and_backward_at_ties_and_nan(op):
    a, b = np.array([1.0, 2.0, np.nan, 1.0, 3.0]), np.array([1.0, np.nan, 2.0, 3.0, 1.0])
    ts = [tape.tensor(x, dtype="float32", requires_grad=True) for x in (a, b)]
    da, db = tape.grad(op(*ts), ts, g=np.ones(5, np.float32))
    assert da.tolist()[:3] == db.tolist()[:3] == [0.5, 1, 1]
    for k, expected in enumerate((da, db)):
        dxs = [np.full(5, float(k == i), np.float32) for i in range(2)]
        _, dy = tape.jvp(op, ts, dxs)
        assert (dy.tolist(), dy.dtype) == (expected.tolist(), np.float32)


def test_clip_gives_tensors_as_bounds_their_gradients():
    x = tape.tensor([-1.0, 0.5, 3.0], requires_grad=True)
    low, high = (tape.tensor(v, requires_grad=True) for v in (0.0, 2.0))
    dx, dlow, dhigh = tape.grad(tape.clip(x, low, high).sum(), [x, low, high])
    assert (dx.tolist(), dlow.item(), dhigh.item()) == ([0, 1, 0], 1, 1)


def test_clip_keeps_the_whole_gradient_at_a_bound_that_is_a_tensor():
    x = tape.tensor([0.0, 1.0, 2.0], requires_grad=True)
    low, high = (tape.tensor([v] * 3, requires_grad=True) for v in (0.0, 2.0))
    for y, bounds in [
        (tape.clip(x, low, high), [low, high]),
        (tape.clip(x, low), [low]),
        (tape.clip(x, None, high), [high]),
    ]:
        dx, *others = tape.grad(y, [x, *bounds], g=np.full(3, 8.0, "f"))
        assert dx.tolist() == [8, 8, 8]
        assert all(g.tolist() == [0, 0, 0] for g in others)


@pytest.mark.parametrize("values", [(np.nan, 0, 1), (0.5, np.nan, 1), (0.5, 0, np.nan)])
def test_clip_with_a_nan_is_nan_and_gives_nobody_a_gradient(values):
    x, *bounds = (tape.tensor(float(v), requires_grad=True) for v in values)
    y = tape.clip(x, *bounds)
    assert np.isnan(y.item())
    assert [g.item() for g in tape.grad(y, [x, *bounds])] == [0, 0, 0]


def test_clip_keeps_the_dtype_that_its_bounds_promote_to():
    x = tape.tensor(np.arange(4, dtype=np.int8))
    assert tape.clip(x, np.array(1, np.int8), np.array(2, np.int8)).tolist() == [1, 1, 2, 2]
    assert tape.clip(x, np.array(1, np.int8)).dtype == np.int8
    assert tape.clip(x.astype("float32"), np.array(1, np.int8)).dtype == np.float32
    with pytest.raises(tape.ShapeError, match=r"^clip: shapes \(4,\) and \(3,\) do not broadcast"):
        tape.clip(x, np.zeros(3))


def test_crossed_bounds_give_the_upper_one_and_no_gradient():
    assert tape.clip(np.array([0.0, 1.5, 9.0]), 2, 1).tolist() == [1, 1, 1]
    assert gradient_at(lambda x: tape.clip(x, 2, 1), [0.0, 1.0, 1.5, 2.0, 9.0]).tolist() == [0] * 5


def test_clip_without_bounds_is_a_copy():
    x = tape.tensor([1.0, 2.0], requires_grad=True)
    y = tape.clip(x)
    assert y.tolist() == [1, 2]
    assert not np.shares_memory(y.numpy(), x.numpy())
    assert tape.grad(y.sum(), x).tolist() == [1, 1]


def test_clip_of_integers_keeps_them_and_takes_bounds_they_cannot_hold():
    x = np.array([0, 100, 255], np.uint8)
    assert tape.clip(x, -1, 300).tolist() == [0, 100, 255]
    assert tape.clip(x, -1, 300).dtype == np.uint8
    assert tape.clip(np.array([1, 5]), 2, 4).dtype == np.int64
