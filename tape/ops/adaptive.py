"""Pooling to a given size: the windows, bins, follow from it."""

from __future__ import annotations

import numpy as np

from tape._core.memory import asarray, count_on, lengths
from tape.errors import ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.geometry import Geometry, known_float
from tape.ops.pool import max_pool2d_index, pick2d, places, window_mean2d
from tape.ops.reduce import mean
from tape.ops.resample import Plan, bins, length, resample
from tape.ops.shape import expand_dims, squeeze

FORM = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)"}


def planned(n, x, output_size):
    """x as images (N, C, H, W), and the size to pool to, as a pair."""
    x = asarray(x)
    if x.ndim not in (n + 1, n + 2):
        raise ShapeError(f"x must be {FORM[n]}, got {lengths(x)}")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,)
    sizes = sizes * n if len(sizes) == 1 else sizes
    if len(sizes) != n:
        raise ShapeError(f"output_size is an integer or {n} of them, got {output_size!r}")
    image = lengths(x)[-n:]
    if 0 in lengths(x)[-n - 1 :]:
        raise ShapeError(f"x {lengths(x)} has an axis without elements to pool")
    size = tuple(
        [m if s is None else length(s, "output_size") for s, m in zip(sizes, image, strict=True)]
    )
    if size != (1,) * n or None in sizes:
        count_on(x, *range(-n, 0))
    images = expand_dims(x, 0) if x.ndim == n + 1 else x
    if n == 1:
        images, size = expand_dims(images, 2), (1, *size)
    return images, size


def evenly(image, size):
    """The window and geometry of bins that are all alike and do not overlap, or None."""
    if 0 in size or any(n % m for n, m in zip(image, size, strict=True)):
        return None
    window = tuple([n // m for n, m in zip(image, size, strict=True)])
    return {"window": window, "geometry": Geometry(stride=window)}


def shaped(y, n, x_ndim):
    """Images as what x was: a sequence, a single one."""
    gone = (0,) * (x_ndim == n + 1) + (2,) * (n == 1)
    return squeeze(y, gone) if gone else y


def mean_over_bins(name, n, x, output_size):
    """adaptive_avg_pool along n axes."""
    try:
        images, size = planned(n, x, output_size)
        known_float(images)
        regular = evenly(lengths(images)[2:], size)
        if size == (1, 1):
            y = mean(images, axis=(2, 3), keepdims=True)
        elif regular is not None:
            y = window_mean2d(images, **regular)
        else:
            y = images
            for axis, (k, m) in enumerate(zip(lengths(images)[2:], size, strict=True), 2):
                if k != m:
                    y = resample(y, axis=axis, plan=Plan("mean", k, m), adjoint=False)
    except TapeError as error:
        error.op = name
        raise
    return shaped(y, n, asarray(x).ndim)


def adaptive_avg_pool1d(x, output_size):
    """The mean of each of m = `output_size` bins, from floor(i L / m) to ceil((i + 1) L / m).

    Shapes: x (N, C, L) or (C, L) -> y (N, C, output_size) or (C, output_size)

    Raises:
        ShapeError: x has no elements along an axis, or output_size is negative or no integer.

    >>> import tape
    >>> tape.adaptive_avg_pool1d(tape.tensor([[1.0, 2.0, 6.0]]), 2).tolist()
    [[1.5, 4.0]]
    """
    return mean_over_bins("adaptive_avg_pool1d", 1, x, output_size)


def adaptive_avg_pool2d(x, output_size):
    """The mean of each of `output_size` bins, see adaptive_avg_pool1d.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo)

    Args:
        output_size: (Ho, Wo), or one integer for both; None keeps H or W.

    Raises:
        ShapeError: x has no elements along an axis, or a size is negative or no integer.

    >>> import tape
    >>> tape.adaptive_avg_pool2d(tape.ones((1, 8, 7, 5)), 1).shape
    (1, 8, 1, 1)
    """
    return mean_over_bins("adaptive_avg_pool2d", 2, x, output_size)


def binned(x, *, size):
    """Shape rule: (N, C, H, W) -> (N, C, *size)."""
    if len(x) != 4 or 0 in x[2:]:
        raise ShapeError(f"x must be (N, C, H, W) with pixels, got {x}")
    return (*x[:2], *size)


TIES = np.array([[[[2.0, 1, 2, np.nan, 0], [2, 3, 3, 1, np.nan], [0, 3, -np.inf, 1, 4]]]])


@op(
    shape=binned,
    differentiable=False,
    samples=[
        sample((2, 3, 5, 7), size=(2, 3)),
        sample((1, 2, 3, 2), size=(4, 1)),
        sample((0, 2, 3, 2), size=(2, 2)),
        sample((1, 2, 3, 2), size=(0, 2)),
        sample(TIES, size=(2, 3)),
    ],
    errors=[bad((1, 1, 0, 4), size=(2, 2), error=ShapeError, match="with pixels")],
)
def adaptive_max_index(x, /, *, size):
    """Where in its plane each bin's largest element lies, counted along H * W, as int32.

    The first of equal ones in the order of rows; of several NaN the last one.

    Shapes: x (N, C, H, W) -> index (N, C, *size)
    """
    x = known_float(x)
    N, C, H, W = x.shape
    y = np.empty((N, C, *size), np.int32)
    strange = np.isnan(x).any()
    rows = list(zip(*bins(H, size[0]), strict=True))
    columns = list(zip(*bins(W, size[1]), strict=True))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            n = (bottom - top) * (right - left)
            part = x[:, :, top:bottom, left:right].reshape(N, C, n)
            at = part.argmax(-1)
            if strange:
                no_number = np.isnan(part)
                last = n - 1 - no_number[..., ::-1].argmax(-1)
                at = np.where(no_number.any(-1), last, at)
            r, s = np.divmod(at, right - left)
            y[:, :, i, j] = (top + r) * W + left + s
    return y


def largest_in_bins(name, n, x, output_size, return_indices):
    """adaptive_max_pool along n axes."""
    try:
        images, size = planned(n, x, output_size)
        regular = evenly(lengths(images)[2:], size)
        if regular is None:
            index = adaptive_max_index(images, size=size)
        else:
            index = max_pool2d_index(images, **regular)
        y = pick2d(images, index)
    except TapeError as error:
        error.op = name
        raise
    ndim = asarray(x).ndim
    y = shaped(y, n, ndim)
    return (y, shaped(places(index, False), n, ndim)) if return_indices else y


def adaptive_max_pool1d(x, output_size, return_indices=False):
    """The largest element of each of `output_size` bins, those of adaptive_avg_pool1d.

    The first of equal elements takes the gradient; a bin with a NaN gives NaN.

    Shapes: x (N, C, L) or (C, L) -> y (N, C, output_size) or (C, output_size)

    Args:
        return_indices: give (y, where each element stands in its sequence).

    Raises:
        ShapeError: x has no elements along an axis, or output_size is negative or no integer.

    >>> import tape
    >>> tape.adaptive_max_pool1d(tape.tensor([[1.0, 7.0, 6.0]]), 2).tolist()
    [[7.0, 7.0]]
    """
    return largest_in_bins("adaptive_max_pool1d", 1, x, output_size, return_indices)


def adaptive_max_pool2d(x, output_size, return_indices=False):
    """The largest element of each of `output_size` bins, those of adaptive_avg_pool2d.

    The first of equal elements, in the order of rows, takes the gradient; a bin with a NaN gives
    NaN.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo)

    Args:
        output_size: (Ho, Wo), or one integer for both; None keeps H or W.
        return_indices: give (y, where each element stands in its image, counted along H * W).

    Raises:
        ShapeError: x has no elements along an axis, or a size is negative or no integer.
    """
    return largest_in_bins("adaptive_max_pool2d", 2, x, output_size, return_indices)
