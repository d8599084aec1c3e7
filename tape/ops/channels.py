"""Statistics of the channels of a batch x (N, C, *s), and what normalises by them."""

from __future__ import annotations

import numpy as np

from tape._kernels.channels import ChannelAffine, ChannelMoments, ChannelSums, ChannelTotals
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.dtype import floating
from tape.ops.join import stack
from tape.ops.reduce import broadcast_to
from tape.ops.shape import reshape

BATCHES = [(4, 3), (4, 3, 5), (2, 3, 2, 3)]


def batch_axes(x_shape):
    """All axes but 1, that of the channels."""
    if len(x_shape) < 2:
        raise ShapeError(f"x must be (N, C, ...), got {x_shape}")
    return (0, *range(2, len(x_shape)))


def column(v, ndim):
    """A number for each channel, from an array or a tensor, so that it broadcasts to the batch."""
    return v.reshape(-1, *(1,) * (ndim - 2)) if isinstance(v, np.ndarray) else wide(v, ndim)


def wide(v, ndim):
    """As `column`, of tensors; numbers stay as they are."""
    return reshape(v, (-1, *(1,) * (ndim - 2))) if hasattr(v, "shape") else v


def one_number(x):
    """Shape rule: a number for each channel."""
    batch_axes(x)
    return x[1:2]


@op(
    shape=one_number,
    saves="x.shape",
    linear=True,
    kernel=ChannelTotals(),
    samples=[*map(sample, BATCHES), sample((3, 1, 40, 30)), sample((0, 3, 4, 4)), sample((40, 37))],
    errors=[bad((3,), error=ShapeError, match=r"x must be \(N, C, ...\), got \(3,\)")],
)
def channel_sum(x, /):
    """The sum of every channel, the gradient of a bias.   Shapes: x (N, C, *s) -> y (C)"""
    return np.add.reduce(x, axis=batch_axes(x.shape))


@channel_sum.defvjp
def channel_sum_vjp(g, x_shape):
    return broadcast_to(wide(g, len(x_shape)), x_shape)


def two_numbers(x):
    """Shape rule: two numbers for each channel."""
    if 0 in [x[a] for a in batch_axes(x)]:
        raise ShapeError(f"channels of x {x} have no elements, no mean")
    return 2, x[1]


@op(
    shape=two_numbers,
    saves="x y",
    kernel=ChannelMoments(),
    samples=[*map(sample, BATCHES), sample((4, 0)), sample((3, 2), low=100.0, high=101.0)],
    errors=[
        bad((3,), error=ShapeError, match=r"x must be \(N, C, ...\), got \(3,\)"),
        bad((0, 3), error=ShapeError, match=r"x \(0, 3\) have no elements"),
    ],
)
def channel_moments(x, /):
    """Mean and biased variance of every channel.   Shapes: x (N, C, *s) -> y (2, C)"""
    x, axes = floating(x), batch_axes(x.shape)
    mean = x.mean(axes)
    return np.stack([mean, np.square(x - column(mean, x.ndim)).mean(axes)])


@channel_moments.defvjp
def channel_moments_vjp(g, x, y):
    n = x.size // x.shape[1] if x.shape[1] else 1
    return channel_affine(x, y[0], g[1] * (2 / n), g[0] / n)


@channel_moments.defjvp
def channel_moments_jvp(dx, x, y):
    n = x.size // x.shape[1] if x.shape[1] else 1
    return stack([channel_sum(dx) / n, channel_sums(dx, x, y[0]) * (2 / n)])


def by_channel(x, mean, scale, bias):
    """Shape rule: a batch, and a number for each of its channels, or a number for all."""
    batch_axes(x)
    for name, shape in (("mean", mean), ("scale", scale), ("bias", bias)):
        if shape not in (x[1:2], ()):
            raise ShapeError(f"{name} {shape} for {x[1]} channels of x {x}")
    return x


@op(
    shape=by_channel,
    saves="x mean scale x.shape",
    kernel=ChannelAffine(),
    samples=[
        *[sample(shape, (3,), (3,), (3,)) for shape in BATCHES],
        sample((4, 3, 2), (3,), (3,), 0.0),
        sample((0, 3), (3,), (3,), (3,)),
    ],
    errors=[
        bad((4, 3), (2,), (3,), (3,), error=ShapeError, match=r"mean \(2,\) for 3 channels"),
    ],
)
def channel_affine(x, mean, scale, bias, /):
    """(x - mean) * scale + bias for each channel.

    Shapes: x (N, C, *s); mean, scale, bias (C) or () -> y (N, C, *s)
    """
    mean, scale, bias = (
        column(np.asarray(v), x.ndim) if np.ndim(v) else v for v in (mean, scale, bias)
    )
    return (x - mean) * scale + bias


@channel_affine.defvjp("x")
def channel_affine_vjp_x(g, scale, x_shape):
    return g * wide(scale, len(x_shape))


@channel_affine.defvjp("mean")
def channel_affine_vjp_mean(g, scale):
    return -channel_sum(g) * scale


@channel_affine.defvjp("scale")
def channel_affine_vjp_scale(g, x, mean):
    return channel_sums(g, x, mean)


@channel_affine.defvjp("bias")
def channel_affine_vjp_bias(g):
    return channel_sum(g)


@channel_affine.defjvp
def channel_affine_jvp(dx, dmean, dscale, dbias, x, mean, scale):
    n = x.ndim
    moved = (dx - wide(dmean, n)) * wide(scale, n)
    return moved + (x - wide(mean, n)) * wide(dscale, n) + wide(dbias, n)


def summed_up(x, at, mean):
    """Shape rule: two of one shape, a number for each channel."""
    if x != at:
        raise ShapeError(f"{x} and {at} differ")
    by_channel(at, mean, (), ())
    return at[1:2]


@op(
    shape=summed_up,
    saves="x at mean",
    kernel=ChannelSums(),
    samples=[*[sample(shape, shape, (3,)) for shape in BATCHES], sample((0, 3), (0, 3), (3,))],
    errors=[bad((2, 3), (2, 2), (2,), error=ShapeError, match=r"\(2, 3\) and \(2, 2\) differ")],
)
def channel_sums(x, at, mean, /):
    """sum(x * (at - mean)) of each channel.   Shapes: x, at (N, C, *s), mean (C) -> y (C)"""
    mean = column(np.asarray(mean), at.ndim) if np.ndim(mean) else mean
    return np.add.reduce(x * (at - mean), axis=batch_axes(at.shape))


@channel_sums.defvjp("x")
def channel_sums_vjp_x(g, at, mean):
    return channel_affine(at, mean, g, 0.0)


@channel_sums.defvjp("at")
def channel_sums_vjp_at(g, x):
    return x * wide(g, x.ndim)


@channel_sums.defvjp("mean")
def channel_sums_vjp_mean(g, x):
    return -g * channel_sum(x)


@channel_sums.defjvp
def channel_sums_jvp(dx, dat, dmean, x, at, mean):
    moved = dat - wide(dmean, x.ndim)
    return channel_sums(dx, at, mean) + channel_sum(x * moved)
