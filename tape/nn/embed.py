"""`Embedding`: a row of learned numbers for each of n things."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import IndexRangeError
from tape.nn.arguments import count, settings
from tape.nn.init import Initialiser, normal
from tape.nn.module import Module
from tape.nn.parameter import Parameter, parameter
from tape.ops.lookup import embedding

__all__ = ["Embedding"]


class Embedding(Module):
    """The row of `weight` for each index.

    Shapes: indices (*s) in [0, n), weight (n, dim) -> y (*s, dim)

    Args:
        n: number of rows.
        dim: numbers in a row.
        padding_idx: a row that starts as zeros and gets no gradient, or None.
        init: first value of `weight`, see `tape.nn.init`.
        rng: generator that `init` draws from, by default that of `tape.random`.
        dtype: of the weight.

    Raises:
        IndexRangeError: an index, or `padding_idx`, is none of the rows.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.Embedding(3, 2, init=nn.init.identity())
    >>> layer(tape.tensor([2, 0])).tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """

    def __init__(
        self,
        n: int,
        dim: int,
        padding_idx: int | None = None,
        init: Initialiser = normal(1.0),  # noqa: B008, it has no state
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.n, self.dim = count("Embedding", "n", n), count("Embedding", "dim", dim)
        self.padding_idx = padding_idx
        weight = parameter("Embedding", (self.n, self.dim), init, rng, dtype)
        if padding_idx is not None:
            row = count("Embedding", "padding_idx", padding_idx, least=-self.n)
            if row >= self.n:
                raise IndexRangeError(f"Embedding: padding_idx {row} is none of {self.n} rows")
            values = np.array(weight)
            values[row] = 0
            weight = Parameter(values)
        self.weight = weight

    def forward(self, indices: Any) -> Tensor:
        """The rows for the indices."""
        return embedding(indices, self.weight, padding_idx=self.padding_idx)

    def describe(self) -> str:
        """Rows, their length, and the row of padding."""
        return settings(self.n, self.dim, padding_idx=self.padding_idx)
