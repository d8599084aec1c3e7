"""`Embedding` and `EmbeddingBag`: rows of learned numbers for each of n things."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import IndexRangeError
from tape.nn.arguments import count, settings
from tape.nn.init import Initialiser, checked, normal
from tape.nn.module import Module
from tape.nn.parameter import asked_init, parameter
from tape.ops.bags import MODES, embedding_bag
from tape.ops.lookup import embedding

__all__ = ["Embedding", "EmbeddingBag"]

NORMAL = normal(1.0)


def with_zeros(init: Initialiser, row: int) -> Initialiser:
    """What `init` gives, but for a row of zeros."""
    checked("Embedding", init)

    def with_zeros(shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> np.ndarray:
        value = np.array(init(shape, rng, dtype))
        if value.shape == shape:  # otherwise first_value refuses it
            value[row] = 0
        return value

    return with_zeros


class Embedding(Module):
    """The row of `weight` for each index.

    Shapes: indices (*s) in [0, n), weight (n, dim) -> y (*s, dim)

    Args:
        n: number of rows.
        dim: numbers in a row.
        padding_idx: a row that starts as zeros and gets no gradient, or None.
        init: first value of `weight`, see `tape.nn.init`; by default ``normal(1.0)``.
        rng: generator that `init` draws from, by default that of `tape.random`.
        dtype: of the weight, by default float32.

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
        init: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        self.n, self.dim = count("Embedding", "n", n), count("Embedding", "dim", dim)
        self.padding_idx = padding_idx
        if padding_idx is not None:
            row = count("Embedding", "padding_idx", padding_idx, least=-self.n)
            if row >= self.n:
                raise IndexRangeError(f"Embedding: padding_idx {row} is none of {self.n} rows")
            first = asked_init(init, NORMAL, n_axes=2)
            init = with_zeros(NORMAL if first is None else first, row)
        shape = self.n, self.dim
        self.weight = parameter(self, "weight", shape, init, rng, dtype, default=NORMAL)

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
        init: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
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
