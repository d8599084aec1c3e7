"""Windows of images as columns and back, and channels as pixels and back."""

from __future__ import annotations

from tape._core.memory import asarray, count_on, lengths
from tape._kernels import window as kernels
from tape.errors import ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.geometry import (
    NO_WINDOWS,
    Geometry,
    batched,
    each_axis,
    known_float,
    padding_pairs,
    pair,
    windows,
)
from tape.ops.naming import named
from tape.ops.shape import expand_dims, permute_dims, reshape, squeeze


def settings_of(kernel, dilation, padding, stride):
    """(window, geometry) of unfold and fold."""
    window, dilation = pair(kernel, "kernel"), pair(dilation, "dilation")
    stride = pair(stride, "stride")
    return window, Geometry(stride, padding_pairs(padding, window, stride, dilation), dilation)


def columns(x, *, window, geometry):
    """Shape rule: (N, C, H, W) -> (N, C * R * S, Ho * Wo)."""
    if len(x) != 4:
        raise ShapeError(f"x must be (N, C, H, W) or (C, H, W), got {x}")
    Ho, Wo = windows(x[2:], window, geometry)
    return (x[0], x[1] * window[0] * window[1], Ho * Wo)


FORMS = [
    ((2, 3, 4, 5), (2, 3), Geometry()),
    ((1, 2, 6, 5), (3, 2), Geometry(stride=(2, 1), padding=((1, 0), (2, 1)), dilation=(2, 1))),
    ((0, 2, 3, 3), (2, 2), Geometry()),
]


@op(
    name="unfold",
    shape=columns,
    saves="x.shape",
    linear=True,
    samples=[sample(x, window=k, geometry=g) for x, k, g in FORMS],
    errors=NO_WINDOWS,
)
def columns_of(x, /, *, window, geometry):
    """unfold, its settings in pairs.   Shapes: x (N, C, H, W) -> y (N, C * R * S, Ho * Wo)"""
    return kernels.unfold(
        known_float(x), window, geometry.stride, geometry.padding, geometry.dilation
    )


@columns_of.defvjp
def columns_of_vjp(g, x_shape, window, geometry):
    return sums_of(g, image=x_shape[2:], window=window, geometry=geometry)


def image_of(x, *, image, window, geometry):
    """Shape rule: (N, C * R * S, Ho * Wo) -> (N, C, H, W)."""
    R, S = window
    if len(x) != 3 or min(R, S) < 1 or x[1] % (R * S):
        raise ShapeError(f"x must be (N, C * {R} * {S}, L) or (C * {R} * {S}, L), got {x}")
    Ho, Wo = windows(image, window, geometry)
    if x[2] != Ho * Wo:
        raise ShapeError(
            f"x {x} has {x[2]} columns, an image {image} has {Ho} * {Wo} windows of {window} "
            f"(stride {geometry.stride}, padding {geometry.padding}, dilation {geometry.dilation})"
        )
    return (x[0], x[1] // (R * S), *image)


@op(
    name="fold",
    shape=image_of,
    linear=True,
    samples=[
        sample(columns(x, window=k, geometry=g), image=x[2:], window=k, geometry=g)
        for x, k, g in FORMS
    ],
    errors=[
        bad(
            *((2, 5, 4),),
            image=(3, 3),
            window=(2, 2),
            geometry=Geometry(),
            error=ShapeError,
            match=r"must be \(N, C \* 2 \* 2, L\)",
        ),
        bad(
            *((2, 4, 5),),
            image=(3, 3),
            window=(2, 2),
            geometry=Geometry(),
            error=ShapeError,
            match="has 5 columns",
        ),
    ],
)
def sums_of(x, /, *, image, window, geometry):
    """fold, its settings in pairs.   Shapes: x (N, C * R * S, Ho * Wo) -> y (N, C, H, W)"""
    shape = image_of(x.shape, image=image, window=window, geometry=geometry)
    return kernels.fold(
        known_float(x), shape, window, geometry.stride, geometry.padding, geometry.dilation
    )


@sums_of.defvjp
def sums_of_vjp(g, window, geometry):
    return columns_of(g, window=window, geometry=geometry)


@named
def unfold(x, kernel, dilation=1, padding=0, stride=1):
    """The windows of images as columns (im2col).

    y[n, (c * R + r) * S + s, i * Wo + j] = x[n, c, i * stride + r * dilation - top, j * ...]

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C * R * S, Ho * Wo) or (C * R * S, Ho * Wo), Ho and
    Wo as in conv2d

    Args:
        kernel, dilation, padding, stride: integers, or pairs for H and W; padding with zeros also
            ((top, bottom), (left, right)).

    Raises:
        ShapeError: no window fits.
        DTypeError: x is not of floats.

    >>> import tape
    >>> tape.unfold(tape.arange(9.0).reshape((1, 3, 3)), 2).tolist()[0]
    [0.0, 1.0, 3.0, 4.0]
    """
    try:
        window, geometry = settings_of(kernel, dilation, padding, stride)
        images, alone = batched(x)
        y = columns_of(images, window=window, geometry=geometry)
    except TapeError as error:
        error.op = "unfold"
        raise
    return squeeze(y, 0) if alone else y


@named
def fold(x, output_size, kernel, dilation=1, padding=0, stride=1):
    """Images in which each pixel is the sum of the columns' entries for it (col2im).

    The adjoint of `unfold`: of images' own columns it makes each pixel as many times as windows
    hold it.

    Shapes: x (N, C * R * S, Ho * Wo) or (C * R * S, Ho * Wo) -> y (N, C, H, W) or (C, H, W)

    Args:
        output_size: (H, W), or one integer for both.
        kernel, dilation, padding, stride: as for unfold.

    Raises:
        ShapeError: the columns are not those of windows over images of this size.
        DTypeError: x is not of floats.

    >>> import tape
    >>> columns = tape.unfold(tape.ones((1, 3, 3)), 2)
    >>> tape.fold(columns, 3, 2).tolist()
    [[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]
    """
    try:
        window, geometry = settings_of(kernel, dilation, padding, stride)
        image = each_axis(output_size, 2, "output_size")
        x = asarray(x)
        alone = x.ndim == 2
        y = sums_of(
            expand_dims(x, 0) if alone else x, image=image, window=window, geometry=geometry
        )
    except TapeError as error:
        error.op = "fold"
        raise
    return squeeze(y, 0) if alone else y


def factor_of(x, factor, name, argument):
    """x with at least (C, H, W), and the factor as an int."""
    x = asarray(x)
    if x.ndim < 3:
        raise ShapeError(f"{name}: x must be (..., C, H, W), got {lengths(x)}")
    if not hasattr(factor, "__index__") or factor < 1:
        raise ShapeError(f"{name}: {argument} must be an integer of at least 1, got {factor!r}")
    return x, int(factor)


@named
def pixel_shuffle(x, upscale_factor):
    """Groups of r * r channels laid out as squares of pixels, r the factor.

    y[..., c, i * r + a, j * r + b] = x[..., (c * r + a) * r + b, i, j]

    Shapes: x (..., C * r * r, H, W) -> y (..., C, H * r, W * r)

    Raises:
        ShapeError: the factor is no integer of at least 1, or its square does not divide the
            channels.

    Source: Shi et al. 2016, section 2.2.

    >>> import tape
    >>> tape.pixel_shuffle(tape.tensor([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]), 2).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """
    x, r = factor_of(x, upscale_factor, "pixel_shuffle", "upscale_factor")
    *lead, C, H, W = lengths(x)
    if C % (r * r):
        raise ShapeError(
            f"pixel_shuffle: {r} * {r} does not divide the {C} channels of x {lengths(x)}"
        )
    count_on(x, -3, *(-2, -1) * (r == 1))
    n = len(lead)
    apart = reshape(x, (*lead, C // (r * r), r, r, H, W))
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return reshape(permute_dims(apart, order), (*lead, C // (r * r), H * r, W * r))


@named
def pixel_unshuffle(x, downscale_factor):
    """Squares of r * r pixels as that many channels: the inverse of pixel_shuffle.

    y[..., (c * r + a) * r + b, i, j] = x[..., c, i * r + a, j * r + b]

    Shapes: x (..., C, H * r, W * r) -> y (..., C * r * r, H, W)

    Raises:
        ShapeError: the factor is no integer of at least 1, or does not divide height and width.

    >>> import tape
    >>> tape.pixel_unshuffle(tape.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 2).tolist()
    [[[1.0]], [[2.0]], [[3.0]], [[4.0]]]
    """
    x, r = factor_of(x, downscale_factor, "pixel_unshuffle", "downscale_factor")
    *lead, C, H, W = lengths(x)
    if H % r or W % r:
        raise ShapeError(f"pixel_unshuffle: {r} does not divide the image of x {lengths(x)}")
    count_on(x, -2, -1)
    n = len(lead)
    apart = reshape(x, (*lead, C, H // r, r, W // r, r))
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return reshape(permute_dims(apart, order), (*lead, C * r * r, H // r, W // r))
