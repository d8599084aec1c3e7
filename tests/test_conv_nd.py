"""Convolution of sequences and volumes, and transposed ones, against their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tape
from tape import DTypeError, ShapeError
from tape.testing import gradcheck

CONVOLVE = {1: tape.conv1d, 2: tape.conv2d, 3: tape.conv3d}
SPREAD = {1: tape.conv_transpose1d, 2: tape.conv_transpose2d}


def slow_convolution(x, w, stride, padding, dilation, groups):
    """Place by place; x of any number of axes behind N and C."""
    n, (C_out, c), window = x.ndim - 2, w.shape[:2], w.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    out = [
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(x.shape[2:], window, stride, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], C_out, *out))
    for o, place, tap in itertools.product(range(C_out), np.ndindex(*out), np.ndindex(*window)):
        at = tuple(place[a] * stride[a] + tap[a] * dilation[a] for a in range(n))
        first = o // (C_out // groups) * c
        seen = x[(slice(None), slice(first, first + c), *at)]
        y[(slice(None), o, *place)] += seen @ w[(o, slice(None), *tap)]
    return y


def slow_spread(x, w, stride, padding, output_padding, groups, dilation):
    """Pixel by pixel, into a frame large enough, of which the padding is cut off."""
    n, window, C = x.ndim - 2, w.shape[2:], x.shape[1]
    span = [
        (size - 1) * s + d * (k - 1) + 1 + more
        for size, k, s, d, more in zip(
            x.shape[2:], window, stride, dilation, output_padding, strict=True
        )
    ]
    y = np.zeros((x.shape[0], w.shape[1] * groups, *span))
    c_out = w.shape[1]
    for c, place, tap in itertools.product(range(C), np.ndindex(*x.shape[2:]), np.ndindex(*window)):
        at = tuple(place[a] * stride[a] + tap[a] * dilation[a] for a in range(n))
        first = c // (C // groups) * c_out
        to = (slice(None), slice(first, first + c_out), *at)
        y[to] += np.outer(x[(slice(None), c, *place)], w[(c, slice(None), *tap)])
    return y[(..., *[slice(p, m - p) for p, m in zip(padding, span, strict=True)])]


@st.composite
def convolutions(draw, dims=(1, 3), most=6):
    n = draw(st.sampled_from(dims))

    def each(least, largest):
        return draw(st.tuples(*[st.integers(least, largest)] * n))

    groups = draw(st.integers(1, 2))
    settings = {"stride": each(1, 3), "dilation": each(1, 2), "groups": groups}
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    c, c_out = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    x = rng.standard_normal((draw(st.integers(0, 2)), c * groups, *each(1, most)))
    w = rng.standard_normal((c_out * groups, c, *each(1, 3)))
    return n, x, w, settings, each


@given(convolutions(), st.data())
def test_convolutions_are_their_definition(drawn, data):
    n, x, w, settings, _ = drawn
    pair = st.tuples(st.integers(0, 2), st.integers(0, 2))
    padding = data.draw(st.tuples(*[pair] * n))
    assume(
        all(
            size + sum(p) >= d * (k - 1) + 1
            for size, k, p, d in zip(
                x.shape[2:], w.shape[2:], padding, settings["dilation"], strict=True
            )
        )
    )
    expected = slow_convolution(x, w, padding=padding, **settings)
    b = np.arange(float(len(w)))
    y = CONVOLVE[n](x, w, b, padding=padding, **settings)
    np.testing.assert_allclose(
        y.numpy(), expected + b.reshape(-1, *(1,) * n), rtol=1e-12, atol=1e-12
    )


@given(convolutions(dims=(1, 2), most=4), st.data())
def test_transposed_convolutions_spread_the_kernel(drawn, data):
    n, x, w, settings, each = drawn
    stride, dilation = settings["stride"], settings["dilation"]
    w = np.resize(w, (x.shape[1], *w.shape[1:]))
    padding = each(0, 2)
    more = tuple(data.draw(st.integers(0, max(*p) - 1)) for p in zip(stride, dilation, strict=True))
    settings = {"padding": padding, "output_padding": more, **settings}
    sizes = zip(x.shape[2:], w.shape[2:], stride, dilation, padding, more, strict=True)
    assume(all((m - 1) * s + d * (k - 1) + 1 - 2 * p + o > 0 for m, k, s, d, p, o in sizes))
    expected = slow_spread(x, w, **settings)
    y = SPREAD[n](x, w, **settings)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-12)
    b = np.arange(float(y.shape[1]))
    again = SPREAD[n](x, w, b, **settings).numpy() - b.reshape(-1, *(1,) * n)
    np.testing.assert_allclose(again, expected, rtol=1e-12, atol=1e-12)


CALLS = [
    (tape.conv1d, (2, 4, 7), (4, 2, 3), (4,), {"padding": 1, "groups": 2, "stride": 2}),
    (tape.conv1d, (2, 9), (3, 2, 2), (3,), {"padding": ((2, 0),), "dilation": 3}),
    (tape.conv3d, (1, 2, 4, 3, 3), (2, 1, 2, 2, 2), (2,), {"padding": 1, "groups": 2}),
    (tape.conv3d, (2, 3, 2, 2), (1, 2, 2, 1, 2), (1,), {"stride": (2, 1, 1)}),
    (tape.conv_transpose1d, (2, 3, 4), (3, 2, 3), (2,), {"stride": 2, "output_padding": 1}),
    (tape.conv_transpose1d, (2, 3), (2, 2, 3), (2,), {"dilation": 4, "output_padding": 3}),
    (tape.conv_transpose2d, (1, 4, 2, 3), (4, 1, 3, 2), (2,), {"groups": 2, "padding": (1, 0)}),
]


@pytest.mark.parametrize(("fn", "x", "w", "b", "settings"), CALLS)
def test_gradients_are_right_to_the_second_order(fn, x, w, b, settings):
    rng = np.random.default_rng(0)
    operands = [rng.standard_normal(shape) for shape in (x, w, b)]
    assert gradcheck(lambda x, w, b: fn(x, w, b, **settings), operands, order=2)


@pytest.mark.parametrize(("fn", "x", "w", "b", "settings"), CALLS)
def test_one_alone_is_the_only_one_of_a_batch(fn, x, w, b, settings):
    rng = np.random.default_rng(0)
    x, w, b = [rng.standard_normal(shape) for shape in (x, w, b)]
    if x.ndim == w.ndim:
        x = x[0]
    alone = fn(x, w, b, **settings)
    assert alone.numpy().tolist() == fn(x[None], w, b, **settings)[0].tolist()


def test_same_padding_keeps_the_length_and_an_activation_is_fused():
    x, w = np.ones((1, 2, 7)), np.ones((3, 2, 4))
    y = tape.conv1d(x, w, padding="same", dilation=2, activation=tape.tanh)
    assert y.shape == (1, 3, 7)
    padded = tape.conv1d(x, w, padding=((3, 3),), dilation=2)
    assert y.tolist() == tape.tanh(padded).tolist()
    with pytest.raises(ShapeError, match=r'conv1d: padding="same" is for stride 1, got .*\(2,\)'):
        tape.conv1d(x, w, padding="same", stride=2)
    z = tape.conv3d(np.ones((1, 1, 4, 5, 6)), np.ones((1, 1, 2, 3, 4)), padding="same")
    assert z.shape == (1, 1, 4, 5, 6)


def test_a_transposed_convolution_is_the_gradient_of_the_convolution():
    rng = np.random.default_rng(3)
    x = tape.tensor(rng.standard_normal((2, 3, 9, 8)), requires_grad=True)
    w = rng.standard_normal((4, 3, 3, 2))
    y = tape.conv2d(x, w, stride=2, padding=(1, 0))
    g = rng.standard_normal(y.shape)
    back = tape.conv_transpose2d(g, w, stride=2, padding=(1, 0))
    assert back.shape == x.shape
    np.testing.assert_array_equal(tape.grad(y, x, g=tape.tensor(g)).numpy(), back.numpy())


ONES = np.ones
REFUSED = [
    (tape.conv1d, (ONES((8, 3, 9)), ONES((16, 4, 3))), {}, "conv1d: x has 3 channels, w expects 4"),
    (tape.conv1d, (ONES((8, 3)), ONES((16, 3, 3, 3))), {}, r"conv1d: x must be \(N, C, L\)"),
    (tape.conv1d, (ONES((1, 3, 2)), ONES((4, 3, 3))), {}, r"conv1d: .*does not fit x \(1, 3, 2\)"),
    (tape.conv1d, (ONES((1, 3, 4)), ONES((4, 3, 3))), {"stride": 0}, "at least 1"),
    (tape.conv1d, (ONES((1, 3, 4)), ONES((4, 3, 3))), {"padding": -1}, "must not be negative"),
    (tape.conv1d, (ONES((1, 3, 4)), ONES((4, 3, 3))), {"stride": (1, 2)}, "a tuple of one"),
    (
        tape.conv1d,
        (ONES((1, 3, 4)), ONES((4, 3, 3))),
        {"b": ONES(3)},
        r"b has shape \(3,\), w .* 4",
    ),
    (tape.conv1d, (ONES((1, 3, 4)), ONES((4, 1, 3))), {"groups": 3}, "does not divide the 4"),
    (tape.conv3d, (ONES((1, 3, 4, 4)), ONES((4, 3, 3, 3))), {}, r"conv3d: x must be \(N, C, D, H"),
    (tape.conv3d, (ONES((1, 1, 2, 4, 4)), ONES((4, 1, 3, 3, 3))), {}, "conv3d: .*does not fit x"),
    (tape.conv3d, (ONES((1, 1, 2, 4, 4)), ONES((4, 1, 1, 1, 1))), {"stride": (1, 2)}, "3 of them"),
    (tape.conv_transpose1d, (ONES((1, 3, 4)), ONES((4, 3, 3))), {}, "x has 3 channels, w is for 4"),
    (
        *(tape.conv_transpose1d, (ONES((1, 4, 4)), ONES((4, 3, 3))), {"output_padding": 1}),
        "output_padding 1 must be less than stride 1 or dilation 1",
    ),
    (tape.conv_transpose2d, (ONES((1, 4, 0, 4)), ONES((4, 3, 3, 3))), {}, "length 0"),
    (tape.conv_transpose2d, (ONES((1, 4, 1, 4)), ONES((4, 3, 3, 3))), {"padding": 2}, "nothing"),
    (tape.conv_transpose2d, (ONES((1, 4, 1, 4)), ONES((4, 3, 3, 3))), {"groups": 3}, "4 channels"),
]


@pytest.mark.parametrize(("fn", "operands", "settings", "match"), REFUSED)
def test_what_does_not_fit_is_refused_in_its_own_words(fn, operands, settings, match):
    with pytest.raises(ShapeError, match=match):
        fn(*operands, **settings)


@pytest.mark.parametrize("fn", [*CONVOLVE.values(), *SPREAD.values()])
def test_integers_are_refused(fn):
    n = int(fn.__name__[-2])
    x, w = np.ones((1, 1, *[3] * n)), np.ones((1, 1, *[2] * n))
    with pytest.raises(DTypeError, match=rf"{fn.__name__}: x is int64, expected float32"):
        fn(x.astype(np.int64), w)
