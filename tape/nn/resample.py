"""Layers without parameters that move pixels: `Upsample`, `PixelShuffle`, `Unfold` and back."""

from __future__ import annotations

from typing import Any

from tape._core.tensor import Tensor
from tape.nn.arguments import count, settings
from tape.nn.module import Module
from tape.ops.interpolate import MODES, interpolate
from tape.ops.patches import fold, pixel_shuffle, pixel_unshuffle, unfold

__all__ = ["Fold", "PixelShuffle", "PixelUnshuffle", "Unfold", "Upsample"]


class Upsample(Module):
    """x resampled to another size, see `tape.interpolate` for arguments.

    Shapes: x (N, C, *s) -> y (N, C, *size)

    Raises:
        ValueError: size and scale_factor are given both or neither, or a mode is not known.
        ShapeError: x has other axes than the mode is for.

    >>> import tape
    >>> from tape import nn
    >>> nn.Upsample(scale_factor=2)(tape.ones((1, 3, 4, 5))).shape
    (1, 3, 8, 10)
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool = False,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"Upsample: takes either size or scale_factor, got {size!r} and {scale_factor!r}"
            )
        if mode not in MODES:
            raise ValueError(f"Upsample: mode {mode!r} is none of {', '.join(MODES)}")
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners = bool(align_corners)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def describe(self) -> str:
        """The size or scale, and what is not as usual."""
        return settings(
            size=self.size,
            scale_factor=self.scale_factor,
            mode=None if self.mode == "nearest" else self.mode,
            align_corners=self.align_corners or None,
        )


class PixelShuffle(Module):
    """Groups of r * r channels laid out as squares of pixels, see `tape.pixel_shuffle`.

    Shapes: x (..., C * r * r, H, W) -> y (..., C, H * r, W * r), r the upscale_factor

    Raises:
        ShapeError: the square of the factor does not divide the channels.
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = count("PixelShuffle", "upscale_factor", upscale_factor, least=1)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return pixel_shuffle(x, self.upscale_factor)

    def describe(self) -> str:
        """The factor."""
        return settings(self.upscale_factor)


class PixelUnshuffle(Module):
    """Squares of r * r pixels as that many channels, see `tape.pixel_unshuffle`.

    Shapes: x (..., C, H * r, W * r) -> y (..., C * r * r, H, W), r the downscale_factor

    Raises:
        ShapeError: the factor does not divide height and width.
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = count("PixelUnshuffle", "downscale_factor", downscale_factor, 1)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return pixel_unshuffle(x, self.downscale_factor)

    def describe(self) -> str:
        """The factor."""
        return settings(self.downscale_factor)


class Unfold(Module):
    """The windows of images as columns, see `tape.unfold` for arguments.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C * R * S, Ho * Wo) or (C * R * S, Ho * Wo)

    Raises:
        ShapeError: no window fits.
    """

    def __init__(self, kernel: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        self.kernel, self.dilation, self.padding, self.stride = kernel, dilation, padding, stride

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return unfold(x, self.kernel, self.dilation, self.padding, self.stride)

    def describe(self) -> str:
        """The window, and what is not as usual."""
        return settings(self.kernel, **_unusual(self))


class Fold(Module):
    """Images that are sums of columns, see `tape.fold` for arguments.

    Shapes: x (N, C * R * S, Ho * Wo) or (C * R * S, Ho * Wo) -> y (N, C, H, W) or (C, H, W)

    Raises:
        ShapeError: the columns are not those of windows over images of this size.
    """

    def __init__(
        self, output_size: Any, kernel: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        self.output_size = output_size
        self.kernel, self.dilation, self.padding, self.stride = kernel, dilation, padding, stride

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        settings = self.kernel, self.dilation, self.padding, self.stride
        return fold(x, self.output_size, *settings)

    def describe(self) -> str:
        """Size and window, and what is not as usual."""
        return settings(self.output_size, self.kernel, **_unusual(self))


def _unusual(layer: Unfold | Fold) -> dict[str, Any]:
    """Settings of windows that are not the usual ones."""
    usual = {"dilation": 1, "padding": 0, "stride": 1}
    return {name: getattr(layer, name) for name, n in usual.items() if getattr(layer, name) != n}
