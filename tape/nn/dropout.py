"""`Dropout` and its kin: noise while training, against relying on single numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.nn.arguments import settings, share
from tape.nn.module import Module
from tape.ops.noise import (
    alpha_dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from tape.ops.random import dropout

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

    Each call draws anew, so what depends on it is computed anew as well, even for the same x.

    Shapes: x (*s) -> y (*s)

    Args:
        p: probability to drop a number, in [0, 1].
        rng: generator to draw from, by default that of `tape.random`.

    Raises:
        TypeError, ValueError: p is no number in [0, 1].

    Source: Srivastava et al. 2014, section 10.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.Dropout(0.5)
    >>> x = tape.ones((2, 2))
    >>> layer.eval()(x) is x
    True
    """

    drop: Any = staticmethod(dropout)

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None) -> None:
        self.p, self.rng = share(type(self).__name__, "p", p), rng

    def forward(self, x: Any) -> Tensor:
        """x with some of its numbers dropped, while training."""
        return self.drop(x, self.p, self.training, self.rng)

    def describe(self) -> str:
        """The probability."""
        return settings(self.p)


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
