"""Normalisation of each example: values, gradients, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tape
from tape import ShapeError
from tape.testing import gradcheck


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape) * 3 + 1


@st.composite
def inputs(draw):
    C = draw(st.sampled_from([1, 2, 4, 6]))
    shape = (draw(st.integers(0, 3)), C, *draw(st.lists(st.integers(2, 4), min_size=1, max_size=3)))
    return normal(*shape, seed=draw(st.integers(0, 99)))


def standard(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


@given(inputs(), st.data())
def test_groups_have_mean_0_and_variance_1_before_weight_and_bias(x, data):
    N, C = x.shape[:2]
    G = data.draw(st.sampled_from([g for g in range(1, C + 1) if C % g == 0]))
    weight, bias = normal(C, seed=1), normal(C, seed=2)
    groups = x.reshape(N, G, C // G, *x.shape[2:])
    y = standard(groups, tuple(range(2, groups.ndim)), 1e-3).reshape(x.shape)
    spread = (-1, *(1,) * (x.ndim - 2))
    expected = y * weight.reshape(spread) + bias.reshape(spread)
    np.testing.assert_allclose(
        tape.group_norm(x, G, weight, bias, 1e-3).numpy(), expected, rtol=1e-9, atol=1e-9
    )
    if G == C:
        instance = tape.instance_norm(x, weight, bias, eps=1e-3).numpy()
        np.testing.assert_allclose(instance, expected, rtol=1e-9, atol=1e-9)


@given(inputs())
def test_given_statistics_are_used_for_all_examples(x):
    mean, var = normal(x.shape[1]), np.arange(1.0, 1 + x.shape[1])
    y = tape.instance_norm(x, mean=mean, var=var, eps=0.5)
    assert y.tolist() == tape.batch_norm(x, mean=mean, var=var, eps=0.5).tolist()


@given(inputs(), st.booleans())
def test_rms_norm_divides_by_the_root_of_the_mean_square(x, several):
    axis = (-2, -1) if several else -1
    square = (x * x).mean(axis, keepdims=True)
    size, rough = [np.sqrt(square + np.finfo(dtype).eps) for dtype in (float, np.float32)]
    weight = normal(*x.shape[-2:] if several else x.shape[-1:], seed=1)
    y = tape.rms_norm(x, weight, axis)
    np.testing.assert_allclose(y.numpy(), x / size * weight, rtol=1e-9)
    single = tape.rms_norm(x.astype("f"), axis=axis)
    assert single.dtype.name == "float32"
    np.testing.assert_allclose(single.numpy(), x / rough, rtol=1e-5)


def test_local_response_norm_divides_by_what_neighbouring_channels_are():
    x = normal(2, 5, 3, 2)
    for size in (1, 2, 3, 7):
        y = np.empty_like(x)
        for c in range(5):
            near = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
            y[:, c] = x[:, c] / (2 + 0.3 / size * (near**2).sum(1)) ** 0.6
        result = tape.local_response_norm(x, size, 0.3, 0.6, 2.0)
        np.testing.assert_allclose(result.numpy(), y, rtol=1e-12)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tape.group_norm(x, 2, [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 2.0]),
        lambda x: tape.instance_norm(x),
        lambda x: tape.rms_norm(x, eps=1e-5),
        lambda x: tape.rms_norm(x, axis=(1, 2), eps=1e-5),
        lambda x: tape.local_response_norm(x, 3, 0.5),
    ],
)
def test_gradients_are_right_to_the_second_order(fn):
    assert gradcheck(fn, [normal(2, 4, 3)], order=2)


X = np.ones((2, 6, 4))
REFUSED = [
    (lambda: tape.group_norm(X, 4), "group_norm: num_groups = 4 does not divide the 6 channels"),
    (lambda: tape.group_norm(X, 2.0), "group_norm: num_groups = 2.0 does not"),
    (lambda: tape.group_norm(X[0, 0], 1), r"group_norm: x must be \(N, C, \.\.\.\), got \(4,\)"),
    (lambda: tape.group_norm(X, 2, np.ones(4)), r"group_norm: weight \(4,\) for 6 channels"),
    (lambda: tape.instance_norm(X, bias=np.ones(4)), r"instance_norm: bias \(4,\) for 6 channels"),
    (lambda: tape.instance_norm(X, mean=np.ones(6)), "instance_norm: mean and var are given both"),
    (lambda: tape.instance_norm(X[..., :1]), "one number a channel has no variance"),
    (lambda: tape.rms_norm(X, np.ones(6)), r"rms_norm: weight \(6,\) for axes of lengths \(4,\)"),
    (lambda: tape.rms_norm(X, axis=3), "rms_norm: axis 3 is out of range"),
    (lambda: tape.local_response_norm(X, 0), "size is an integer of at least 1, got 0"),
    (lambda: tape.local_response_norm(X[0], 1), "with pixels"),
]


@pytest.mark.parametrize(("call", "match"), REFUSED)
def test_what_does_not_fit_is_refused_in_words(call, match):
    with pytest.raises((ShapeError, tape.AxisError), match=match):
        call()


def test_a_batch_of_nothing_has_no_channels_to_look_for():
    x = tape.tensor(np.zeros(0), requires_grad=True)
    y = tape.batch_norm(x, mean=x, var=x)
    assert y.shape == (0,)
    assert tape.grad(y.sum(), x).shape == (0,)
