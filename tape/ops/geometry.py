"""How windows lie on an image: what convolution and pooling share."""

from __future__ import annotations

from operator import index
from typing import NamedTuple

import numpy as np

from tape._core.memory import asarray
from tape._kernels.window import window_counts
from tape.errors import DTypeError, ShapeError
from tape.op import bad
from tape.ops.shape import expand_dims

Pair = tuple[int, int]
LARGEST = 2**31 - 1


class Geometry(NamedTuple):
    """Settings of a window as pairs for H and W, padding as ((top, bottom), (left, right))."""

    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    ceil_mode: bool = False


# Bad calls of ops on windows: no image, none that fits, no floats.
NO_WINDOWS = [
    bad((3, 4), window=(2, 2), geometry=Geometry(), error=ShapeError, match="must be"),
    bad((1, 1, 2, 2), window=(3, 3), geometry=Geometry(), error=ShapeError, match="does not fit"),
    bad(
        np.ones((1, 1, 4, 4), np.int64),
        window=(2, 2),
        geometry=Geometry(),
        error=DTypeError,
        match="x is int64, expected float32 or float64",
    ),
]


def batched(x):
    """Images (N, C, H, W), and whether x is a single one of them, (C, H, W)."""
    x = asarray(x)
    alone = x.ndim == 3
    return (expand_dims(x, 0) if alone else x), alone


def known_float(x):
    """x itself, an array of floats; DTypeError for any other."""
    if x.dtype.kind != "f":
        raise DTypeError(f"x is {x.dtype}, expected float32 or float64")
    return x


def each_axis(setting, n, name):
    """One integer for all n axes of an image, or one for each, as a tuple."""
    values = tuple(setting) if isinstance(setting, (tuple, list)) else (setting,)
    values = values * n if len(values) == 1 else values
    try:
        numbers = tuple([index(v) for v in values])
    except TypeError:  # of arrays too, which have an __index__
        numbers = ()
    if len(numbers) != n:
        several = {1: "a tuple of one", 2: "a pair of them"}.get(n, f"{n} of them")
        raise ShapeError(f"{name} is an integer or {several}, got {setting!r}")
    return numbers


def pair(setting, name):
    """One integer or two, as a pair."""
    if type(setting) is tuple and len(setting) == 2 and type(setting[0]) is type(setting[1]) is int:
        return setting  # as layers have it
    return each_axis(setting, 2, name)


def padding_pairs(padding, window, stride, dilation):
    """Padding as a pair for each axis, from integers, pairs, "same" or "valid".

    Of an image ((top, bottom), (left, right)).
    """
    n = len(window)
    if type(padding) is int:
        return ((padding, padding),) * n
    if padding == "valid":
        return ((0, 0),) * n
    if padding == "same":
        if stride != (1,) * n:
            raise ShapeError(f'padding="same" is for stride 1, got stride {stride}')
        total = [d * (k - 1) for d, k in zip(dilation, window, strict=True)]
        return tuple([(t // 2, t - t // 2) for t in total])
    if isinstance(padding, str):
        raise ShapeError(f'padding is numbers, "same" or "valid", got {padding!r}')
    if isinstance(padding, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in padding):
        if len(padding) != n:
            form = {1: "((left, right),)", 2: "((top, bottom), (left, right))"}.get(n, f"{n} pairs")
            raise ShapeError(f"padding is {form}, got {padding!r}")
        return tuple([pair(p, "padding") for p in padding])
    return tuple([(p, p) for p in each_axis(padding, n, "padding")])


def windows(image, window, geometry):
    """How many windows fit along H and W; ShapeError if none does, or a setting is off."""
    stride, padding, dilation, _, ceil_mode = geometry
    try:
        return window_counts(image, window, stride, padding, dilation, ceil_mode)
    except (ValueError, OverflowError) as error:
        if min(*stride, *dilation, *window) < 1:
            raise ShapeError(
                f"window {window}, stride {stride} and dilation {dilation} must be at least 1"
            ) from error
        if min(*padding[0], *padding[1]) < 0:
            raise ShapeError(f"padding {padding} must not be negative") from error
        if max(*stride, *dilation, *window, *padding[0], *padding[1]) > LARGEST:
            raise ShapeError(
                f"window {window}, stride {stride}, dilation {dilation} and padding {padding} must "
                f"be at most {LARGEST}"
            ) from error
        raise ShapeError(
            f"a window of {window} (dilation {dilation}) does not fit the image {image} "
            f"with padding {padding}"
        ) from error
