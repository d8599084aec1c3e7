"""`Dense`: a layer that multiplies by a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.nn.arguments import checked_activation, count, settings
from tape.nn.init import Initialiser, glorot_uniform, zeros
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, parameter, size_at
from tape.ops.linear import linear

__all__ = ["Dense"]

GLOROT = glorot_uniform()


class Dense(Module):
    """activation(x @ weight.T + bias).

    Shapes: x (*s, n_in), weight (n_out, n_in), bias (n_out,) -> y (*s, n_out)

    Args:
        n_out: size of the result's last axis.
        n_in: size of x's last axis; None takes it from the first x.
        activation: function of the result, or None.
        bias: whether there is one.
        init, init_bias: first values of `weight` and `bias`, see `tape.nn.init`; by default
            `glorot_uniform` and `zeros`.
        rng: generator that `init` draws from, by default that of `tape.random`.
        dtype: of the parameters, by default float32.

    Raises:
        ShapeError: x has another last axis than `n_in`.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.Dense(3, activation=tape.tanh)
    >>> layer(tape.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])).shape
    (1, 3)
    >>> layer.n_in
    5
    """

    def __init__(
        self,
        n_out: int,
        n_in: int | None = None,
        activation: Any = None,
        bias: bool = True,
        init: Initialiser | None = None,
        init_bias: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        self.n_out = count("Dense", "n_out", n_out)
        known = None if n_in is None else count("Dense", "n_in", n_in)
        self.activation = checked_activation("Dense", activation)
        weight, shape = (self.n_out, known), (self.n_out,)
        self.weight = parameter(self, "weight", weight, init, rng, dtype, default=GLOROT)
        self.bias = None
        if bias:
            self.bias = parameter(self, "bias", shape, init_bias, rng, dtype, default=zeros)

    @property
    def n_in(self) -> int | None:
        """Size of x's last axis, None before it is inferred."""
        return self.weight.shape[1]

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        if type(self.weight) is Uninferred:
            self.infer(weight=(self.n_out, size_at("Dense", x, -1)))
        return linear(x, self.weight, self.bias, self.activation)

    def describe(self) -> str:
        """Output size and activation."""
        return settings(
            self.n_out, activation=self.activation, bias=None if self.bias is not None else False
        )
