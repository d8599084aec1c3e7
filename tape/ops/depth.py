"""Volumes, N C D H W, as images: what a window over depth sees becomes channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._kernels.window import window_count
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.shape import permute_dims, reshape


def slices(x, *, size, stride, padding, dilation):
    """Shape rule: (N, C, D, H, W) -> (N * Do, C * size, H, W)."""
    if len(x) != 5:
        raise ShapeError(f"x must be (N, C, D, H, W), got {x}")
    N, C, D, H, W = x
    return (N * places(D, size, stride, padding, dilation), C * size, H, W)


def places(D, size, stride, padding, dilation):
    """How many windows fit along the depth; ShapeError if none does."""
    try:
        return window_count(D, size, stride, *padding, dilation)
    except (ValueError, OverflowError) as error:
        raise ShapeError(
            f"a window of {size} slices (stride {stride}, dilation {dilation}) does not fit a "
            f"depth of {D} with padding {padding}"
        ) from error


def taps(D, Do, size, stride, padding, dilation):
    """(tap, windows, slices) for each tap of a window: which windows find which slices there."""
    for t in range(size):
        at = t * dilation - padding[0]
        first = max(0, -(at // stride))  # the first window at or behind slice 0
        last = min(Do, (D - 1 - at) // stride + 1)
        if first < last:
            start = first * stride + at
            stop = (last - 1) * stride + at + 1
            yield t, slice(first, last), slice(start, stop, stride)


FORMS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 5, 2, 3), {"size": 3}),
    ((1, 2, 4, 2, 2), {"size": 2, "stride": 3, "padding": (1, 2)}),
    ((1, 1, 6, 1, 2), {"size": 3, "padding": (3, 0), "dilation": 2}),
    ((0, 2, 3, 2, 2), {"size": 2}),
]
WHOLE: dict[str, Any] = {"stride": 1, "padding": (0, 0), "dilation": 1}


@op(
    shape=slices,
    saves="x.shape",
    linear=True,
    samples=[sample(x, **WHOLE | form) for x, form in FORMS],
    errors=[
        bad((2, 3, 4, 4), size=2, **WHOLE, error=ShapeError, match="must be"),
        bad((1, 1, 2, 4, 4), size=3, **WHOLE, error=ShapeError, match="does not fit a depth of 2"),
    ],
)
def depth_windows(x, /, *, size, stride, padding, dilation):
    """The slices that each window over depth sees, as channels of one image.

    y[n * Do + i, c * size + t] = x[n, c, i * stride + t * dilation - front], 0 outside

    Shapes: x (N, C, D, H, W) -> y (N * Do, C * size, H, W)
    """
    N, C, D, H, W = x.shape
    Do = places(D, size, stride, padding, dilation)
    y = np.zeros((N, Do, C, size, H, W), x.dtype)
    for t, to, seen in taps(D, Do, size, stride, padding, dilation):
        y[:, to, :, t] = x[:, :, seen].swapaxes(1, 2)
    return y.reshape(N * Do, C * size, H, W)


@depth_windows.defvjp
def depth_windows_vjp(g, x_shape, size, stride, padding, dilation):
    return depth_sums(
        g, volume=x_shape, size=size, stride=stride, padding=padding, dilation=dilation
    )


def volume_of(x, *, volume, size, stride, padding, dilation):
    """Shape rule of depth_sums: the volume whose windows x is."""
    if x != slices(volume, size=size, stride=stride, padding=padding, dilation=dilation):
        raise ShapeError(f"{x} are not the windows of {size} slices over {volume}")
    return volume


@op(
    shape=volume_of,
    linear=True,
    samples=[sample(slices(x, **WHOLE | form), volume=x, **WHOLE | form) for x, form in FORMS],
    errors=[
        bad(
            (2, 4, 3, 3), volume=(1, 2, 4, 3, 3), size=2, **WHOLE, error=ShapeError, match="are not"
        )
    ],
)
def depth_sums(x, /, *, volume, size, stride, padding, dilation):
    """Volumes in which each slice is the sum of where windows saw it: depth_windows' adjoint.

    Shapes: x (N * Do, C * size, H, W) -> y (N, C, D, H, W)
    """
    N, C, D, H, W = volume
    Do = places(D, size, stride, padding, dilation)
    x = x.reshape(N, Do, C, size, H, W)
    y = np.zeros(volume, x.dtype)
    for t, to, seen in taps(D, Do, size, stride, padding, dilation):
        y[:, :, seen] += x[:, to, :, t].swapaxes(1, 2)
    return y


@depth_sums.defvjp
def depth_sums_vjp(g, size, stride, padding, dilation):
    return depth_windows(g, size=size, stride=stride, padding=padding, dilation=dilation)


def stacked(x, *, depth):
    """Shape rule: (N * Do, C, H, W) -> (N, C, Do, H, W)."""
    if len(x) != 4 or depth < 1 or x[0] % depth:
        raise ShapeError(f"{x} are not volumes of {depth} images each, one after the other")
    return (x[0] // depth, x[1], depth, *x[2:])


@op(
    shape=stacked,
    saves="x.shape",
    linear=True,
    samples=[sample((6, 2, 3, 2), depth=3), sample((0, 2, 3, 2), depth=2)],
    errors=[bad((5, 1, 2, 2), depth=2, error=ShapeError, match="are not volumes of 2 images")],
)
def volumes_of(x, /, *, depth):
    """Volumes of images one after the other.   Shapes: x (N * Do, C, H, W) -> y (N, C, Do, H, W)

    y[n, c, i] = x[n * Do + i, c]
    """
    n, *rest = x.shape
    return x.reshape(n // depth, depth, *rest).swapaxes(1, 2)


@volumes_of.defvjp
def volumes_of_vjp(g, x_shape):
    return reshape(permute_dims(g, (0, 2, 1, 3, 4)), x_shape)
