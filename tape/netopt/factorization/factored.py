"""`FactoredDense`: a dense layer whose matrix is a product of two thin ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.nn.arguments import checked_activation, count, settings
from tape.nn.init import Initialiser, glorot_uniform, zeros
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, parameter, size_at
from tape.ops.linalg import matmul
from tape.ops.linear import linear

__all__ = ["FactoredDense"]

GLOROT = glorot_uniform()


class FactoredDense(Module):
    """activation(x @ first.T @ second.T + bias).

    Shapes: x (*s, n_in), first (rank, n_in), second (n_out, rank), bias (n_out,) -> y (*s, n_out)

    Args:
        n_out: size of the result's last axis.
        rank: size between the two matrices; it pays below n_in n_out / (n_in + n_out).
        n_in: size of x's last axis; None takes it from the first x.

    The others are those of `nn.Dense`.

    Raises:
        ShapeError: x has another last axis than `n_in`.

    >>> import tape
    >>> from tape import netopt
    >>> layer = netopt.factorization.FactoredDense(6, rank=2)
    >>> layer(tape.ones((3, 4))).shape
    (3, 6)
    """

    def __init__(
        self,
        n_out: int,
        rank: int,
        n_in: int | None = None,
        activation: Any = None,
        bias: bool = True,
        init: Initialiser | None = None,
        init_bias: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        name = "FactoredDense"
        self.n_out, self.rank = count(name, "n_out", n_out), count(name, "rank", rank)
        known = None if n_in is None else count(name, "n_in", n_in)
        self.activation = checked_activation(name, activation)
        first, second = (self.rank, known), (self.n_out, self.rank)
        self.first = parameter(self, "first", first, init, rng, dtype, default=GLOROT)
        self.second = parameter(self, "second", second, init, rng, dtype, default=GLOROT)
        self.bias = None
        if bias:
            shape = (self.n_out,)
            self.bias = parameter(self, "bias", shape, init_bias, rng, dtype, default=zeros)

    @property
    def n_in(self) -> int | None:
        """Size of x's last axis, None before it is inferred."""
        return self.first.shape[1]

    @property
    def weight(self) -> Tensor:
        """The product (n_out, n_in) of both, computed each time: for code that reads a weight."""
        return matmul(self.second, self.first)

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        if type(self.first) is Uninferred:
            self.infer(first=(self.rank, size_at("FactoredDense", x, -1)))
        return linear(linear(x, self.first), self.second, self.bias, self.activation)

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs."""
        rows = math.prod(y_shape[:-1])
        return rows * self.rank * (self.first.shape[1] + self.n_out)

    def describe(self) -> str:
        """Output size, rank and activation."""
        return settings(
            self.n_out,
            rank=self.rank,
            activation=self.activation,
            bias=None if self.bias is not None else False,
        )
