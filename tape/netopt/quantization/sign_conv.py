"""`SignConv2d`: a convolution of floats of which nothing but signs is left."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tape._core.memory import unchanged
from tape._kernels.bits import PackedBits
from tape._kernels.conv import conv2d_signs
from tape.errors import DTypeError, ShapeError
from tape.netopt.made import Made
from tape.netopt.quantization.binary_layers import RULES
from tape.netopt.quantization.native import BitLayer
from tape.nn.arguments import settings, shown
from tape.ops.geometry import padding_pairs
from tape.ops.signs import NO_BORDER

__all__ = ["SignConv2d"]


class SignConv2d(BitLayer):
    """The signs of a `Conv2d`, packed: what one in front of binary layers becomes, forward only.

    The sums are those of the convolution, to the last bit, but they are never written: their signs
    are packed while they are in the cache.

    Shapes: x (N, n_in, H, W) or (n_in, H, W) -> packed signs, as `nn.Conv2d` has its results

    Args:
        layer: the trained `nn.Conv2d`, of one group. Its activation is left out: it has to keep
            signs.
        zero: the sign of 0, -1 or 1.

    >>> import tape
    >>> from tape import nn
    >>> from tape.netopt.quantization.sign_conv import SignConv2d
    >>> conv, x = nn.Conv2d(8, 3, n_in=1), tape.random.normal((2, 1, 5, 5))
    >>> bits = SignConv2d(conv, -1)(x)
    >>> bool(((tape.unpack_bits(bits) > 0) == (conv(x) > 0)).all())
    True
    """

    weight: Any
    bias: Any

    def __init__(self, layer: Any, zero: int) -> None:
        self.n_out, self.n_in, self.kernel = layer.n_out, layer.n_in, layer.kernel
        self.stride, self.dilation = layer.stride, layer.dilation
        self.padding = padding_pairs(layer.padding, self.kernel, self.stride, self.dilation)
        self.zero = zero
        self.border: Any = NO_BORDER  # of what comes out
        self.register_buffer("weight", np.array(layer.weight.numpy(), order="C"))
        self.register_buffer("bias", None if layer.bias is None else np.array(layer.bias.numpy()))
        self.made = Made()
        self.eval()

    def compute(self, x: Any, lead: tuple[int, ...] | None) -> PackedBits:
        """The packed signs for images."""
        if type(x) is PackedBits:
            raise DTypeError("SignConv2d: x holds packed signs, expected float32 or float64")
        array = x.numpy() if lead is None else x.numpy()[None]
        own, (_, known, operands) = vars(self), self.made.last
        if operands is None or not unchanged(own, known):
            known = [(n, own[n].numpy()) for n in ("weight", "bias") if own[n] is not None]
            operands = [view for _, view in known] + [None]
            self.made.last = None, known, operands
        w, b, *_ = operands
        geometry = self.stride, self.padding, self.dilation
        try:
            return conv2d_signs(array, w, *geometry, b, RULES[self.zero], self.border)
        except ValueError as error:  # other channels, or no window fits
            raise ShapeError(f"SignConv2d: {error}") from None

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs."""
        return math.prod(y_shape) * math.prod(self.weight.shape[1:])

    def describe(self) -> str:
        """The sizes, and what comes out."""
        stride = None if set(self.stride) == {1} else shown(self.stride)
        return settings(self.n_out, shown(self.kernel), stride=stride, gives="bits")
