"""`Dropout` and its kin: noise while training, against relying on single numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.state import remembered
from tape._core.tensor import Tensor
from tape.nn.arguments import settings, share
from tape.nn.module import Module
from tape.ops.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    sharing,
)

__all__ = [
    "AlphaDropout",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
]


class Dropout(Module):
    """While training, 0 with probability p, else x / (1 - p), elementwise; otherwise x itself.

    Each call draws anew, so what depends on it is computed anew as well, even for the same x. With
    `shared`, calls for the same x in one `tape.reuse` block drop the same numbers: a trunk with
    dropout in it, which several heads call, runs once, as it does in `nn.combine`. Where the block
    ends the choice is forgotten. A function that `tape.checkpoint` runs is outside of the blocks
    around it.

    Shapes: x (*s) -> y (*s)

    Args:
        p: probability to drop a number, in [0, 1].
        rng: generator to draw from, by default that of `tape.random`.
        shared: whether to choose once for each x in a `tape.reuse` block. The same x is the same
            tensor, not one with equal numbers.

    Raises:
        TypeError: p is no number, or `shared` no bool.
        ValueError: p is not in [0, 1].

    Source: Srivastava et al. 2014, section 10.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.Dropout(0.5)
    >>> x = tape.ones((2, 2))
    >>> layer.eval()(x) is x
    True
    >>> layer = nn.Dropout(0.5, shared=True)
    >>> with tape.reuse():
    ...     layer(x).serial == layer(x).serial
    True
    """

    drop: Any = staticmethod(dropout)

    def __init__(
        self, p: float = 0.5, rng: np.random.Generator | None = None, *, shared: bool = False
    ) -> None:
        name = type(self).__name__
        if not isinstance(shared, bool):
            raise TypeError(f"{name}: shared is True or False, got {shared!r}")
        self.p, self.rng, self.shared = share(name, "p", p), rng, shared

    def forward(self, x: Any) -> Tensor:
        """x with some of its numbers dropped, while training."""
        memory = remembered() if self.shared and self.training else None
        if memory is None:
            return self.drop(x, self.p, self.training, self.rng)
        _, masks = memory.setdefault(id(self), (self, {}))  # the module stays, and so does its id
        with sharing(masks):
            return self.drop(x, self.p, True, self.rng)

    def describe(self) -> str:
        """The probability, and whether what is dropped is shared."""
        return settings(self.p, shared=self.shared or None)


class Dropout1d(Dropout):
    """Dropout of whole channels, see `tape.dropout1d`.

    Shapes: x (N, C, L) or (C, L) -> y as x
    """

    drop = staticmethod(dropout1d)


class Dropout2d(Dropout):
    """Dropout of whole channels, see `tape.dropout2d`.

    Shapes: x (N, C, H, W) or (C, H, W) -> y as x
    """

    drop = staticmethod(dropout2d)


class Dropout3d(Dropout):
    """Dropout of whole channels, see `tape.dropout3d`.

    Shapes: x (N, C, D, H, W) or (C, D, H, W) -> y as x
    """

    drop = staticmethod(dropout3d)


class AlphaDropout(Dropout):
    """Dropout for networks of `tape.selu`, see `tape.alpha_dropout`.

    Shapes: x (*s) -> y as x
    """

    drop = staticmethod(alpha_dropout)


class FeatureAlphaDropout(Dropout):
    """Dropout for networks of `tape.selu`, see `tape.feature_alpha_dropout`.

    Shapes: x (*s) -> y as x
    """

    drop = staticmethod(feature_alpha_dropout)
