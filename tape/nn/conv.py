"""`Conv2d` and pooling over images, N C H W."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.nn import arguments
from tape.nn.arguments import checked_activation, count, naming, pair, settings
from tape.nn.init import Initialiser, glorot_uniform, zeros
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, parameter, size_at
from tape.ops.conv import conv2d
from tape.ops.pool import avg_pool2d, divisor_of, max_pool2d, pooling

__all__ = ["AvgPool2d", "Conv2d", "MaxPool2d"]


class Conv2d(Module):
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
        init, init_bias: first values of `weight` and `bias`, see `tape.nn.init`.
        rng: generator that `init` draws from, by default that of `tape.random`.
        dtype: of the parameters.

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

    def __init__(
        self,
        n_out: int,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Any = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        activation: Any = None,
        n_in: int | None = None,
        init: Initialiser = glorot_uniform(),  # noqa: B008, it has no state
        init_bias: Initialiser = zeros,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.n_out = count("Conv2d", "n_out", n_out)
        self.kernel = pair("Conv2d", "kernel", kernel, least=1)
        self.stride = pair("Conv2d", "stride", stride, least=1)
        self.dilation = pair("Conv2d", "dilation", dilation, least=1)
        window = self.kernel, self.stride, self.dilation
        self.padding = arguments.padding("Conv2d", padding, *window)
        self.groups = count("Conv2d", "groups", groups, least=1)
        if self.n_out % self.groups:
            raise ShapeError(f"Conv2d: {groups} groups do not divide n_out = {n_out}")
        self.activation = checked_activation("Conv2d", activation)
        known = None if n_in is None else count("Conv2d", "n_in", n_in)
        self.weight = parameter("Conv2d", self._weight_shape(known), init, rng, dtype)
        self.bias = parameter("Conv2d", (self.n_out,), init_bias, rng, dtype) if bias else None

    @property
    def n_in(self) -> int | None:
        """Channels of x, None before they are inferred."""
        per_group = self.weight.shape[1]
        return None if per_group is None else per_group * self.groups

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        if type(self.weight) is Uninferred:
            self.infer(weight=self._weight_shape(size_at("Conv2d", x, -3, n_axes=3)))
        return conv2d(
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
        return settings(
            self.n_out,
            self.kernel,
            stride=None if self.stride == (1, 1) else self.stride,
            padding=None if self.padding == 0 else self.padding,
            dilation=None if self.dilation == (1, 1) else self.dilation,
            groups=None if self.groups == 1 else self.groups,
            bias=None if self.bias is not None else False,
            activation=self.activation,
        )

    def _weight_shape(self, n_in: int | None) -> tuple[Any, ...]:
        if n_in is not None and n_in % self.groups:
            raise ShapeError(f"Conv2d: {self.groups} groups do not divide n_in = {n_in}")
        return (self.n_out, None if n_in is None else n_in // self.groups, *self.kernel)


class MaxPool2d(Module):
    """The largest element of each window.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo) with
    Ho = (H + 2 * padding - dilation * (R - 1) - 1) // stride + 1, rounded up in ceil_mode

    Args:
        kernel: window (R, S), or one number for both.
        stride: None for windows that do not overlap.
        padding: at most half of the window; never chosen.
        dilation: distance of a window's elements.
        ceil_mode: keep a last window that reaches beyond the padded image.

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.
    """

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: Any = 0,
        dilation: int | tuple[int, int] = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel, self.stride = _window("MaxPool2d", kernel, stride)
        self.dilation = pair("MaxPool2d", "dilation", dilation, least=1)
        window = self.kernel, self.stride, self.dilation
        self.padding = arguments.padding("MaxPool2d", padding, *window)
        self.ceil_mode = bool(ceil_mode)
        with naming("MaxPool2d"):
            pooling(self.kernel, self.stride, padding, self.dilation, ceil_mode)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return max_pool2d(x, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def describe(self) -> str:
        """The window, and what is not as usual."""
        return settings(
            self.kernel,
            stride=None if self.stride == self.kernel else self.stride,
            padding=None if self.padding == 0 else self.padding,
            dilation=None if self.dilation == (1, 1) else self.dilation,
            ceil_mode=self.ceil_mode or None,
        )


class AvgPool2d(Module):
    """The mean of each window.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo), as `MaxPool2d`

    Args:
        kernel: window (R, S), or one number for both.
        stride: None for windows that do not overlap.
        padding: at most half of the window.
        ceil_mode: keep a last window that reaches beyond the padded image.
        count_include_pad: divide by the window's size even where it lies on padding.
        divisor_override: an integer to divide the sum of every window by instead.

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.
    """

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel, self.stride = _window("AvgPool2d", kernel, stride)
        self.padding = arguments.padding("AvgPool2d", padding, self.kernel, self.stride, (1, 1))
        self.ceil_mode = bool(ceil_mode)
        self.count_include_pad = bool(count_include_pad)
        self.divisor_override = divisor_override
        with naming("AvgPool2d"):  # these refuse what cannot be
            pooling(self.kernel, self.stride, padding, 1, ceil_mode)
        divisor_of(divisor_override)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return avg_pool2d(
            x,
            self.kernel,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def describe(self) -> str:
        """The window, and what is not as usual."""
        return settings(
            self.kernel,
            stride=None if self.stride == self.kernel else self.stride,
            padding=None if self.padding == 0 else self.padding,
            ceil_mode=self.ceil_mode or None,
            count_include_pad=None if self.count_include_pad else False,
            divisor_override=self.divisor_override,
        )


def _window(layer: str, kernel: Any, stride: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Window and stride in pairs; the stride is the window unless given."""
    window = pair(layer, "kernel", kernel, least=1)
    return window, window if stride is None else pair(layer, "stride", stride, least=1)
