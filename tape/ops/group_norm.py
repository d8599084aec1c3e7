"""Normalisation of each example: over groups of channels, over each channel, or by size alone."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray, count_on, lengths
from tape.errors import AxisError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.arithmetic import power
from tape.ops.dtype import floating
from tape.ops.elementwise import square
from tape.ops.geometry import Geometry
from tape.ops.naming import named
from tape.ops.norm import batch_norm, layer_norm
from tape.ops.pool import window_mean2d
from tape.ops.reduce import mean
from tape.ops.shape import reshape


def channels_of(name, x, **given):
    """x as a tensor (N, C, ...), its channels; what is given must be one number for each."""
    x = asarray(x)
    if x.ndim < 2:
        raise ShapeError(f"{name}: x must be (N, C, ...), got {lengths(x)}")
    C = lengths(x)[1]
    for what, t in given.items():
        if t is not None and asarray(t).shape != (C,):
            raise ShapeError(
                f"{name}: {what} {asarray(t).shape} for {C} channels of x {lengths(x)}"
            )
    return x, C


def any_number(x):
    """What stands in a reshape for as many examples as there are."""
    n, *rest = lengths(x)
    return n if 0 in (n, *rest) else -1


def affine(y, weight, bias):
    """weight * y + bias for each channel."""
    spread = (lengths(y)[1],) + (1,) * (y.ndim - 2)
    y = y if weight is None else y * reshape(asarray(weight), spread)
    return y if bias is None else y + reshape(asarray(bias), spread)


@named
def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """weight * (x - mean) / sqrt(var + eps) + bias, mean and var of each example's groups.

    A group is C / num_groups neighbouring channels with all their pixels.

    Shapes: x (N, C, *s), weight and bias (C,) -> y (N, C, *s)

    Args:
        num_groups: how many groups the channels are split into, a divisor of C.
        eps: added to the variance, positive.

    Raises:
        ShapeError: x has no channels, num_groups does not divide them, or an argument is not (C,).

    Source: Wu and He 2018, section 3.

    >>> import tape
    >>> tape.group_norm(tape.tensor([[1.0, 3.0, 5.0, 9.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    x, C = channels_of("group_norm", x, weight=weight, bias=bias)
    if not hasattr(num_groups, "__index__") or num_groups < 1 or C % num_groups:
        raise ShapeError(
            f"group_norm: num_groups = {num_groups!r} does not divide the {C} channels of "
            f"x {lengths(x)}"
        )
    G = int(num_groups)
    count_on(x, *range(1, x.ndim))
    groups = reshape(x, (any_number(x), G, C // G * math.prod(lengths(x)[2:])))
    y = layer_norm(groups, eps=eps)
    return affine(reshape(y, (any_number(x), *lengths(x)[1:])), weight, bias)


@named
def instance_norm(x, weight=None, bias=None, mean=None, var=None, eps=1e-5):
    """weight * (x - mean) / sqrt(var + eps) + bias, mean and var of each example's channels.

    Shapes: x (N, C, *s); weight, bias, mean, var (C,) -> y (N, C, *s)

    Args:
        mean, var: statistics to use for all examples, as in inference with running ones; left out,
            those of each example are taken and gradients flow through them.
        eps: added to the variance, positive.

    Raises:
        ShapeError: x has no channels, a channel has only one number to take statistics of, or an
            argument is not (C,).

    Source: Ulyanov, Vedaldi and Lempitsky 2016, section 2.

    >>> import tape
    >>> tape.instance_norm(tape.tensor([[[1.0, 3.0], [5.0, 9.0]]]), eps=0.0).tolist()
    [[[-1.0, 1.0], [-1.0, 1.0]]]
    """
    x, _ = channels_of("instance_norm", x, weight=weight, bias=bias, mean=mean, var=var)
    if (mean is None) != (var is None):
        raise ShapeError("instance_norm: mean and var are given both or neither")
    if mean is not None:
        return batch_norm(x, weight, bias, mean, var, eps)
    n = math.prod(lengths(x)[2:])
    if n == 1:
        raise ShapeError(
            f"instance_norm: one number a channel has no variance, x {lengths(x)}: "
            "give mean and var"
        )
    count_on(x, *range(1, x.ndim))
    N, C, *s = any_number(x), *lengths(x)[1:]
    rows = layer_norm(reshape(x, (N, C, n)), eps=eps)
    return affine(reshape(rows, (N, C, *s)), weight, bias)


def within(x, *, axis):
    """Shape rule: x's own shape; the axes must be among its."""
    shapes.axes_of(len(x), axis)
    return x


@op(
    name="rms_norm",
    shape=within,
    saves="x y",
    samples=[
        sample((3, 4), axis=-1, eps=1e-5),
        sample((2, 3, 4), axis=(0, 2), eps=1e-3),
        sample((0, 4), axis=-1, eps=1e-5),
        sample((2, 0), axis=-1, eps=1e-5),
        sample((2, 3), axis=1, eps=1e-8, low=100.0, high=101.0),
    ],
    errors=[bad((3, 2), axis=2, eps=1e-5, error=AxisError, match="axis 2 is out of range")],
)
def scaled(x, /, axis, eps):
    """x / sqrt(mean of x * x + eps) along axes.   Shapes: x (*s) -> y (*s)"""
    x = floating(x)
    axes = shapes.axes_of(x.ndim, axis)
    n = max(1, math.prod([x.shape[a] for a in axes]))
    size = np.add.reduce(x * x, axis=axes, keepdims=True) / x.dtype.type(n)
    return x / np.sqrt(size + x.dtype.type(eps))


@scaled.defvjp
def scaled_vjp(g, x, y, axis, eps):
    return scaled_slope(g, x, y, axis, eps)


@scaled.defjvp
def scaled_jvp(dx, x, y, axis, eps):
    return scaled_slope(dx, x, y, axis, eps)


def scaled_slope(d, x, y, axis, eps):
    """The derivative of scaled, a symmetric map, applied to d."""
    scale = (mean(square(x), axis=axis, keepdims=True) + eps) ** -0.5
    return (d - y * mean(d * y, axis=axis, keepdims=True)) * scale


@named
def rms_norm(x, weight=None, axis=-1, eps=None):
    """weight * x / sqrt(mean of x * x + eps), the mean taken along axes of each example.

    Shapes: x (*s), weight (the lengths of the axes) -> y (*s)

    Args:
        axis: an axis, or several, the last ones.
        eps: added to the mean, positive; None for the spacing of x's dtype at 1.

    Raises:
        ShapeError: weight has another shape than the axes.
        AxisError: x has no such axis, or it is given twice.

    Source: Zhang and Sennrich 2019, section 3.

    >>> import tape
    >>> tape.rms_norm(tape.tensor([1.0, -7.0, 5.0, 5.0]), eps=0.0).tolist()
    [0.20000000298023224, -1.399999976158142, 1.0, 1.0]
    """
    x, axis = asarray(x), tuple(axis) if isinstance(axis, list) else axis
    if eps is None:
        eps = float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)
    try:
        y = scaled(x, axis, eps)
    except TapeError as error:
        error.op = "rms_norm"
        raise
    if weight is None:
        return y
    weight, axes = asarray(weight), shapes.axes_of(y.ndim, axis)
    wanted = tuple([lengths(y)[a] for a in axes])
    if lengths(weight) != wanted:
        raise ShapeError(
            f"rms_norm: weight {lengths(weight)} for axes of lengths {wanted} of {lengths(y)}"
        )
    if 1 in wanted:  # which would go with any length
        count_on(y, *axes)
    return y * reshape(weight, tuple([n if a in axes else 1 for a, n in enumerate(lengths(y))]))


@named
def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha * mean of x * x over `size` neighbouring channels) ** beta.

    Channels size // 2 before to (size - 1) // 2 behind are neighbours, those beyond count as 0.

    Shapes: x (N, C, *s), s of at least one axis -> y (N, C, *s)

    Raises:
        ShapeError: x has no such axes, or size is no integer of at least 1.

    Source: Krizhevsky, Sutskever and Hinton 2012, section 3.3, with the mean for the sum.

    >>> import tape
    >>> tape.local_response_norm(tape.ones((1, 3, 1)), 2, alpha=2.0, beta=1.0).tolist()
    [[[0.5], [0.3333333432674408], [0.3333333432674408]]]
    """
    x = asarray(x)
    if x.ndim < 3:
        raise ShapeError(
            f"local_response_norm: x must be (N, C, ...) with pixels, got {lengths(x)}"
        )
    if not hasattr(size, "__index__") or size < 1:
        raise ShapeError(f"local_response_norm: size is an integer of at least 1, got {size!r}")
    count_on(x, *range(1, x.ndim))
    if 0 in lengths(x):
        return x
    N, C, *s = any_number(x), *lengths(x)[1:]
    planes = reshape(square(x), (N, 1, C, math.prod(s)))
    before = Geometry(padding=((size // 2, (size - 1) // 2), (0, 0)))
    means = window_mean2d(planes, window=(int(size), 1), geometry=before)
    return x / power(reshape(means, (N, C, *s)) * alpha + k, beta)
