"""Layers on codes of 8 bits: products with weights of int8, summed exactly, forward only.

A code q of an activation is uint8 and stands for (q - zero_point) * x_scale; a weight is int8 and
stands for w * scale, one scale a row or filter. A result is the sum of (q - zero_point) * w, in 32
bits and exact, times x_scale * scale, plus bias, each step rounded to float32: the same on every
machine, for any batch and number of threads. It leaves as floats or as the next layer's codes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tape import shapes
from tape._kernels.int8_filters import LONGEST, Int8Filters, codes_of
from tape.errors import DTypeError, SettingError, ShapeError
from tape.op import bad, op, sample
from tape.ops.geometry import Geometry
from tape.ops.linear import features

PLAIN = Geometry()
NO_LEAST = -math.inf
LEAST_SCALE, GREATEST_SCALE = 1e-30, 1e30


class Codes(NamedTuple):
    """What codes stand for: q is (q - zero_point) * scale."""

    scale: float
    zero_point: int = 0


def checked(codes, name):
    """Codes of finite settings, from a pair."""
    try:
        scale, zero_point = codes
        fits = LEAST_SCALE <= scale <= GREATEST_SCALE and 0 <= zero_point <= 255
        if fits and zero_point == int(zero_point) and not isinstance(zero_point, bool):
            return Codes(float(scale), int(zero_point))
    except (TypeError, ValueError):
        pass
    raise SettingError(
        f"{name} is (scale, zero_point), a number from {LEAST_SCALE:g} to {GREATEST_SCALE:g} and "
        f"one from 0 to 255, got {codes!r}"
    )


def slow_codes(x, *, codes):
    """int8_codes by NumPy."""
    factor = np.float32(1 / codes[0])
    q = np.rint(np.asarray(x, np.float32) * factor) + np.float32(codes[1])
    return np.clip(q, 0, 255).astype(np.uint8)


@op(
    shape=shapes.same,
    differentiable=False,
    ref=slow_codes,
    samples=[
        sample((3, 5), codes=(0.02, 128)),
        sample((2, 3, 33), codes=(0.01, 0)),
        sample((), codes=(0.1, 7)),
        sample((0, 4), codes=(1.0, 255)),
    ],
    errors=[
        bad(
            (3,),
            codes=(0.0, 0),
            error=SettingError,
            match=r"codes is \(scale, zero_point\), a number",
        ),
        bad(
            (3,), codes=(1.0, 256), error=SettingError, match=r"one from 0 to 255, got \(1.0, 256\)"
        ),
        bad(np.ones(3, int), codes=(1.0, 0), error=DTypeError, match="x is int64, expected floats"),
    ],
)
def int8_codes(x, /, *, codes):
    """round(x / scale) + zero_point, ties to even, cut to 0 ... 255: uint8. NaN becomes 0.

    Shapes: x (*s) -> y (*s)

    Args:
        codes: (scale, zero_point).

    Raises:
        DTypeError: x holds no floats.
        SettingError: the scale is not positive, or zero_point no number from 0 to 255.

    >>> import tape
    >>> tape.int8_codes(tape.tensor([-1.0, 0.0, 0.25, 9.0]), codes=(0.1, 100)).tolist()
    [90, 100, 102, 190]
    """
    codes = checked(codes, "codes")
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise DTypeError(f"x is {x.dtype}, expected floats")
    return codes_of(x, 1 / codes.scale, codes.zero_point)


def made_filters(w, scale, bias, x_codes, relu, y_codes, geometry=PLAIN):
    """The Int8Filters of a layer of w (C_out, C / groups, R, S), or None if that is empty."""
    if w.dtype != np.int8:
        raise DTypeError(f"w is {w.dtype}, expected int8")
    for x, name in ((scale, "scale"), (bias, "bias")):
        if not np.isfinite(x).all():
            raise SettingError(f"{name} holds NaN or inf")
    if math.prod(w.shape[1:]) > LONGEST:
        raise ShapeError(f"w {w.shape} has more than {LONGEST} weights a result: 32 bits overflow")
    x_codes = checked(x_codes, "x_codes")
    scale = np.float32(x_codes.scale) * np.asarray(scale, np.float32)
    bias = np.asarray(bias, np.float32)
    least = 0.0 if relu else NO_LEAST
    if y_codes is not None:
        y_codes = checked(y_codes, "y_codes")
        scale = scale / np.float32(y_codes.scale)
        bias = bias / np.float32(y_codes.scale) + np.float32(y_codes.zero_point)
        least = float(y_codes.zero_point if relu else 0)
    if not w.size:
        return None
    return Int8Filters(
        w,
        *geometry[:4],
        zero=x_codes.zero_point,
        factor=1 / x_codes.scale,
        scale=np.broadcast_to(scale, w.shape[:1]),
        bias=np.broadcast_to(bias, w.shape[:1]),
        least=least,
    )


def checked_codes(x):
    """x if it is codes or floats."""
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DTypeError(f"x is {x.dtype}, expected uint8 codes or floats")
    return x


def slow_ending(sums, scale, bias, x_codes, relu, y_codes):
    """The result from exact sums (..., n) by NumPy."""
    scale = np.float32(x_codes[0]) * np.asarray(scale, np.float32)
    bias = np.asarray(bias, np.float32)
    if y_codes is None:
        y = sums.astype(np.float32) * scale + bias
        return np.maximum(y, np.float32(0)) if relu else y
    factor = np.float32(y_codes[0])
    y = sums.astype(np.float32) * (scale / factor) + (bias / factor + np.float32(y_codes[1]))
    return np.clip(np.rint(y), y_codes[1] if relu else 0, 255).astype(np.uint8)


def distances(x, x_codes):
    """What is multiplied: codes, less the zero point."""
    q = x if x.dtype == np.uint8 else slow_codes(x, codes=x_codes)
    return q.astype(np.int64) - x_codes[1]


def slow_linear(x, w, scale, bias, /, *, x_codes, relu=False, y_codes=None, filters=None):
    """int8_linear by NumPy on whole numbers."""
    sums = distances(x, x_codes) @ w.astype(np.int64).T
    return slow_ending(sums, scale, bias, x_codes, relu, y_codes)


def rows_of(x, w, scale, bias):
    """Shape rule of int8_linear: that of linear."""
    y = features(x, w, bias)
    if scale and scale != w[:1]:
        raise ShapeError(f"scale {scale} does not fit the {w[0]} rows of w {w}")
    return y


def drawn(seed, *shape, dtype="int8"):
    """Whole numbers for a sample."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(low, high, shape, dtype, endpoint=True)


@op(
    shape=rows_of,
    differentiable=False,
    ref=slow_linear,
    samples=[
        sample((3, 40), drawn(0, 5, 40), (5,), (5,), x_codes=(0.02, 128)),
        sample((2, 3, 7), drawn(1, 33, 7), (33,), (33,), x_codes=(0.02, 3), relu=True),
        sample(drawn(2, 9, dtype="uint8"), drawn(3, 2, 9), (2,), 0.5, x_codes=(0.1, 0)),
        sample((4, 9), drawn(3, 18, 9), 0.01, 0, x_codes=(0.02, 128), y_codes=(0.05, 90)),
        sample((0, 4), drawn(4, 2, 4), (2,), (2,), x_codes=(0.02, 128)),
        sample((3, 0), drawn(4, 2, 0), (2,), (2,), x_codes=(0.02, 128)),
    ],
    errors=[
        bad(
            (3, 5),
            drawn(0, 2, 4),
            (2,),
            (2,),
            x_codes=(1.0, 0),
            error=ShapeError,
            match=r"x \(3, 5\) has 5 features, w \(2, 4\)",
        ),
        bad(
            (3, 4),
            drawn(0, 2, 4),
            (3,),
            0,
            x_codes=(1.0, 0),
            error=ShapeError,
            match=r"scale \(3,\)",
        ),
        bad((3, 4), (2, 4), (2,), 0, x_codes=(1.0, 0), error=DTypeError, match="expected int8"),
        bad((3, 4), drawn(0, 2, 4), (2,), 0, x_codes=None, error=SettingError, match="x_codes is"),
        bad(
            np.ones((3, 4), int),
            drawn(0, 2, 4),
            (2,),
            0,
            x_codes=(1.0, 0),
            error=DTypeError,
            match="x is int64, expected uint8 codes or floats",
        ),
    ],
)
def int8_linear(x, w, scale, bias, /, *, x_codes, relu=False, y_codes=None, filters=None):
    """x @ (w * scale).T + bias on codes of x, exact up to the ending.

    Shapes: x (..., n_in), w (n_out, n_in), scale and bias (n_out) or () -> y (..., n_out)

    Args:
        x: uint8 codes, or floats, of which codes are made first.
        w: int8.
        x_codes: (scale, zero_point) of x.
        relu: whether negative results become 0.
        y_codes: (scale, zero_point) of the result, which then is uint8 codes; None is float32.
        filters: what `made_filters` made of the same operands and settings, to save making them.

    Raises:
        ShapeError: features or scales do not match, or sums may not fit 32 bits.
        DTypeError: x or w has another dtype.
        SettingError: a scale is not positive and finite, or a zero point no number from 0 to 255.

    >>> import numpy as np, tape
    >>> w = np.array([[4, -2]], np.int8)
    >>> tape.int8_linear(tape.tensor([[1.0, 2.0]]), w, 0.25, 0.5, x_codes=(0.25, 0)).tolist()
    [[0.5]]
    """
    checked_codes(x)
    if filters is None:
        filters = made_filters(w[:, :, None, None], scale, bias, x_codes, relu, y_codes)
    if filters is None or not x.size:
        return slow_linear(x, w, scale, bias, x_codes=x_codes, relu=relu, y_codes=y_codes)
    images = x.reshape(-1, w.shape[1]).T[None, :, None]
    y = filters.floats(images, channels_last=True) if y_codes is None else filters.codes(images)
    return y.transpose(0, 2, 3, 1).reshape(*x.shape[:-1], len(w))
