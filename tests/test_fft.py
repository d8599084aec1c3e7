"""tape.fft: NumPy's numbers by real and imaginary parts, and what transforms are to each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tape
from tape import fft
from tape.testing import gradcheck

NORMS = ["backward", "ortho", "forward"]
CLOSE = {"float32": 1e-4, "float64": 1e-11}


@st.composite
def signals(draw, parts=1):
    """Real arrays of one shape and a dtype, one axis of each, and a length to cut or continue."""
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    n = draw(st.none() | st.integers(1, 9))
    if draw(st.integers(0, 5)) == 0 and len(shape) > 1:
        shape[(axis + 1) % len(shape)] = 0
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    return [rng.standard_normal(shape).astype(dtype) for _ in range(parts)], axis, n


def same(y, truth, dtype):
    """A spectrum or tensor beside NumPy's result."""
    parts = (truth.real, truth.imag) if isinstance(y, tuple) else (truth,)
    for part, expected in zip(y if isinstance(y, tuple) else (y,), parts, strict=True):
        assert part.dtype == dtype
        assert part.shape == expected.shape
        assert_allclose(
            part, expected, rtol=0, atol=CLOSE[str(dtype)] * (1 + abs(truth).max(initial=0))
        )


@given(signals(), st.sampled_from(NORMS), st.sampled_from(["fft", "ifft", "rfft", "ihfft"]))
def test_real_numbers_have_numpys_transforms(drawn, norm, name):
    (x,), axis, n = drawn
    y = getattr(fft, name)(x, n=n, axis=axis, norm=norm)
    same(y, getattr(np.fft, name)(x, n=n, axis=axis, norm=norm), x.dtype)


@given(signals(2), st.sampled_from(NORMS), st.sampled_from(["fft", "ifft", "irfft", "hfft"]))
def test_spectra_have_numpys_transforms(drawn, norm, name):
    (a, b), axis, n = drawn
    if n is None and name in ("irfft", "hfft") and a.shape[axis] == 1:
        with pytest.raises(tape.ShapeError, match=f"{name}: .* say n=1"):
            getattr(fft, name)((a, b), axis=axis)
        return
    y = getattr(fft, name)((a, b), n=n, axis=axis, norm=norm)
    same(y, getattr(np.fft, name)(a + 1j * b, n=n, axis=axis, norm=norm), a.dtype)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "asked", [{}, {"axes": (0, 2)}, {"axes": (2, 0)}, {"s": (3, 6)}, {"s": (5, 4), "axes": (1, 0)}]
)
def test_several_axes_have_numpys_transforms(asked, norm):
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3, 5, 2)) @ [1, 1j]
    asked = {"axes": tuple(range(-len(asked.get("s", ())), 0)) or None, **asked, "norm": norm}
    for name in ("rfftn", "fftn"):
        same(getattr(fft, name)(x, **asked), getattr(np.fft, name)(x, **asked), x.dtype)
    for name in ("fftn", "ifftn", "irfftn"):
        y = getattr(fft, name)((z.real, z.imag), **asked)
        same(y, getattr(np.fft, name)(z, **asked), x.dtype)


@given(signals(2), st.sampled_from(NORMS))
def test_inverses_give_back_what_was_transformed(drawn, norm):
    (a, b), axis, _ = drawn
    z = a + 1j * b
    same(fft.ifft(fft.fft((a, b), axis=axis, norm=norm), axis=axis, norm=norm), z, a.dtype)
    n = a.shape[axis]
    same(fft.irfft(fft.rfft(a, axis=axis, norm=norm), n=n, axis=axis, norm=norm), a, a.dtype)
    same(fft.hfft(fft.ihfft(a, axis=axis, norm=norm), n=n, axis=axis, norm=norm), a, a.dtype)


@given(signals(2))
def test_energy_is_that_of_the_frequencies(drawn):
    (a, b), axis, _ = drawn
    y = fft.fft((a, b), axis=axis, norm="ortho")
    energy = (a.astype(float) ** 2 + b.astype(float) ** 2).sum()
    assert_allclose((y.real**2 + y.imag**2).sum(), energy, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [None, 1, 2, 3, 4, 5, 8])
def test_gradients_are_central_differences_to_second_order(n, norm):
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 5)), rng.standard_normal((2, 2, 5))

    def power(y):
        return y.real**3 + y.real * y.imag if isinstance(y, tuple) else y**3

    for of in (fft.rfft, fft.ihfft, fft.fft):
        assert gradcheck(lambda x, of=of: power(of(x, n=n, norm=norm)), [x], order=2, atol=1e-4)
    for of in (fft.irfft, fft.hfft, fft.ifft):
        assert gradcheck(
            lambda a, b, of=of: power(of((a, b), n=n, norm=norm)), [*z], order=2, atol=1e-4
        )


def test_frequencies_are_numpys():
    for n in (1, 2, 5, 8):
        for d in (1.0, 0.25, -2):
            for name in ("fftfreq", "rfftfreq"):
                y = getattr(fft, name)(n, d=d, dtype="float64", device="cpu")
                assert_allclose(y, getattr(np.fft, name)(n, d))
                assert getattr(fft, name)(n).dtype == np.float32


def test_shifts_are_numpys_and_inverses():
    x = np.arange(30).reshape(2, 3, 5)
    for axes in (None, 1, (0, -1)):
        assert_allclose(fft.fftshift(x, axes=axes), np.fft.fftshift(x, axes))
        assert_allclose(fft.ifftshift(x, axes=axes), np.fft.ifftshift(x, axes))
        assert_allclose(fft.ifftshift(fft.fftshift(x, axes=axes), axes=axes), x)
    assert fft.fftshift(tape.tensor(3.0)).item() == 3.0
    y = fft.fftshift((x, -x))
    assert_allclose(y.real, -np.asarray(y.imag))
    assert fft.fftshift(np.arange(3, dtype=np.int8)).dtype == np.int8


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 100))
def test_convolution_is_numpys(n, m, seed):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal(n), rng.standard_normal(m)
    assert_allclose(fft.convolve(x, w), np.convolve(x, w), atol=1e-12)
    if m <= n:
        y = fft.convolve(x, w, circular=True)
        whole = np.convolve(x, w)
        whole[: len(whole) - n] += whole[n:]
        assert_allclose(y, whole[:n], atol=1e-12)


def test_convolution_broadcasts_and_runs_along_several_axes():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 1, 6, 5)), rng.standard_normal((3, 2, 3))
    y = fft.convolve(x, w, axes=(-2, -1))
    assert y.shape == (4, 3, 7, 7)
    truth = np.zeros((4, 3, 7, 7))
    for i, j in np.ndindex(2, 3):
        truth[..., i : i + 6, j : j + 5] += x * w[:, i, j, None, None]
    assert_allclose(y, truth, atol=1e-12)
    assert gradcheck(lambda x, w: fft.convolve(x, w, axes=(-2, -1)), [x[:1], w], order=2)
    assert fft.convolve(x.astype("f4"), w.astype("f4"), axes=(-2, -1)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fft.rfft(np.zeros(0)), tape.ShapeError, r"rfft: axis 0 of \(0,\) is empty"),
        (lambda: fft.rfft(1.0), tape.AxisError, "rfft: axis -1 is out of range for 0 axes"),
        (lambda: fft.rfft(fft.fft([1.0])), tape.DTypeError, "rfft: takes real numbers"),
        (lambda: fft.fft(([1.0], [1.0], [1.0])), tape.ShapeError, "a pair .* got 3 parts"),
        (lambda: fft.fft(([1.0], [1.0, 2.0])), tape.ShapeError, r"real \(1,\) and imag \(2,\)"),
        (lambda: fft.fft([1.0], n=0), tape.ShapeError, "fft: a length is at least 1, got 0"),
        (lambda: fft.fft([1.0], n=1.5), tape.DTypeError, "a length is an integer, got 1.5"),
        (lambda: fft.fft([1.0], norm="x"), ValueError, "fft: norm is 'x'"),
        (lambda: fft.fftn([1.0], s=(2, 2)), tape.ShapeError, "fftn: 2 lengths .* for 1 axes"),
        (lambda: fft.fftn([1.0], s=(2,), axes=(0, -1)), tape.AxisError, "names? an axis twice"),
        (lambda: fft.rfftn([1.0], axes=()), tape.AxisError, "rfftn: needs one axis or more"),
        (lambda: fft.rfftn([[1.0]], s=(2,), axes=(0, 1)), tape.ShapeError, "1 lengths"),
        (lambda: fft.fftfreq(0), tape.ShapeError, "fftfreq: n is one number of at least 1, got 0"),
        (lambda: fft.rfftfreq(()), tape.ShapeError, "rfftfreq: n is one number"),
        (lambda: fft.fftfreq(2, d=0), ValueError, "fftfreq: samples are d apart, which is 0"),
        (lambda: fft.rfftfreq(2, dtype="int64"), tape.DTypeError, "frequencies are no integers"),
        (lambda: fft.fftfreq(2, device="gpu"), ValueError, "device"),
        (lambda: fft.fftshift([1.0], axes=1), tape.AxisError, "fftshift: axis 1 is out of range"),
        (lambda: fft.convolve([1.0], [1.0, 2.0], circular=True), tape.ShapeError, "longer than x"),
        (lambda: fft.convolve([], [1.0]), tape.ShapeError, "is empty"),
        (lambda: fft.convolve([[1.0]], [1.0], axes=0), tape.AxisError, "count 0 from the end"),
        (
            lambda: fft.convolve(np.ones((2, 3)), np.ones((3, 3))),
            tape.ShapeError,
            r"convolve: x \(2, 3\) and w \(3, 3\) do not broadcast beside axes -1",
        ),
    ],
)
def test_bad_calls_are_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_fast_lengths_have_no_prime_above_seven():
    from tape.ops.convolve import fast_length

    def is_fast(n):
        for prime in (2, 3, 5, 7):
            while n % prime == 0:
                n //= prime
        return n == 1

    for n in range(1, 500):
        found = fast_length(n)
        assert is_fast(found)
        assert not any(is_fast(k) for k in range(n, found))
