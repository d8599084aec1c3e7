"""Pooling over sequences, N C L, and images, N C H W."""

from __future__ import annotations

from typing import Any

from tape._core.tensor import Tensor
from tape.nn import arguments
from tape.nn.arguments import each, naming, settings, shown
from tape.nn.module import Module
from tape.ops.adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
)
from tape.ops.geometry import each_axis
from tape.ops.pool import avg_pool2d, divisor_of, max_pool2d, pooling
from tape.ops.pool1d import avg_pool1d, max_pool1d

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "MaxPool1d",
    "MaxPool2d",
]


class Pool(Module):
    """What the windows of a pooling share; base of the four layers."""

    n_axes = 2

    def _set_windows(
        self, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any
    ) -> None:
        """Check the settings of the windows and keep them, in tuples."""
        name, n = type(self).__name__, self.n_axes
        self.kernel = each(name, "kernel", kernel, n, least=1)
        self.stride = self.kernel if stride is None else each(name, "stride", stride, n, least=1)
        self.dilation = each(name, "dilation", dilation, n, least=1)
        self.padding = arguments.padding(name, padding, self.kernel, self.stride, self.dilation)
        self.ceil_mode = bool(ceil_mode)
        flat = (1,) * (2 - n)
        with naming(name):  # it refuses what cannot be
            pads = padding if n == 2 else (0, *each_axis(padding, 1, "padding"))
            pooling(flat + self.kernel, flat + self.stride, pads, flat + self.dilation, ceil_mode)

    def _described(self, **more: Any) -> str:
        """The window, and what is not as usual."""
        return settings(
            shown(self.kernel),
            stride=None if self.stride == self.kernel else shown(self.stride),
            padding=None if self.padding == 0 else self.padding,
            dilation=None if set(self.dilation) == {1} else shown(self.dilation),
            ceil_mode=self.ceil_mode or None,
            **more,
        )


class MaxPool2d(Pool):
    """The largest element of each window.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo) with
    Ho = (H + 2 * padding - dilation * (R - 1) - 1) // stride + 1, rounded up in ceil_mode

    Args:
        kernel: window (R, S), or one number for both.
        stride: None for windows that do not overlap.
        padding: at most half of the window; never chosen.
        dilation: distance of a window's elements.
        ceil_mode: keep a last window that reaches beyond the padded image.
        return_indices: also give where in its image each of them stands, as `tape.max_pool2d`.

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.
    """

    pool: Any = staticmethod(max_pool2d)

    def __init__(
        self,
        kernel: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: Any = 0,
        dilation: int | tuple[int, ...] = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> None:
        self._set_windows(kernel, stride, padding, dilation, ceil_mode)
        self.return_indices = bool(return_indices)

    def forward(self, x: Any) -> Tensor | tuple[Tensor, Tensor]:
        """The result for x."""
        windows = self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode
        return self.pool(x, *windows, self.return_indices)

    def describe(self) -> str:
        """The window, and what is not as usual."""
        return self._described(return_indices=self.return_indices or None)


class MaxPool1d(MaxPool2d):
    """The largest element of each window of a sequence.

    Shapes: x (N, C, L) or (C, L) -> y (N, C, Lo) or (C, Lo), Lo as Ho of `MaxPool2d`

    Args:
        kernel, stride, padding, dilation, ceil_mode, return_indices: as for `MaxPool2d`, with one
            number each.

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.
    """

    n_axes = 1
    pool: Any = staticmethod(max_pool1d)


class AvgPool2d(Pool):
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
        self._set_windows(kernel, stride, padding, 1, ceil_mode)
        self.count_include_pad = bool(count_include_pad)
        self.divisor_override = divisor_override
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
        return self._described(
            count_include_pad=None if self.count_include_pad else False,
            divisor_override=self.divisor_override,
        )


class AvgPool1d(Pool):
    """The mean of each window of a sequence.

    Shapes: x (N, C, L) or (C, L) -> y (N, C, Lo) or (C, Lo), as `MaxPool1d`

    Args:
        kernel, stride, padding, ceil_mode, count_include_pad: as for `AvgPool2d`, with one number
            each.

    Raises:
        ShapeError: no window fits, or the padding is more than half of the window.
    """

    n_axes = 1

    def __init__(
        self,
        kernel: int | tuple[int],
        stride: int | tuple[int] | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self._set_windows(kernel, stride, padding, 1, ceil_mode)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        windows = self.kernel, self.stride, self.padding
        return avg_pool1d(x, *windows, self.ceil_mode, self.count_include_pad)

    def describe(self) -> str:
        """The window, and what is not as usual."""
        return self._described(count_include_pad=None if self.count_include_pad else False)


class AdaptivePool(Module):
    """Pooling to a given size; base of the four layers."""

    n_axes = 2
    pool: Any

    def __init__(self, output_size: int | tuple[int | None, ...] | None) -> None:
        name = type(self).__name__
        sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,)
        known = [n for n in sizes if n is not None]
        each(name, "output_size", tuple(known) or 0, len(known) or 1)
        given = [1 if n is None else n for n in sizes]
        with naming(name):
            each_axis(given, self.n_axes, "output_size")
        self.output_size = tuple(sizes) * (self.n_axes // len(sizes))

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return type(self).pool(x, self.output_size)

    def describe(self) -> str:
        """The size of the result."""
        return settings(shown(self.output_size))


class AdaptiveAvgPool2d(AdaptivePool):
    """The mean of each of as many bins as the result has pixels, see `tape.adaptive_avg_pool2d`.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, Ho, Wo) or (C, Ho, Wo)

    Args:
        output_size: (Ho, Wo), or one number for both; None keeps H or W.

    Raises:
        ShapeError: x has no pixels.

    >>> import tape
    >>> from tape import nn
    >>> nn.AdaptiveAvgPool2d((2, None))(tape.ones((1, 8, 7, 5))).shape
    (1, 8, 2, 5)
    """

    pool = staticmethod(adaptive_avg_pool2d)


class AdaptiveAvgPool1d(AdaptivePool):
    """The mean of each of `output_size` bins of a sequence, see `tape.adaptive_avg_pool1d`.

    Shapes: x (N, C, L) or (C, L) -> y (N, C, output_size) or (C, output_size)

    Raises:
        ShapeError: x has no elements along an axis.
    """

    n_axes, pool = 1, staticmethod(adaptive_avg_pool1d)


class AdaptiveMaxPool2d(AdaptivePool):
    """The largest element of each of as many bins as the result has pixels.

    Shapes, Args and Raises as `AdaptiveAvgPool2d`.
    """

    pool = staticmethod(adaptive_max_pool2d)


class AdaptiveMaxPool1d(AdaptivePool):
    """The largest element of each of `output_size` bins of a sequence.

    Shapes, Args and Raises as `AdaptiveAvgPool1d`.
    """

    n_axes, pool = 1, staticmethod(adaptive_max_pool1d)
