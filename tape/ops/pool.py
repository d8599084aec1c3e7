"""Pooling over windows of images, N C H W."""

from __future__ import annotations

import numpy as np

from tape._kernels import avg_pool, max_pool
from tape.errors import DTypeError, IndexRangeError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.dtype import astype
from tape.ops.geometry import (
    NO_WINDOWS,
    Geometry,
    batched,
    known_float,
    padding_pairs,
    pair,
    windows,
)
from tape.ops.naming import named
from tape.ops.shape import squeeze


def pooling(kernel, stride, padding, dilation, ceil_mode):
    """(window, geometry) of a pooling; the stride is the window unless given."""
    window, dilation = pair(kernel, "kernel"), pair(dilation, "dilation")
    stride = window if stride is None or stride == () else pair(stride, "stride")
    pairs = padding_pairs(padding, window, stride, dilation)
    for k, (before, after), d in zip(window, pairs, dilation, strict=True):
        if k > 0 and max(before, after) > (d * (k - 1) + 1) // 2:
            raise ShapeError(f"padding {padding} is more than half of the window {window}")
    return window, Geometry(stride, pairs, dilation, 1, bool(ceil_mode))


def divisor_of(divisor_override):
    """The number that sums are divided by, 0 for each window's size."""
    if divisor_override is None:
        return 0
    if not hasattr(divisor_override, "__index__") or not 0 < abs(int(divisor_override)) < 2**63:
        raise ValueError(
            "avg_pool2d: divisor_override is an integer other than 0, or None, got "
            f"{divisor_override!r}"
        )
    return int(divisor_override)


def pooled(x, *, window, geometry):
    """Shape rule: (N, C, H, W) -> (N, C, Ho, Wo)."""
    if len(x) != 4:
        raise ShapeError(f"x must be (N, C, H, W) or (C, H, W), got {x}")
    return (*x[:2], *windows(x[2:], window, geometry))


@named
def max_pool2d(
    x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """The largest element of each window; NaN if it holds one.

    The first of equal elements, in the order of rows, takes the gradient. Padding is never chosen.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo) with
    Ho = (H + 2 * padding - dilation * (R - 1) - 1) // stride + 1, rounded up in ceil_mode

    Args:
        kernel, stride, padding, dilation: integers, or pairs for H and W; stride None: the kernel.
        ceil_mode: keep a last window that reaches beyond the padded image.
        return_indices: give (y, where each element stands in its image, counted along H * W).

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.

    >>> import tape
    >>> tape.max_pool2d(tape.arange(16.0).reshape((1, 1, 4, 4)), 2).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    try:
        window, geometry = pooling(kernel, stride, padding, dilation, ceil_mode)
        images, alone = batched(x)
        index = max_pool2d_index(images, window=window, geometry=geometry)
        y = pick2d(images, index)
    except TapeError as error:
        error.op = "max_pool2d"
        raise
    y = squeeze(y, 0) if alone else y
    return (y, places(index, alone)) if return_indices else y


def places(index, alone):
    """Indices as they are given to callers: int64, without the batch of a single image."""
    index = astype(index, "int64")
    return squeeze(index, 0) if alone else index


FORMS = [
    ((2, 3, 6, 5), (2, 2), Geometry(stride=(2, 2))),
    ((1, 2, 7, 6), (3, 2), Geometry(stride=(2, 1), padding=((1, 1), (1, 1)))),
    ((1, 1, 6, 6), (2, 2), Geometry(stride=(3, 3), ceil_mode=True)),
    ((0, 3, 4, 4), (2, 2), Geometry(stride=(2, 2))),
]


@op(
    shape=pooled,
    differentiable=False,
    samples=[
        *[sample(x, window=k, geometry=g) for x, k, g in FORMS],
        sample((1, 2, 6, 6), window=(2, 3), geometry=Geometry(dilation=(2, 1))),
    ],
    errors=NO_WINDOWS,
)
def max_pool2d_index(x, /, *, window, geometry):
    """Where in its plane each window's largest element lies, counted along H * W, as int32.

    Shapes: x (N, C, H, W) -> index (N, C, Ho, Wo)
    """
    stride, padding, dilation, _, ceil_mode = geometry
    x = known_float(x)
    return max_pool.max_pool2d(x, window, stride, padding, dilation, ceil_mode=ceil_mode)[1]


def picked(x, index):
    """Shape rule: one element of x for each of index."""
    if len(x) != 4 or len(index) != 4 or x[:2] != index[:2]:
        raise ShapeError(f"x and index must be (N, C, ...) with equal N and C, got {x} and {index}")
    return index


PICKS = [sample((2, 3, 4, 4), (2, 3, 2, 2), dtypes=[None, "int32"], low=0, high=15)]
MISPICKED = [
    bad((2, 3, 4, 4), (2, 1, 2, 2), error=ShapeError, match=r"equal N and C, got \(2, 3, 4, 4\)"),
    bad((1, 1, 2, 2), np.full((1, 1, 1, 1), 4, np.int32), error=IndexRangeError, match="4"),
    bad((1, 1, 2, 2), (1, 1, 1, 1), error=DTypeError, match=r"not defined for .* \(1, 1, 1, 1\)"),
]


@op(name="max_pool2d", shape=picked, saves="index x.shape", samples=PICKS, errors=MISPICKED)
def pick2d(x, index, /):
    """The elements of each plane at an index, counted along H * W: max_pool2d, its choice made.

    Shapes: x (N, C, H, W), index (N, C, Ho, Wo) -> y (N, C, Ho, Wo)
    """
    try:
        return max_pool.max_pool2d_gather(x, index)
    except ValueError as error:
        raise IndexRangeError(str(error)) from error


@pick2d.defvjp("x")
def pick2d_vjp_x(g, index, x_shape):
    return place2d(g, index, image=x_shape[2:])


@pick2d.defjvp
def pick2d_jvp(dx, index):
    return pick2d(dx, index)


def placed(y, index, *, image):
    """Shape rule of place2d: a place for each element."""
    if len(y) != 4 or index != y or len(image) != 2:
        raise ShapeError(f"x {y} and index {index} must be (N, C, Ho, Wo), for images {image}")
    return (*y[:2], *image)


@op(
    shape=placed,
    saves="index",
    samples=[
        sample((2, 3, 2, 2), (2, 3, 2, 2), dtypes=[None, "int32"], low=0, high=15, image=(4, 4))
    ],
    errors=[
        bad((2, 3, 2, 2), (2, 3, 2), image=(4, 4), error=ShapeError, match=r"\(2, 3, 2\) must"),
        bad(
            *((1, 1, 1, 1), np.full((1, 1, 1, 1), 4, np.int32)),
            image=(2, 2),
            error=IndexRangeError,
            match="4",
        ),
    ],
)
def place2d(x, index, /, *, image):
    """Planes of zeros with the elements of x added at an index: the adjoint of pick2d.

    Shapes: x, index (N, C, Ho, Wo) -> y (N, C, H, W)
    """
    try:
        return max_pool.max_pool2d_scatter(x, index, *image)
    except ValueError as error:
        raise IndexRangeError(str(error)) from error


@place2d.defvjp("x")
def place2d_vjp_x(g, index):
    return pick2d(g, index)


@place2d.defjvp
def place2d_jvp(dx, index, image):
    return place2d(dx, index, image=image)


@named
def avg_pool2d(
    x,
    kernel,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """The mean of each window.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo), as max_pool2d

    Args:
        kernel, stride, padding: integers, or pairs for H and W; stride None: the kernel.
        ceil_mode: keep a last window that reaches beyond the padded image.
        count_include_pad: divide by the window's size even where it lies on padding.
        divisor_override: an integer to divide the sum of every window by instead.

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.
        ValueError: divisor_override is 0 or no integer.

    >>> import tape
    >>> tape.avg_pool2d(tape.arange(16.0).reshape((1, 1, 4, 4)), 2).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """
    try:
        window, geometry = pooling(kernel, stride, padding, 1, ceil_mode)
    except TapeError as error:
        error.op = "avg_pool2d"
        raise
    images, alone = batched(x)
    y = window_mean2d(
        images,
        window=window,
        geometry=geometry,
        count_include_pad=count_include_pad,
        divisor=divisor_of(divisor_override),
    )
    return squeeze(y, 0) if alone else y


@op(
    name="avg_pool2d",
    shape=pooled,
    saves="x.shape",
    linear=True,
    samples=[sample(x, window=k, geometry=g) for x, k, g in FORMS]
    + [
        sample(*FORMS[1][:1], window=(3, 2), geometry=FORMS[1][2], count_include_pad=False),
        sample(*FORMS[1][:1], window=(3, 2), geometry=FORMS[1][2], divisor=5),
    ],
    errors=NO_WINDOWS,
)
def window_mean2d(x, /, *, window, geometry, count_include_pad=True, divisor=0):
    """avg_pool2d, its settings in pairs.   Shapes: x (N, C, H, W) -> y (N, C, Ho, Wo)"""
    stride, padding, _, _, ceil_mode = geometry
    return avg_pool.avg_pool2d(
        known_float(x),
        window,
        stride,
        padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor=divisor,
    )


@window_mean2d.defvjp
def window_mean2d_vjp(g, x_shape, window, geometry, count_include_pad, divisor):
    return spread_mean2d(
        g,
        image=x_shape[2:],
        window=window,
        geometry=geometry,
        count_include_pad=count_include_pad,
        divisor=divisor,
    )


def spread_shape(y, *, image, window, geometry):
    """Shape rule of spread_mean2d: as many means as windows."""
    if y != pooled((*y[:2], *image), window=window, geometry=geometry):
        raise ShapeError(f"{y} are not the means of windows {window} over images {image}")
    return (*y[:2], *image)


@op(
    shape=spread_shape,
    linear=True,
    samples=[
        sample(pooled(x, window=k, geometry=g), image=x[2:], window=k, geometry=g)
        for x, k, g in FORMS
    ],
    errors=[
        bad(
            (2, 3, 2, 2),
            **{"image": (6, 5), "window": (2, 2), "geometry": Geometry(stride=(2, 2))},
            error=ShapeError,
            match=r"\(2, 3, 2, 2\) are not the means of windows \(2, 2\) over images \(6, 5\)",
        )
    ],
)
def spread_mean2d(x, /, *, image, window, geometry, count_include_pad=True, divisor=0):
    """Each mean's share given back to its window: the adjoint of avg_pool2d.

    Shapes: x (N, C, Ho, Wo) -> y (N, C, H, W)
    """
    stride, padding, _, _, ceil_mode = geometry
    return avg_pool.avg_pool2d_scatter(
        x,
        *image,
        window,
        stride,
        padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor=divisor,
    )


@spread_mean2d.defvjp
def spread_mean2d_vjp(g, window, geometry, count_include_pad, divisor):
    return window_mean2d(
        g, window=window, geometry=geometry, count_include_pad=count_include_pad, divisor=divisor
    )
