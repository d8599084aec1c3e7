"""Activations as layers, for lists of layers; anywhere else their functions do.

`nn.Sequential` takes `tape.relu` as well as `nn.ReLU()`; with a setting, `nn.LeakyReLU(0.1)` is
the shorter one. All but `PReLU` have no parameters.
"""

from __future__ import annotations

from typing import Any

from tape._core.tensor import Tensor
from tape.nn.applied import Applied
from tape.nn.arguments import count, settings
from tape.nn.init import constant
from tape.nn.module import Module
from tape.nn.parameter import parameter
from tape.ops.activation import leaky_relu, relu, sigmoid
from tape.ops.elementwise import tanh
from tape.ops.elu import celu, elu, selu
from tape.ops.rectifiers import (
    hardsigmoid,
    hardswish,
    hardtanh,
    prelu,
    relu6,
    threshold,
)
from tape.ops.shrink import (
    glu,
    hardshrink,
    logsigmoid,
    mish,
    softmin,
    softshrink,
    softsign,
    tanhshrink,
)
from tape.ops.smooth import gelu, silu, softplus
from tape.ops.softmax import log_softmax, softmax

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class ReLU(Applied):
    """`tape.relu` as a layer."""

    function = staticmethod(relu)


class ReLU6(Applied):
    """`tape.relu6` as a layer."""

    function = staticmethod(relu6)


class LeakyReLU(Applied):
    """`tape.leaky_relu` as a layer, with its negative_slope."""

    function, names = staticmethod(leaky_relu), ("negative_slope",)


class ELU(Applied):
    """`tape.elu` as a layer, with its alpha."""

    function, names = staticmethod(elu), ("alpha",)


class SELU(Applied):
    """`tape.selu` as a layer."""

    function = staticmethod(selu)


class CELU(Applied):
    """`tape.celu` as a layer, with its alpha."""

    function, names = staticmethod(celu), ("alpha",)


class GELU(Applied):
    """`tape.gelu` as a layer, with its approximate."""

    function, names = staticmethod(gelu), ("approximate",)


class SiLU(Applied):
    """`tape.silu` as a layer."""

    function = staticmethod(silu)


class Mish(Applied):
    """`tape.mish` as a layer."""

    function = staticmethod(mish)


class Sigmoid(Applied):
    """`tape.sigmoid` as a layer."""

    function = staticmethod(sigmoid)


class Tanh(Applied):
    """`tape.tanh` as a layer."""

    function = staticmethod(tanh)


class Hardtanh(Applied):
    """`tape.hardtanh` as a layer, with its min_val and max_val."""

    function, names = staticmethod(hardtanh), ("min_val", "max_val")


class Hardsigmoid(Applied):
    """`tape.hardsigmoid` as a layer."""

    function = staticmethod(hardsigmoid)


class Hardswish(Applied):
    """`tape.hardswish` as a layer."""

    function = staticmethod(hardswish)


class Softplus(Applied):
    """`tape.softplus` as a layer, with its beta and threshold."""

    function, names = staticmethod(softplus), ("beta", "threshold")


class Softsign(Applied):
    """`tape.softsign` as a layer."""

    function = staticmethod(softsign)


class Tanhshrink(Applied):
    """`tape.tanhshrink` as a layer."""

    function = staticmethod(tanhshrink)


class Softshrink(Applied):
    """`tape.softshrink` as a layer, with its lambd."""

    function, names = staticmethod(softshrink), ("lambd",)


class Hardshrink(Applied):
    """`tape.hardshrink` as a layer, with its lambd."""

    function, names = staticmethod(hardshrink), ("lambd",)


class LogSigmoid(Applied):
    """`tape.logsigmoid` as a layer."""

    function = staticmethod(logsigmoid)


class Threshold(Applied):
    """`tape.threshold` as a layer, with its threshold and value."""

    function, names = staticmethod(threshold), ("threshold", "value")


class GLU(Applied):
    """`tape.glu` as a layer, with its axis."""

    function, names = staticmethod(glu), ("axis",)


class Softmax(Applied):
    """`tape.softmax` as a layer, with its axis."""

    function, names = staticmethod(softmax), ("axis",)


class LogSoftmax(Applied):
    """`tape.log_softmax` as a layer, with its axis."""

    function, names = staticmethod(log_softmax), ("axis",)


class Softmin(Applied):
    """`tape.softmin` as a layer, with its axis."""

    function, names = staticmethod(softmin), ("axis",)


class PReLU(Module):
    """x where it is above 0, else weight * x, with a weight that is learned; see `tape.prelu`.

    Shapes: x (N, C, *d), weight (n) -> y as x

    Args:
        n: 1 for one slope, or the number of channels for one each.
        init: the first slope.
        dtype: of the weight, by default float32.

    Raises:
        ShapeError: x has not n channels.

    >>> import tape
    >>> from tape import nn
    >>> nn.PReLU()(tape.tensor([-4.0, 4.0])).tolist()
    [-1.0, 4.0]
    """

    def __init__(self, n: int = 1, init: float = 0.25, dtype: Any = None) -> None:
        self.n = count("PReLU", "n", n, least=1)
        self.weight = parameter(self, "weight", (self.n,), constant(init), dtype=dtype)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return prelu(x, self.weight)

    def describe(self) -> str:
        """The number of slopes."""
        return settings(self.n)
