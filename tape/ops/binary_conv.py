"""Binary convolution: of the signs of images with the signs of a kernel. See binary.py."""

from __future__ import annotations

import math

import numpy as np

from tape._core.memory import asarray
from tape._kernels.bit_filters import BitFilters
from tape._kernels.bits import PackedBits, binary_pool, words_as, words_shape
from tape.errors import DTypeError, ShapeError, TapeError
from tape.op import op, sample
from tape.ops.binary import (
    LONGEST,
    check_lineage,
    drawn_gate,
    drawn_words,
    filters_of,
    moves,
    numbers,
    result_type,
    unpacked,
    words_of,
    wrong,
)
from tape.ops.conv import (
    conv2d_input_grad,
    conv2d_weight_grad,
    correlate2d,
    correlated,
    geometry_of,
)
from tape.ops.geometry import Geometry, batched
from tape.ops.pad import pad
from tape.ops.pool import pooled, pooling
from tape.ops.shape import reshape
from tape.ops.signs import NO_BORDER, checked_window, gate_of, gated

PLAIN = Geometry()
PADDED = Geometry(padding=((1, 0), (2, 1)), stride=(2, 1), groups=2)


def binary_conv2d(x, w, stride=1, padding=0, dilation=1, groups=1, pad_value=0, window=1.0):
    """Convolution (cross-correlation) of the signs of images with the signs of a kernel, exact.

    y[n, o, i, j] = sum over c, r, s of sign(x[n, c, i * stride + r * dilation - top, j * ...])
                                        * sign(w[o, c, r, s])

    Only x < 0 has the sign -1. The gradients are those of conv2d of the signs, where |x| <= window
    and |w| <= window, and 0 elsewhere.

    Shapes: x (N, C, H, W) or (C, H, W), w (C_out, C / groups, R, S) -> y (N, C_out, Ho, Wo), as
    those of `conv2d`

    Args:
        x, w: floats, or what `pack_bits` makes of them, which has no gradient.
        stride, padding, dilation, groups: as in `conv2d`.
        pad_value: what the padding holds: 0, which counts for nothing, 1 or -1.
        window: beyond which gradients are 0; None lets everything through.

    Raises:
        ShapeError: channels do not match, groups do not divide, or no window fits.
        DTypeError: x or w holds no floats.

    >>> import tape
    >>> x, w = tape.tensor([[[[0.5, -2.0, 3.0]]]]), tape.tensor([[[[-1.0, -0.1]]]])
    >>> tape.binary_conv2d(x, w, padding=(0, 1)).tolist()
    [[[[-1.0, 0.0, 0.0, -1.0]]]]
    """
    w = w if isinstance(w, PackedBits) else asarray(w)
    try:
        geometry = geometry_of(tuple(w.shape), stride, padding, dilation, groups)
    except TapeError as error:
        error.op = "binary_conv2d"
        raise
    window = checked_window(window, "binary_conv2d")
    images, alone = (x, False) if isinstance(x, PackedBits) else batched(x)
    if len(images.shape) != 4:
        raise ShapeError(
            f"binary_conv2d: x must be (N, C, H, W) or (C, H, W), got {tuple(images.shape)}"
        )
    image, x_words, border = words_of(images, 1, "binary_conv2d", "x")
    kernel, w_words, w_border = words_of(w, 1, "binary_conv2d", "w")
    if any(w_border):
        raise ShapeError(f"binary_conv2d: w is packed with a border {w_border}")
    y = correlate_signs(
        image,
        kernel,
        x_words,
        w_words,
        gate_of(image, window),
        gate_of(kernel, window),
        images=tuple(images.shape),
        kernels=tuple(w.shape),
        border=border,
        geometry=geometry,
        pad_value=pad_value,
        filters=filters_of(w, made_filters, geometry, pad_value),
    )
    return reshape(y, y.shape[1:]) if alone else y


def made_filters(w, geometry, pad_value):
    """The filters of a packed kernel, or None where the shape rule has an error to tell."""
    try:
        return BitFilters(w, *geometry[:4], pad_value)
    except ValueError:
        return None


def correlated_signs(
    x,
    w,
    x_words,
    w_words,
    x_gate,
    w_gate,
    *,
    images,
    kernels,
    border,
    geometry,
    pad_value,
    filters=None,
):
    """Shape rule: that of conv2d."""
    check_lineage(x, x_gate, images, "x")
    check_lineage(w, w_gate, kernels, "w")
    shape = correlated(images, kernels, geometry=geometry)
    if pad_value not in (-1, 0, 1):
        raise ShapeError(f"pad_value is 0, 1 or -1, got {pad_value!r}")
    if math.prod(kernels[1:]) > LONGEST:
        raise ShapeError(f"w {kernels} has kernels of more than {LONGEST} signs")
    if x_words != words_shape(images, 1, border) or w_words != words_shape(kernels, 1, NO_BORDER):
        raise ShapeError(f"words {x_words} and {w_words} do not hold x {images} and w {kernels}")
    return shape


def convolution(images, kernels, geometry=PLAIN, pad_value=0, packed=False, image=None):
    """A sample of correlate_signs; its signs are said to be those of another `image`."""
    return sample(
        0.0 if packed else images,
        kernels,
        drawn_words(images, 1, 0),
        drawn_words(kernels, 1, 1),
        0 if packed else drawn_gate(images, 2),
        drawn_gate(kernels, 3),
        images=image or images,
        kernels=kernels,
        border=NO_BORDER,
        geometry=geometry,
        pad_value=pad_value,
    )


SMALL = (1, 3, 4, 4), (2, 3, 3, 3)


def slow_correlation(
    x,
    w,
    x_words,
    w_words,
    x_gate,
    w_gate,
    *,
    images,
    kernels,
    border,
    geometry,
    pad_value,
    filters=None,
):
    """correlate_signs by conv2d of floats."""
    image = unpacked(x_words, images, 1, border, "float64").numpy()
    kernel = unpacked(w_words, kernels, 1, NO_BORDER, "float64").numpy()
    edges = ((0, 0), (0, 0), *geometry.padding)
    image = np.pad(image, edges, constant_values=pad_value)
    open_geometry = geometry._replace(padding=((0, 0), (0, 0)))
    y = correlate2d(image, kernel, 0, geometry=open_geometry).numpy()
    return y.astype(result_type(x, w))


@op(
    name="binary_conv2d",
    shape=correlated_signs,
    saves="x_words w_words x_gate w_gate",
    smooth=False,
    ref=slow_correlation,
    samples=[
        convolution((2, 3, 5, 4), (4, 3, 3, 2)),
        convolution((2, 4, 5, 6), (6, 2, 3, 3), PADDED),
        convolution((1, 2, 4, 4), (3, 2, 3, 3), Geometry(padding=((1, 1), (1, 1))), -1),
        convolution((1, 33, 3, 3), (2, 33, 2, 2), Geometry(padding=((1, 1), (0, 0))), 1, True),
    ],
    errors=[
        wrong(convolution(*SMALL, pad_value=2), "pad_value is 0, 1 or -1, got 2"),
        wrong(
            convolution(*SMALL, image=(1, 3, 2, 4)),
            r"x has shape \(1, 3, 4, 4\), its signs \(1, 3, 2, 4\)",
        ),
    ],
)
def correlate_signs(
    x,
    w,
    x_words,
    w_words,
    x_gate,
    w_gate,
    /,
    *,
    images,
    kernels,
    border,
    geometry,
    pad_value,
    filters=None,
):
    """binary_conv2d, given the words of the signs and the bits of where gradients end.

    `filters` are those of w_words, if somebody has them.

    Shapes: x (N, C, H, W), w (C_out, C / groups, R, S) -> y (N, C_out, Ho, Wo)
    """
    if filters is None:
        filters = BitFilters(words_as(w_words, kernels, 1), *geometry[:4], pad_value)
    return numbers(filters, words_as(x_words, images, 1, border), result_type(x, w))


def with_padding(image, geometry, pad_value):
    """Images in a frame of pad_value, and the geometry that is left to do."""
    if not pad_value or geometry.padding == ((0, 0), (0, 0)):
        return image, geometry
    framed = pad(image, ((0, 0), (0, 0), *geometry.padding), value=float(pad_value))
    return framed, geometry._replace(padding=((0, 0), (0, 0)))


@correlate_signs.defvjp("x")
def correlate_signs_vjp_x(g, w_words, x_gate, images, kernels, geometry):
    kernel = unpacked(w_words, kernels, 1, NO_BORDER, g.dtype)
    return gated(conv2d_input_grad(g, kernel, image=images[2:], geometry=geometry), x_gate, images)


@correlate_signs.defvjp("w")
def correlate_signs_vjp_w(g, x_words, w_gate, images, kernels, border, geometry, pad_value):
    image = unpacked(x_words, images, 1, border, g.dtype)
    image, geometry = with_padding(image, geometry, pad_value)
    return gated(
        conv2d_weight_grad(g, image, window=kernels[2:], geometry=geometry), w_gate, kernels
    )


@correlate_signs.defjvp
def correlate_signs_jvp(
    dx, dw, x_words, w_words, x_gate, w_gate, images, kernels, border, geometry, pad_value
):
    y = 0
    if moves(dx, images):
        kernel = unpacked(w_words, kernels, 1, NO_BORDER, dx.dtype)
        y = correlate2d(gated(dx, x_gate, images), kernel, 0, geometry=geometry)
    if moves(dw, kernels):
        image = unpacked(x_words, images, 1, border, dw.dtype)
        image, geometry = with_padding(image, geometry, pad_value)
        y = y + correlate2d(image, gated(dw, w_gate, kernels), 0, geometry=geometry)
    return y


def binary_max_pool2d(x, kernel, stride=None, padding=0, dilation=1, least=False, border=NO_BORDER):
    """The greatest sign of each window of packed images, or the least; see `max_pool2d`.

    Shapes: x (N, C, H, W) -> y (N, C, H', W'), packed, as `max_pool2d` has them

    Args:
        x: signs (N, C, H, W) that `pack_bits` has packed.
        least: -1 if any of a window's signs is.
        border: pixels (top, bottom, left, right) to leave around the result.

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.
        DTypeError: x is not packed.

    >>> import tape
    >>> bits = tape.pack_bits(tape.tensor([[[[1.0, -1.0], [-1.0, -1.0]]]]))
    >>> tape.unpack_bits(tape.binary_max_pool2d(bits, (2, 1))).tolist()
    [[[[1.0, -1.0]]]]
    """
    if not isinstance(x, PackedBits):
        raise DTypeError(f"binary_max_pool2d: x is a {type(x).__name__}, expected PackedBits")
    window, geometry = pooling(kernel, stride, padding, dilation, False)
    pooled(tuple(x.shape), window=window, geometry=geometry)
    settings = geometry[:3]
    return binary_pool(x, window, *settings, least=least, border=border)
