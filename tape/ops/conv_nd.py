"""Convolution over sequences, N C L, and volumes, N C D H W, by way of images."""

from __future__ import annotations

from tape._core.memory import asarray, count_on, lengths
from tape.errors import ShapeError, TapeError
from tape.ops.conv import conv2d
from tape.ops.depth import depth_windows, volumes_of
from tape.ops.geometry import each_axis, padding_pairs
from tape.ops.shape import expand_dims, reshape, squeeze

FORM = {1: "(N, C, L) or (C, L)", 3: "(N, C, D, H, W) or (C, D, H, W)"}
KERNEL = {1: "(C_out, C / groups, K)", 3: "(C_out, C / groups, T, R, S)"}


def operands(n, x, w, b, stride, padding, dilation, groups):
    """x with a batch, w, whether x was alone, and the settings for each of n axes."""
    x, w = asarray(x), asarray(w)
    if w.ndim != n + 2 or x.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"x must be {FORM[n]} and w {KERNEL[n]}, got {lengths(x)} and {lengths(w)}"
        )
    alone = x.ndim == n + 1
    images = expand_dims(x, 0) if alone else x
    if not hasattr(groups, "__index__"):
        raise ShapeError(f"groups is an integer, got {groups!r}")
    if groups < 1 or w.shape[0] % groups:
        raise ShapeError(
            f"groups = {groups} does not divide the {w.shape[0]} output channels of w {w.shape}"
        )
    C, needed = lengths(images)[1], w.shape[1] * groups
    if needed != C:
        of = f" in {groups} groups" if groups > 1 else ""
        raise ShapeError(
            f"x has {C} channels, w expects {needed}{of} (x {lengths(x)}, w {w.shape})"
        )
    if b is not None and asarray(b).shape != w.shape[:1]:
        raise ShapeError(f"b has shape {asarray(b).shape}, w {w.shape} makes {w.shape[0]} channels")
    stride, dilation = each_axis(stride, n, "stride"), each_axis(dilation, n, "dilation")
    pairs = padding_pairs(padding, w.shape[2:], stride, dilation)
    if min(*stride, *dilation, *w.shape[2:]) < 1:
        raise ShapeError(
            f"window {w.shape[2:]}, stride {stride} and dilation {dilation} must be at least 1"
        )
    if min(min(p) for p in pairs) < 0:
        raise ShapeError(f"padding {padding} must not be negative")
    for size, k, (before, after), d in zip(
        lengths(images)[2:], w.shape[2:], pairs, dilation, strict=True
    ):
        if before + size + after < d * (k - 1) + 1:
            raise ShapeError(
                f"a window of {w.shape[2:]} (dilation {dilation}) does not fit x {lengths(x)} with "
                f"padding {pairs}"
            )
    return images, w, alone, stride, pairs, dilation


def conv1d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, activation=None):
    """Convolution (cross-correlation) of sequences with a kernel.

    y[n, o, i] = b[o] + sum over c, k of x[n, c, i * stride + k * dilation - left] * w[o, c, k]

    Shapes: x (N, C, L), w (C_out, C / groups, K), b (C_out) -> y (N, C_out, Lo) with
    Lo = (L + left + right - dilation * (K - 1) - 1) // stride + 1; a single sequence x (C, L)
    gives y (C_out, Lo)

    Args:
        stride, dilation: an integer of at least 1.
        padding: zeros around the sequence: an integer, ((left, right),), "valid" for none, or
            "same" for as many as keep L (stride 1 only).
        groups: channels are split into so many groups that do not see each other.
        activation: a function of the result, or None, as in `conv2d`.

    Raises:
        ShapeError: channels do not match, groups do not divide, or no window fits.
        TypeError: the activation is no function.

    >>> import tape
    >>> x, w = tape.tensor([[1.0, 2.0, 4.0, 8.0]]), tape.tensor([[[-1.0, 1.0]]])
    >>> tape.conv1d(x, w).tolist()
    [[1.0, 2.0, 4.0]]
    """
    try:
        x, w, alone, stride, padding, dilation = operands(
            1, x, w, b, stride, padding, dilation, groups
        )
        y = conv2d(
            expand_dims(x, 2),
            expand_dims(w, 2),
            b,
            (1, *stride),
            ((0, 0), *padding),
            (1, *dilation),
            groups,
            activation,
        )
    except TapeError as error:
        error.op = "conv1d"
        raise
    return squeeze(y, (0, 2) if alone else 2)


def conv3d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, activation=None):
    """Convolution (cross-correlation) of volumes with a kernel.

    As conv2d, with windows over depth, height and width: what a window sees of the depth is laid
    out as channels, so it is one convolution of images.

    Shapes: x (N, C, D, H, W), w (C_out, C / groups, T, R, S), b (C_out) -> y (N, C_out, Do, Ho, Wo)
    with Do = (D + front + back - dilation * (T - 1) - 1) // stride + 1, Ho and Wo alike; a single
    volume x (C, D, H, W) gives y (C_out, Do, Ho, Wo)

    Args:
        stride, dilation: an integer of at least 1, or three for D, H and W.
        padding: zeros around the volume: an integer, three, three pairs (before, after), "valid"
            for none, or "same" for as many as keep D, H and W (stride 1 only).
        groups: channels are split into so many groups that do not see each other.
        activation: a function of the result, or None, as in `conv2d`.

    Raises:
        ShapeError: channels do not match, groups do not divide, or no window fits.
        TypeError: the activation is no function.

    >>> import tape
    >>> x, w = tape.ones((1, 3, 4, 5, 5)), tape.ones((2, 3, 2, 3, 3))
    >>> tape.conv3d(x, w, padding=(0, 1, 1)).shape
    (1, 2, 3, 5, 5)
    """
    try:
        x, w, alone, stride, padding, dilation = operands(
            3, x, w, b, stride, padding, dilation, groups
        )
        count_on(x, 2)
        count_on(w, 2)
        T, R, S = lengths(w)[2:]
        images = depth_windows(
            x, size=T, stride=stride[0], padding=padding[0], dilation=dilation[0]
        )
        y = conv2d(
            images,
            reshape(w, (lengths(w)[0], lengths(w)[1] * T, R, S)),
            b,
            stride[1:],
            padding[1:],
            dilation[1:],
            groups,
            activation,
        )
    except TapeError as error:
        error.op = "conv3d"
        raise
    before, after = padding[0]
    Do = (lengths(x)[2] + before + after - dilation[0] * (T - 1) - 1) // stride[0] + 1
    y = volumes_of(y, depth=Do)
    return squeeze(y, 0) if alone else y
