"""Fourier transforms of real numbers and of pairs (real, imaginary), and convolution by them.

Note [Complex numbers in pairs]
Complex dtypes do not exist here. The ops work on pairs along a last axis of two, which is how
complex arrays lie in memory, so NumPy transforms them without a copy. What users see is a
`Spectrum`, the two parts as tensors of their own. A transform is linear, and as a map of real
numbers to real numbers its adjoint is the transform the other way, unscaled where this one is
scaled. Real signals keep half of the frequencies; those that stand for two of them, all but the
first and, for an even length, the last, count twice on the way from a spectrum to a signal.
"""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape.errors import AxisError, ShapeError
from tape.op import bad, op, sample
from tape.ops.arithmetic import multiply
from tape.ops.dtype import floating

OPPOSITE = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
CONJUGATE = np.array([1, -1])
NO_PAIRS = bad((3,), axes=(0,), error=ShapeError, match="last axis of two")


def as_complex(z):
    """Pairs along the last axis as complex numbers."""
    z = np.asarray(floating(z), order="C")
    return z.view(np.result_type(z, np.complex64))[..., 0]


def as_pairs(c, like):
    """Complex numbers as pairs along a last axis, of the dtype of `like`."""
    c = np.asarray(c, np.result_type(like.dtype, np.complex64), order="C")
    return c.reshape((*c.shape, 1)).view(like.dtype)


def transformable(shape, axes):
    """ShapeError unless there are numbers along the axes."""
    for a in shapes.axes_of(len(shape), axes):
        if shape[a] == 0:
            raise ShapeError(f"axis {a} of {shape} is empty: there is nothing to transform")


def pairs(z):
    """The shape of the complex numbers that pairs stand for."""
    if not z or z[-1] != 2:
        raise ShapeError(f"complex numbers are pairs along a last axis of two, got {z}")
    return z[:-1]


def transformed(z, *, axes):
    """Shape rule of dft."""
    transformable(pairs(z), axes)
    return z


@op(
    shape=transformed,
    linear=True,
    samples=[
        sample((4, 2), axes=(0,)),
        sample((3, 2), axes=(0,), inverse=True),
        sample((2, 3, 2), axes=(1, 0), norm="ortho"),
        sample((2, 3, 2), axes=(1,), norm="forward", inverse=True),
        sample((0, 3, 2), axes=(1,)),
        sample((1, 2), axes=(0,)),
        sample((2, 2), axes=()),
        sample((2,), axes=()),
    ],
    errors=[
        NO_PAIRS,
        bad((0, 2), axes=(0,), error=ShapeError, match=r"axis 0 of \(0,\) is empty"),
        bad((3, 2), axes=(1,), error=AxisError, match="axis 1 is out of range for 1 axes"),
    ],
)
def dft(z, /, *, axes, norm="backward", inverse=False):
    """The discrete Fourier transform of pairs along axes, or its inverse.

    Shapes: z (*s, 2) -> y (*s, 2)
    """
    transform = np.fft.ifft if inverse else np.fft.fft
    z = floating(z)
    c = as_complex(z)
    for a in axes:
        c = transform(c, axis=a, norm=norm)
    return as_pairs(c, z)


@dft.defvjp
def dft_vjp(g, axes, norm, inverse):
    return dft(g, axes=axes, norm=OPPOSITE[norm], inverse=not inverse)


def halved(x, *, axes):
    """Shape rule of real_dft."""
    transformable(x, axes)
    if not axes:
        raise AxisError("a real transform needs one axis or more, got ()")
    last = shapes.axis_of(len(x), axes[-1])
    return (*x[:last], x[last] // 2 + 1, *x[last + 1 :], 2)


@op(
    shape=halved,
    saves="x.shape",
    linear=True,
    samples=[
        *[sample((n,), axes=(0,)) for n in (1, 2, 5, 6)],
        sample((3, 4), axes=(1, 0), norm="ortho"),
        sample((3, 4), axes=(0,), norm="forward"),
        sample((0, 4), axes=(1,)),
        sample((4,), dtypes=["int64"], axes=(0,)),
    ],
    errors=[
        bad((3,), axes=(1,), error=AxisError, match="axis 1 is out of range"),
        bad((3,), axes=(), error=AxisError, match="needs one axis or more"),
        bad((0,), axes=(0,), error=ShapeError, match=r"axis 0 of \(0,\) is empty"),
    ],
)
def real_dft(x, /, *, axes, norm="backward"):
    """The Fourier transform of real numbers as pairs, its last axis up to half of the length.

    Shapes: x (..., n) -> y (..., n // 2 + 1, 2), the last one of `axes` being the last axis
    """
    x = floating(x)
    c = np.fft.rfft(x, axis=axes[-1], norm=norm)
    for a in axes[:-1]:
        c = np.fft.fft(c, axis=a, norm=norm)
    return as_pairs(c, x)


def weights(g, n, axis, inside):
    """1 for the frequencies of a signal of length n that stand alone, `inside` for the others."""
    w = np.full(n // 2 + 1, inside, g.dtype)
    w[0] = 1
    if n % 2 == 0:
        w[-1] = 1
    return w.reshape((-1,) + (1,) * (g.ndim - 1 - axis))


@real_dft.defvjp
def real_dft_vjp(g, x_shape, axes, norm):
    last = shapes.axis_of(len(x_shape), axes[-1])
    n = x_shape[last]
    g = g * weights(g, n, last, 0.5)
    return real_idft(g, n=n, axes=axes, norm=OPPOSITE[norm])


def doubled(z, *, n, axes):
    """Shape rule of real_idft."""
    shape = pairs(z)
    transformable(shape, axes)
    if not axes:
        raise AxisError("a real transform needs one axis or more, got ()")
    last = shapes.axis_of(len(shape), axes[-1])
    if n < 1 or n // 2 + 1 != shape[last]:
        raise ShapeError(
            f"{shape[last]} frequencies along axis {last} are not those of {n} numbers"
        )
    return (*shape[:last], n, *shape[last + 1 :])


@op(
    shape=doubled,
    saves="z.shape",
    linear=True,
    samples=[
        *[sample((n // 2 + 1, 2), n=n, axes=(0,)) for n in (1, 2, 5, 6)],
        sample((3, 3, 2), n=4, axes=(0, 1), norm="ortho"),
        sample((3, 3, 2), n=5, axes=(1, 0), norm="forward"),
        sample((0, 3, 2), n=4, axes=(1,)),
    ],
    errors=[
        bad((3,), n=4, axes=(0,), error=ShapeError, match="last axis of two"),
        bad((3, 2), n=6, axes=(0,), error=ShapeError, match="3 frequencies .* not those of 6"),
        bad((3, 2), n=4, axes=(), error=AxisError, match="needs one axis or more"),
    ],
)
def real_idft(z, /, *, n, axes, norm="backward"):
    """Real numbers from pairs that are half of their frequencies: the inverse of real_dft.

    Shapes: z (..., n // 2 + 1, 2) -> y (..., n), the last one of `axes` being the last axis
    """
    z = floating(z)
    c = as_complex(z)
    for a in axes[:-1]:
        c = np.fft.ifft(c, axis=a, norm=norm)
    return np.fft.irfft(c, n, axes[-1], norm).astype(z.dtype, copy=False)


@real_idft.defvjp
def real_idft_vjp(g, z_shape, n, axes, norm):
    last = shapes.axis_of(len(z_shape) - 1, axes[-1])
    y = real_dft(g, axes=axes, norm=OPPOSITE[norm])
    return y * weights(y, n, last, 2.0)


def paired(a, b):
    """Shape rule of complex_product."""
    return (*shapes.broadcast(pairs(a), pairs(b)), 2)


@op(
    shape=paired,
    saves="a b",
    samples=[
        sample((3, 2), (3, 2)),
        sample((2, 1, 2), (3, 2)),
        sample((0, 2), (1, 2)),
        sample((3, 2), (3, 2), dtypes=["float32", "float64"]),
    ],
    errors=[
        bad((3,), (3, 2), error=ShapeError, match="last axis of two"),
        bad((3, 2), (2, 2), error=ShapeError, match="do not broadcast"),
    ],
)
def complex_product(a, b, /):
    """Products of complex numbers in pairs.   Shapes: a, b (..., 2), broadcast -> y (..., 2)"""
    dtype = np.result_type(floating(a), floating(b))
    y = np.multiply(as_complex(a), as_complex(b))
    return as_pairs(y, np.empty(0, dtype))


@complex_product.defvjp("a")
def complex_product_vjp_a(g, b):
    return complex_product(g, conjugate(b))


@complex_product.defvjp("b")
def complex_product_vjp_b(g, a):
    return complex_product(g, conjugate(a))


@complex_product.defjvp
def complex_product_jvp(da, db, a, b):
    return complex_product(da, b) + complex_product(a, db)


def conjugate(z):
    """Pairs with the sign of the imaginary part changed."""
    return multiply(z, CONJUGATE.astype(z.dtype))
