"""`LookupConv2d`: a convolution whose filters look up a dictionary, and `LoweredLookupConv2d`.

Note [Lookups]
The weight at each place of a filter, a vector over channels, is a sum of a few multiples of vectors
that all filters share. So the image meets each vector of the dictionary once, in a convolution with
a window of 1 x 1, and the layer adds multiples of the maps that this gives, shifted by where in the
filter they stand. The maps are laid out with the zeros around the image in them, those pixels
together that one step of the window passes, so that every shift is one number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tape._core.memory import adopt, asarray
from tape._core.tensor import Tensor
from tape._kernels.product import MatrixProduct
from tape._kernels.shifts import shifted_sums
from tape.errors import ShapeError, TapeError
from tape.netopt.lowered import Lowered
from tape.netopt.made import Made
from tape.netopt.quantization.binary_layers import straight_through
from tape.netopt.sparsification.dictionary import strongest
from tape.nn.arguments import checked_activation, count, each, number, settings, shown
from tape.nn.arguments import padding as checked_padding
from tape.nn.init import Initialiser, glorot_uniform, zeros
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, parameter, size_at
from tape.ops.activation import relu
from tape.ops.conv import conv2d, correlated, geometry_of
from tape.ops.elementwise import abs as magnitude
from tape.ops.geometry import Geometry, known_float
from tape.ops.linalg import matmul
from tape.ops.reduce import sum as total
from tape.ops.shape import permute_dims

__all__ = ["LookupConv2d", "LoweredLookupConv2d"]

GLOROT = glorot_uniform()
MULTIPLY = MatrixProduct()


class LookupConv2d(Module):
    """activation(conv2d(x, W) + bias), whose filters W are made of a dictionary by a few lookups.

    W[:, :, r, s] = kept(coefficients[:, :, r, s]) @ dictionary

    `coefficients` is dense and learns everywhere: of each place of a filter the `lookups` largest
    count, of those above `threshold`, and what does not count gets the gradient as if it did. To
    have fewer than `lookups`, add a multiple of `penalty()` to the loss.

    Shapes: x (N, n_in, H, W), dictionary (size, n_in / groups), coefficients (n_out, size, R, S),
    bias (n_out,) -> y (N, n_out, Ho, Wo), as `nn.Conv2d`

    Args:
        n_out: channels of the result.
        kernel: window (R, S), or one number for both.
        size: how many vectors the dictionary has, >= 1.
        lookups: how many of them a place of a filter is made of, from 1 to size.
        threshold: coefficients count only above it, >= 0.

    The others are those of `nn.Conv2d`.

    Raises:
        ShapeError: x has other channels than `n_in`, no window fits, or `groups` does not divide.
        ValueError: a setting is out of range.

    Source: Bagherinezhad, Rastegari and Farhadi, LCNN, 2016, arXiv 1611.06473, section 3; the
    straight way of the gradient is ours.

    >>> import tape
    >>> from tape import netopt
    >>> layer = netopt.sparsification.LookupConv2d(8, 3, size=6, lookups=2, padding=1)
    >>> layer(tape.ones((2, 12, 5, 5))).shape
    (2, 8, 5, 5)
    """

    def __init__(
        self,
        n_out: int,
        kernel: int | tuple[int, ...],
        size: int,
        lookups: int = 3,
        threshold: float = 0.0,
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
        name = "LookupConv2d"
        self.n_out = count(name, "n_out", n_out)
        self.kernel = each(name, "kernel", kernel, 2, least=1)
        self.size = count(name, "size", size, least=1)
        self.lookups = count(name, "lookups", lookups, least=1)
        if self.lookups > self.size:
            raise ValueError(f"{name}: lookups = {lookups} are more than size = {size}")
        self.threshold = number(name, "threshold", threshold, 0)
        self.stride = each(name, "stride", stride, 2, least=1)
        self.dilation = each(name, "dilation", dilation, 2, least=1)
        self.padding = checked_padding(name, padding, self.kernel, self.stride, self.dilation)
        self.groups = count(name, "groups", groups, least=1)
        if self.n_out % self.groups:
            raise ShapeError(f"{name}: {self.groups} groups do not divide n_out = {self.n_out}")
        self.activation = checked_activation(name, activation)
        known = None if n_in is None else count(name, "n_in", n_in)
        more = init, rng, dtype
        self.dictionary = parameter(
            self, "dictionary", self.dictionary_shape(known), *more, default=GLOROT
        )
        shape = (self.n_out, self.size, *self.kernel)
        self.coefficients = parameter(self, "coefficients", shape, *more, default=GLOROT)
        self.bias = None
        if bias:
            shape = (self.n_out,)
            self.bias = parameter(self, "bias", shape, init_bias, rng, dtype, default=zeros)

    def dictionary_shape(self, n_in: int | None) -> tuple[Any, ...]:
        """Shape of the dictionary for so many channels of x."""
        if n_in is not None and n_in % self.groups:
            raise ShapeError(f"LookupConv2d: {self.groups} groups do not divide n_in = {n_in}")
        return self.size, None if n_in is None else n_in // self.groups

    @property
    def n_in(self) -> int | None:
        """Channels of x, None before they are inferred."""
        per_group = self.dictionary.shape[1]
        return None if per_group is None else per_group * self.groups

    @property
    def weight(self) -> Tensor:
        """The filters (n_out, n_in / groups, R, S), made of the dictionary each time."""
        p = self.coefficients
        kept = Tensor(strongest(p.numpy(), self.lookups, self.threshold))
        rows = permute_dims(straight_through(p, kept, window=math.inf), (0, 2, 3, 1))
        return permute_dims(matmul(rows, self.dictionary), (0, 3, 1, 2))

    def penalty(self) -> Tensor:
        """The sum of |coefficients|, of which a multiple in the loss makes many of them 0."""
        return total(magnitude(self.coefficients))

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        if type(self.dictionary) is Uninferred:
            self.infer(dictionary=self.dictionary_shape(size_at("LookupConv2d", x, -3, n_axes=3)))
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

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs once it is lowered."""
        return cost_of(self, x, y_shape)

    def describe(self) -> str:
        """Channels, window, and what is not as usual."""
        return described(self)


def cost_of(layer: Any, x: Any, y_shape: tuple[int, ...]) -> int:
    """Multiply-adds of maps and lookups."""
    maps = math.prod(x.shape) * layer.size
    return maps + math.prod(y_shape) * layer.lookups * math.prod(layer.kernel)


def described(layer: Any) -> str:
    """Channels, window, dictionary, lookups, and what is not as usual."""
    return settings(
        layer.n_out,
        shown(layer.kernel),
        size=layer.size,
        lookups=layer.lookups,
        threshold=layer.threshold or None,
        stride=None if set(layer.stride) == {1} else shown(layer.stride),
        padding=None if layer.padding == 0 else layer.padding,
        dilation=None if set(layer.dilation) == {1} else shown(layer.dilation),
        groups=None if layer.groups == 1 else layer.groups,
        bias=None if layer.bias is not None else False,
        activation=layer.activation,
    )


class LoweredLookupConv2d(Lowered):
    """A `LookupConv2d`, lowered: maps of the dictionary, and lookups in them.

    Buffers: dictionary (size, n_in / groups); index and factor (n_out, lookups, R, S), which
    vectors are looked up and what multiplies them, 0 where fewer are needed; bias.

    Shapes: as the layer

    Args:
        layer: the trained one.
    """

    dictionary: Any
    index: Any
    factor: Any
    bias: Any

    def __init__(self, layer: LookupConv2d) -> None:
        names = ("n_out", "kernel", "size", "lookups", "threshold", "stride", "padding", "dilation")
        for name in (*names, "groups", "n_in", "activation"):
            setattr(self, name, getattr(layer, name))
        self.made = Made()
        p = strongest(layer.coefficients.numpy(), self.lookups, self.threshold)
        index = np.argsort(p == 0, axis=1, kind="stable")[:, : self.lookups]
        self.register_buffer("dictionary", layer.dictionary.numpy())
        self.register_buffer("index", index.astype(np.uint8 if self.size <= 256 else np.int32))
        self.register_buffer("factor", np.take_along_axis(p, index, axis=1))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.numpy())
        self.eval()

    def run(self, x: Any) -> Any:
        """The result for images."""
        x = asarray(x)
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"LoweredLookupConv2d: x must be (N, C, H, W) or (C, H, W), got {x.shape}"
            )
        images = known_float(x.numpy())
        images = images[None] if x.ndim == 3 else images
        shape = self.n_out, self.dictionary.shape[1], *self.kernel
        try:
            geometry = geometry_of(shape, self.stride, self.padding, self.dilation, self.groups)
            _, _, rows, width = result = correlated(images.shape, shape, geometry=geometry)
        except TapeError as error:
            error.op = "LoweredLookupConv2d"
            raise
        dtype = np.result_type(images.dtype, self.dictionary.dtype)
        if 0 in result:
            y = np.zeros(result, dtype)
        else:
            laid = laid_out(images.astype(dtype, copy=False), self.kernel, geometry, (rows, width))
            maps = MULTIPLY(self.dictionary.numpy().astype(dtype, copy=False), laid[0])
            starts, offsets, factors = self.terms(laid[1], geometry)
            bias = None if self.bias is None else self.bias.numpy().astype(dtype, copy=False)
            y = shifted_sums(
                maps.reshape(len(images), math.prod(maps.shape[1:])),
                starts,
                offsets,
                factors.astype(dtype, copy=False),
                bias,
                rows,
                width,
                laid[1][1],
                relu=self.activation is relu,
            )
        made = adopt(y[0] if x.ndim == 3 else y)
        is_done = self.activation is None or (self.activation is relu and made.size)
        return made if is_done else self.activation(made)

    def terms(self, plane: tuple[int, int], geometry: Geometry) -> tuple[Any, Any, Any]:
        """(starts, offsets, factors) of all that is not 0, made once for a size of images.

        Args:
            plane: rows and columns of a map's parts, see `laid_out`.
            geometry: the settings in pairs.
        """

        def make() -> tuple[Any, Any, Any]:
            index, factor = self.index.numpy().astype(np.intp), self.factor.numpy()
            if index.size and not 0 <= index.min() <= index.max() < self.size:
                raise TapeError(
                    f"LoweredLookupConv2d: its index looks up vectors {index.min()} to "
                    f"{index.max()} of a dictionary of {self.size}"
                )
            (down, right), (high, wide) = geometry.stride, plane
            n = self.n_out // self.groups
            group = np.repeat(np.arange(self.groups), n).reshape(-1, 1, 1, 1)
            r = (np.arange(self.kernel[0]) * geometry.dilation[0])[:, None]
            s = np.arange(self.kernel[1]) * geometry.dilation[1]
            part = (index + group * self.size) * (down * right) + r % down * right + s % right
            offset = (part * high + r // down) * wide + s // right
            here = factor != 0
            starts = np.zeros(self.n_out + 1, np.intp)
            np.cumsum(here.sum((1, 2, 3)), out=starts[1:])
            return starts, offset[here], factor[here]

        made: tuple[Any, Any, Any] = self.made.of(plane, (self.index, self.factor), make)
        return made

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs."""
        return cost_of(self, x, y_shape)

    def describe(self) -> str:
        """Channels, window, and what is not as usual."""
        return described(self)


def laid_out(
    images: np.ndarray, window: tuple[int, ...], geometry: Geometry, out: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """(images with zeros around them, rows and columns of one part of them).

    The parts are the pixels that windows have in common, one for each place of a step.

    Shapes: images (N, C, H, W) -> y (N, groups, C / groups, steps * rows * columns)
    """
    n, channels, *sizes = images.shape
    (down, right), pads, dilation, groups, _ = geometry
    high, wide = (
        count + d * (k - 1) // s
        for count, d, k, s in zip(out, dilation, window, geometry.stride, strict=True)
    )
    y = np.zeros((n, channels, down * high, right * wide), images.dtype)
    (top, _), (left, _) = pads
    inside = y[:, :, top : top + sizes[0], left : left + sizes[1]]
    inside[...] = images[:, :, : inside.shape[2], : inside.shape[3]]
    if (down, right) != (1, 1):
        y = y.reshape(n, channels, high, down, wide, right).transpose(0, 1, 3, 5, 2, 4)
    shape = n, groups, channels // groups, down * right * high * wide
    return np.ascontiguousarray(y).reshape(shape), (high, wide)
