"""The functions of `tape.fft`: transforms of signals and spectra. See `fourier` for the ops."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape._core.refusal import allocated
from tape.errors import AxisError, DTypeError, ShapeError
from tape.ops.arrange import roll
from tape.ops.create import chosen, leaf, lengths, number
from tape.ops.dtype import real
from tape.ops.fourier import (
    OPPOSITE,
    conjugate,
    dft,
    real_dft,
    real_idft,
)
from tape.ops.join import stack
from tape.ops.naming import named
from tape.ops.scan import reframed


def refuse_arithmetic(*operands):
    """What stands for the operators of a tuple, + which joins and * which repeats among them."""
    raise TypeError(
        "Spectrum: a pair (real, imag), for which there are no operators: compute with its parts, "
        "as in z.real**2 + z.imag**2, and hand pairs of them on"
    )


class Parts(NamedTuple):
    """What a `Spectrum` is made of."""

    real: Any
    imag: Any


class Spectrum(Parts):
    """Complex numbers as their real and imaginary parts, two tensors of one shape.

    To compute with them is to compute with the parts; operators are a TypeError.
    """

    __slots__ = ()
    __array_ufunc__ = None  # arrays leave their operators to these
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = refuse_arithmetic
    __truediv__ = __rtruediv__ = __pow__ = __neg__ = __abs__ = refuse_arithmetic


def joined(name, z):
    """Real and imaginary parts as pairs along a last axis; a tensor is real."""
    if not isinstance(z, tuple):
        x = real(z)
        return stack(x, np.zeros(x.shape, x.dtype), axis=-1)
    if len(z) != 2:
        raise ShapeError(f"{name}: a spectrum is a pair (real, imag), got {len(z)} parts")
    a, b = [real(part) for part in z]
    if a.shape != b.shape:
        raise ShapeError(f"{name}: real {a.shape} and imag {b.shape} must have one shape")
    return stack(a, b, axis=-1)


def parted(y):
    """Pairs as a spectrum."""
    return Spectrum(y[..., 0], y[..., 1])


def known_norm(name, norm):
    """norm with its default."""
    norm = "backward" if norm is None else norm
    if norm not in OPPOSITE:
        raise ValueError(f"{name}: norm is {norm!r}, not 'backward', 'ortho' or 'forward'")
    return norm


def known_axes(name, ndim, s, axes, least=0):
    """The axes to transform, counted from the front and in order, and the lengths asked for."""
    if s is not None:
        s = tuple(s) if isinstance(s, (tuple, list)) else (s,)
    if axes is None:
        n = ndim if s is None else len(s)
        if n > ndim:
            raise ShapeError(f"{name}: {n} lengths {s} for {ndim} axes")
        axes = range(ndim - n, ndim)
    axes = tuple([shapes.axis_of(ndim, a) for a in (axes if np.iterable(axes) else (axes,))])
    if len(set(axes)) < len(axes):
        raise AxisError(f"{name}: axes {axes} name an axis twice")
    if len(axes) < least:
        raise AxisError(f"{name}: needs one axis or more, got {axes}")
    s = (None,) * len(axes) if s is None else s
    if len(s) != len(axes):
        raise ShapeError(f"{name}: {len(s)} lengths {s} for {len(axes)} axes {axes}")
    for n in s:
        if n is not None and (not hasattr(n, "__index__") or isinstance(n, bool)):
            raise DTypeError(f"{name}: a length is an integer, got {n!r}")
        if n is not None and n < 1:
            raise ShapeError(f"{name}: a length is at least 1, got {n}")
    return axes, s


def resized(x, axes, s):
    """x cut, or continued by zeros, to lengths along axes."""
    for a, n in zip(axes, s, strict=True):
        if n is not None and x.shape[a] != n:
            x = reframed(x, a, 0, int(n) - x.shape[a])
    return x


def complex_transform(name, z, s, axes, norm, inverse):
    """fftn and all that are made of it."""
    z = joined(name, z)
    axes, s = known_axes(name, z.ndim - 1, s, axes)
    norm = known_norm(name, norm)
    return parted(dft(resized(z, axes, s), axes=axes, norm=norm, inverse=inverse))


@named
def fft(z, /, *, n=None, axis=-1, norm="backward"):
    """The discrete Fourier transform along an axis: y[k] = sum_j z[j] exp(-2 pi i j k / n).

    Args:
        z: a `Spectrum` or another tuple (real, imag); or a tensor of real numbers.
        n: length to which z is cut or continued by zeros; by default that of the axis.
        norm: what divides the sum: "backward" nothing, "ortho" sqrt(n), "forward" n.

    Shapes: z (..., m, ...) -> real, imag (..., n, ...)

    Raises:
        ShapeError: the parts differ in shape, n is below 1, or the axis is empty.
        AxisError: z has no such axis.
        ValueError: there is no such norm.

    >>> import tape
    >>> y = tape.fft.fft([0.0, 1.0, 0.0, 0.0])
    >>> y.real.tolist(), y.imag.tolist()
    ([1.0, 0.0, -1.0, 0.0], [0.0, -1.0, 0.0, 1.0])
    """
    return complex_transform("fft", z, n, axis, norm, False)


@named
def ifft(z, /, *, n=None, axis=-1, norm="backward"):
    """The inverse of fft: y[j] = sum_k z[k] exp(2 pi i j k / n) / n.   Raises: as `fft`

    Args:
        n: length to which z is cut or continued by zeros; by default that of the axis.
        norm: what divides the sum: "backward" n, "ortho" sqrt(n), "forward" nothing.

    Shapes: z (..., m, ...) -> real, imag (..., n, ...)

    >>> import tape
    >>> tape.fft.ifft(tape.fft.fft([1.0, 2.0, 3.0, 4.0])).real.tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return complex_transform("ifft", z, n, axis, norm, True)


@named
def fftn(z, /, *, s=None, axes=None, norm="backward"):
    """The discrete Fourier transform along several axes.   Raises: as `fft`

    Args:
        s: lengths to which z is cut or continued by zeros, one for each axis.
        axes: which axes, by default all, or as many last ones as s has lengths.

    Shapes: z (*s) -> real, imag (*s)
    """
    return complex_transform("fftn", z, s, axes, norm, False)


@named
def ifftn(z, /, *, s=None, axes=None, norm="backward"):
    """The inverse of fftn.   Shapes: z (*s) -> real, imag (*s).   Args, Raises: as `fftn`"""
    return complex_transform("ifftn", z, s, axes, norm, True)


def real_transform(name, x, s, axes, norm):
    """rfftn and all that are made of it, as pairs."""
    if isinstance(x, Spectrum):
        raise DTypeError(f"{name}: takes real numbers, got a Spectrum, which is for fft and fftn")
    x = real(x)
    axes, s = known_axes(name, x.ndim, s, axes, 1)
    norm = known_norm(name, norm)
    return real_dft(resized(x, axes, s), axes=axes, norm=norm)


@named
def rfft(x, /, *, n=None, axis=-1, norm="backward"):
    """The Fourier transform of real numbers; the other half of it is the conjugate of this one.

    Args:
        n: length to which x is cut or continued by zeros; by default that of the axis.
        norm: what divides the sum: "backward" nothing, "ortho" sqrt(n), "forward" n.

    Shapes: x (..., m, ...) -> real, imag (..., n // 2 + 1, ...)

    Raises:
        ShapeError: n is below 1, or the axis is empty.
        AxisError: x has no such axis.
        DTypeError: x is a `Spectrum`.
        ValueError: there is no such norm.

    >>> import tape
    >>> y = tape.fft.rfft([0.0, 1.0, 0.0, 0.0])
    >>> y.real.tolist(), y.imag.tolist()
    ([1.0, 0.0, -1.0], [0.0, -1.0, 0.0])
    """
    return parted(real_transform("rfft", x, n, axis, norm))


@named
def rfftn(x, /, *, s=None, axes=None, norm="backward"):
    """The Fourier transform of real numbers along axes, the last one up to half of its length.

    Args:
        s: lengths to which x is cut or continued by zeros, one for each axis.
        axes: which axes, by default all, or as many last ones as s has lengths.

    Shapes: x (*s, n) -> real, imag (*s, n // 2 + 1).   Raises: as `rfft`
    """
    return parted(real_transform("rfftn", x, s, axes, norm))


def real_inverse(name, z, s, axes, norm):
    """irfftn and all that are made of it, of pairs."""
    axes, s = known_axes(name, z.ndim - 1, s, axes, 1)
    norm = known_norm(name, norm)
    n = 2 * (z.shape[axes[-1]] - 1) if s[-1] is None else int(s[-1])
    if n < 1:
        raise ShapeError(
            f"{name}: {z.shape[axes[-1]]} frequencies along axis {axes[-1]} of {z.shape[:-1]} are "
            "those of no number, or of one: say n=1"
        )
    z = resized(z, axes, (*s[:-1], n // 2 + 1))
    return real_idft(z, n=n, axes=axes, norm=norm)


@named
def irfft(z, /, *, n=None, axis=-1, norm="backward"):
    """The inverse of rfft: n real numbers from half of their frequencies.

    The imaginary part of the first frequency, and of the last one for an even n, counts for
    nothing.

    Args:
        n: how many numbers, by default 2 (m - 1); odd lengths must be said.
        norm: what divides the sum: "backward" n, "ortho" sqrt(n), "forward" nothing.

    Shapes: z real, imag (..., m, ...) -> y (..., n, ...)

    Raises:
        ShapeError: n is below 1 (as 2 (m - 1) may be), or the axis is empty.
        AxisError: z has no such axis.
        ValueError: there is no such norm.

    >>> import tape
    >>> tape.fft.irfft(tape.fft.rfft([1.0, 2.0, 3.0]), n=3).tolist()
    [1.0, 2.0, 3.0]
    """
    return real_inverse("irfft", joined("irfft", z), n, axis, norm)


@named
def irfftn(z, /, *, s=None, axes=None, norm="backward"):
    """The inverse of rfftn.   Shapes: z (*s, m) -> y (*s, n).   Raises: as `irfft`

    Args:
        s: lengths of the result, one for each axis; by default those of z, the last one 2 (m - 1).
        axes: which axes, by default all, or as many last ones as s has lengths.
    """
    return real_inverse("irfftn", joined("irfftn", z), s, axes, norm)


@named
def hfft(z, /, *, n=None, axis=-1, norm="backward"):
    """The transform of a signal whose other half is the conjugate of this one: real numbers.

    Args:
        n: how many numbers, by default 2 (m - 1).
        norm: what divides the sum: "backward" nothing, "ortho" sqrt(n), "forward" n.

    Shapes: z real, imag (..., m, ...) -> y (..., n, ...).   Raises: as `irfft`
    """
    norm = OPPOSITE[known_norm("hfft", norm)]
    return real_inverse("hfft", conjugate(joined("hfft", z)), n, axis, norm)


@named
def ihfft(x, /, *, n=None, axis=-1, norm="backward"):
    """The inverse of hfft.   Shapes: x (..., n, ...) -> real, imag (..., n // 2 + 1, ...)

    Raises: as `rfft`
    """
    norm = OPPOSITE[known_norm("ihfft", norm)]
    return parted(conjugate(real_transform("ihfft", x, n, axis, norm)))


def frequencies(name, n, d, dtype, device, half):
    """Numbers 0, 1, ... through n d, all or the half that is not negative."""
    if len(lengths(n, name)) != 1 or lengths(n, name)[0] < 1:
        raise ShapeError(f"{name}: n is one number of at least 1, got {n}")
    (n,) = lengths(n, name)
    d = number(d, name, "d")
    kind = chosen(dtype, name)
    if kind.kind != "f":
        raise DTypeError(f"{name}: frequencies are no integers, got dtype {kind}")
    if not d:
        raise ValueError(f"{name}: samples are d apart, which is 0")
    make = np.fft.rfftfreq if half else np.fft.fftfreq
    array = allocated(name, (n,), np.float64, lambda: make(n, d).astype(kind))
    return leaf(array, device, False)


def fftfreq(n, /, *, d=1.0, dtype=None, device=None):
    """The frequencies of the n numbers that fft gives: 0, 1, ..., then the negative ones, by n d.

    Args:
        d: how far samples are apart.
        dtype: float32 by default.

    Shapes: -> (n)

    Raises:
        ShapeError: n is below 1.
        DTypeError: dtype is no floating-point one.
        ValueError: d is 0, or device is neither None nor "cpu".

    >>> import tape
    >>> tape.fft.fftfreq(4, d=0.5).tolist()
    [0.0, 0.5, -1.0, -0.5]
    """
    return frequencies("fftfreq", n, d, dtype, device, False)


def rfftfreq(n, /, *, d=1.0, dtype=None, device=None):
    """The frequencies of the numbers that rfft gives of n: 0, 1, ..., n // 2, by n d.

    Shapes: -> (n // 2 + 1).   Args, Raises: as `fftfreq`

    >>> import tape
    >>> tape.fft.rfftfreq(4, d=0.5).tolist()
    [0.0, 0.5, 1.0]
    """
    return frequencies("rfftfreq", n, d, dtype, device, True)


def shifted(name, x, axes, back):
    """x, or both parts of a spectrum, rolled by half of each axis."""
    if isinstance(x, tuple):
        if len(x) != 2:
            raise ShapeError(f"{name}: a spectrum is a pair (real, imag), got {len(x)} parts")
        return Spectrum(*[shifted(name, part, axes, back) for part in x])
    x = asarray(x)
    axes, _ = known_axes(name, x.ndim, None, axes)
    if not axes:
        return roll(x, 0)
    steps = tuple([-(x.shape[a] // 2) if back else x.shape[a] // 2 for a in axes])
    return roll(x, steps, axes)


@named
def fftshift(x, /, *, axes=None):
    """x, or a spectrum, with the frequency 0 moved to the middle of axes (None: all).

    Shapes: x (*s) -> y (*s)

    Raises:
        AxisError: x has no such axis, or it is given twice.

    >>> import tape
    >>> tape.fft.fftshift(tape.fft.fftfreq(5, d=0.2)).tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0]
    """
    return shifted("fftshift", x, axes, False)


@named
def ifftshift(x, /, *, axes=None):
    """The inverse of fftshift.   Shapes: x (*s) -> y (*s).   Raises: as `fftshift`"""
    return shifted("ifftshift", x, axes, True)
