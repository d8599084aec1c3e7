"""Rectifiers: activations made of pieces, with a gradient that follows PyTorch at their kinks."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape._kernels.dispatch import Loop
from tape.errors import DTypeError, ShapeError
from tape.op import bad, op, sample
from tape.ops.activation import KINKED, relu
from tape.ops.cases import MISFIT, PAIRS, UNFIT, each, pairs, text_for
from tape.ops.dtype import floating
from tape.ops.elementwise import exp, zeros_like
from tape.ops.logic import greater, greater_equal, is_real, less_equal, weak, where
from tape.ops.naming import named
from tape.ops.shape import reshape
from tape.ops.smooth import finite_below

# NumPy's loops, called so that results lie in memory that is used again.
ADD, SUBTRACT = Loop(np.add), Loop(np.subtract)
TIMES, DIVIDE = Loop(np.multiply), Loop(np.divide)
MAXIMUM, MINIMUM, TANH = Loop(np.maximum), Loop(np.minimum), Loop(np.tanh)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


BANDS = [
    sample(*pair, low=-1.0, high=1.0, bounds=(-0.5, 0.25), within=within)
    for pair in PAIRS
    for within in (True, False)
]


@op(
    shape=shapes.broadcast,
    saves="by",
    samples=BANDS,
    errors=[
        bad((3, 4), (3,), bounds=(0, 1), within=True, error=ShapeError, match="do not broadcast"),
        text_for("bounds", (3,), (3,), within=True),
    ],
)
def band(x, by, /, bounds, within):
    """x where `by` is within two bounds, else 0; or where it is beyond them; x where it is NaN.

    The bounds themselves never count: it is the gradient of what bends there. No gradient flows
    to `by`.   Shapes: x, by broadcast -> y
    """
    x, by = floating(x), np.asarray(by)
    if within:
        dropped = np.less_equal(by, bounds[0]) | np.greater_equal(by, bounds[1])
    else:
        dropped = np.greater_equal(by, bounds[0]) & np.less_equal(by, bounds[1])
    # By bits: a choice would take five times as long where it cannot be foreseen.
    whole = np.dtype(f"i{x.itemsize}")
    kept = np.subtract(dropped, 1, dtype=whole)
    return np.asarray(np.bitwise_and(kept, x.view(whole))).view(x.dtype)


@band.defvjp("x")
def band_vjp_x(g, by, bounds, within):
    return band(g, by, bounds, within)


@band.defvjp("by")
def band_vjp_by(g):
    return zeros_like(g)


@band.defjvp
def band_jvp(dx, by, bounds, within):
    return band(dx, by, bounds, within)


def outside(g, x, low, high):
    """g where x is below low or above high, or NaN, else 0."""
    return band(g, x, (low, high), False)


def inside(g, x, low, high):
    """g where x is above low and below high, or NaN, else 0."""
    return band(g, x, (low, high), True)


@op(shape=shapes.same, saves="x", samples=[*KINKED, *each(5.0, 8.0, smooth=False)], errors=UNFIT)
def relu6(x, /):
    """x between 0 and 6, elementwise: min(max(x, 0), 6).

    The gradient is 1 between the bounds and 0 at them.   Shapes: x (*s) -> y (*s)
    """
    x = x if isinstance(x, np.ndarray) else np.asarray(x, weak(x))
    return MINIMUM.apply(MAXIMUM(x, 0), 6) if x.dtype.kind == "f" else np.clip(x, 0, 6)


@relu6.defvjp
def relu6_vjp(g, x):
    return inside(g, x, 0.0, 6.0)


@relu6.defjvp
def relu6_jvp(dx, x):
    return inside(dx, x, 0.0, 6.0)


@op(
    shape=shapes.same,
    saves="x",
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
    return MINIMUM.apply(MAXIMUM(floating(x), float(min_val)), float(max_val))


@hardtanh.defvjp
def hardtanh_vjp(g, x, min_val, max_val):
    return inside(g, x, min_val, max_val)


@hardtanh.defjvp
def hardtanh_jvp(dx, x, min_val, max_val):
    return inside(dx, x, min_val, max_val)


def gate(x):
    """hardsigmoid of an array of floats."""
    return DIVIDE.apply(MINIMUM.apply(MAXIMUM.apply(ADD(x, 3.0), 0.0), 6.0), 6.0)


@op(shape=shapes.same, saves="x", samples=[*each(), *each(-6.0, 6.0, smooth=False)], errors=UNFIT)
def hardsigmoid(x, /):
    """A sigmoid of three lines, elementwise: min(max(x / 6 + 1 / 2, 0), 1).

    The gradient at the kinks, -3 and 3, is 0.   Shapes: x (*s) -> y (*s), in [0, 1]
    """
    return gate(floating(x))


@hardsigmoid.defvjp
def hardsigmoid_vjp(g, x):
    return inside(g / 6.0, x, -3.0, 3.0)


@hardsigmoid.defjvp
def hardsigmoid_jvp(dx, x):
    return inside(dx / 6.0, x, -3.0, 3.0)


@op(shape=shapes.same, saves="x", samples=[*each(), *each(-6.0, 6.0, smooth=False)], errors=UNFIT)
def hardswish(x, /):
    """x * hardsigmoid(x), elementwise; -0 at -inf.

    The gradient is 0 at -3 and 1 at 3.   Shapes: x (*s) -> y (*s)

    Source: Howard et al. 2019, section 5.2 (arXiv 1905.02244).
    """
    x = floating(x)
    return TIMES.apply(gate(x), finite_below(x))


@hardswish.defvjp
def hardswish_vjp(g, x):
    return hardswish_slope(g, x)


@hardswish.defjvp
def hardswish_jvp(dx, x):
    return hardswish_slope(dx, x)


def hardswish_slope(g, x):
    """g * d hardswish / dx, that is g * (x / 3 + 1 / 2) between the kinks."""
    return g * (inside(x / 3.0 + 0.5, x, -3.0, 3.0) + greater_equal(x, 3.0))


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


def bend(g, x, high, low, rate=1.0):
    """g * high where x is above 0, else g * low * exp(rate * x), whose own gradient at 0 is 0."""
    slope = exp(relu(-x) * -rate) * low
    return g * (slope if high == low else slope + greater(x, 0.0) * (high - low))


def expm1_below(x, rate=1.0):
    """exp(rate * x) - 1 where x is below 0, else 0.

    With t = tanh(rate * x / 2) it is 2 t / (1 - t): unlike expm1, tanh comes in vectors, and of
    numbers below 0 no step loses digits.
    """
    y = TIMES.apply(MINIMUM(x, 0.0), rate)
    if rate < 0:
        return np.asarray(np.expm1(y))
    t = TANH(TIMES.apply(y, 0.5))
    rest = SUBTRACT(1.0, t)
    return DIVIDE.apply(TIMES.apply(t, 2.0), rest)


@op(
    shape=shapes.same,
    saves="x",
    samples=[*KINKED, sample((3, 4), alpha=0.3, smooth=False)],
    errors=[*UNFIT, text_for("alpha", (3,))],
)
def elu(x, /, alpha=1.0):
    """x where it is above 0, else alpha * (exp(x) - 1), elementwise.

    The gradient at 0 is alpha.   Shapes: x (*s) -> y (*s)

    Source: Clevert et al. 2015 (arXiv 1511.07289).
    """
    x = floating(x)
    return ADD.apply(TIMES.apply(expm1_below(x), float(alpha)), MAXIMUM(x, 0.0))


@elu.defvjp
def elu_vjp(g, x, alpha):
    return bend(g, x, 1.0, alpha)


@elu.defjvp
def elu_jvp(dx, x, alpha):
    return bend(dx, x, 1.0, alpha)


@op(shape=shapes.same, saves="x", samples=KINKED, errors=UNFIT)
def selu(x, /):
    """1.0507... * elu(x, 1.6733...), elementwise: keeps numbers of mean 0 and variance 1 such.

    Shapes: x (*s) -> y (*s)

    Source: Klambauer et al. 2017 (arXiv 1706.02515), equation 2.
    """
    x = floating(x)
    y = ADD.apply(TIMES.apply(expm1_below(x), SELU_ALPHA), MAXIMUM(x, 0.0))
    return TIMES.apply(y, SELU_SCALE)


@selu.defvjp
def selu_vjp(g, x):
    return bend(g, x, SELU_SCALE, SELU_SCALE * SELU_ALPHA)


@selu.defjvp
def selu_jvp(dx, x):
    return bend(dx, x, SELU_SCALE, SELU_SCALE * SELU_ALPHA)


@op(
    shape=shapes.same,
    saves="x",
    samples=[*KINKED, sample((3, 4), alpha=-2.0, smooth=False), sample((3,), alpha=0.5)],
    errors=[bad((3,), alpha=0, error=ValueError, match="alpha is 0")],
)
def celu(x, /, alpha=1.0):
    """x where it is above 0, else alpha * (exp(x / alpha) - 1), elementwise.

    The gradient at 0 is 1, whatever alpha.   Shapes: x (*s) -> y (*s)

    Raises:
        ValueError: alpha is 0.

    Source: Barron 2017 (arXiv 1704.07483).
    """
    if not alpha:
        raise ValueError(f"celu: alpha is {alpha}, the function is not defined there")
    x = floating(x)
    lower = TIMES.apply(expm1_below(x, 1.0 / alpha), float(alpha))
    return ADD.apply(lower, MAXIMUM(x, 0.0))


@celu.defvjp
def celu_vjp(g, x, alpha):
    return bend(g, x, 1.0, 1.0, 1.0 / alpha)


@celu.defjvp
def celu_jvp(dx, x, alpha):
    return bend(dx, x, 1.0, 1.0, 1.0 / alpha)


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
    if weight.ndim != 1 or x.ndim < 2 or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"weight {weight.shape} is neither one number nor one for each channel, axis 1 "
            f"of x {x.shape}"
        )
    return slopes(x, reshape(weight, (weight.shape[0],) + (1,) * (x.ndim - 2)))
