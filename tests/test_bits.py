"""Kernels on signs (tape._kernels.bits, bit_filters) against NumPy on whole numbers: all exact."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from layouts import generators, laid_out, layouts

from tape._kernels import table
from tape._kernels.bit_filters import BitFilters
from tape._kernels.bits import pack, unpack

HERE = [name for name, runs in table.built().items() if runs]


@pytest.fixture(params=HERE)
def isa(request):
    before = table.used()
    table.use(request.param)
    yield request.param
    table.use(before)


def on_every_isa(check):
    """Run a statement once for each instruction set."""
    before = table.used()
    try:
        for name in HERE:
            table.use(name)
            check(name)
    finally:
        table.use(before)


def signs(rng, *shape):
    return rng.choice([-1, 1], size=shape).astype(np.float32)


def outputs(n, k, stride, padding, dilation):
    return (n + sum(padding) - dilation * (k - 1) - 1) // stride + 1


def correlation(x, w, stride, padding, dilation, groups, pad_value=0):
    """The correlation of x with w in whole numbers."""
    (N, _, H, W), (filters, c, R, S) = x.shape, w.shape
    Ho, Wo = (
        outputs(n, k, s, p, d)
        for n, k, s, p, d in zip((H, W), (R, S), stride, padding, dilation, strict=True)
    )
    edges = ((0, 0), (0, 0), *padding)
    padded = np.pad(x.astype(np.int64), edges, constant_values=pad_value)
    w = w.astype(np.int64)
    y = np.zeros((N, filters, Ho, Wo), np.int64)
    for r, s in itertools.product(range(R), range(S)):
        part = padded[
            :,
            :,
            r * dilation[0] : r * dilation[0] + (Ho - 1) * stride[0] + 1 : stride[0],
            s * dilation[1] : s * dilation[1] + (Wo - 1) * stride[1] + 1 : stride[1],
        ]
        for g in range(groups):
            mine = slice(g * filters // groups, (g + 1) * filters // groups)
            y[:, mine] += np.einsum(
                "ncij,oc->noij", part[:, g * c : (g + 1) * c], w[mine, :, r, s], optimize=True
            )
    return y


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2)


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
    channels = draw(st.integers(1, 200 // groups))
    filters = draw(st.integers(1, 100 // groups)) * groups
    image = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    window = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    settings = {
        "stride": draw(pairs),
        "padding": draw(pads),
        "dilation": draw(pairs),
        "groups": groups,
        "pad_value": draw(st.sampled_from([0, 0, 1, -1])),
    }
    sizes = zip(
        image, window, settings["stride"], settings["padding"], settings["dilation"], strict=True
    )
    assume(all(outputs(*size) > 0 for size in sizes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = signs(rng, draw(st.integers(1, 3)), channels * groups, *image)
    return x, signs(rng, filters, channels, *window), settings, rng


@given(convolutions(), st.tuples(*[st.integers(0, 3)] * 4))
def test_correlation_is_the_one_in_whole_numbers(convolution, border):
    x, w, settings, rng = convolution
    expected = correlation(x, w, **settings)
    scale, bias = (rng.standard_normal(len(w)).astype(np.float32) for _ in range(2))
    residual = rng.standard_normal(expected.shape).astype(np.float32)
    shaped = (slice(None), None, None)
    numbers = expected.astype(np.float32) * scale[shaped] + bias[shaped] + residual
    least = rng.integers(-20, 20, len(w)).astype(np.int32)
    flip = rng.integers(0, 2, len(w)).astype(bool)
    below = (expected < least[shaped]) ^ flip[shaped]

    def check(isa):
        images, filters = pack(x, border=border), pack(w)
        plain = BitFilters(filters, **settings)
        for last in (False, True):
            counts = plain.counts(images, channels_last=last)
            assert counts.dtype == np.int32
            np.testing.assert_array_equal(counts, expected, err_msg=isa)
            np.testing.assert_array_equal(
                plain.scaled(images, channels_last=last), expected.astype(np.float32)
            )
            scaled = BitFilters(filters, **settings, scale=scale, bias=bias)
            np.testing.assert_array_equal(
                scaled.scaled(images, residual, channels_last=last), numbers, err_msg=isa
            )
        folded = BitFilters(filters, **settings, least=least, flip=flip)
        y = folded.signs(images, border)
        assert y.border == border
        np.testing.assert_array_equal(unpack(y) < 0, below, err_msg=isa)
        # Nothing but the signs is written: the next layer counts every bit.
        np.testing.assert_array_equal(y.words, pack(unpack(y), border=border).words)

    on_every_isa(check)


@given(generators, st.sampled_from(["float32", "float64"]), layouts, st.integers(1, 80))
def test_packing_is_comparison(rng, dtype, layout, channels):
    x = rng.standard_normal((2, channels, *rng.integers(1, 20, 2))).astype(dtype)
    special = np.array(
        [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 5e-324, -5e-324, 1e-42, -1e-42]
    )
    where = rng.random(x.shape) < 0.3
    x[where] = rng.choice(special, where.sum())
    cases = {"negative": x < 0, "not positive": ~(x > 0), "outside": ~(np.abs(x) <= 0.7)}

    def check(isa):
        for axis in range(4):
            for rule, expected in cases.items():
                bits = pack(laid_out(x, layout), axis, rule, 0.7)
                np.testing.assert_array_equal(unpack(bits, dtype, 0, 1), expected, err_msg=isa)
                words = np.packbits(np.moveaxis(expected, axis, -1), -1, bitorder="little")
                found = bits.words.view(np.uint8)
                np.testing.assert_array_equal(found[..., : words.shape[-1]], words)
                assert not found[..., words.shape[-1] :].any()

    on_every_isa(check)
