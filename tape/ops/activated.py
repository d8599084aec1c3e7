"""Activations that a product applies to its result while it is in the cache: one node, one pass."""

from __future__ import annotations

import numpy as np

from tape._core.state import is_recording
from tape._core.tensor import Tensor
from tape.errors import GradError
from tape.ops.activation import (
    leaky_relu,
    leaky_relu_gate,
    relu,
    relu_gate,
    sigmoid,
    sigmoid_slope,
)
from tape.ops.elementwise import tanh, tanh_slope
from tape.ops.smooth import gelu

FUSED = {op.name: op for op in (relu, leaky_relu, tanh, sigmoid, gelu)}
LEAK = leaky_relu.defaults[0]


def by_steps(x, w, b, *residual, activation=None):
    """What every form of linear gives, from arrays, by NumPy and one step after another."""
    y = sum(residual, np.add(np.matmul(x, w.T), b))
    return y if activation is None else FUSED[activation].forward(y)


def function_of(activation, op_name):
    """The activation, a function or None; a name gives the op of that name.

    Raises:
        ValueError: there is no such op here, or one cannot call it.
    """
    if isinstance(activation, str) and activation in FUSED:
        return FUSED[activation]
    if activation is not None and not callable(activation):
        raise ValueError(
            f"{op_name}: activation is {activation!r}, expected None, a function such as "
            f"tape.relu, or one of {', '.join(map(repr, FUSED))}"
        )
    return activation


def fused_name(activation, *operands):
    """The activation's name if a product of these operands may apply it itself, else None."""
    name = getattr(activation, "name", None)
    if name is None or FUSED.get(name) is not activation:
        return None
    needs = is_recording() and any(isinstance(x, Tensor) and x.requires_grad for x in operands)
    return None if needs and activation is gelu else name  # gelu's result does not tell its slope


def slope(g, y, activation):
    """g times the slope of the activation whose result is y."""
    if activation == "relu":
        return relu_gate(g, y)
    if activation == "leaky_relu":
        return leaky_relu_gate(g, y, LEAK)
    if activation == "tanh":
        return tanh_slope(g, y)
    if activation == "sigmoid":
        return sigmoid_slope(g, y)
    raise GradError(f"the slope of {activation} cannot be told from its result")
