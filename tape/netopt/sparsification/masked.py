"""Layers with masks, which say where their weights are zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.nn.conv import Conv1d, Conv2d, Conv3d
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import Parameter
from tape.ops.linear import linear
from tape.ops.logic import where

__all__ = [
    "KINDS",
    "PLAIN",
    "Masked",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaskedConv3d",
    "MaskedDense",
    "masked",
    "unmasked",
]

MODE = ("training", "_thawed_mode")  # which the engine sets


class Masked(Module):
    """What layers with masks share: a weight that counts where `mask` is True, and is 0 elsewhere.

    The gradient of what is masked is zero, and whatever an optimizer's momentum or decay makes of
    these numbers, the layer computes with zeros.
    """

    weight: Any
    mask: Any

    def masked_weight(self) -> Tensor:
        """The weight with zeros."""
        return where(self.mask, self.weight, 0.0)

    @property
    def sparsity(self) -> float:
        """The share of the weight that is masked."""
        return 1.0 - float(self.mask.numpy().mean()) if self.mask.size else 0.0


class MaskedDense(Masked, Dense):
    """A `Dense` layer with a mask: activation(x @ (mask * weight).T + bias).

    Made by `prune_magnitude`; the arguments are those of `nn.Dense`, with n_in.

    >>> import tape
    >>> from tape.netopt import sparsification
    >>> layer = sparsification.MaskedDense(2, 3)
    >>> layer.mask.shape, layer.sparsity
    ((2, 3), 0.0)
    """

    def __init__(self, n_out: int, n_in: int, *args: Any, **options: Any) -> None:
        Dense.__init__(self, n_out, n_in, *args, **options)
        self.register_buffer("mask", np.ones(self.weight.shape, np.bool_))

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        return linear(x, self.masked_weight(), self.bias, self.activation)


class MaskedConv2d(Masked, Conv2d):
    """A `Conv2d` with a mask; the arguments are those of `nn.Conv2d`, with n_in."""

    def __init__(self, n_out: int, kernel: Any, *args: Any, **options: Any) -> None:
        super().__init__(n_out, kernel, *args, **options)
        self.register_buffer("mask", np.ones(self.weight.shape, np.bool_))

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        window = self.stride, self.padding, self.dilation, self.groups, self.activation
        return self.convolve(x, self.masked_weight(), self.bias, *window)


class MaskedConv1d(MaskedConv2d, Conv1d):
    """A `Conv1d` with a mask; the arguments are those of `nn.Conv1d`, with n_in."""

    n_axes, convolve = Conv1d.n_axes, staticmethod(Conv1d.convolve)


class MaskedConv3d(MaskedConv2d, Conv3d):
    """A `Conv3d` with a mask; the arguments are those of `nn.Conv3d`, with n_in."""

    n_axes, convolve = Conv3d.n_axes, staticmethod(Conv3d.convolve)


KINDS: dict[type[Module], type[Masked]] = {
    Dense: MaskedDense,
    Conv1d: MaskedConv1d,
    Conv2d: MaskedConv2d,
    Conv3d: MaskedConv3d,
}
PLAIN = {new: old for old, new in KINDS.items()}


def masked(layer: Any, mask: Tensor) -> Any:
    """A layer of the same settings and parameters with a mask."""
    kind = KINDS.get(type(layer), type(layer))
    new: Any = kind.__new__(kind)
    vars(new).update({name: value for name, value in vars(layer).items() if name not in MODE})
    new.register_buffer("mask", mask)
    return new


def unmasked(layer: Any, weights: dict[int, Any]) -> Any:
    """A plain layer with zeros where the mask has them.

    Args:
        layer: with the mask.
        weights: (masked weight, plain weight) by the id of the first, for layers that share one.
    """
    kind = PLAIN[type(layer)]
    new: Any = kind.__new__(kind)
    own = {name: value for name, value in vars(layer).items() if name not in (*MODE, "mask")}
    own["_buffers"] = tuple([name for name in layer._buffers if name != "mask"])
    vars(new).update(own)
    key = id(layer.weight)
    if key not in weights:
        array = np.where(layer.mask.numpy(), layer.weight.numpy(), layer.weight.dtype.type(0))
        weights[key] = layer.weight, Parameter(array, layer.weight.requires_grad)
    new.weight = weights[key][1]
    return new
