"""`BinaryConv2d`, `BinaryDense`: layers on signs that train, and `multibit`, the signs of signs.

Note [Latent weights]
A binary layer computes with the signs of x and of its weight, which stays a matrix of floats: the
latent weight, moved by gradients that pass the sign where |w| <= window, see Note [Straight
through] in ops/signs.py. What scales a filter is the mean of |w| in it, or in all, and no gradient
flows through it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.memory import asarray, overwrite
from tape._core.tensor import Tensor
from tape.errors import SettingError, ShapeError
from tape.flow import stop_gradient
from tape.nn.arguments import number, settings
from tape.nn.conv import Convolution
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, size_at
from tape.nn.state import copy_into
from tape.op import op, sample
from tape.ops.binary import multiply_signs
from tape.ops.binary_conv import correlate_signs
from tape.ops.conv import geometry_of
from tape.ops.elementwise import abs as magnitude
from tape.ops.geometry import batched
from tape.ops.reduce import broadcast_to, mean
from tape.ops.shape import matrix_transpose, reshape
from tape.ops.signs import NO_BORDER, floats, gate_of, sign_bits

__all__ = ["BinaryConv2d", "BinaryDense", "SignSettings", "multibit", "strengths"]

SCALES = (None, "tensor", "filter")
RULES = {-1: "not positive", 1: "negative"}  # of sign_bits, by what the sign of 0 is


class SignSettings(Module):
    """What binary layers share: how signs are taken, and what scales them.

    Args:
        scale: "filter" multiplies each filter's results by the mean of its |weight|, "tensor" all
            by the mean of all, None by nothing.
        zero: the sign of 0, -1 or 1. Behind a relu 1 makes every sign 1.
        window: beyond which |x| and |weight| get no gradient; None lets everything through.
        clip: while training the latent weight is held in [-clip, clip]; None lets it grow.
        input_scale: whether results are multiplied by the mean of |x|, of each example.

    Raises:
        SettingError: a setting is none of these.
    """

    scale: str | None
    zero: int
    window: float | None
    clip: float | None
    input_scale: bool
    weight: Any

    def set_signs(
        self,
        scale: str | None = "filter",
        zero: int = -1,
        window: float | None = 1.0,
        clip: float | None = None,
        input_scale: bool = False,
    ) -> None:
        """Check the settings and keep them."""
        name = type(self).__name__
        if scale not in SCALES:
            raise SettingError(f"{name}: scale is 'filter', 'tensor' or None, got {scale!r}")
        if isinstance(zero, bool) or zero not in (-1, 1):
            raise SettingError(f"{name}: zero is the sign of 0, -1 or 1, got {zero!r}")
        self.scale, self.zero, self.input_scale = scale, int(zero), bool(input_scale)
        self.window = None if window is None else number(name, "window", window, 0, True)
        self.clip = None if clip is None else number(name, "clip", clip, 0)
        if self.clip == 0:
            raise SettingError(f"{name}: clip = 0 would leave no weight")

    def latent(self) -> Any:
        """The weight, brought back into [-clip, clip] if it trains."""
        w, clip = self.weight, self.clip
        if clip is not None and self.training and w.requires_grad:
            array = w.numpy()
            if array.size and not (np.abs(array) <= clip).all():
                overwrite([w], copy_into, [np.clip(array, -clip, clip)])
        return w

    def sign_description(self) -> dict[str, Any]:
        """The settings that are not as usual, for the repr."""
        return {
            "scale": None if self.scale == "filter" else str(self.scale),
            "zero": None if self.zero == -1 else self.zero,
            "window": None if self.window == 1.0 else str(self.window),
            "clip": self.clip,
            "input_scale": self.input_scale or None,
        }


def strengths(w: Any, scale: str | None) -> Tensor | None:
    """What multiplies the correlations with each filter of a weight, one number a filter."""
    if scale is None:
        return None
    size = stop_gradient(magnitude(w))
    if scale == "tensor":
        return broadcast_to(mean(size), w.shape[:1])
    return mean(size, tuple(range(1, len(w.shape))))


def input_strength(x: Any, n_axes: int) -> Tensor:
    """The mean of |x| over the last axes of each example, which stay with size 1."""
    axes = tuple(range(-n_axes, 0))
    return mean(stop_gradient(magnitude(x)), axes, keepdims=True)


class BinaryConv2d(SignSettings, Convolution):
    """activation(conv2d(sign(x), sign(weight)) * scale + bias), a convolution of signs that trains.

    Shapes: x (N, n_in, H, W), weight (n_out, n_in / groups, R, S), bias (n_out,) ->
    y (N, n_out, Ho, Wo), as `nn.Conv2d`; padding counts for nothing

    Args:
        *args: those of `nn.Conv2d`, by name or in order.
        scale, zero, window, clip, input_scale: see `SignSettings`.

    Raises:
        SettingError: a setting is wrong.
        ShapeError: x has other channels than `n_in`, or no window fits.

    Source: Hubara et al. 2016, arXiv 1609.07061; the scale of filters Rastegari et al. 2016,
    XNOR-Net, section 3.

    >>> import tape
    >>> from tape import netopt
    >>> layer = netopt.quantization.BinaryConv2d(8, 3, padding=1, activation=tape.relu)
    >>> layer(tape.ones((2, 3, 5, 5))).shape
    (2, 8, 5, 5)
    """

    def __init__(
        self,
        *args: Any,
        scale: str | None = "filter",
        zero: int = -1,
        window: float | None = 1.0,
        clip: float | None = None,
        input_scale: bool = False,
        **more: Any,
    ) -> None:
        self.set_signs(scale, zero, window, clip, input_scale)
        Convolution.__init__(self, *args, **more)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        if type(self.weight) is Uninferred:
            self._infer_from(x)
        images, alone = batched(floats(asarray(x), "BinaryConv2d"))
        w = self.latent()
        rule = RULES[self.zero]
        size_at("BinaryConv2d", images, 1, n_axes=4)
        signs = {"axis": 1, "rule": rule, "window": 0.0, "border": NO_BORDER}
        y = correlate_signs(
            images,
            w,
            sign_bits(images, **signs),
            sign_bits(w, **signs),
            gate_of(images, self.window),
            gate_of(w, self.window),
            images=tuple(images.shape),
            kernels=tuple(w.shape),
            border=NO_BORDER,
            geometry=geometry_of(w.shape, self.stride, self.padding, self.dilation, self.groups),
            pad_value=0,
        )
        scale = strengths(w, self.scale)
        if scale is not None:
            y = y * reshape(scale, (self.n_out, 1, 1))
        if self.input_scale:
            y = y * input_strength(images, 3)
        if self.bias is not None:
            y = y + reshape(self.bias, (self.n_out, 1, 1))
        y = reshape(y, y.shape[1:]) if alone else y
        return y if self.activation is None else self.activation(y)

    def describe(self) -> str:
        """Channels, window, and what is not as usual."""
        return self._described(**self.sign_description())


class BinaryDense(SignSettings, Dense):
    """activation(sign(x) @ sign(weight).T * scale + bias), a dense layer of signs that trains.

    Shapes: x (*s, n_in), weight (n_out, n_in), bias (n_out,) -> y (*s, n_out)

    Args:
        *args: those of `nn.Dense`, by name or in order.
        scale, zero, window, clip, input_scale: see `SignSettings`.

    Raises:
        SettingError: a setting is wrong.
        ShapeError: x has another last axis than `n_in`.

    >>> import tape
    >>> from tape import netopt
    >>> layer = netopt.quantization.BinaryDense(3, scale=None)
    >>> layer(tape.tensor([[0.5, -2.0]])).shape
    (1, 3)
    """

    def __init__(
        self,
        *args: Any,
        scale: str | None = "filter",
        zero: int = -1,
        window: float | None = 1.0,
        clip: float | None = None,
        input_scale: bool = False,
        **more: Any,
    ) -> None:
        self.set_signs(scale, zero, window, clip, input_scale)
        Dense.__init__(self, *args, **more)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        x = floats(asarray(x), "BinaryDense")
        n_in = size_at("BinaryDense", x, -1)
        if type(self.weight) is Uninferred:
            self.infer(weight=(self.n_out, n_in))
        w = self.latent()
        if n_in != w.shape[1]:
            raise ShapeError(f"BinaryDense: x {x.shape} has {n_in} features, weight {w.shape}")
        rule, columns = RULES[self.zero], matrix_transpose(w)
        signs = {"rule": rule, "window": 0.0, "border": NO_BORDER}
        y = multiply_signs(
            x,
            columns,
            sign_bits(x, axis=len(x.shape) - 1, **signs),
            sign_bits(columns, axis=0, **signs),
            gate_of(x, self.window),
            gate_of(columns, self.window),
            rows=tuple(x.shape),
            columns=tuple(columns.shape),
        )
        scale = strengths(w, self.scale)
        if scale is not None:
            y = y * scale
        if self.input_scale:
            y = y * input_strength(x, 1)
        if self.bias is not None:
            y = y + self.bias
        return y if self.activation is None else self.activation(y)

    def describe(self) -> str:
        """Output size, activation, and what is not as usual."""
        more = settings(**self.sign_description())
        return ", ".join(filter(None, [super().describe(), more]))


def straight_shape(x: Any, value: Any, *, window: float) -> Any:
    """That of x."""
    return x


@op(
    shape=straight_shape,
    saves="x",
    smooth=False,
    samples=[sample((2, 3), (2, 3), window=0.5)],
)
def straight_through(x, value, /, *, window):
    """value, with the gradient of x where |x| <= window. Shapes: x (*s), value (*s) -> y (*s)"""
    return np.array(value)


@straight_through.defvjp("x")
def straight_through_vjp(g, x, window):
    """g where the window is open."""
    return g * (magnitude(x) <= window)


@straight_through.defjvp
def straight_through_jvp(dx, dvalue, x, window):
    """dx where the window is open."""
    return dx * (magnitude(x) <= window)


def multibit(x: Any, bits: int = 1, window: float | None = None, zero: int = -1) -> Tensor:
    """x to so many bits: a sum of signs, each times the mean size of what is left of x.

    r = x; then for each bit: a = mean of |r|, s = sign(r), y += a * s, r -= a * s. The gradient is
    that of x where |x| <= window, and 0 elsewhere; none flows through the means.

    Shapes: x (*s) -> y (*s)

    Args:
        bits: how many, >= 1.
        window: beyond which the gradient is 0; None takes the number of bits.
        zero: the sign of 0, -1 or 1.

    Raises:
        SettingError: bits or zero is none of these.

    Source: Fromm, Patel and Philipose 2018, Heterogeneous Bitwidth Binarization.

    >>> import tape
    >>> from tape import netopt
    >>> netopt.quantization.multibit(tape.tensor([-2.0, 0.0, 1.0])).tolist()
    [-1.0, -1.0, 1.0]
    """
    x = floats(asarray(x), "multibit")
    if isinstance(bits, bool) or not hasattr(bits, "__index__") or bits < 1:
        raise SettingError(f"multibit: bits is a whole number of at least 1, got {bits!r}")
    if isinstance(zero, bool) or zero not in (-1, 1):
        raise SettingError(f"multibit: zero is the sign of 0, -1 or 1, got {zero!r}")
    beyond = float(bits) if window is None else number("multibit", "window", window, 0, True)
    left = x.numpy()
    y = np.zeros_like(left)
    one = left.dtype.type(1)
    for _ in range(int(bits)):
        size = np.abs(left).mean() if left.size else one
        part = np.where(left > 0 if zero == -1 else ~(left < 0), one, -one) * size
        y, left = y + part, left - part
    return straight_through(x, y, window=beyond)
