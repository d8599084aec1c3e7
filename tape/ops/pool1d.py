"""Pooling over windows of sequences, N C L, and powers' means over windows of any image."""

from __future__ import annotations

import math

from tape._core.memory import asarray
from tape.errors import ShapeError, TapeError
from tape.ops.activation import relu
from tape.ops.arithmetic import power
from tape.ops.elementwise import abs as absolute
from tape.ops.elementwise import sign
from tape.ops.geometry import each_axis
from tape.ops.naming import named
from tape.ops.pool import avg_pool2d, max_pool2d
from tape.ops.shape import expand_dims, squeeze


def as_rows(x):
    """A sequence, or a batch of them, as images of one row."""
    x = asarray(x)
    if x.ndim not in (2, 3):
        raise ShapeError(f"x must be (N, C, L) or (C, L), got {x.shape}")
    return expand_dims(x, -2)


def of_one(setting, name):
    """The only number of a setting."""
    return each_axis(setting, 1, name)[0]


def row_settings(kernel, stride, padding):
    """Kernel, stride and padding of images of one row."""
    k = of_one(kernel, "kernel")
    s = k if stride is None or stride == () else of_one(stride, "stride")
    return (1, k), (1, s), (0, of_one(padding, "padding"))


def without_row(y):
    """Images of one row as sequences."""
    return squeeze(y, -2)


@named
def max_pool1d(
    x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """The largest element of each window; NaN if it holds one.

    The first of equal elements takes the gradient. Padding is never chosen.

    Shapes: x (N, C, L) or (C, L) -> y (N, C, Lo) or (C, Lo) with
    Lo = (L + 2 * padding - dilation * (K - 1) - 1) // stride + 1, rounded up in ceil_mode

    Args:
        kernel, stride, padding, dilation: integers; stride None: the kernel.
        ceil_mode: keep a last window that reaches beyond the padded sequence.
        return_indices: give (y, where each element stands in its sequence).

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.

    >>> import tape
    >>> tape.max_pool1d(tape.tensor([[1.0, 3.0, 2.0, 5.0]]), 2).tolist()
    [[3.0, 5.0]]
    """
    try:
        spread = (1, of_one(dilation, "dilation"))
        settings = *row_settings(kernel, stride, padding), spread, ceil_mode, return_indices
        y = max_pool2d(as_rows(x), *settings)
    except TapeError as error:
        error.op = "max_pool1d"
        raise
    return (without_row(y[0]), without_row(y[1])) if return_indices else without_row(y)


@named
def avg_pool1d(x, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window.

    Shapes: x (N, C, L) or (C, L) -> y (N, C, Lo) or (C, Lo), as max_pool1d

    Args:
        kernel, stride, padding: integers; stride None: the kernel.
        ceil_mode: keep a last window that reaches beyond the padded sequence.
        count_include_pad: divide by the window's size even where it lies on padding.

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.

    >>> import tape
    >>> tape.avg_pool1d(tape.tensor([[1.0, 3.0, 2.0, 5.0]]), 2).tolist()
    [[2.0, 3.5]]
    """
    try:
        settings = row_settings(kernel, stride, padding)
        return without_row(avg_pool2d(as_rows(x), *settings, ceil_mode, count_include_pad))
    except TapeError as error:
        error.op = "avg_pool1d"
        raise


def of_powers(name, x, p, kernel, stride, ceil_mode):
    """The root of order p of the sum over each window of x ** p, by the pools for means and maxima.

    The sum passes sign * relu(abs), so that no gradient comes where it is 0, as in PyTorch.
    """
    mean, largest = (avg_pool1d, max_pool1d) if name == "lp_pool1d" else (avg_pool2d, max_pool2d)
    try:
        p = float(p)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: the order p must be a number, got {p!r}") from None
    if p == 0 or math.isnan(p):
        raise ValueError(f"{name}: the order p must not be {p}")
    try:
        if math.isinf(p):
            sign_of = 1.0 if p > 0 else -1.0
            return sign_of * largest(sign_of * absolute(x), kernel, stride, ceil_mode=ceil_mode)
        size = math.prod(each_axis(kernel, 1 if name == "lp_pool1d" else 2, "kernel"))
        y = mean(power(x, p), kernel, stride, ceil_mode=ceil_mode)
    except TapeError as error:
        error.op = name
        raise
    return power(sign(y) * relu(absolute(y)) * size, 1.0 / p)


def lp_pool1d(x, p, kernel, stride=None, ceil_mode=False):
    """The root of order p of the sum over each window of x ** p: p = 1 the sum, inf the maximum.

    Shapes: x (N, C, L) or (C, L) -> y (N, C, Lo) or (C, Lo), as max_pool1d

    Args:
        p: order, not 0; an odd one gives NaN where the sum is negative, an infinite one takes abs.
        kernel, stride: integers; stride None: the kernel.
        ceil_mode: keep a last window that reaches beyond the sequence.

    Raises:
        ShapeError: no window fits.
        TypeError, ValueError: p is no number, or 0.

    >>> import tape
    >>> tape.lp_pool1d(tape.tensor([[3.0, 4.0, 6.0, 8.0]]), 2, 2).tolist()
    [[5.0, 10.0]]
    """
    return of_powers("lp_pool1d", x, p, kernel, stride, ceil_mode)


def lp_pool2d(x, p, kernel, stride=None, ceil_mode=False):
    """The root of order p of the sum over each window of x ** p, see lp_pool1d.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo), as max_pool2d

    Args:
        p: order, not 0; an odd one gives NaN where the sum is negative, an infinite one takes abs.
        kernel, stride: integers, or pairs for H and W; stride None: the kernel.
        ceil_mode: keep a last window that reaches beyond the image.

    Raises:
        ShapeError: no window fits.
        TypeError, ValueError: p is no number, or 0.
    """
    return of_powers("lp_pool2d", x, p, kernel, stride, ceil_mode)
