"""Kernels on codes of 8 bits (tape._kernels.int8_filters) against NumPy on whole numbers: exact."""

import itertools
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from isas import ISAS, beside_a_guard, disassembly, needs_avx512, needs_objdump
from layouts import generators, laid_out, layouts

import tape
from tape._kernels import table
from tape._kernels.int8_filters import LONGEST, Int8Filters, codes_of


@pytest.fixture(params=ISAS)
def isa(request, kernels_as_before):
    table.use(request.param)
    return request.param


@pytest.fixture
def threads():
    before = table.get_num_threads()
    yield table.set_num_threads
    table.set_num_threads(before)


def on_every_isa(check):
    """Run a statement once for each instruction set."""
    before = table.used()
    try:
        for name in ISAS:
            table.use(name)
            check(name)
    finally:
        table.use(before)


def outputs(n, k, stride, padding, dilation):
    return (n + sum(padding) - dilation * (k - 1) - 1) // stride + 1


def correlation(q, w, zero, stride, padding, dilation, groups):
    """The correlation of q - zero with w in whole numbers of 64 bits."""
    (N, _, H, W), (filters, c, R, S) = q.shape, w.shape
    Ho, Wo = (
        outputs(n, k, s, p, d)
        for n, k, s, p, d in zip((H, W), (R, S), stride, padding, dilation, strict=True)
    )
    padded = np.pad(q.astype(np.int64) - zero, ((0, 0), (0, 0), *padding))
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


def codes(rng, *shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


def weights(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2)


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
    channels = draw(st.integers(1, 150 // groups))
    filters = draw(st.integers(1, 130 // groups)) * groups
    image = draw(st.tuples(st.integers(1, 20), st.sampled_from([*range(1, 21), 49, 97])))
    window = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    settings = {
        "stride": draw(pairs),
        "padding": draw(pads),
        "dilation": draw(pairs),
        "groups": groups,
    }
    sizes = zip(
        image, window, settings["stride"], settings["padding"], settings["dilation"], strict=True
    )
    assume(all(outputs(*size) > 0 for size in sizes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = codes(rng, draw(st.integers(1, 3)), channels * groups, *image)
    w = weights(rng, filters, channels, *window)
    if draw(st.sampled_from([False, False, False, True])):  # the greatest sums there are
        x[...], w[...] = 255, draw(st.sampled_from([-128, 127]))
    return x, w, draw(st.sampled_from([0, 255, 128, 7])), settings, rng


@given(convolutions())
def test_correlation_is_the_one_in_whole_numbers(convolution):
    q, w, zero, settings, rng = convolution
    expected = correlation(q, w, zero, **settings)
    shaped = (slice(None), None, None)
    scale = rng.standard_normal(len(w)).astype(np.float32)
    bias = (100 * rng.standard_normal(len(w))).astype(np.float32)
    numbers = expected.astype(np.float32) * scale[shaped] + bias[shaped]
    scale_down = scale / np.float32(1 + abs(expected).max() / 300)
    rounded = np.rint(expected.astype(np.float32) * scale_down[shaped] + bias[shaped])
    floats = (q.astype(np.float32) - zero) / 4

    def check(isa):
        plain = Int8Filters(w, **settings, zero=zero, factor=4)
        relu = Int8Filters(w, **settings, zero=zero, factor=4, scale=scale, bias=bias, least=0)
        coded = Int8Filters(w, **settings, zero=zero, scale=scale_down, bias=bias, least=3)
        for x, last in itertools.product((q, channels_last(q), floats), (False, True)):
            sums = plain.sums(x, channels_last=last)
            assert sums.dtype == np.int32
            np.testing.assert_array_equal(sums, expected, err_msg=isa)
            np.testing.assert_array_equal(
                relu.floats(x, channels_last=last), np.maximum(numbers, 0), err_msg=isa
            )
        y = coded.codes(q)
        assert y.dtype == np.uint8
        np.testing.assert_array_equal(y, np.clip(rounded, 3, 255), err_msg=isa)

    on_every_isa(check)


@given(generators, st.integers(0, 300), st.sampled_from([0, 1, 128, 255]), layouts)
def test_codes_are_rounded_to_even_and_cut(rng, n, zero, layout):
    x = np.concatenate([rng.standard_normal(n) * 200, rng.integers(-600, 600, n) / 2])
    x = np.append(x, [np.inf, -np.inf, 1e38, -1e38, -0.0]).astype(np.float32)
    for factor in (1.0, 0.37):
        q = np.clip(np.rint(x * np.float32(factor)) + zero, 0, 255)

        def check(isa, factor=factor, q=q):
            y = codes_of(laid_out(x, layout), factor, zero)
            np.testing.assert_array_equal(y, q, err_msg=isa)
            assert codes_of(np.array([np.nan], np.float32), factor, zero) == 0

        on_every_isa(check)


@given(generators, st.integers(1, 70), st.integers(1, 70), st.integers(1, 70))
def test_images_become_the_codes_of_their_numbers_in_any_layout(rng, channels, height, width):
    x = (rng.standard_normal((2, channels, height, width)) * 100).astype(np.float32)
    identity = np.eye(channels, dtype=np.int8)[:, :, None, None]
    q = codes_of(x, 0.8, 100).astype(np.int32) - 100

    def check(isa):
        filters = Int8Filters(identity, zero=100, factor=0.8)
        for images in (x, channels_last(x), x.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)):
            np.testing.assert_array_equal(filters.sums(images), q, err_msg=isa)

    on_every_isa(check)


few = st.integers(1, 3)


@given(generators, layouts, st.tuples(few, st.sampled_from([4, 8, 5]), few, few), st.booleans())
def test_codes_are_read_in_any_layout(rng, layout, shape, last):
    q, w = codes(rng, *shape), weights(rng, 17, shape[1], 1, 1)
    expected = correlation(q, w, 9, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    x = (
        laid_out(q.transpose(0, 2, 3, 1), layout).transpose(0, 3, 1, 2)
        if last
        else laid_out(q, layout)
    )

    def check(isa):
        np.testing.assert_array_equal(Int8Filters(w, zero=9).sums(x), expected, err_msg=isa)
        half = x[::2, :, ::-1, ::2]
        np.testing.assert_array_equal(
            Int8Filters(w, zero=9).sums(half), expected[::2, :, ::-1, ::2], err_msg=isa
        )

    on_every_isa(check)


def test_the_longest_filter_does_not_overflow(isa):
    x, w = np.full((1, LONGEST, 1, 1), 255, np.uint8), np.full((3, LONGEST, 1, 1), -128, np.int8)
    assert (Int8Filters(w).sums(x) == -255 * 128 * LONGEST).all()
    assert (Int8Filters(w, zero=255).sums(x) == 0).all()
    with pytest.raises(ValueError, match=f"more than {LONGEST} terms"):
        Int8Filters(np.zeros((1, LONGEST + 1, 1, 1), np.int8))


@pytest.mark.skipif("avx512" not in ISAS, reason="no AVX-512 here")
def test_a_machine_without_the_dot_product_gives_the_same():
    code = """
import numpy as np
from tape._kernels.int8_filters import Int8Filters, has_dot
assert not has_dot()
rng = np.random.default_rng(0)
q, w = rng.integers(0, 256, (50, 77)), rng.integers(-128, 128, (70, 77))
x = np.ascontiguousarray(q.astype(np.uint8)).T[None, :, None]
y = Int8Filters(w.astype(np.int8)[:, :, None, None], zero=9).sums(x)
assert (y[0, :, 0] == w @ (q.T - 9)).all()
"""
    environment = {**os.environ, "TAPE_ISA": "avx512", "TAPE_WITHOUT_VNNI": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("image", [(40, 40), (1, 1), (1, 300)])
def test_results_do_not_depend_on_threads_or_batch(isa, threads, image, groups):
    rng = np.random.default_rng(0)
    x, w = codes(rng, 5, 24 * groups, *image), weights(rng, 96 * groups, 24, 1, 1)
    scale = rng.standard_normal(len(w))
    filters = Int8Filters(w, groups=groups, zero=100, scale=scale, bias=scale)
    found = []
    for n in (1, 2, 7):
        threads(n)
        found += [
            filters.floats(x),
            np.concatenate([filters.floats(x[i : i + 1]) for i in range(5)]),
        ]
    for y in found[1:]:
        np.testing.assert_array_equal(y, found[0])


@pytest.mark.parametrize("channels", [1, 3, 4, 17, 64])
@pytest.mark.parametrize("filters", [1, 15, 16, 33, 65])
def test_nothing_is_read_beyond_the_operands(isa, channels, filters):
    rng = np.random.default_rng(0)
    w = weights(rng, filters, channels, 1, 3)
    settings = {"padding": ((0, 0), (0, 0)), "stride": (1, 1), "dilation": (1, 1), "groups": 1}
    for width in (3, 8, 18, 51):
        q = codes(rng, 1, 2, width, channels)
        x = q.transpose(0, 3, 1, 2)
        expected = correlation(x, w, 9, **settings)
        made = Int8Filters(w, zero=9)
        guarded = beside_a_guard(q).transpose(0, 3, 1, 2)
        floats = x.astype(np.float32) - 9
        for images in (
            guarded,
            beside_a_guard(np.ascontiguousarray(floats)),
            beside_a_guard(np.ascontiguousarray(floats.transpose(0, 2, 3, 1))).transpose(
                0, 3, 1, 2
            ),
        ):
            np.testing.assert_array_equal(made.sums(images), expected)


def test_filters_do_not_follow_the_array_they_were_made_of(isa):
    rng = np.random.default_rng(0)
    x, w = codes(rng, 1, 8, 4, 4), weights(rng, 5, 8, 3, 3)
    filters = Int8Filters(w)
    expected = Int8Filters(w.copy()).sums(x)
    w[...] = 0
    np.testing.assert_array_equal(filters.sums(x), expected)


def test_threads_may_share_filters(isa):
    rng = np.random.default_rng(0)
    filters = Int8Filters(weights(rng, 64, 64, 3, 3), padding=((1, 1), (1, 1)))
    images = [codes(rng, 1, 64, n, n + 3) for n in (20, 33, 7, 11)]
    wanted = [filters.sums(x) for x in images]

    def differs(i):
        return any(not np.array_equal(filters.sums(images[i]), wanted[i]) for _ in range(20))

    with ThreadPoolExecutor(len(images)) as pool:
        assert not any(pool.map(differs, range(len(images))))


@needs_objdump
@needs_avx512
def test_the_inner_loops_keep_their_sums_in_registers():
    lines = disassembly()
    adding = [i for i, line in enumerate(lines) if "vpdpbusd" in line or "pmaddwd" in line]
    assert len(adding) > 300
    near = {j for i in adding for j in range(max(i - 8, 0), i + 8)}
    spills = [lines[j] for j in sorted(near) if re.search(r"mm.*\(%rsp|\(%rsp.*mm", lines[j])]
    assert not spills


X, W = np.ones((1, 4, 5, 5), np.uint8), np.ones((6, 4, 3, 3), np.int8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Int8Filters(W.astype(np.float32)), "w is float32 .*, expected int8 filters"),
        (lambda: Int8Filters(W[0]), r"w is int8 \(4, 3, 3\), expected int8 filters"),
        (lambda: Int8Filters(W.tolist()), "w is list, expected int8 filters"),
        (lambda: Int8Filters(W[:, :0]), r"filters \(6, 0, 3, 3\) without weights"),
        (lambda: Int8Filters(W, groups=4), "groups = 4 does not divide 6 filters"),
        (lambda: Int8Filters(W, zero=256), "zero is 256"),
        (lambda: Int8Filters(W, zero=1.5), "zero is 1.5"),
        (lambda: Int8Filters(W, factor=0), "factor is 0, expected a number from"),
        (lambda: Int8Filters(W, factor=np.nan), "factor is nan, expected a number from"),
        (lambda: Int8Filters(W, least=np.nan), "least is NaN"),
        (lambda: Int8Filters(W, scale=np.ones(5)), r"scale has shape \(5,\), expected \(6,\)"),
        (lambda: Int8Filters(W, scale=["a"] * 6), "scale is <U1, expected float32"),
        (lambda: Int8Filters(W, bias=[np.inf] * 6), "bias holds NaN or inf"),
        (lambda: Int8Filters(W, (0, 1)), r"stride is \(0, 1\)"),
        (lambda: Int8Filters(W, padding=1), r"padding is 1, expected \(\(top"),
        (lambda: Int8Filters(W, dilation=1), "dilation is 1, expected two"),
        (lambda: Int8Filters(W).sums(X.astype(np.int8)), "x is int8, expected uint8 codes"),
        (lambda: Int8Filters(W).sums(X[0]), r"x is uint8 \(4, 5, 5\), expected images"),
        (lambda: Int8Filters(W).sums(None), "x is a NoneType, expected images"),
        (lambda: Int8Filters(W).sums(X[:, :3]), "x has 3 channels, w expects 4"),
        (lambda: Int8Filters(W).sums(X[:, :, :2]), "height is only"),
        (lambda: Int8Filters(W).codes(X), "least is -inf, for codes a number from 0 to 255"),
        (lambda: codes_of(X, 1, 0), "x is uint8 .*, expected floats"),
        (lambda: codes_of(np.ones(3), 1, 256), "zero is 256, expected a number from 0 to 255"),
        (lambda: codes_of(np.ones(3), 1, 0.5), "zero is 0.5, expected a whole number"),
        (lambda: codes_of(np.ones(3), -1, 0), "factor is -1"),
    ],
)
def test_bad_input_is_refused_with_numbers(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_no_images_give_no_results(isa):
    filters = Int8Filters(W, padding=((1, 1), (1, 1)))
    assert filters.floats(X[:0]).shape == (0, 6, 5, 5)


def test_codes_go_from_layer_to_layer():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 9, 9)).astype(np.float32)
    w1, w2 = weights(rng, 10, 3, 3, 3), weights(rng, 7, 10, 3, 3)
    between = (0.05, 0)
    q = tape.int8_conv2d(x, w1, 1e-3, x_codes=(0.02, 128), relu=True, y_codes=between, padding=1)
    assert q.dtype == np.uint8
    y = tape.int8_conv2d(q, w2, 1e-3, x_codes=between, padding=1)
    floats = tape.conv2d(q.numpy().astype(np.float32) * np.float32(0.05), w2 * 1e-3, padding=1)
    np.testing.assert_allclose(y.numpy(), floats.numpy(), rtol=1e-4, atol=1e-4)


def test_walking_back_through_codes_is_refused():
    x = tape.tensor(np.ones((2, 4), np.float32), requires_grad=True)
    y = tape.int8_linear(x, np.ones((3, 4), np.int8), 0.1, 0.0, x_codes=(0.02, 128))
    assert not y.requires_grad
    with pytest.raises(tape.GradError):
        y.sum().backward()
