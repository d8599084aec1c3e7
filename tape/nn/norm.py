"""Normalisation: `BatchNorm1d` to `BatchNorm3d`, `LayerNorm`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tape._core.memory import glance, lengths, overwrite
from tape._core.replay import is_recomputing
from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.nn.arguments import count, number, settings, share
from tape.nn.init import ones, zeros
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, parameter, size_at
from tape.nn.state import copy_into
from tape.ops.norm import batch_norm, batch_statistics, layer_norm

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm"]


class BatchNorm(Module):
    """weight * (x - mean) / sqrt(var + eps) + bias for each channel; base of the three layers.

    While training, mean and variance are those of the batch, gradients flow through them, and they
    move the running ones: running = (1 - momentum) * running + momentum * batch's, the variance
    unbiased. Otherwise the running ones are used.

    Args:
        n_in: channels of x; None takes them from the first x.
        eps: added to the variance, >= 0.
        momentum: share of the batch in the running statistics, in [0, 1]; None for the plain
            average of all batches.
        affine: whether there are `weight` and `bias`.
        track_running_stats: False takes the batch's statistics always.
        bias: False for `weight` alone.
        dtype: of the parameters and statistics, by default float32.

    Raises:
        ShapeError: x has other channels than `n_in` or another number of axes; or, while training,
            a channel has only one number. A batch without any moves no statistics.

    Source: Ioffe and Szegedy 2015, algorithms 1 and 2.
    """

    n_axes: tuple[int, ...] = ()  # that x may have
    form = ""
    usual = True  # what `affine` and `track_running_stats` are by default

    def __init__(
        self,
        n_in: int | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        self.eps = number(name, "eps", eps, least=0)
        self.momentum = None if momentum is None else share(name, "momentum", momentum)
        shape = (None if n_in is None else count(name, "n_in", n_in),)
        self.weight = parameter(self, "weight", shape, ones, dtype=dtype) if affine else None
        shifted = affine and bias
        self.bias = parameter(self, "bias", shape, zeros, dtype=dtype) if shifted else None
        self.running_mean: Any = None
        self.running_var: Any = None
        self.num_batches_tracked: Any = None
        if track_running_stats:
            for which, sizes, init, kind in (
                ("running_mean", shape, zeros, dtype),
                ("running_var", shape, ones, dtype),
                ("num_batches_tracked", (), zeros, np.int64),
            ):
                buffer = parameter(self, which, sizes, init, dtype=kind, kind=Tensor)
                self.register_buffer(which, buffer)

    @property
    def n_in(self) -> int | None:
        """Channels of x, None before they are inferred or if nothing depends on them."""
        known = [t for t in (self.weight, self.running_mean) if t is not None]
        return known[0].shape[0] if known else None

    def forward(self, x: Any) -> Tensor:
        """The result for x; moves the running statistics while training."""
        C = size_at(type(self).__name__, x, 1, n_axes=2)
        if len(lengths(x)) not in self.n_axes:
            raise ShapeError(f"{type(self).__name__}: x must be {self.form}, got {lengths(x)}")
        sized = self.weight, self.bias, self.running_mean, self.running_var
        if Uninferred in [type(entry) for entry in sized]:
            self.infer(weight=(C,), bias=(C,), running_mean=(C,), running_var=(C,))
        if not self.training and self.running_mean is not None:
            return batch_norm(
                x, self.weight, self.bias, self.running_mean, self.running_var, self.eps
            )
        n = math.prod(lengths(x)) // C if C else 0
        if self.training and n == 1:
            raise ShapeError(
                f"{type(self).__name__}: one number a channel has no variance to train with, x "
                f"{lengths(x)}: use larger batches, or eval()"
            )
        mean, var = batch_statistics(x)
        y = batch_norm(x, self.weight, self.bias, mean, var, self.eps)
        if self.training and self.running_mean is not None and n and not is_recomputing():
            self._track(glance(mean), glance(var) * (n / (n - 1) if n > 1 else 1.0))
        return y

    def _track(self, mean: np.ndarray, var: np.ndarray) -> None:
        """Move the running statistics towards those of a batch: all of them at once."""
        seen = self.num_batches_tracked.item() + 1
        share = 1 / seen if self.momentum is None else self.momentum
        buffers = [self.running_mean, self.running_var, self.num_batches_tracked]
        moved = [
            (1 - share) * old.numpy() + share * new
            for old, new in ((self.running_mean, mean), (self.running_var, var))
        ]
        overwrite(buffers, copy_into, [*moved, seen])

    def describe(self) -> str:
        """What is not as usual."""
        tracked, others = self.running_mean is not None, unusual(self, self.usual)
        return settings(
            eps=others.pop("eps"),
            momentum={0.1: None, None: "average"}.get(self.momentum, self.momentum),
            **others,
            track_running_stats=None if tracked == self.usual else tracked,
        )


class BatchNorm1d(BatchNorm):
    """Batch normalisation of vectors or sequences, see `tape.nn.norm.BatchNorm` for arguments.

    Shapes: x (N, C) or (N, C, L); weight, bias, running_mean, running_var (C,) -> y as x

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.BatchNorm1d(eps=0.0)
    >>> layer(tape.tensor([[1.0], [3.0]])).tolist()
    [[-1.0], [1.0]]
    >>> layer.running_mean.tolist()  # a tenth of the way from 0 to 2
    [0.20000000298023224]
    """

    n_axes, form = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(BatchNorm):
    """Batch normalisation of images, see `tape.nn.norm.BatchNorm` for arguments.

    Shapes: x (N, C, H, W); weight, bias, running_mean, running_var (C,) -> y (N, C, H, W)
    """

    n_axes, form = (4,), "(N, C, H, W)"


class BatchNorm3d(BatchNorm):
    """Batch normalisation of volumes, see `tape.nn.norm.BatchNorm` for arguments.

    Shapes: x (N, C, D, H, W); weight, bias, running_mean, running_var (C,) -> y as x
    """

    n_axes, form = (5,), "(N, C, D, H, W)"


class LayerNorm(Module):
    """weight * (x - mean) / sqrt(var + eps) + bias, mean and variance of each example's last axes.

    Shapes: x (*s, *n), weight and bias (*n) -> y (*s, *n)

    Args:
        n_in: sizes of the axes that are normalised over, or of the last axis; None takes that of
            the first x.
        eps: added to the variance, >= 0.
        affine: whether there are `weight` and `bias`.
        bias: False for `weight` alone.
        dtype: of the parameters, by default float32.

    Raises:
        ShapeError: x has other last axes than `n_in`.

    Source: Ba, Kiros and Hinton 2016, section 3.

    >>> import tape
    >>> from tape import nn
    >>> nn.LayerNorm(eps=0.0)(tape.tensor([[1.0, 3.0], [0.0, 10.0]])).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def __init__(
        self,
        n_in: int | tuple[int, ...] | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        self.sizes = shape = last_sizes("LayerNorm", n_in)
        self.eps = number("LayerNorm", "eps", eps, least=0)
        self.weight = parameter(self, "weight", shape, ones, dtype=dtype) if affine else None
        shifted = affine and bias
        self.bias = parameter(self, "bias", shape, zeros, dtype=dtype) if shifted else None

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        axes = last_axes("LayerNorm", x, self.sizes)
        if Uninferred in (type(self.weight), type(self.bias)):
            self.infer(weight=lengths(x)[-1:], bias=lengths(x)[-1:])
        return layer_norm(x, self.weight, self.bias, axes, self.eps)

    def describe(self) -> str:
        """The sizes that were given, and what is not as usual."""
        return settings(*([] if None in self.sizes else [self.sizes]), **unusual(self))


def last_sizes(layer: str, n_in: Any) -> tuple[int | None, ...]:
    """The sizes of the last axes that a layer normalises over; (None,) waits for the first x."""
    sizes = n_in if isinstance(n_in, (tuple, list)) else (n_in,)
    shape = tuple([None if n is None else count(layer, "n_in", n) for n in sizes])
    if not shape or (None in shape and len(shape) > 1):
        raise ValueError(f"{layer}: n_in takes sizes, or None for the last one, got {n_in}")
    return shape


def last_axes(layer: str, x: Any, sizes: tuple[int | None, ...]) -> tuple[int, ...]:
    """The last axes of x, counted from the end, which must have these sizes."""
    n = len(sizes)
    size_at(layer, x, -1, n_axes=n)
    if sizes not in (lengths(x)[-n:], (None,)):
        raise ShapeError(f"{layer}: x {lengths(x)} does not end in the sizes {sizes}")
    return tuple(range(-n, 0))


def unusual(layer: Any, usual: bool = True) -> dict[str, Any]:
    """Those of eps, affine and bias that are not as by default; `usual` is affine's default."""
    affine = layer.weight is not None
    return {
        "eps": None if layer.eps == 1e-5 else layer.eps,
        "affine": None if affine == usual else affine,
        "bias": False if affine and layer.bias is None else None,
    }
