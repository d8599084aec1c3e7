"""Convolution on codes of 8 bits. See int8.py."""

from __future__ import annotations

import numpy as np

from tape._core.memory import asarray
from tape.errors import DTypeError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.conv import correlated, geometry_of
from tape.ops.geometry import Geometry, batched
from tape.ops.int8 import PLAIN, checked_codes, distances, drawn, made_filters, slow_ending
from tape.ops.shape import reshape


def int8_conv2d(
    x,
    w,
    scale,
    bias=0.0,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    x_codes,
    relu=False,
    y_codes=None,
):
    """conv2d(x, w * scale, bias) on codes of x, exact up to the ending.

    Shapes: x (N, C, H, W) or (C, H, W), w (C_out, C / groups, R, S), scale and bias (C_out) or ()
    -> y (N, C_out, Ho, Wo), as those of `conv2d`

    Args:
        stride, padding, dilation, groups: as in `conv2d`.
        x, w, x_codes, relu, y_codes: as in `int8_linear`.

    Raises:
        ShapeError: channels or scales do not match, no window fits, or sums may not fit 32 bits.
        DTypeError: x or w has another dtype.
        SettingError: a scale is not positive and finite, or a zero point no number from 0 to 255.

    >>> import numpy as np, tape
    >>> w = np.full((1, 1, 1, 2), 4, np.int8)
    >>> tape.int8_conv2d([[[1.0, 2.0, 4.0]]], w, 0.25, x_codes=(0.25, 0)).tolist()
    [[[3.0, 6.0]]]
    """
    w = asarray(w)
    try:
        geometry = geometry_of(w.shape, stride, padding, dilation, groups)
    except TapeError as error:
        error.op = "int8_conv2d"
        raise
    images, alone = batched(x)
    y = correlate_codes(
        images, w, scale, bias, geometry=geometry, x_codes=x_codes, relu=relu, y_codes=y_codes
    )
    return reshape(y, y.shape[1:]) if alone else y


def images_of(x, w, scale, bias, *, geometry):
    """Shape rule: that of conv2d."""
    y = correlated(x, w, bias, geometry=geometry)
    if scale and scale != w[:1]:
        raise ShapeError(f"scale {scale} does not fit the {w[0]} filters of w {w}")
    return y


def slow_correlation(
    x, w, scale, bias, /, *, geometry, x_codes, relu=False, y_codes=None, filters=None
):
    """int8_conv2d by NumPy on whole numbers."""
    (top, bottom), (left, right) = geometry.padding
    (sh, sw), (dh, dw), groups = geometry.stride, geometry.dilation, geometry.groups
    q = np.pad(distances(x, x_codes), ((0, 0), (0, 0), (top, bottom), (left, right)))
    filters, c, R, S = w.shape
    each = filters // groups
    span = (R - 1) * dh + 1, (S - 1) * dw + 1
    windows = np.lib.stride_tricks.sliding_window_view(q, span, (2, 3))
    windows = windows[:, :, ::sh, ::sw, ::dh, ::dw]
    sums = [
        np.einsum(
            "ncijrs,ocrs->nijo",
            windows[:, g * c : (g + 1) * c],
            w[g * each : (g + 1) * each].astype(np.int64),
        )
        for g in range(groups)
    ]
    y = slow_ending(np.concatenate(sums, -1), scale, bias, x_codes, relu, y_codes)
    return y.transpose(0, 3, 1, 2)


@op(
    name="int8_conv2d",
    shape=images_of,
    differentiable=False,
    ref=slow_correlation,
    samples=[
        sample((2, 3, 5, 4), drawn(0, 4, 3, 3, 2), (4,), (4,), geometry=PLAIN, x_codes=(0.02, 128)),
        sample(
            (2, 4, 7, 6),
            drawn(1, 6, 2, 3, 3),
            (6,),
            0,
            geometry=Geometry((2, 1), ((1, 0), (2, 1)), (1, 2), 2),
            x_codes=(0.02, 100),
            relu=True,
        ),
        sample(
            drawn(2, 2, 5, 6, 7, dtype="uint8"),
            drawn(1, 18, 5, 1, 3),
            (18,),
            (18,),
            geometry=Geometry(padding=((0, 0), (1, 1))),
            x_codes=(0.02, 100),
            y_codes=(2.0, 30),
            relu=True,
        ),
    ],
    errors=[
        bad(
            (1, 3, 4, 4),
            drawn(0, 2, 2, 3, 3),
            (2,),
            0,
            geometry=PLAIN,
            x_codes=(1.0, 0),
            error=ShapeError,
            match="x has 3 channels, w expects 2",
        ),
        bad(
            (1, 2, 4, 4),
            (2, 2, 3, 3),
            (2,),
            0,
            geometry=PLAIN,
            x_codes=(1.0, 0),
            error=DTypeError,
            match="expected int8",
        ),
    ],
)
def correlate_codes(
    x, w, scale, bias, /, *, geometry, x_codes, relu=False, y_codes=None, filters=None
):
    """int8_conv2d, given its settings in pairs.

    Shapes: x (N, C, H, W), w (C_out, C / groups, R, S) -> y (N, C_out, Ho, Wo)
    """
    checked_codes(x)
    if filters is None:
        filters = made_filters(w, scale, bias, x_codes, relu, y_codes, geometry)
    if filters is None or not x.size:
        return slow_correlation(
            x, w, scale, bias, geometry=geometry, x_codes=x_codes, relu=relu, y_codes=y_codes
        )
    return filters.floats(x) if y_codes is None else filters.codes(x)
