"""What a model costs: parameters, bytes, and multiply-adds of its dense and convolution layers."""

from __future__ import annotations

import math
from typing import Any

from tape._core.tensor import Tensor
from tape.netopt.lowered import Lowered
from tape.netopt.record import Call
from tape.nn.conv import Convolution, ConvTranspose2d
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import Parameter
from tape.nn.tree import below

__all__ = ["multiply_adds", "n_bytes", "n_parameters"]


def n_parameters(*modules: Module) -> int:
    """How many numbers the modules and all below them have learned, each parameter once."""
    lowered = sum(module.n_weights for module in below(*modules) if isinstance(module, Lowered))
    return lowered + sum(e.size for e in entries(*modules) if isinstance(e, Parameter))


def n_bytes(*modules: Module) -> int:
    """Bytes of the parameters and buffers of the modules and all below them, each once."""
    return sum(entry.size * entry.dtype.itemsize for entry in entries(*modules))


def entries(*modules: Module) -> list[Tensor]:
    """The parameters and buffers of the modules and all below them, each once."""
    held = (entry for module in below(*modules) for _, entry in module.entries())
    return list({id(entry): entry for entry in held if isinstance(entry, Tensor)}.values())


def multiply_adds(module: Module, calls: dict[int, list[Call]]) -> int:
    """Multiply-adds of the layers at and below a module in recorded calls.

    Dense layers and convolutions count, and modules that say themselves: by a method
    ``multiply_adds(x, y_shape)``, called with the first operand and the shape of the result.
    """
    return sum(of_call(at, call) for at in below(module) for call in calls.get(id(at), ()))


def of_call(layer: Any, call: Call) -> int:
    """Multiply-adds of one call of a layer, without those of the layers below it."""
    x = call.operand
    if call.y_shape is None or not hasattr(x, "shape"):
        return 0
    if hasattr(layer, "multiply_adds"):
        return int(layer.multiply_adds(x, call.y_shape))
    if isinstance(layer, Dense):
        return math.prod(call.y_shape) * layer.weight.shape[1]
    if isinstance(layer, ConvTranspose2d):  # each number of x meets its slice of the weight
        return math.prod(x.shape) * math.prod(layer.weight.shape[1:])
    if isinstance(layer, Convolution):
        return math.prod(call.y_shape) * math.prod(layer.weight.shape[1:])
    return 0
