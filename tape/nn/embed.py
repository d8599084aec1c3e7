"""`Embedding` and `EmbeddingBag`: rows of learned numbers for each of n things."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import IndexRangeError
from tape.nn.arguments import count, settings
from tape.nn.init import Initialiser, normal
from tape.nn.module import Module
from tape.nn.parameter import Parameter, parameter
from tape.ops.bags import MODES, embedding_bag
from tape.ops.lookup import embedding

__all__ = ["Embedding", "EmbeddingBag"]


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


class EmbeddingBag(Embedding):
    """Sum, mean or largest of the rows of `weight` for each bag of indices.

    Shapes: indices (B, k), or (k) with offsets (B), in [0, n); weight (n, dim) -> y (B, dim)

    Args:
        n, dim, init, rng, dtype: as of `Embedding`.
        padding_idx: a row that no bag counts, that starts as zeros and gets no gradient, or None.
        mode: "sum", "mean" or "max".
        include_last_offset: whether the last offset is where the last bag ends.

    Raises:
        IndexRangeError: an index, or `padding_idx`, is none of the rows.
        ValueError: mode is none of the three.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.EmbeddingBag(3, 2, mode="sum", init=nn.init.identity())
    >>> layer(tape.tensor([[0, 1], [0, 0]])).tolist()
    [[1.0, 1.0], [2.0, 0.0]]
    """

    def __init__(
        self,
        n: int,
        dim: int,
        padding_idx: int | None = None,
        mode: str = "mean",
        include_last_offset: bool = False,
        init: Initialiser = normal(1.0),  # noqa: B008, it has no state
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"EmbeddingBag: mode is {mode!r}, none of {', '.join(MODES)}")
        super().__init__(n, dim, padding_idx, init, rng, dtype)
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(self, indices: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        """The bags put together."""
        return embedding_bag(
            indices,
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def describe(self) -> str:
        """Rows, their length, the row of padding and the mode."""
        return settings(self.n, self.dim, padding_idx=self.padding_idx, mode=self.mode)
