"""Convolution layers: `Conv1d`, `Conv2d`, `Conv3d`, `ConvTranspose1d`, `ConvTranspose2d`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.nn import arguments
from tape.nn.arguments import checked_activation, count, each, settings, shown
from tape.nn.init import Initialiser, glorot_uniform, zeros
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, parameter, size_at
from tape.ops.conv import conv2d
from tape.ops.conv_nd import conv1d, conv3d
from tape.ops.conv_transpose import conv_transpose1d, conv_transpose2d

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d"]

GLOROT = glorot_uniform()


class Convolution(Module):
    """What the layers of convolution share: window, channels, parameters; base of the five."""

    n_axes = 2
    convolve: Any = staticmethod(conv2d)

    def __init__(
        self,
        n_out: int,
        kernel: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: Any = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        activation: Any = None,
        n_in: int | None = None,
        init: Initialiser | None = None,
        init_bias: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        name, n = type(self).__name__, self.n_axes
        self.n_out = count(name, "n_out", n_out)
        self.kernel = each(name, "kernel", kernel, n, least=1)
        self.stride = each(name, "stride", stride, n, least=1)
        self.dilation = each(name, "dilation", dilation, n, least=1)
        window = self.kernel, self.stride, self.dilation
        self.padding = arguments.padding(name, padding, *window)
        self.groups = count(name, "groups", groups, least=1)
        if self.n_out % self.groups:
            raise ShapeError(f"{name}: {self.groups} groups do not divide n_out = {self.n_out}")
        self.activation = checked_activation(name, activation)
        known = None if n_in is None else count(name, "n_in", n_in)
        weight, shape = self._weight_shape(known), (self.n_out,)
        self.weight = parameter(self, "weight", weight, init, rng, dtype, default=GLOROT)
        self.bias = None
        if bias:
            self.bias = parameter(self, "bias", shape, init_bias, rng, dtype, default=zeros)

    @property
    def n_in(self) -> int | None:
        """Channels of x, None before they are inferred."""
        per_group = self.weight.shape[1]
        return None if per_group is None else per_group * self.groups

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        if type(self.weight) is Uninferred:
            self._infer_from(x)
        return self.convolve(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.activation,
        )

    def describe(self) -> str:
        """Channels, window, and what is not as usual."""
        return self._described()

    def _described(self, **more: Any) -> str:
        return settings(
            self.n_out,
            shown(self.kernel),
            stride=None if set(self.stride) == {1} else shown(self.stride),
            padding=None if self.padding == 0 else self.padding,
            **more,
            dilation=None if set(self.dilation) == {1} else shown(self.dilation),
            groups=None if self.groups == 1 else self.groups,
            bias=None if self.bias is not None else False,
            activation=self.activation,
        )

    def _infer_from(self, x: Any) -> None:
        n = self.n_axes + 1
        self.infer(weight=self._weight_shape(size_at(type(self).__name__, x, -n, n_axes=n)))

    def _weight_shape(self, n_in: int | None) -> tuple[Any, ...]:
        return (self.n_out, self._per_group(n_in), *self.kernel)

    def _per_group(self, n_in: int | None) -> int | None:
        if n_in is not None and n_in % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: {self.groups} groups do not divide n_in = {n_in}"
            )
        return None if n_in is None else n_in // self.groups


class Conv2d(Convolution):
    """activation(conv2d(x, weight) + bias): the same small product at every place of an image.

    Shapes: x (N, n_in, H, W), weight (n_out, n_in / groups, R, S), bias (n_out,) ->
    y (N, n_out, Ho, Wo) with Ho = (H + 2 * padding - dilation * (R - 1) - 1) // stride + 1;
    a single image x (n_in, H, W) gives y (n_out, Ho, Wo)

    Args:
        n_out: channels of the result.
        kernel: window (R, S), or one number for both.
        stride, dilation: whole numbers of at least 1, or pairs for H and W.
        padding: zeros around the image: a whole number, a pair, ((top, bottom), (left, right)),
            "valid" for none, or "same" for as many as keep H and W (stride 1 only).
        groups: channels are split into so many groups that do not see each other; divides `n_out`
            and `n_in`.
        bias: whether there is one.
        activation: function of the result, or None.
        n_in: channels of x; None takes them from the first x.
        init, init_bias: first values of `weight` and `bias`, see `tape.nn.init`; by default
            `glorot_uniform` and `zeros`.
        rng: generator that `init` draws from, by default that of `tape.random`.
        dtype: of the parameters, by default float32.

    Raises:
        ShapeError: x has other channels than `n_in`, no window fits, or `groups` does not divide.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.Conv2d(8, 3, padding=1, activation=tape.tanh)
    >>> layer(tape.ones((2, 3, 5, 5))).shape
    (2, 8, 5, 5)
    >>> layer
    Conv2d(8, 3, padding=1, activation=tanh): weight (8, 3, 3, 3), bias (8,): 224 parameters
    """


class Conv1d(Convolution):
    """activation(conv1d(x, weight) + bias): the same small product at every place of a sequence.

    Shapes: x (N, n_in, L), weight (n_out, n_in / groups, K), bias (n_out,) -> y (N, n_out, Lo) with
    Lo = (L + 2 * padding - dilation * (K - 1) - 1) // stride + 1; a single sequence x (n_in, L)
    gives y (n_out, Lo)

    Args:
        padding: zeros around the sequence: a whole number, ((left, right),), "valid" for none, or
            "same" for as many as keep L (stride 1 only).

    The others, and what is raised, are those of `Conv2d`, with one number for window and steps.

    >>> import tape
    >>> from tape import nn
    >>> nn.Conv1d(8, 3, padding="same")(tape.ones((2, 4, 9))).shape
    (2, 8, 9)
    """

    n_axes, convolve = 1, staticmethod(conv1d)


class Conv3d(Convolution):
    """activation(conv3d(x, weight) + bias): the same small product at every place of a volume.

    Shapes: x (N, n_in, D, H, W), weight (n_out, n_in / groups, T, R, S), bias (n_out,) ->
    y (N, n_out, Do, Ho, Wo), each length as in `Conv2d`; a single volume x (n_in, D, H, W) gives
    y (n_out, Do, Ho, Wo)

    Args:
        padding: zeros around the volume: a whole number, three, three pairs (before, after),
            "valid" for none, or "same" for as many as keep D, H and W (stride 1 only).

    The others, and what is raised, are those of `Conv2d`, with three numbers for window and steps.
    """

    n_axes, convolve = 3, staticmethod(conv3d)


class ConvTranspose2d(Convolution):
    """activation(conv_transpose2d(x, weight) + bias): each pixel spreads a multiple of the weight.

    Shapes: x (N, n_in, H, W), weight (n_in, n_out / groups, R, S), bias (n_out,) ->
    y (N, n_out, Ho, Wo) with
    Ho = (H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1; a single image
    x (n_in, H, W) gives y (n_out, Ho, Wo)

    Args:
        n_out: channels of the result.
        kernel: window (R, S), or one number for both.
        stride, dilation: whole numbers of at least 1, or pairs for H and W.
        padding: how much is cut off on every side, a whole number or a pair.
        output_padding: rows and columns more at the bottom and right, fewer than stride or
            dilation.
        groups: channels are split into so many groups that do not see each other; divides `n_out`
            and `n_in`.

    The others are those of `Conv2d`.

    Raises:
        ShapeError: x has other channels than `n_in`, nothing is left of the result, or `groups`
            does not divide.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.ConvTranspose2d(8, 4, stride=2, padding=1)
    >>> layer(tape.ones((2, 3, 5, 5))).shape
    (2, 8, 10, 10)
    >>> layer
    ConvTranspose2d(8, 4, stride=2, padding=1): weight (3, 8, 4, 4), bias (8,): 392 parameters
    """

    convolve = staticmethod(conv_transpose2d)

    def __init__(
        self,
        n_out: int,
        kernel: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        **more: Any,
    ) -> None:
        name, n = type(self).__name__, self.n_axes
        self.output_padding = each(name, "output_padding", output_padding, n)
        pads = each(name, "padding", padding, n)
        super().__init__(n_out, kernel, stride, 0, dilation, groups, bias, **more)
        self.padding = shown(pads)
        steps = zip(self.stride, self.dilation, self.output_padding, strict=True)
        for s, d, extra in steps:
            if extra >= max(s, d):
                raise ShapeError(
                    f"{name}: output_padding {extra} must be less than stride {s} or dilation {d}"
                )

    @property
    def n_in(self) -> int | None:
        """Channels of x, None before they are inferred."""
        return self.weight.shape[0]

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        if type(self.weight) is Uninferred:
            self._infer_from(x)
        y = self.convolve(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )
        return y if self.activation is None else self.activation(y)

    def describe(self) -> str:
        """Channels, window, and what is not as usual."""
        extra = self.output_padding
        return self._described(output_padding=None if set(extra) == {0} else shown(extra))

    def _weight_shape(self, n_in: int | None) -> tuple[Any, ...]:
        self._per_group(n_in)
        return (n_in, self.n_out // self.groups, *self.kernel)


class ConvTranspose1d(ConvTranspose2d):
    """activation(conv_transpose1d(x, weight) + bias): elements spread multiples of the weight.

    Shapes: x (N, n_in, L), weight (n_in, n_out / groups, K), bias (n_out,) -> y (N, n_out, Lo), Lo
    as Ho of `ConvTranspose2d`; a single sequence x (n_in, L) gives y (n_out, Lo)

    Arguments and what is raised are those of `ConvTranspose2d`, with one number for window and
    steps.
    """

    n_axes, convolve = 1, staticmethod(conv_transpose1d)
