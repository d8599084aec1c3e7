"""Normalisation: over the features of each example, or over a batch for each channel."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape._kernels.rows import layer_norm_rows
from tape.errors import AxisError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.reduce import mean, var
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import reshape


def within(x, *, axis):
    """Shape rule: x's own shape; the axes must be among its."""
    shapes.axes_of(len(x), axis)
    return x


@op(
    shape=within,
    saves="x y",
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
    axes = shapes.axes_of(x.ndim, axis)
    floating = x.dtype.kind == "f"
    if floating and x.size and axes == tuple(range(x.ndim - len(axes), x.ndim)):
        rows = np.prod(x.shape[: x.ndim - len(axes)], dtype=int)
        return layer_norm_rows(x.reshape(rows, -1), eps)[0].reshape(x.shape)
    n = max(1, math.prod([x.shape[a] for a in axes]))
    centred = x - np.add.reduce(x, axis=axes, keepdims=True) / n
    return centred / np.sqrt(np.add.reduce(centred * centred, axis=axes, keepdims=True) / n + eps)


@standardize.defvjp
def standardize_vjp(g, x, y, axis, eps):
    return standardized_slope(g, x, y, axis, eps)


@standardize.defjvp
def standardize_jvp(dx, x, y, axis, eps):
    return standardized_slope(dx, x, y, axis, eps)


def standardized_slope(d, x, y, axis, eps):
    """The derivative of standardize, a symmetric map, applied to d."""
    scale = (var(x, axis=axis, keepdims=True) + eps) ** -0.5
    along = mean(d * y, axis=axis, keepdims=True)
    return (d - mean(d, axis=axis, keepdims=True) - y * along) * scale


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
    x, axis = asarray(x), tuple(axis) if isinstance(axis, list) else axis
    try:
        y = standardize(x, axis, eps)
    except TapeError as error:
        error.op = "layer_norm"
        raise
    weight, bias = given(weight), given(bias)
    axes = shapes.axes_of(y.ndim, axis)
    wanted = tuple([y.shape[a] for a in axes])
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.shape != wanted:
            raise ShapeError(
                f"layer_norm: {name} {t.shape} for axes of lengths {wanted} of {y.shape}"
            )
    spread = tuple([n if a in axes else 1 for a, n in enumerate(y.shape)])
    if weight is not None:
        y = y * reshape(weight, spread)
    return y if bias is None else y + reshape(bias, spread)


def given(x):
    """x as a tensor; None stays."""
    return None if x is None else asarray(x)


def batch_axes(x):
    """All axes but 1, that of the channels."""
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: x must be (N, C, ...), got {x.shape}")
    return (0, *range(2, x.ndim))


def batch_statistics(x):
    """Mean and biased variance of each channel, (C,) each, as results gradients flow through.

    Asked for again while they live, they are not computed again: the layer that keeps running
    statistics and the normalisation itself share them.

    Channels of no elements have mean 0 and variance 1.

    Shapes: x (N, C, *s) -> mean (C,), var (C,)

    Raises:
        ShapeError: x has no channels.
    """
    axes = batch_axes(x)
    if 0 in [x.shape[a] for a in axes]:
        nothing = sum_over(x, axes)
        return nothing, nothing + 1
    return mean(x, axis=axes), var(x, axis=axes)


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
    x = asarray(x)
    weight, bias, mean, var = given(weight), given(bias), given(mean), given(var)
    batch_axes(x)
    if (mean is None) != (var is None):
        raise ShapeError("batch_norm: mean and var are given both or neither")
    if mean is None:
        mean, var = batch_statistics(x)
    C = x.shape[1]
    for name, t in (("weight", weight), ("bias", bias), ("mean", mean), ("var", var)):
        if t is not None and t.shape != (C,):
            raise ShapeError(f"batch_norm: {name} {t.shape} for {C} channels of x {x.shape}")
    channels = (C,) + (1,) * (x.ndim - 2)
    scale = (var + eps) ** -0.5
    if weight is not None:
        scale = scale * weight
    y = (x - reshape(mean, channels)) * reshape(scale, channels)
    return y if bias is None else y + reshape(bias, channels)
