"""`QuantizedDense`, `QuantizedConv2d`: layers on codes of 8 bits with weights of int8."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import NumericsError, ShapeError
from tape.netopt.lowered import Lowered
from tape.netopt.made import Made
from tape.nn.arguments import checked_activation, count, each, settings, shown
from tape.nn.arguments import padding as checked_padding
from tape.ops.activation import relu
from tape.ops.conv import geometry_of
from tape.ops.geometry import batched
from tape.ops.int8 import Codes, int8_linear, made_filters
from tape.ops.int8_conv import correlate_codes
from tape.ops.shape import reshape

__all__ = ["QuantizedConv2d", "QuantizedDense", "quantized_weight"]


class Quantized(Lowered):
    """What both layers share: buffers, and the filters in the order that the kernels want."""

    weight: Any
    scale: Any
    x_scale: Any
    zero_point: Any
    activation: Any

    def _set(self, shape: tuple[int, ...], bias: bool) -> None:
        """Buffers of zeros, for weights of a shape."""
        n = shape[0]
        self.made = Made()
        self.register_buffer("weight", Tensor(np.zeros(shape, np.int8)))
        self.register_buffer("scale", Tensor(np.ones(n, np.float32)))
        self.bias: Any = None
        if bias:
            self.register_buffer("bias", Tensor(np.zeros(n, np.float32)))
        self.register_buffer("x_scale", Tensor(np.ones((), np.float32)))
        self.register_buffer("zero_point", Tensor(np.zeros((), np.uint8)))

    def fill(self, weight: np.ndarray, bias: np.ndarray | None, x_codes: Codes) -> Any:
        """Take the numbers of a float layer, for activations of these codes; returns itself.

        Raises:
            NumericsError: a number is NaN or infinite.
        """
        whole, scale = quantized_weight(weight)
        state: dict[str, Any] = {"weight": whole, "scale": scale}
        state |= {"x_scale": np.float32(x_codes.scale), "zero_point": np.uint8(x_codes.zero_point)}
        if bias is not None:
            state["bias"] = np.asarray(bias, np.float32)
        self.load_state_dict(state)
        return self

    @property
    def n_weights(self) -> int:
        """How many numbers weight and bias have."""
        return self.weight.size + (0 if self.bias is None else self.bias.size)

    @property
    def x_codes(self) -> Codes:
        """What the codes of activations stand for."""
        return Codes(float(self.x_scale.item()), int(self.zero_point.item()))

    def filters(self) -> tuple[Codes, Any]:
        """(codes, filters) of the buffers, made again where they have changed."""
        held = [self.weight, self.scale, self.x_scale, self.zero_point]
        held += [] if self.bias is None else [self.bias]
        found: tuple[Codes, Any] = self.made.of(None, held, self._made_filters)
        return found

    def _made_filters(self) -> tuple[Codes, Any]:
        codes, weight = self.x_codes, self.weight.numpy()
        bias = np.float32(0) if self.bias is None else self.bias.numpy()
        weight = weight.reshape(weight.shape + (1, 1) * (weight.ndim == 2))
        is_relu, scale = self.activation is relu, self.scale.numpy()
        return codes, made_filters(weight, scale, bias, codes, is_relu, None, *self._geometry())

    def _geometry(self) -> tuple[Any, ...]:
        return ()

    def _ended(self, y: Any) -> Any:
        """The activation's result, where the kernel has not applied it."""
        return y if self.activation is None or self.activation is relu else self.activation(y)


class QuantizedDense(Quantized):
    """activation(x @ (weight * scale).T + bias) on codes of x, exact up to the ending.

    Buffers: weight (n_out, n_in), int8; scale (n_out,), float32; bias (n_out,); x_scale and
    zero_point, what codes of x stand for. The result is float32. See `tape.int8_linear`.

    Shapes: x (*s, n_in) -> y (*s, n_out)

    Raises:
        ShapeError: x has another last axis than `n_in`.
        GradError: backward came to this layer.

    >>> import numpy as np, tape
    >>> from tape.netopt.quantization.quantized import Codes, QuantizedDense
    >>> layer = QuantizedDense(2, 3).fill(np.ones((2, 3)), np.zeros(2), Codes(0.25))
    >>> layer(tape.tensor([[1.0, 2.0, 3.0]])).numpy().round(5).tolist()
    [[6.0, 6.0]]
    """

    def __init__(self, n_out: int, n_in: int, activation: Any = None, bias: bool = True) -> None:
        name = type(self).__name__
        self.n_out, self.n_in = count(name, "n_out", n_out), count(name, "n_in", n_in)
        self.activation = checked_activation(name, activation)
        self._set((self.n_out, self.n_in), bias)

    def run(self, x: Any) -> Any:
        """The result for x."""
        codes, filters = self.filters()
        is_relu, bias = self.activation is relu, 0.0 if self.bias is None else self.bias
        more = {"x_codes": codes, "relu": is_relu, "filters": filters}
        return self._ended(int8_linear(x, self.weight, self.scale, bias, **more))

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs."""
        return math.prod(y_shape) * self.n_in

    def describe(self) -> str:
        """Sizes and activation."""
        bias = None if self.bias is not None else False
        return settings(self.n_out, self.n_in, activation=self.activation, bias=bias)


class QuantizedConv2d(Quantized):
    """activation(conv2d(x, weight * scale) + bias) on codes of x, exact up to the ending.

    Buffers are those of `QuantizedDense`, with a weight (n_out, n_in / groups, R, S). The settings
    are those of `nn.Conv2d`.

    Shapes: x (N, n_in, H, W) or (n_in, H, W) -> y (N, n_out, Ho, Wo) or (n_out, Ho, Wo)

    Raises:
        ShapeError: x has other channels than `n_in`, or no window fits.
        GradError: backward came to this layer.

    >>> import numpy as np, tape
    >>> from tape.netopt.quantization.quantized import Codes, QuantizedConv2d
    >>> layer = QuantizedConv2d(1, 2, n_in=1, bias=False)
    >>> layer = layer.fill(np.ones((1, 1, 2, 2)), None, Codes(1.0))
    >>> layer(tape.ones((1, 3, 3))).numpy().round(5).tolist()
    [[[4.0, 4.0], [4.0, 4.0]]]
    """

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
        *,
        n_in: int,
    ) -> None:
        name = type(self).__name__
        self.n_out, self.n_in = count(name, "n_out", n_out), count(name, "n_in", n_in)
        self.kernel = each(name, "kernel", kernel, 2, least=1)
        self.stride = each(name, "stride", stride, 2, least=1)
        self.dilation = each(name, "dilation", dilation, 2, least=1)
        self.padding = checked_padding(name, padding, self.kernel, self.stride, self.dilation)
        self.groups = count(name, "groups", groups, least=1)
        for n, what in ((self.n_out, "n_out"), (self.n_in, "n_in")):
            if n % self.groups:
                raise ShapeError(f"{name}: {self.groups} groups do not divide {what} = {n}")
        self.activation = checked_activation(name, activation)
        shape = self.n_out, self.n_in // self.groups, *self.kernel
        geometry_of(shape, self.stride, self.padding, self.dilation, self.groups)
        self._set(shape, bias)

    def _geometry(self) -> tuple[Any, ...]:
        settings = self.stride, self.padding, self.dilation, self.groups
        return (geometry_of(self.weight.shape, *settings),)

    def run(self, x: Any) -> Any:
        """The result for x."""
        codes, filters = self.filters()
        images, alone = batched(x)
        y = correlate_codes(
            images,
            self.weight,
            self.scale,
            0.0 if self.bias is None else self.bias,
            geometry=self._geometry()[0],
            x_codes=codes,
            relu=self.activation is relu,
            filters=filters,
        )
        return self._ended(reshape(y, y.shape[1:]) if alone else y)

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs."""
        return math.prod(y_shape) * math.prod(self.weight.shape[1:])

    def describe(self) -> str:
        """Channels, window, and what is not as usual."""
        return settings(
            self.n_out,
            shown(self.kernel),
            stride=None if set(self.stride) == {1} else shown(self.stride),
            padding=None if self.padding == 0 else self.padding,
            dilation=None if set(self.dilation) == {1} else shown(self.dilation),
            groups=None if self.groups == 1 else self.groups,
            bias=None if self.bias is not None else False,
            activation=self.activation,
            n_in=self.n_in,
        )


def quantized_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole numbers, int8 from -127 to 127, scale of each row) nearest to a weight (n_out, ...).

    Raises:
        NumericsError: the weight has NaN or infinity.
    """
    w = np.asarray(weight, np.float64)
    if not np.isfinite(w).all():
        raise NumericsError(f"quantize_int8: a weight {w.shape} has NaN or infinity")
    axes = tuple(range(1, w.ndim))
    largest = np.abs(w).max(axes, initial=0.0)
    scale = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    scale = np.maximum(scale, np.float32(1e-30))
    rows = scale.astype(np.float64).reshape(-1, *(1,) * len(axes))
    return np.clip(np.rint(w / rows), -127, 127).astype(np.int8), scale
