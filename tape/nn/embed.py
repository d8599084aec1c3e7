"""`Embedding` and `EmbeddingBag`: rows of learned numbers for each of n things."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.state import no_grad
from tape._core.tensor import Tensor
from tape.errors import IndexRangeError
from tape.nn.arguments import count, number, settings
from tape.nn.init import Initialiser, checked, normal
from tape.nn.module import Module
from tape.nn.parameter import asked_init, parameter
from tape.ops.bags import MODES, embedding_bag
from tape.ops.lookup import bounded, embedding, listed

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
        max_norm: before they are looked up, longer rows of `weight` are scaled to this norm, in
            place; None leaves them.
        norm_type: order of that norm, at least 0.
        scale_grad_by_freq: the gradient of a row is divided by how often it was looked up.
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
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        init: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        self.n, self.dim = count("Embedding", "n", n), count("Embedding", "dim", dim)
        self.max_norm = None if max_norm is None else number(name, "max_norm", max_norm, 0)
        self.norm_type = number(name, "norm_type", norm_type, 0, infinite=True)
        self.scale_grad_by_freq = scale_grad_by_freq
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
        indices = self.bound(indices)
        share = self.scale_grad_by_freq
        return embedding(
            indices, self.weight, padding_idx=self.padding_idx, scale_grad_by_freq=share
        )

    def bound(self, indices: Any) -> Any:
        """The indices, once the rows they name are no longer than `max_norm`."""
        indices = listed(indices)
        if self.max_norm is None:
            return indices
        rows = np.unique(np.asarray(indices))
        if rows.dtype.kind in "iu" and rows.size and rows[0] >= 0 and rows[-1] < self.n:
            found = self.weight.numpy()[rows]
            scaled = bounded(found, self.max_norm, self.norm_type)
            changed = (found != scaled).any(-1)
            if changed.any():
                with no_grad():
                    self.weight[rows[changed]] = scaled[changed]
        return indices

    def describe(self) -> str:
        """Rows, their length, and the row of padding."""
        return settings(self.n, self.dim, padding_idx=self.padding_idx, max_norm=self.max_norm)


class EmbeddingBag(Embedding):
    """Sum, mean or largest of the rows of `weight` for each bag of indices.

    Shapes: indices (B, k), or (k) with offsets (B), in [0, n); weight (n, dim) -> y (B, dim)

    Args:
        n, dim, max_norm, norm_type, init, rng, dtype: as of `Embedding`.
        padding_idx: a row that no bag counts, that starts as zeros and gets no gradient, or None.
        mode: "sum", "mean" or "max".
        include_last_offset: whether the last offset is where the last bag ends.
        scale_grad_by_freq: as of `Embedding`, not for mode "max".

    Raises:
        IndexRangeError: an index, or `padding_idx`, is none of the rows.
        ValueError: mode is none of the three, or shares out a maximum.

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
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        init: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"EmbeddingBag: mode is {mode!r}, none of {', '.join(MODES)}")
        if scale_grad_by_freq and mode == "max":
            raise ValueError("EmbeddingBag: scale_grad_by_freq is for modes 'sum' and 'mean'")
        bounds = max_norm, norm_type, scale_grad_by_freq
        super().__init__(n, dim, padding_idx, *bounds, init, rng, dtype)
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(self, indices: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        """The bags put together."""
        return embedding_bag(
            self.bound(indices),
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
            scale_grad_by_freq=self.scale_grad_by_freq,
        )

    def describe(self) -> str:
        """Rows, their length, the row of padding and the mode."""
        bound = {"padding_idx": self.padding_idx, "max_norm": self.max_norm}
        return settings(self.n, self.dim, **bound, mode=self.mode)
