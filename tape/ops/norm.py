"""Normalisation: over the features of each example, or over a batch for each channel."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray, count_on, lengths, operand
from tape._kernels import rows
from tape.errors import AxisError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.channels import batch_axes, channel_affine, channel_moments
from tape.ops.dtype import floating
from tape.ops.elementwise import zeros_like
from tape.ops.join import stack
from tape.ops.reduce import mean, var
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import reshape


def within(x, *, axis):
    """Shape rule: x's own shape; the axes must be among its."""
    shapes.axes_of(len(x), axis)
    return x


NORMED = [
    {"axis": -1, "eps": 1e-5},
    {"axis": (-2, -1), "eps": 1e-3},
    {"axis": (0, 2), "eps": 1e-3},
]


def centred(x, axis, eps):
    """From an array: x with mean 0 and variance 1 along axes, and what made its variance 1."""
    axes = shapes.axes_of(x.ndim, axis)
    n = max(1, math.prod([x.shape[a] for a in axes]))
    x = floating(x)
    x = x - np.add.reduce(x, axis=axes, keepdims=True) / n
    scale = 1 / np.sqrt(np.add.reduce(x * x, axis=axes, keepdims=True) / n + eps)
    return x * scale.astype(x.dtype, copy=False), scale.astype(x.dtype, copy=False), axes, n


@op(
    shape=within,
    saves="x",
    kernel=rows.Normal(),
    samples=[
        sample((3, 4), axis=-1, eps=1e-5),
        sample((2, 3, 4), axis=(0, 2), eps=1e-3),
        sample((0, 4), axis=-1, eps=1e-5),
        sample((2, 3, 0), axis=(1, 2), eps=1e-5),
        sample((2, 3, 4), axis=(1, 2), eps=1e-5, low=100.0, high=101.0),
    ],
    errors=[bad((3, 2), axis=2, eps=1e-5, error=AxisError, match="axis 2 is out of range")],
)
def standardize(x, /, axis, eps):
    """x with mean 0 and variance 1 along axes: (x - mean) / sqrt(var + eps), var biased.

    Shapes: x (*s) -> y (*s)
    """
    return centred(x, axis, eps)[0]


@standardize.defvjp
def standardize_vjp(g, x, axis, eps):
    return standardize_slope(g, x, 1.0, axis, eps)


@standardize.defjvp
def standardize_jvp(dx, x, axis, eps):
    return standardize_slope(dx, x, 1.0, axis, eps)  # a symmetric map


def with_weight(x, weight, bias, *, axis):
    """Shape rule: x's own shape; weight and bias are those of its axes, the last ones."""
    axes = shapes.axes_of(len(x), axis)
    wanted = tuple([x[a] for a in axes])
    if weight != wanted or bias != wanted or axes != tuple(range(len(x) - len(axes), len(x))):
        raise ShapeError(f"weight {weight} and bias {bias} for axes {axis} of {x}, the last ones")
    return x


@op(
    shape=with_weight,
    saves="x weight",
    kernel=rows.Normal(),
    samples=[
        sample((3, 4), (4,), (4,), axis=-1, eps=1e-5),
        sample((2, 3, 4), (3, 4), (3, 4), axis=(-2, -1), eps=1e-3),
        sample((0, 4), (4,), (4,), axis=(1,), eps=1e-5),
    ],
    errors=[
        bad(
            (3, 2), (3,), (2,), axis=1, eps=1e-5, error=ShapeError, match=r"weight \(3,\) and bias"
        ),
    ],
)
def standardize_affine(x, weight, bias, /, axis, eps):
    """weight * standardize(x) + bias.   Shapes: x (*s), weight, bias (its last axes) -> y (*s)"""
    return centred(x, axis, eps)[0] * weight + bias


@standardize_affine.defvjp
def standardize_affine_vjp(g, x, weight, axis, eps):
    sums = standardize_sums(g, x, axis, eps)
    return standardize_slope(g, x, weight, axis, eps), sums[0], sums[1]


@standardize_affine.defjvp
def standardize_affine_jvp(dx, dweight, dbias, x, weight, axis, eps):
    moved = standardize_slope(dx, x, 1.0, axis, eps) * weight
    return moved + standardize(x, axis, eps) * dweight + dbias


def under_weight(x, at, weight, *, axis):
    """Shape rule: x and `at` of one shape, the weight a number or that of the last axes."""
    within(x, axis=axis)
    if x != at:
        raise ShapeError(f"{x} and {at} differ")
    return with_weight(x, weight, weight, axis=axis) if weight else x


@op(
    shape=under_weight,
    saves="x at weight",
    kernel=rows.NormalSlope(),
    samples=[
        *[sample((2, 3, 4), (2, 3, 4), 1.0, **form) for form in NORMED],
        sample((3, 4), (3, 4), (4,), axis=-1, eps=1e-2),
        sample((2, 3, 4), (2, 3, 4), (3, 4), axis=(1, 2), eps=1e-2),
        sample((0, 4), (0, 4), (4,), axis=1, eps=1e-5),
    ],
    errors=[
        bad((2,), (3,), 1.0, axis=0, eps=1.0, error=ShapeError, match=r"\(2,\) and \(3,\) diff")
    ],
)
def standardize_slope(x, at, weight, /, axis, eps):
    """The derivative of standardize at `at`, a symmetric map, applied to x * weight.

    rstd * (d - mean(d) - xhat * mean(d * xhat)), d = x * weight

    Shapes: x, at (*s), weight () or (the last axes of s) -> y (*s)
    """
    xhat, scale, axes, n = centred(at, axis, eps)
    d = x * weight
    along = np.add.reduce(d * xhat, axis=axes, keepdims=True) / n
    return (d - np.add.reduce(d, axis=axes, keepdims=True) / n - xhat * along) * scale


@standardize_slope.defvjp("x")
def standardize_slope_vjp_x(g, at, weight, axis, eps):
    return standardize_slope(g, at, 1.0, axis, eps) * weight


@standardize_slope.defvjp("at")
def standardize_slope_vjp_at(g, x, at, weight, axis, eps):
    d, xhat = x * weight, standardize(at, axis, eps)
    moved, turned = (standardize_slope(v, at, 1.0, axis, eps) for v in (g, d))
    along, across = (mean(v * xhat, axis, keepdims=True) for v in (d, g))
    bent = mean(g * turned, axis, keepdims=True) * xhat + along * moved + across * turned
    return -rstd(at, axis, eps) * bent


@standardize_slope.defvjp("weight")
def standardize_slope_vjp_weight(g, x, at, axis, eps):
    return standardize_slope(g, at, 1.0, axis, eps) * x


@standardize_slope.defjvp
def standardize_slope_jvp(dx, dat, dweight, x, at, weight, axis, eps):
    d, xhat = x * weight, standardize(at, axis, eps)
    straight = standardize_slope(dx * weight + x * dweight, at, 1.0, axis, eps)
    moved, turned = (standardize_slope(v, at, 1.0, axis, eps) for v in (dat, d))
    along, across = (mean(v, axis, keepdims=True) for v in (d * xhat, d * moved))
    grown = mean(xhat * dat, axis, keepdims=True)
    return straight - rstd(at, axis, eps) * (grown * turned + moved * along + xhat * across)


def rstd(x, axis, eps):
    """1 / sqrt(var + eps) along axes, which stay at length one."""
    return (var(x, axis=axis, keepdims=True) + eps) ** -0.5


def last_axes(x, at, *, axis):
    """Shape rule: two of one shape -> two of the last axes of it, which are those meant."""
    under_weight(x, at, (), axis=axis)
    wanted = tuple([x[a] for a in shapes.axes_of(len(x), axis)])
    with_weight(x, wanted, wanted, axis=axis)
    return 2, *wanted


@op(
    shape=last_axes,
    saves="x at",
    kernel=rows.NormalSums(),
    samples=[
        sample((3, 4), (3, 4), axis=-1, eps=1e-2),
        sample((2, 3, 4), (2, 3, 4), axis=(1, 2), eps=1e-2),
        sample((0, 4), (0, 4), axis=1, eps=1e-5),
    ],
    errors=[bad((2,), (3,), axis=0, eps=1.0, error=ShapeError, match=r"\(2,\) and \(3,\) differ")],
)
def standardize_sums(x, at, /, axis, eps):
    """The sums of x * standardize(at), and of x, over all but the axes, the last ones.

    Shapes: x, at (*s) -> y (2, the last axes of s)
    """
    xhat, _, axes, _ = centred(at, axis, eps)
    lead = tuple(range(xhat.ndim - len(axes)))
    x = np.broadcast_to(x, xhat.shape)
    return np.stack([np.add.reduce(v, axis=lead) for v in (x * xhat, x)])


@standardize_sums.defvjp("x")
def standardize_sums_vjp_x(g, at, axis, eps):
    return standardize_affine(at, g[0], g[1], axis, eps)


@standardize_sums.defvjp("at")
def standardize_sums_vjp_at(g, x, at, axis, eps):
    return standardize_slope(x, at, g[0], axis, eps)


@standardize_sums.defjvp
def standardize_sums_jvp(dx, dat, x, at, axis, eps):
    moved = standardize_slope(dat, at, 1.0, axis, eps)
    lead = tuple(range(at.ndim - len(shapes.axes_of(at.ndim, axis))))
    along = sum_over(x * moved, lead)
    return standardize_sums(dx, at, axis, eps) + stack([along, zeros_like(along)])


def layer_norm(x, weight=None, bias=None, axis=-1, eps=1e-5):
    """weight * (x - mean) / sqrt(var + eps) + bias, mean and var taken along axes of each example.

    Shapes: x (*s), weight and bias (the lengths of the axes) -> y (*s)

    Args:
        axis: an axis, or several, the last ones.
        eps: added to the variance, positive.

    Raises:
        ShapeError: weight or bias has another shape than the axes.
        AxisError: x has no such axis, or it is given twice.

    Source: Ba, Kiros, Hinton 2016, section 3.

    >>> import tape
    >>> tape.layer_norm(tape.tensor([1.0, 2.0, 3.0]), eps=0.0).tolist()
    [-1.2247449159622192, 0.0, 1.2247449159622192]
    """
    x, axis = operand(x, "layer_norm"), tuple(axis) if isinstance(axis, list) else axis
    weight, bias = given(weight, "layer_norm"), given(bias, "layer_norm")
    try:
        axes = shapes.axes_of(x.ndim, axis)
    except TapeError as error:
        error.op = "layer_norm"
        raise
    wanted = tuple([lengths(x)[a] for a in axes])
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and lengths(t) != wanted:
            raise ShapeError(
                f"layer_norm: {name} {lengths(t)} for axes of lengths {wanted} of {lengths(x)}"
            )
    if weight is not None and bias is not None and axes == tuple(range(x.ndim))[-len(axes) :]:
        return standardize_affine(x, weight, bias, axis, eps)
    y = standardize(x, axis, eps)
    spread = tuple([n if a in axes else 1 for a, n in enumerate(lengths(y))])
    if weight is not None:
        y = y * reshape(weight, spread)
    return y if bias is None else y + reshape(bias, spread)


def given(x, name):
    """x as a tensor; None stays."""
    return None if x is None else operand(x, name)


def axes_of_batch(x):
    """All axes but 1, that of the channels."""
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: x must be (N, C, ...), got {lengths(x)}")
    return batch_axes(lengths(x))


def batch_statistics(x):
    """Mean and biased variance of each channel, (C,) each, as results gradients flow through.

    Asked for again while they live, they are not computed again: the layer that keeps running
    statistics and the normalisation itself share them.

    Channels of no elements have mean 0 and variance 1.

    Shapes: x (N, C, *s) -> mean (C,), var (C,)

    Raises:
        ShapeError: x has no channels.
    """
    x = asarray(x)
    axes = axes_of_batch(x)
    if 0 in [lengths(x)[a] for a in axes]:
        count_on(x, *range(x.ndim))
        nothing = sum_over(x, axes)
        return nothing, nothing + 1
    moments = channel_moments(x)
    return moments[0], moments[1]


def batch_norm(x, weight=None, bias=None, mean=None, var=None, eps=1e-5):
    """weight * (x - mean) / sqrt(var + eps) + bias for each channel.

    Shapes: x (N, C, *s); weight, bias, mean, var (C,) -> y (N, C, *s)

    Args:
        mean, var: statistics to use, as in inference; left out, those of the batch are taken and
            gradients flow through them.
        eps: added to the variance, positive.

    Raises:
        ShapeError: x has no channels, or an argument is not (C,).

    Source: Ioffe, Szegedy 2015, algorithm 1.

    >>> import tape
    >>> x = tape.tensor([[1.0], [3.0]])
    >>> tape.batch_norm(x, eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    x = operand(x, "batch_norm")
    weight, bias, mean, var = [given(t, "batch_norm") for t in (weight, bias, mean, var)]
    if lengths(x) == (0,):
        return x * 1  # PyTorch has no channels to look for either
    axes_of_batch(x)
    if (mean is None) != (var is None):
        raise ShapeError("batch_norm: mean and var are given both or neither")
    if mean is None:
        mean, var = batch_statistics(x)
    C = lengths(x)[1]
    for name, t in (("weight", weight), ("bias", bias), ("mean", mean), ("var", var)):
        if t is not None and lengths(t) != (C,):
            raise ShapeError(f"batch_norm: {name} {lengths(t)} for {C} channels of x {lengths(x)}")
    scale = (var + eps) ** -0.5
    if weight is not None:
        scale = scale * weight
    return channel_affine(x, mean, scale, 0.0 if bias is None else bias)
