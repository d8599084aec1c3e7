"""Transposed convolution: the gradient of a convolution for its image, as an op of its own."""

from __future__ import annotations

from tape._core.memory import asarray, count_on, lengths
from tape.errors import DTypeError, ShapeError, TapeError
from tape.ops.conv import conv2d_input_grad
from tape.ops.geometry import Geometry, each_axis
from tape.ops.pad import pad
from tape.ops.shape import expand_dims, reshape, squeeze

FORM = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)"}
KERNEL = {1: "(C_in, C_out / groups, K)", 2: "(C_in, C_out / groups, R, S)"}


def spread(n, x, w, b, stride, padding, output_padding, groups, dilation):
    """The transposed convolution along n axes."""
    x, w = asarray(x), asarray(w)
    if w.ndim != n + 2 or x.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"x must be {FORM[n]} and w {KERNEL[n]}, got {lengths(x)} and {lengths(w)}"
        )
    for name, t in (("x", x), ("w", w)):
        if t.dtype.kind != "f":
            raise DTypeError(f"{name} is {t.dtype}, expected float32 or float64")
    alone = x.ndim == n + 1
    images = expand_dims(x, axis=0) if alone else x
    C = lengths(images)[1]
    count_on(x, *range(-n, 0))
    count_on(w, *range(-n, 0))
    if not hasattr(groups, "__index__") or groups < 1 or C % groups:
        raise ShapeError(f"groups = {groups!r} does not divide the {C} channels of x {lengths(x)}")
    if w.shape[0] != C:
        raise ShapeError(f"x has {C} channels, w is for {w.shape[0]} (x {lengths(x)}, w {w.shape})")
    channels = w.shape[1] * groups
    if b is not None and asarray(b).shape != (channels,):
        raise ShapeError(f"b has shape {asarray(b).shape}, w {w.shape} makes {channels} channels")
    lines = [
        line(size, k, *settings)
        for size, k, *settings in zip(
            lengths(images)[2:],
            lengths(w)[2:],
            each_axis(stride, n, "stride"),
            each_axis(padding, n, "padding"),
            each_axis(output_padding, n, "output_padding"),
            each_axis(dilation, n, "dilation"),
            strict=True,
        )
    ]
    if n == 1:
        lines = [(1, 1, (0, 0), 1, 0), *lines]
        images, w = expand_dims(images, axis=2), expand_dims(w, axis=2)
    result, strides, pairs, dilations, zeros = zip(*lines, strict=True)
    geometry = Geometry(strides, pairs, dilations, int(groups))
    y = conv2d_input_grad(images, w, image=result, geometry=geometry)
    if any(zeros):
        y = pad(y, ((0, 0), (0, 0), *[(0, z) for z in zeros]))
    if b is not None:
        y = y + reshape(b, (-1, 1, 1))
    gone = (0,) * alone + (2,) * (n == 1)
    return squeeze(y, gone) if gone else y


def line(size, k, stride, padding, output_padding, dilation):
    """One axis: its length, stride, padding before and after, dilation, and zeros to append.

    What output_padding adds lies first of all on padding, where windows reach; then beyond.
    """
    if min(stride, dilation, k, size) < 1 or min(padding, output_padding) < 0:
        raise ShapeError(
            f"length {size}, window {k}, stride {stride} and dilation {dilation} must be at least "
            f"1, padding {padding} and output_padding {output_padding} at least 0"
        )
    if output_padding >= max(stride, dilation):
        raise ShapeError(
            f"output_padding {output_padding} must be less than stride {stride} or dilation "
            f"{dilation}"
        )
    span = (size - 1) * stride + dilation * (k - 1) + 1
    if span - 2 * padding + output_padding < 1:
        raise ShapeError(
            f"windows of {k} (stride {stride}, dilation {dilation}) from {size} places span "
            f"{span}, of which padding {padding} leaves nothing"
        )
    after = max(padding - output_padding, 0)
    return (
        span - padding - after,
        stride,
        (padding, after),
        dilation,
        output_padding - (padding - after),
    )


def conv_transpose1d(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of sequences: each element of x spreads a multiple of the kernel.

    y[n, o, i * stride + k * dilation - padding] += x[n, c, i] * w[c, o, k], plus b[o]

    Shapes: x (N, C_in, L), w (C_in, C_out / groups, K), b (C_out) -> y (N, C_out, Lo) with
    Lo = (L - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1; a single
    sequence x (C_in, L) gives y (C_out, Lo)

    Args:
        stride, dilation: integers of at least 1.
        padding: how much is cut off at both ends.
        output_padding: elements more at the right end, fewer than stride or dilation.
        groups: channels are split into so many groups that do not see each other.

    Raises:
        ShapeError: channels do not match, groups do not divide, or nothing is left of the result.
        DTypeError: x or w is not of floats.

    >>> import tape
    >>> x, w = tape.tensor([[1.0, 10.0]]), tape.tensor([[[1.0, 2.0, 3.0]]])
    >>> tape.conv_transpose1d(x, w).tolist()
    [[1.0, 12.0, 23.0, 30.0]]
    """
    try:
        return spread(1, x, w, b, stride, padding, output_padding, groups, dilation)
    except TapeError as error:
        error.op = "conv_transpose1d"
        raise


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of images: each pixel of x spreads a multiple of the kernel.

    It is the gradient of `conv2d` for its image, w unchanged:
    y[n, o, i * stride + r * dilation - padding, j * ...] += x[n, c, i, j] * w[c, o, r, s], + b[o]

    Shapes: x (N, C_in, H, W), w (C_in, C_out / groups, R, S), b (C_out) -> y (N, C_out, Ho, Wo)
    with Ho = (H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1; a single
    image x (C_in, H, W) gives y (C_out, Ho, Wo)

    Args:
        stride, dilation: integers of at least 1, or pairs for H and W.
        padding: how much is cut off on every side, an integer or a pair.
        output_padding: rows and columns more at the bottom and right, fewer than stride or
            dilation.
        groups: channels are split into so many groups that do not see each other.

    Raises:
        ShapeError: channels do not match, groups do not divide, or nothing is left of the result.
        DTypeError: x or w is not of floats.

    >>> import tape
    >>> x, w = tape.ones((1, 4, 5, 5)), tape.ones((4, 2, 3, 3))
    >>> tape.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1).shape
    (1, 2, 10, 10)
    """
    try:
        return spread(2, x, w, b, stride, padding, output_padding, groups, dilation)
    except TapeError as error:
        error.op = "conv_transpose2d"
        raise
