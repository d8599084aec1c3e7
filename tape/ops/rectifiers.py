"""Rectifiers: activations made of pieces, with a gradient that follows PyTorch at their kinks."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.memory import asarray, count_on, lengths
from tape._kernels.activation import (
    BAND,
    HARDSIGMOID,
    HARDSWISH,
    HARDSWISH_SLOPE,
    HARDTANH,
    RELU6,
)
from tape.errors import DTypeError, ShapeError
from tape.op import bad, op, sample
from tape.ops.activation import KINKED
from tape.ops.cases import MISFIT, PAIRS, UNFIT, each, pairs, text_for
from tape.ops.dtype import floating
from tape.ops.elementwise import zeros_like
from tape.ops.logic import greater, is_real, less_equal, weak, where
from tape.ops.naming import named
from tape.ops.shape import reshape
from tape.ops.smooth import finite_below

BANDS = [
    sample(*pair, lowest=-0.5, highest=0.25, slope=0.5, within=within)
    for pair in PAIRS
    for within in (True, False)
]


@op(
    shape=shapes.broadcast,
    saves="by",
    kernel=BAND,
    samples=BANDS,
    errors=[
        bad(
            (2,),
            (3,),
            lowest=0.0,
            highest=1.0,
            slope=1.0,
            within=True,
            error=ShapeError,
            match=r"\(2,\) and \(3,\)",
        ),
        text_for("lowest", (3,), (3,), highest=1.0, slope=1.0, within=True),
    ],
)
def band(x, by, /, lowest, highest, slope, within):
    """x * slope where `by` is within two bounds, else 0; or where it is beyond them, or NaN.

    The bounds themselves never count: it is the gradient of what bends there. No gradient flows
    to `by`.   Shapes: x, by broadcast -> y
    """
    x = floating(x) if isinstance(x, np.ndarray) else np.asarray(x, weak(x))
    if within:
        dropped = np.less_equal(by, lowest) | np.greater_equal(by, highest)
    else:
        dropped = np.greater_equal(by, lowest) & np.less_equal(by, highest)
    return np.where(dropped, 0, x * slope)


@band.defvjp("x")
def band_vjp_x(g, by, lowest, highest, slope, within):
    return band(g, by, lowest, highest, slope, within)


@band.defvjp("by")
def band_vjp_by(g):
    return zeros_like(g)


@band.defjvp
def band_jvp(dx, by, lowest, highest, slope, within):
    return band(dx, by, lowest, highest, slope, within)


def outside(g, x, low, high):
    """g where x is below low or above high, or NaN, else 0."""
    return band(g, x, low, high, 1.0, False)


def inside(g, x, low, high, slope=1.0):
    """g * slope where x is above low and below high, or NaN, else 0."""
    return band(g, x, low, high, slope, True)


@op(
    shape=shapes.same,
    saves="x",
    kernel=RELU6,
    samples=[*KINKED, *each(5.0, 8.0, smooth=False)],
    errors=UNFIT,
)
def relu6(x, /):
    """x between 0 and 6, elementwise: min(max(x, 0), 6).

    The gradient is 1 between the bounds and 0 at them.   Shapes: x (*s) -> y (*s)
    """
    x = x if isinstance(x, np.ndarray) else np.asarray(x, weak(x))
    return np.clip(x, 0, 6)


@relu6.defvjp
def relu6_vjp(g, x):
    return inside(g, x, 0.0, 6.0)


@relu6.defjvp
def relu6_jvp(dx, x):
    return inside(dx, x, 0.0, 6.0)


@op(
    shape=shapes.same,
    saves="x",
    kernel=HARDTANH,
    samples=[
        *each(smooth=False),
        *each(-0.9, 0.9),
        sample((3, 4), min_val=0.5, max_val=1.0, smooth=False),
    ],
    errors=[bad((3,), min_val=1.0, max_val=0.0, error=ValueError, match="min_val 1.0 is above")],
)
def hardtanh(x, /, min_val=-1.0, max_val=1.0):
    """x between two bounds, elementwise: min(max(x, min_val), max_val).

    The gradient is 1 between the bounds and 0 at them (that of `clip` is 1 at them).

    Shapes: x (*s) -> y (*s)

    Raises:
        ValueError: min_val is above max_val.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} is above max_val {max_val}")
    return np.minimum(np.maximum(floating(x), float(min_val)), float(max_val))


@hardtanh.defvjp
def hardtanh_vjp(g, x, min_val, max_val):
    return inside(g, x, min_val, max_val)


@hardtanh.defjvp
def hardtanh_jvp(dx, x, min_val, max_val):
    return inside(dx, x, min_val, max_val)


@op(
    shape=shapes.same,
    saves="x",
    kernel=HARDSIGMOID,
    samples=[*each(), *each(-6.0, 6.0, smooth=False)],
    errors=UNFIT,
)
def hardsigmoid(x, /):
    """A sigmoid of three lines, elementwise: min(max(x / 6 + 1 / 2, 0), 1).

    The gradient at the kinks, -3 and 3, is 0.   Shapes: x (*s) -> y (*s), in [0, 1]
    """
    return np.clip(floating(x) + 3, 0, 6) / 6


@hardsigmoid.defvjp
def hardsigmoid_vjp(g, x):
    return inside(g, x, -3.0, 3.0, 1 / 6)


@hardsigmoid.defjvp
def hardsigmoid_jvp(dx, x):
    return inside(dx, x, -3.0, 3.0, 1 / 6)


@op(
    shape=shapes.same,
    saves="x",
    kernel=HARDSWISH,
    samples=[*each(), *each(-6.0, 6.0, smooth=False)],
    errors=UNFIT,
)
def hardswish(x, /):
    """x * hardsigmoid(x), elementwise; -0 at -inf.

    The gradient is 0 at -3 and 1 at 3.   Shapes: x (*s) -> y (*s)

    Source: Howard et al. 2019, section 5.2 (arXiv 1905.02244).
    """
    x = floating(x)
    return finite_below(x) * (np.clip(x + 3, 0, 6) / 6)


@hardswish.defvjp
def hardswish_vjp(g, x):
    return hardswish_slope(g, x)


@hardswish.defjvp
def hardswish_jvp(dx, x):
    return hardswish_slope(dx, x)


@op(shape=shapes.broadcast, saves="x at", kernel=HARDSWISH_SLOPE, samples=pairs(), errors=MISFIT)
def hardswish_slope(x, at, /):
    """x times the slope of hardswish at `at`: at / 3 + 1 / 2 between the kinks.

    Shapes: x, at broadcast -> y
    """
    at = at if isinstance(at, np.ndarray) else np.asarray(at, weak(at))
    slope = np.where(at >= 3, 1, floating(at) / 3 + 0.5)
    return np.where(at <= -3, 0, x * slope)


@hardswish_slope.defvjp("x")
def hardswish_slope_vjp_x(g, at):
    return hardswish_slope(g, at)


@hardswish_slope.defvjp("at")
def hardswish_slope_vjp_at(g, x, at):
    return inside(g * x, at, -3.0, 3.0, 1 / 3)


@hardswish_slope.defjvp
def hardswish_slope_jvp(dx, dat, x, at):
    return hardswish_slope(dx, at) + inside(dat * x, at, -3.0, 3.0, 1 / 3)


@op(
    shape=shapes.same,
    saves="x",
    samples=[
        sample((3, 4), threshold=0.5, value=-1.0, smooth=False),
        sample((3, 4), threshold=0.5, value=20.0, low=0.6),
        sample((), threshold=0.0, value=1.0, low=0.5),
        sample((0, 3), threshold=0.0, value=1.0),
    ],
    errors=[bad((3,), threshold=0, value="b", error=DTypeError, match="not defined .* value='b'")],
)
def threshold(x, /, threshold, value):
    """x where it is above `threshold`, else `value`, elementwise; NaN passes.

    The gradient at the threshold is 0.   Shapes: x (*s) -> y (*s)

    Raises:
        DTypeError: value is no number.
    """
    x = floating(x)
    if not is_real(value):  # NumPy would make text of all of x
        raise TypeError(f"threshold: value is {value!r}, not a number")
    return np.where(x <= threshold, value, x)


@threshold.defvjp
def threshold_vjp(g, x, threshold):
    return where(less_equal(x, threshold), 0.0, g)


@threshold.defjvp
def threshold_jvp(dx, x, threshold):
    return where(less_equal(x, threshold), 0.0, dx)


@op(
    name="prelu",
    shape=shapes.broadcast,
    saves="x w",
    samples=[*pairs(0.5, 2.0), *pairs(-2.0, -0.5), *pairs(smooth=False)],
    errors=MISFIT,
)
def slopes(x, w, /):
    """x where it is above 0, else w * x, elementwise.   Shapes: x, w broadcast -> y"""
    x = floating(x)
    return np.where(x > 0, x, x * w)


@slopes.defvjp("x")
def slopes_vjp_x(g, x, w):
    return where(greater(x, 0.0), g, g * w)


@slopes.defvjp("w")
def slopes_vjp_w(g, x):
    return where(greater(x, 0.0), 0.0, g * x)


@slopes.defjvp
def slopes_jvp(dx, dw, x, w):
    return where(greater(x, 0.0), dx, dx * w + dw * x)


@named
def prelu(x, /, weight):
    """x where it is above 0, else weight * x: leaky_relu with a slope that is learned.

    Shapes: x (N, C, *d) or (*d), weight (C) or one number, (1) or () -> y as x

    Raises:
        ShapeError: weight is neither one number nor one for each channel, axis 1 of x.

    >>> import tape
    >>> tape.prelu(tape.tensor([[-2.0, 4.0]]), tape.tensor([0.5, 0.5])).tolist()
    [[-1.0, 4.0]]

    Source: He et al. 2015 (arXiv 1502.01852).
    """
    x, weight = asarray(x), asarray(weight)
    if weight.size == 1 and weight.ndim < 2:
        return slopes(x, reshape(weight, ()) if weight.ndim else weight)
    if weight.ndim != 1 or x.ndim < 2 or lengths(x)[1] != weight.shape[0]:
        raise ShapeError(
            f"weight {weight.shape} is neither one number nor one for each channel, axis 1 "
            f"of x {lengths(x)}"
        )
    count_on(x, 1)
    return slopes(x, reshape(weight, (weight.shape[0],) + (1,) * (x.ndim - 2)))
