"""Lowered binary layers: packed weights, integer counts, and signs that pass as bits between them.

Note [Bits between layers]
What a lowered layer takes are numbers, whose signs it packs, or signs that are packed already: as
images (N, C, H, W), or (N, n) from a dense layer. What it gives are numbers, or, if it has `least`
and `flip`, packed signs: its scale, its bias, its activation and a batch norm behind it have become
a threshold. Where more must be known, that x needs a gradient or has other leading axes than one,
`Passed` goes along with the bits.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tape._core.memory import adopt, asarray, unchanged
from tape._core.state import no_grad
from tape._core.tensor import Tensor
from tape._kernels.bit_filters import BitFilters
from tape._kernels.bits import PackedBits, binary_pool, pack, words_as
from tape.errors import ShapeError
from tape.netopt.lowered import Lowered, forward_only
from tape.netopt.made import Made
from tape.netopt.quantization.binary_layers import RULES, input_strength, strengths
from tape.nn.arguments import settings, shown
from tape.nn.module import Module
from tape.ops.geometry import padding_pairs
from tape.ops.shape import reshape
from tape.ops.signs import NO_BORDER, floats

__all__ = ["BitMaxPool2d", "Native", "NativeBinaryConv2d", "NativeBinaryDense", "Passed"]


class Passed(NamedTuple):
    """Packed signs, the tensor they come from if it needs a gradient, and its leading axes.

    These are None if they are one, as in a batch; a single image has none, ().
    """

    bits: PackedBits
    source: Tensor | None
    lead: tuple[int, ...] | None


class BitLayer(Lowered):
    """Base of what takes numbers or packed signs, see Note [Bits between layers].

    A subclass computes in `compute`, and records nothing.
    """

    def forward(self, x: Any) -> Any:
        """The result for numbers or packed signs."""
        source, lead = None, None
        if type(x) is Passed:
            x, source, lead = x
        elif type(x) is not PackedBits:
            x = floats(asarray(x), type(self).__name__)
            source = x if x.requires_grad else None
            lead = self.leading(x.shape)
        y = self.compute(x, lead)
        if type(y) is PackedBits:
            return y if source is None and lead is None else Passed(y, source, lead)
        if lead is not None:
            y = reshape(y, (*lead, *y.shape[1:]))
        return y if source is None else forward_only(source, y, layer=type(self).__name__)

    def leading(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The leading axes, None if they are one; ShapeError if it is no image."""
        if len(shape) not in (3, 4):
            raise ShapeError(
                f"{type(self).__name__}: x must be (N, C, H, W) or (C, H, W), got {shape}"
            )
        return None if len(shape) == 4 else ()

    def compute(self, x: Any, lead: tuple[int, ...] | None) -> Any:
        """The result for a tensor with these leading axes, or for packed signs."""
        raise NotImplementedError


class Native(BitLayer):
    """A lowered binary layer; base of the two, made of a trained one.

    Its buffers are `words`, the signs of the weight, 64 to a number; `scale` and `bias`, one number
    a filter; or in place of these two `least` and `flip`, see `tape.BitFilters`.
    """

    kernel: tuple[int, ...] = (1, 1)
    groups = 1
    words: Any
    scale: Any
    bias: Any
    least: Any
    flip: Any

    def __init__(self, layer: Any) -> None:
        w = layer.weight
        self.n_out, self.n_in, self.dtype = layer.n_out, layer.n_in, w.dtype
        self.zero, self.input_scale = layer.zero, layer.input_scale
        self.activation = layer.activation
        self.border: Any = NO_BORDER  # of bits that come out
        self.is_normed = False  # whether a batch norm is folded in, which takes (N, C, ...) alone
        self.turned: np.ndarray | None = None  # channels of x whose signs come turned
        self.made = Made()
        with no_grad():
            scale = strengths(w, layer.scale)
        self.register_buffer("words", packed_words(w.numpy(), layer.zero))
        self.register_buffer("scale", None if scale is None else scale.numpy())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.numpy())
        self.register_buffer("least", None)
        self.register_buffer("flip", None)
        self.eval()

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """That of the trained weight."""
        return (self.n_out, self.n_in // self.groups, *self.kernel)

    @property
    def reach(self) -> int:
        """How many signs a filter has."""
        return math.prod(self.weight_shape[1:])

    @property
    def n_weights(self) -> int:
        """How many signs the filters have, and numbers the bias or the thresholds."""
        ends = (t.size for t in (self.bias, self.least) if t is not None)
        return self.n_out * self.reach + sum(ends)

    @property
    def rule(self) -> str:
        """Which numbers have the sign -1."""
        return RULES[self.zero]

    def give_signs(self, least: np.ndarray, flip: np.ndarray) -> None:
        """Have packed signs come out in place of numbers."""
        self.scale = self.bias = self.activation = None
        self.register_buffer("least", least)
        self.register_buffer("flip", flip)

    def turn(self, turned: np.ndarray) -> None:
        """Expect the other sign in those channels of x."""
        w = signs_of(self.words.numpy(), self.weight_shape)
        parts = (
            self.groups,
            -1,
            turned.size // self.groups,
            w[0].size * self.groups // turned.size,
        )
        w = w.reshape(parts)
        w = np.where(turned.reshape(self.groups, 1, -1, 1), -w, w)
        self.register_buffer("words", packed_words(w, -1))
        self.turned = turned

    def filters(self, shape: tuple[int, ...], *geometry: Any) -> BitFilters:
        """The filters of the buffers, made once.

        Args:
            shape: in which the weight is a kernel.
            geometry: the further arguments of `BitFilters`.
        """
        own = vars(self)
        key, known, filters = self.made.last
        if key != shape or not unchanged(own, known):
            names = "words", "scale", "bias", "least", "flip"
            arrays: Any = {n: own[n].numpy() for n in names if own[n] is not None}
            known = list(arrays.items())
            w = signs_of(arrays.pop("words"), self.weight_shape)
            if not self.is_plain(self.dtype):
                arrays = {n: array for n, array in arrays.items() if n in ("least", "flip")}
            filters = BitFilters(pack(w.reshape(shape), 1), *geometry, **arrays)
            self.made.last = shape, known, filters
        return filters

    def is_plain(self, dtype: Any) -> bool:
        """Whether scale and bias can be left to `BitFilters`, which counts in float32."""
        return dtype == np.float32 and not self.input_scale

    def numbers(self, filters: BitFilters, bits: PackedBits, x: Any, n_axes: int) -> np.ndarray:
        """What the trained layer gives before its activation: (N, n_out, Ho, Wo).

        Args:
            filters: of the weight.
            bits: the signs of x.
            x: a tensor, or packed signs.
            n_axes: axes of an example of x.
        """
        dtype = self.dtype if type(x) is PackedBits else np.result_type(x.dtype, self.dtype)
        if self.is_plain(dtype):
            return filters.scaled(bits)
        y = filters.counts(bits).astype(dtype)
        column = (self.n_out, 1, 1)
        if self.scale is not None:
            y *= self.scale.numpy().reshape(column)
        if self.input_scale:
            strength = input_strength(x, n_axes).numpy()
            y *= strength.reshape(-1, 1, 1, 1) if n_axes == 3 else strength.reshape(1, 1, 1, -1)
        if self.bias is not None:
            y += self.bias.numpy().reshape(column)
        return y

    def activated(self, y: np.ndarray) -> Tensor:
        """The result, of numbers that nobody else holds."""
        made = adopt(y)
        if self.activation is None:
            return made
        if not isinstance(self.activation, Module):
            return self.activation(made)
        with no_grad():  # it may have parameters
            return self.activation(made)

    def refuse_lead(self, lead: tuple[int, ...] | None) -> None:
        """ShapeError if a batch norm is folded in and x is not of its form."""
        if self.is_normed and lead is not None:
            raise ShapeError(f"{type(self).__name__}: with its batch norm takes batches alone")

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs, of one bit."""
        return math.prod(y_shape) * self.reach

    def describe(self) -> str:
        """The sizes, what comes out, and what is not as usual."""
        kernel = [] if self.kernel == (1, 1) else [shown(self.kernel)]
        gives = None if self.least is None else "bits"
        return settings(self.n_out, *kernel, gives=gives, activation=self.activation)


class NativeBinaryConv2d(Native):
    """A `BinaryConv2d`, lowered: integer counts of packed signs, forward only.

    Shapes: as `BinaryConv2d`

    Args:
        layer: a trained `BinaryConv2d`.

    >>> import tape
    >>> from tape.netopt.quantization import BinaryConv2d, NativeBinaryConv2d
    >>> trained, x = BinaryConv2d(8, 3, n_in=40), tape.random.normal((2, 40, 5, 5))
    >>> fast = NativeBinaryConv2d(trained)
    >>> (fast(x) == trained(x)).all().item()
    True
    >>> fast.words.shape, fast.words.dtype
    ((45,), dtype('uint64'))
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.kernel, self.stride, self.dilation = layer.kernel, layer.stride, layer.dilation
        self.padding = padding_pairs(layer.padding, self.kernel, self.stride, self.dilation)
        self.groups = layer.groups

    def compute(self, x: Any, lead: tuple[int, ...] | None) -> Any:
        """The result for images."""
        if lead is not None:
            self.refuse_lead(lead)
        bits = x
        if type(x) is not PackedBits:
            array = x.numpy()
            array = array[None] if lead is not None else array
            (top, bottom), (left, right) = self.padding
            bits = pack(array, 1, self.rule, 1.0, (top, bottom, left, right))
        filters = self.filters(
            self.weight_shape, self.stride, self.padding, self.dilation, self.groups
        )
        try:
            if self.least is not None:
                return filters.signs(bits, self.border)
            y = self.numbers(filters, bits, x, 3)
        except ValueError as error:  # other channels, or no window fits
            raise ShapeError(f"NativeBinaryConv2d: {error}") from None
        return self.activated(y)


class NativeBinaryDense(Native):
    """A `BinaryDense`, lowered: integer counts of packed signs, forward only.

    Shapes: as `BinaryDense`; packed images (N, C, H, W) are flattened

    Args:
        layer: a trained `BinaryDense`.
    """

    def leading(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The leading axes, None if they are one."""
        if not shape or shape[-1] != self.n_in:
            raise ShapeError(f"NativeBinaryDense: x {shape} has not {self.n_in} features")
        return None if len(shape) == 2 else shape[:-1]

    def compute(self, x: Any, lead: tuple[int, ...] | None) -> Any:
        """The result for rows, or for packed images."""
        self.refuse_lead(lead)
        bits = x if type(x) is PackedBits else pack(x.numpy().reshape(-1, self.n_in), 1, self.rule)
        n, rest = bits.shape[0], bits.shape[1:]
        if math.prod(rest) != self.n_in or (len(rest) > 1 and lead is not None):
            raise ShapeError(f"NativeBinaryDense: x {x.shape} has not {self.n_in} features")
        shape = (self.n_out, *rest) if len(rest) == 3 else (self.n_out, self.n_in, 1, 1)
        if len(rest) == 1:  # rows are pixels of one image, so that they share what is read of w
            words = bits.words.reshape(1, 1, *bits.words.shape)
            bits = words_as(words, (1, self.n_in, 1, n), 1)
        if not n:
            return self.nothing(x)
        filters = self.filters(shape)
        if self.least is not None:
            return words_as(filters.signs(bits).words.reshape(n, -1), (n, self.n_out), 1)
        y = self.numbers(filters, bits, x, 1)
        rows = y.reshape(n, self.n_out) if bits.shape[0] == n != 1 else y[0, :, 0, :].T
        return self.activated(np.ascontiguousarray(rows))

    def nothing(self, x: Any) -> Any:
        """The result for no rows."""
        if self.least is not None:
            return words_as(np.zeros((0, (self.n_out + 31) // 32), np.uint32), (0, self.n_out), 1)
        dtype = self.dtype if type(x) is PackedBits else np.result_type(x.dtype, self.dtype)
        return self.activated(np.zeros((0, self.n_out), dtype))


class BitMaxPool2d(BitLayer):
    """The greatest sign of each window: what a `MaxPool2d` in front of a binary layer becomes.

    Shapes: x (N, C, H, W) or (C, H, W), numbers or packed signs -> packed signs

    Args:
        layer: the `nn.MaxPool2d`, without ceil_mode.
        zero: the sign of 0.
        border: pixels (top, bottom, left, right) to leave around the result.
    """

    def __init__(self, layer: Any, zero: int, border: Any = NO_BORDER) -> None:
        self.kernel, self.stride, self.dilation = layer.kernel, layer.stride, layer.dilation
        self.padding = padding_pairs(layer.padding, self.kernel, self.stride, self.dilation)
        self.zero, self.border = zero, border
        self.eval()

    def compute(self, x: Any, lead: tuple[int, ...] | None) -> Any:
        """The packed signs for images."""
        if type(x) is not PackedBits:
            array = x.numpy()
            x = pack(array[None] if lead is not None else array, 1, RULES[self.zero])
        geometry = self.stride, self.padding, self.dilation
        try:
            return binary_pool(x, self.kernel, *geometry, border=self.border)
        except ValueError as error:  # no window fits
            raise ShapeError(f"BitMaxPool2d: {error}") from None

    def describe(self) -> str:
        """The window."""
        stride = None if self.stride == self.kernel else shown(self.stride)
        return settings(shown(self.kernel), stride=stride)


def packed_words(weight: np.ndarray, zero: int) -> np.ndarray:
    """The signs of a weight in C order, one bit each, 64 to a number: 1 stands for -1."""
    bits = np.packbits(~(weight > 0) if zero == -1 else weight < 0, bitorder="little")
    return np.pad(bits, (0, -bits.size % 8)).view("<u8").astype(np.uint64)


def signs_of(words: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The weight of signs, 1.0 and -1.0, that was packed."""
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    return 1 - 2 * bits[: math.prod(shape)].reshape(shape).astype(np.float32)
