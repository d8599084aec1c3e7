"""Normalisation of each example: `GroupNorm`, `InstanceNorm1d` to `InstanceNorm3d`, `RMSNorm`."""

from __future__ import annotations

import math
from typing import Any

from tape._core.memory import asarray, glance, lengths
from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.nn.arguments import count, number, settings
from tape.nn.init import ones, zeros
from tape.nn.module import Module
from tape.nn.norm import BatchNorm, last_axes, last_sizes, unusual
from tape.nn.parameter import Uninferred, parameter, size_at
from tape.ops.group_norm import group_norm, instance_norm, rms_norm
from tape.ops.shape import expand_dims, squeeze

__all__ = ["GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "RMSNorm"]


class GroupNorm(Module):
    """weight * (x - mean) / sqrt(var + eps) + bias, mean and var of each example's groups.

    Shapes: x (N, C, *s), weight and bias (C,) -> y (N, C, *s)

    Args:
        num_groups: how many groups of neighbouring channels there are, a divisor of C.
        n_in: channels of x; None takes them from the first x.
        eps: added to the variance, >= 0.
        affine: whether there are `weight` and `bias`.
        bias: False for `weight` alone.
        dtype: of the parameters, by default float32.

    Raises:
        ShapeError: x has other channels than `n_in`, or `num_groups` does not divide them.

    Source: Wu and He 2018, section 3.

    >>> import tape
    >>> from tape import nn
    >>> nn.GroupNorm(2, eps=0.0)(tape.tensor([[1.0, 3.0, 5.0, 9.0]])).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(
        self,
        num_groups: int,
        n_in: int | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        self.num_groups = count("GroupNorm", "num_groups", num_groups, least=1)
        self.eps = number("GroupNorm", "eps", eps, least=0)
        C = None if n_in is None else count("GroupNorm", "n_in", n_in)
        if C is not None and C % self.num_groups:
            raise ShapeError(f"GroupNorm: {num_groups} groups do not divide n_in = {n_in}")
        self.weight = parameter(self, "weight", (C,), ones, dtype=dtype) if affine else None
        shifted = affine and bias
        self.bias = parameter(self, "bias", (C,), zeros, dtype=dtype) if shifted else None

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        C = size_at("GroupNorm", x, 1, n_axes=2)
        if Uninferred in (type(self.weight), type(self.bias)):
            self.infer(weight=(C,), bias=(C,))
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def describe(self) -> str:
        """Groups, and what is not as usual."""
        return settings(self.num_groups, **unusual(self))


class InstanceNorm(BatchNorm):
    """weight * (x - mean) / sqrt(var + eps) + bias for each channel of each example.

    Mean and variance are those of the example, always, unless `track_running_stats`: then each
    batch in training moves running ones, as in `tape.nn.norm.BatchNorm`, by the mean over examples,
    and these are used in evaluation.

    Args:
        n_in: channels of x; None takes them from the first x.
        eps: added to the variance, >= 0.
        momentum: share of the batch in the running statistics, in [0, 1]; None for the plain
            average of all batches.
        affine: whether there are `weight` and `bias`.
        track_running_stats: whether there are running statistics.
        bias: False for `weight` alone.
        dtype: of the parameters and statistics, by default float32.

    Raises:
        ShapeError: x has other channels than `n_in` or another number of axes, or a channel has
            only one number.

    Source: Ulyanov, Vedaldi and Lempitsky 2016, section 2.
    """

    usual = False

    def __init__(
        self,
        n_in: int | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__(n_in, eps, momentum, affine, track_running_stats, bias, dtype)

    def forward(self, x: Any) -> Tensor:
        """The result for x; moves the running statistics while training."""
        C = size_at(type(self).__name__, x, -self.n_axes[0] + 1, n_axes=self.n_axes[0] - 1)
        if len(lengths(x)) not in (self.n_axes[0], self.n_axes[0] - 1):
            raise ShapeError(f"{type(self).__name__}: x must be {self.form}, got {lengths(x)}")
        sized = self.weight, self.bias, self.running_mean, self.running_var
        if Uninferred in [type(entry) for entry in sized]:
            self.infer(weight=(C,), bias=(C,), running_mean=(C,), running_var=(C,))
        x = asarray(x)
        alone = x.ndim < self.n_axes[0]
        images = expand_dims(x, axis=0) if alone else x
        tracked = self.running_mean is not None
        used = tracked and not self.training
        mean, var = (self.running_mean, self.running_var) if used else (None, None)
        y = instance_norm(images, self.weight, self.bias, mean, var, self.eps)
        if self.training and tracked and 0 not in lengths(images):
            rows = glance(images)
            rows = rows.reshape(*rows.shape[:2], math.prod(rows.shape[2:]))
            self._track(rows.mean((0, 2)), rows.var(2, ddof=1).mean(0))
        return squeeze(y, 0) if alone else y


class InstanceNorm1d(InstanceNorm):
    """Normalisation of each channel of sequences, see `tape.nn.group_norm.InstanceNorm`.

    Shapes: x (N, C, L) or (C, L); weight, bias, running_mean, running_var (C,) -> y as x

    >>> import tape
    >>> from tape import nn
    >>> nn.InstanceNorm1d(eps=0.0)(tape.tensor([[1.0, 3.0], [5.0, 9.0]])).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    n_axes, form = (3,), "(N, C, L) or (C, L)"


class InstanceNorm2d(InstanceNorm):
    """Normalisation of each channel of images, see `tape.nn.group_norm.InstanceNorm`.

    Shapes: x (N, C, H, W) or (C, H, W); weight, bias, running_mean, running_var (C,) -> y as x
    """

    n_axes, form = (4,), "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(InstanceNorm):
    """Normalisation of each channel of volumes, see `tape.nn.group_norm.InstanceNorm`.

    Shapes: x (N, C, D, H, W) or (C, D, H, W) -> y as x; weight, bias and running statistics (C,)
    """

    n_axes, form = (5,), "(N, C, D, H, W) or (C, D, H, W)"


class RMSNorm(Module):
    """weight * x / sqrt(mean of x * x + eps), the mean over each example's last axes.

    Shapes: x (*s, *n), weight (*n) -> y (*s, *n)

    Args:
        n_in: sizes of the axes that are normalised over, or of the last axis; None takes that of
            the first x.
        eps: added to the mean, >= 0; None for the spacing of x's dtype at 1.
        affine: whether there is `weight`.
        dtype: of the weight, by default float32.

    Raises:
        ShapeError: x has other last axes than `n_in`.

    Source: Zhang and Sennrich 2019, section 3.

    >>> import tape
    >>> from tape import nn
    >>> nn.RMSNorm(eps=0.0)(tape.tensor([1.0, -7.0, 5.0, 5.0])).tolist()
    [0.20000000298023224, -1.399999976158142, 1.0, 1.0]
    """

    def __init__(
        self,
        n_in: int | tuple[int, ...] | None = None,
        eps: float | None = None,
        affine: bool = True,
        dtype: Any = None,
    ) -> None:
        self.sizes = shape = last_sizes("RMSNorm", n_in)
        self.eps = None if eps is None else number("RMSNorm", "eps", eps, least=0)
        self.weight = parameter(self, "weight", shape, ones, dtype=dtype) if affine else None

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        axes = last_axes("RMSNorm", x, self.sizes)
        if type(self.weight) is Uninferred:
            self.infer(weight=lengths(x)[-1:])
        return rms_norm(x, self.weight, axes, self.eps)

    def describe(self) -> str:
        """The sizes that were given, and what is not as usual."""
        return settings(
            *([] if None in self.sizes else [self.sizes]),
            eps=self.eps,
            affine=None if self.weight is not None else False,
        )
