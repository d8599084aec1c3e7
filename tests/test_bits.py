"""Kernels on signs (tape._kernels.bits, bit_filters) against NumPy on whole numbers: all exact."""

import ctypes
import itertools
import mmap
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from isas import ISAS, disassembly, needs_avx512, needs_objdump
from layouts import generators, laid_out, layouts

from tape._kernels import table
from tape._kernels.bit_filters import BitFilters
from tape._kernels.bits import PackedBits, binary_pool, pack, unpack, words_as


@pytest.fixture(params=ISAS)
def isa(request, kernels_as_before):
    table.use(request.param)
    return request.param


def on_every_isa(check):
    """Run a statement once for each instruction set."""
    before = table.used()
    try:
        for name in ISAS:
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


@given(generators, st.integers(1, 70), pairs, pairs, pairs, st.tuples(*[st.integers(0, 2)] * 4))
def test_pooling_signs_is_pooling_numbers(rng, channels, window, stride, dilation, border):
    x = signs(rng, 2, channels, *rng.integers(1, 12, 2))
    padding = tuple(
        (int(rng.integers(0, k // 2 + 1)), int(rng.integers(0, k // 2 + 1))) for k in window
    )
    sizes = zip(x.shape[2:], window, stride, padding, dilation, strict=True)
    assume(all(outputs(*size) > 0 for size in sizes))
    for least in (False, True):
        edges = ((0, 0), (0, 0), *padding)
        padded = np.pad(x, edges, constant_values=1 if least else -1)
        parts = [
            padded[:, :, r * dilation[0] :: stride[0], s * dilation[1] :: stride[1]]
            for r, s in itertools.product(range(window[0]), range(window[1]))
        ]
        Ho, Wo = (
            outputs(*size)
            for size in zip(x.shape[2:], window, stride, padding, dilation, strict=True)
        )
        parts = [part[:, :, :Ho, :Wo] for part in parts]
        expected = np.min(parts, axis=0) if least else np.max(parts, axis=0)
        y = binary_pool(
            pack(x, border=border), window, stride, padding, dilation, least=least, border=border
        )
        np.testing.assert_array_equal(unpack(y), expected)
        np.testing.assert_array_equal(y.words, pack(expected, border=border).words)


@pytest.mark.parametrize("k", [2**16, 2**16 - 31, 63 * 4 * 255, 63 * 4 * 255 + 4, 31 * 8 * 32])
def test_no_sum_overflows_when_every_bit_differs(isa, k):
    x = np.ones((1, k, 1, 3), np.float32)
    y = BitFilters(pack(-x[:, :, :, :1].repeat(33, axis=0))).counts(pack(x))
    assert (y == -k).all()


def test_images_without_channels_correlate_to_nothing(isa):
    x, w = np.ones((1, 0, 10, 10), np.float32), np.ones((9, 0, 3, 3), np.float32)
    assert not BitFilters(pack(w)).counts(pack(x)).any()


def test_every_pattern_of_twelve_bits_is_counted(isa):
    numbers = np.arange(4096)
    x = 1 - 2 * (numbers[:, None] >> np.arange(12) & 1).astype(np.float32)
    y = BitFilters(pack(x[:, :, None, None])).counts(pack(np.ascontiguousarray(x.T)[None, :, None]))
    np.testing.assert_array_equal(y[0, :, 0], x.astype(np.int64) @ x.T.astype(np.int64))


def test_a_machine_without_popcnt_counts_too():
    code = """
import numpy as np
from tape._kernels.bit_filters import BitFilters
from tape._kernels.bits import pack
x = np.random.default_rng(0).standard_normal((5, 131)).astype(np.float32)
y = BitFilters(pack(x[:, :, None, None])).counts(pack(x.T[None, :, None]))
assert (y[0, :, 0] == np.sign(x) @ np.sign(x).T).all()
"""
    environment = {**os.environ, "TAPE_ISA": "scalar", "TAPE_WITHOUT_POPCNT": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.fixture
def threads():
    before = table.get_num_threads()
    yield table.set_num_threads
    table.set_num_threads(before)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("image", [(40, 40), (1, 1), (1, 300)])
def test_results_do_not_depend_on_threads_or_batch(isa, threads, image, groups):
    rng = np.random.default_rng(0)
    x, w = signs(rng, 5, 96 * groups, *image), signs(rng, 111 * groups, 96, 1, 1)
    images, filters = pack(x), pack(w)
    least = rng.integers(-9, 9, len(w)).astype(np.int32)
    found = []
    for n in (1, 2, 3, 7):
        threads(n)
        counts = BitFilters(filters, groups=groups).counts(images)
        below = BitFilters(filters, groups=groups, least=least).signs(images)
        found.append((counts, below.words, pack(x).words))
        alone = BitFilters(filters, groups=groups).counts(pack(x[2:3]))
        np.testing.assert_array_equal(alone, counts[2:3])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def guarded(array, at_end):
    """A copy of an array whose memory ends, or begins, at a page that nobody may touch."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, size + 2 * page)
    whole = np.frombuffer(memory, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    for at in (0, page + size):
        address = ctypes.c_void_p(whole.ctypes.data + at)
        assert libc.mprotect(address, ctypes.c_size_t(page), 0) == 0
    start = page + (size - array.nbytes if at_end else 0)
    copy = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")
@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_is_read_beyond_the_operands(isa, at_end):
    rng = np.random.default_rng(0)
    for channels, filters, image, window in [
        (1, 1, (1, 1), (1, 1)),
        (33, 17, (5, 7), (3, 3)),
        (70, 40, (9, 15), (2, 5)),
        (64, 100, (4, 29), (3, 1)),
    ]:
        x, w = signs(rng, 2, channels, *image), signs(rng, filters, channels, *window)
        for dtype in (np.float32, np.float64):
            own = guarded(x.astype(dtype), at_end)
            np.testing.assert_array_equal(pack(own).words, pack(x).words)
            np.testing.assert_array_equal(pack(own, 3).words, pack(x, 3).words)
        bits = words_as(guarded(pack(x).words, at_end), x.shape, 1)
        kernel = words_as(guarded(pack(w).words, at_end), w.shape, 1)
        np.testing.assert_array_equal(unpack(bits), x)
        settings = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
        expected = correlation(x, w, **settings)
        np.testing.assert_array_equal(BitFilters(kernel).counts(bits), expected)
        residual = guarded(np.zeros(expected.shape, np.float32), at_end)
        np.testing.assert_array_equal(BitFilters(kernel).scaled(bits, residual), expected)


def test_packed_bits_are_pickled_and_checked():
    rng = np.random.default_rng(0)
    bits = pack(signs(rng, 2, 35, 3, 4), border=(1, 0, 2, 1))
    again = pickle.loads(pickle.dumps(bits))
    np.testing.assert_array_equal(again.words, bits.words)
    assert (again.shape, again.axis, again.border) == (bits.shape, bits.axis, bits.border)
    with pytest.raises(
        ValueError, match=r"words have shape \(2, 4, 7, 2\), .* take \(2, 3, 4, 2\)"
    ):
        PackedBits(bits.words, bits.shape, 1)
    with pytest.raises(ValueError, match="bits beyond the 35 of axis 1"):
        PackedBits(bits.words | np.uint32(8), bits.shape, 1, bits.border)
    with pytest.raises(ValueError, match="bits of the border"):
        PackedBits(bits.words | np.uint32(1), (2, 64, 3, 4), 1, bits.border)
    with pytest.raises(TypeError, match="words are int64, expected uint32"):
        PackedBits(bits.words.astype(np.int64), bits.shape, 1, bits.border)
    with pytest.raises(ValueError, match="read-only"):
        bits.words[0] = 1


def test_packed_bits_do_not_follow_the_array_they_were_made_of():
    words = pack(signs(np.random.default_rng(0), 2, 35, 3, 4)).words.copy()
    bits = PackedBits(words, (2, 35, 3, 4), 1)
    before = words.copy()
    words[...] = 0
    np.testing.assert_array_equal(bits.words, before)


X, W = np.ones((1, 4, 5, 5), np.float32), np.ones((6, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack(X.astype(np.int32)), "x is int32, expected float32 or float64"),
        (lambda: pack(X, 4), "axis 4 is out of range for 4 axes"),
        (lambda: pack(X, rule="odd"), "rule is 'odd'"),
        (lambda: pack(X, 2, border=(1, 1, 1, 1)), "only images packed along axis 1"),
        (lambda: pack(X, border=(1, 1, -1, 1)), r"border is \(1, 1, -1, 1\)"),
        (lambda: pack(X, border=(2**30, 2**30, 2**30, 2**30)), "more than memory|too big"),
        (lambda: BitFilters(pack(W, 2)), "expected filters"),
        (lambda: BitFilters(pack(W), groups=4), "groups = 4 does not divide 6 filters"),
        (lambda: BitFilters(pack(W), pad_value=2), "pad_value is 2"),
        (lambda: BitFilters(pack(W), scale=np.ones(5)), r"scale has shape \(5,\), expected \(6,\)"),
        (lambda: BitFilters(pack(W), (0, 1)).counts(pack(X)), r"stride is \(0, 1\)"),
        (lambda: BitFilters(pack(W), (1,)), r"stride is \(1,\), expected two whole numbers"),
        (lambda: BitFilters(pack(W), (2**63, 1)), r"stride is .*, expected two whole numbers"),
        (lambda: BitFilters(pack(W), dilation=(1,)), r"dilation is \(1,\), expected two"),
        (lambda: BitFilters(pack(W), dilation=1), "dilation is 1, expected two"),
        (lambda: BitFilters(pack(W), padding=1), r"padding is 1, expected \(\(top"),
        (lambda: BitFilters(pack(W), padding=((-1, 0), (0, 0))), r"padding is \(-1, 0\), exp"),
        (lambda: BitFilters(pack(W), padding=((0, 2**31), (0, 0))), "whole numbers from 0 to"),
        (lambda: BitFilters(pack(W), groups="2"), "groups = 2 does not divide"),
        (lambda: BitFilters(pack(W), pad_value=np.ones(2)), "pad_value is array"),
        (lambda: BitFilters(pack(W), scale=["a"] * 6), "scale is <U1, expected float32"),
        (lambda: BitFilters(pack(W), least=np.full(6, 0.5)), "least is float64, expected int32"),
        (lambda: BitFilters(pack(W), least=np.full(6, 2**40)), "least holds numbers of more than"),
        (lambda: BitFilters(pack(W)).counts(X), "x is a ndarray, expected PackedBits"),
        (lambda: BitFilters(pack(W)).counts(pack(X, 2)), "packed along axis 1"),
        (lambda: BitFilters(pack(W)).counts(pack(X[:, :3])), "x has 3 channels, w expects 4"),
        (lambda: BitFilters(pack(W)).counts(pack(X[:, :, :2])), "height is only"),
        (lambda: BitFilters(pack(W)).signs(pack(X)), "made without `least`"),
        (lambda: BitFilters(pack(W)).scaled(pack(X), X), r"residual is float32 \(1, 4, 5, 5\)"),
        (lambda: binary_pool(pack(X), (6, 1)), "height is only"),
    ],
)
def test_bad_input_is_refused_with_numbers(call, message):
    with pytest.raises((TypeError, ValueError, MemoryError), match=message):
        call()


def test_threads_may_share_filters(isa):
    # Each asks for images of its own size; what one needs must not be taken away by another.
    rng = np.random.default_rng(0)
    kernel = pack(signs(rng, 256, 256, 3, 3))
    padding = ((1, 1), (1, 1))
    filters = BitFilters(kernel, padding=padding)
    images = [pack(signs(rng, 1, 256, n, n + 3)) for n in (20, 33, 47, 11)]
    wanted = [BitFilters(kernel, padding=padding).counts(x) for x in images]

    def differs(i):
        return any(not np.array_equal(filters.counts(images[i]), wanted[i]) for _ in range(20))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(images)) as pool:
            assert not any(pool.map(differs, range(len(images))))
    finally:
        sys.setswitchinterval(before)


@needs_objdump
@needs_avx512
def test_the_inner_loops_of_avx512_keep_their_sums_in_registers():
    # In the middle of a tile, a vector that goes to or comes from the stack is a spill.
    lines = disassembly()
    counting = [i for i, line in enumerate(lines) if "vpopcntd" in line]
    assert len(counting) > 300
    near = {j for i in counting for j in range(max(i - 8, 0), i + 8)}
    spills = [lines[j] for j in sorted(near) if re.search(r"zmm.*\(%rsp|\(%rsp.*zmm", lines[j])]
    assert not spills
