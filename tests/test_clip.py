"""Clipping of gradients by their common norm."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizers import parameter

import tape
from tape import nn, optim
from tape.errors import GradError

# -- clipping ----------------------------------------------------------------------------------

gradients = st.lists(
    st.lists(st.floats(-100, 100, width=32), min_size=0, max_size=4), min_size=1, max_size=4
)


@given(gradients, st.sampled_from([1.0, 2.0, 3.0, math.inf]), st.floats(0, 50), st.booleans())
def test_clipping_scales_all_gradients_to_the_norm_it_is_given(lists, p, most, narrow):
    dtype = "float32" if narrow else "float64"
    params = [parameter(np.zeros(len(values)), dtype) for values in lists]
    for param, values in zip(params, lists, strict=True):
        param.grad = tape.tensor(np.array(values, dtype))
    flat = np.array([x for values in lists for x in values], dtype).astype(np.float64)
    norm = float(np.linalg.norm(flat, p)) if flat.size else 0.0
    assert optim.clip_grad_norm([*params, parameter([1.0])], most, p) == pytest.approx(norm)
    factor = min(1.0, most / (norm + 1e-6))
    after = np.concatenate([param.grad.numpy() for param in params])
    assert after.dtype == dtype
    np.testing.assert_allclose(after, flat * factor, rtol=2e-6, atol=1e-30)


def test_a_gradient_that_two_share_or_that_is_given_twice_is_scaled_once():
    a, b = parameter([3.0]), parameter([4.0])
    a.grad = b.grad = tape.tensor(np.array([2.0]))
    assert optim.clip_grad_norm([a, b, a], 1.0) == 2.0
    assert a.grad.item() == pytest.approx(1.0, rel=1e-5)
    assert optim.clip_grad_norm(a, 10.0) == pytest.approx(1.0, rel=1e-5)


def test_who_holds_the_gradient_from_before_keeps_it_and_the_tensor_is_the_same():
    a = parameter([1.0])
    a.grad = g = tape.tensor(np.array([8.0]))
    held = g.numpy()
    optim.clip_grad_norm([a], 1.0)
    assert held.tolist() == [8.0]
    assert a.grad is g
    assert g.item() == pytest.approx(1.0, rel=1e-5)


def test_a_norm_that_is_not_finite_can_be_refused():
    for bad in (math.inf, math.nan):
        a, b = parameter([1.0]), parameter([1.0])
        a.grad, b.grad = tape.tensor(np.array([bad])), tape.tensor(np.ones(1))
        with pytest.raises(GradError, match="the norm of the 2 gradients is"):
            optim.clip_grad_norm([a, b], 1.0, error_if_nonfinite=True)
        assert b.grad.item() == 1.0
        norm = optim.clip_grad_norm([a, b], 1.0)
        assert norm == bad or math.isnan(norm)
        assert math.isnan(a.grad.item())
        assert b.grad.item() == 0.0 or math.isnan(bad)


def test_huge_gradients_have_a_finite_norm():
    a = parameter([0.0, 0.0])
    a.grad = tape.tensor(np.array([3e200, 4e200]))
    assert optim.clip_grad_norm([a], 1.0) == pytest.approx(5e200)
    assert a.grad.tolist() == pytest.approx([0.6, 0.8])


def test_without_gradients_the_norm_is_zero():
    assert optim.clip_grad_norm([parameter([1.0])], 1.0) == 0.0
    with pytest.raises(TypeError, match=r"norm: params is one Sequential: give model\.parameters"):
        optim.clip_grad_norm(nn.Sequential(nn.Dense(2)), 1.0)
    with pytest.raises(TypeError, match="clip_grad_norm: params is one NoneType: give model"):
        optim.clip_grad_norm(None, 1.0)
    with pytest.raises(TypeError, match=r"params\[0\] is a float, not a tensor"):
        optim.clip_grad_norm([1.0], 1.0)
    with pytest.raises(TypeError, match="clip_grad_norm: max_norm must be a number, got 'a'"):
        optim.clip_grad_norm([], "a")
    with pytest.raises(TypeError, match="clip_grad_norm: norm_type must be a number, got 'a'"):
        optim.clip_grad_norm([], 1.0, "a")
    with pytest.raises(ValueError, match="max_norm must be at least 0"):
        optim.clip_grad_norm([], -1.0)
    with pytest.raises(ValueError, match="norm_type must be above 0"):
        optim.clip_grad_norm([], 1.0, 0.0)


def test_an_infinite_bound_only_measures():
    a = parameter([0.0, 0.0])
    a.grad = tape.tensor(np.array([3.0, -4.0]))
    assert optim.clip_grad_norm([a], math.inf) == 5.0
    assert optim.clip_grad_norm([a], math.inf, "inf") == 4.0
    assert a.grad.tolist() == [3.0, -4.0]


def test_what_was_frozen_since_its_gradient_came_is_not_counted():
    a, b = parameter([3.0]), parameter([4.0])
    for p in (a, b):
        p.grad = tape.tensor(np.array([5.0]))
    a.requires_grad_(False)
    assert optim.clip_grad_norm([a, b], 1.0) == 5.0
    assert a.grad.tolist() == [5.0]
    assert b.grad.item() == pytest.approx(1.0, rel=1e-5)
