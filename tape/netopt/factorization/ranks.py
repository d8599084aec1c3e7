"""Rules that tell the rank of a factorisation from a matrix: `energy`, `error`, `evbmf`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tape.errors import SettingError
from tape.netopt.factorization.evbmf import evbmf_rank
from tape.nn.arguments import share

__all__ = ["Rule", "checked_rank", "energy", "error", "evbmf", "rank_from"]


class Rule:
    """A rank as a function of a matrix, which looks at the singular values only.

    >>> import numpy as np
    >>> from tape.netopt import ranks
    >>> ranks.energy(0.8)(np.diag([3.0, 1.0, 0.1]))
    1
    """

    def __init__(self, name: str, pick: Callable[[Any, tuple[int, int]], int]) -> None:
        self.name, self.pick = name, pick

    def __call__(self, w: Any) -> int:
        """The rank for a matrix."""
        w = np.asarray(w)
        return self.pick(np.linalg.svd(w, compute_uv=False), w.shape)

    def __repr__(self) -> str:
        return f"ranks.{self.name}"


def energy(least: float) -> Rule:
    """The fewest components with at least this share, in [0, 1], of the squared singular values.

    >>> from tape.netopt import ranks
    >>> ranks.energy(0.99)
    ranks.energy(0.99)
    """
    least = share("ranks.energy", "least", least)

    def pick(s: Any, shape: tuple[int, int]) -> int:
        tails = tail_shares(s)
        return max(1, int(np.argmax(tails <= 1 - least)))

    return Rule(f"energy({least:g})", pick)


def error(most: float) -> Rule:
    """The fewest components that leave a relative error of the matrix of at most this, in [0, 1].

    The error is a Frobenius norm over that of the matrix.

    >>> import numpy as np
    >>> from tape.netopt import ranks
    >>> ranks.error(0.25)(np.diag([4.0, 3.0, 1.0]))
    2
    """
    most = share("ranks.error", "most", most)

    def pick(s: Any, shape: tuple[int, int]) -> int:
        return max(1, int(np.argmax(tail_shares(s) <= most**2)))

    return Rule(f"error({most:g})", pick)


def evbmf(weaken: float = 0.0) -> Rule:
    """The components that are no noise, see `evbmf_rank`; at least one.

    Args:
        weaken: how far to go from there to full rank, in [0, 1]; for layers on which it is too
            aggressive.
    """
    weaken = share("ranks.evbmf", "weaken", weaken)

    def pick(s: Any, shape: tuple[int, int]) -> int:
        rank = max(1, evbmf_rank(s, shape))
        return rank + round(weaken * (min(shape) - rank))

    return Rule(f"evbmf({weaken:g})" if weaken else "evbmf()", pick)


def tail_shares(s: Any) -> Any:
    """The share of the squared singular values that is left out with 0, 1, ... components."""
    squares = np.square(np.asarray(s, np.float64))
    tails = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
    return tails / tails[0] if tails[0] > 0 else tails


def rank_from(rank: Any, w: Any, owner: str, spectrum: Any = None) -> int:
    """The rank that a setting means for a matrix.

    Args:
        rank: a whole number; a float in (0, 1], the share of the smaller side; or a function of w.
        w: the matrix.
        owner: for errors.
        spectrum: singular values that rules look at instead of those of w.

    Raises:
        SettingError: it means none from 1 to the smaller side of w.
        TypeError: it is no number.
    """
    most = min(w.shape)
    if isinstance(rank, Rule) and spectrum is not None:
        return rank.pick(spectrum, w.shape)
    if callable(rank):
        return checked_rank(rank(w), most, owner)
    if isinstance(rank, (float, np.floating)):
        if not 0 < rank <= 1:
            raise SettingError(
                f"{owner}: rank {rank!r} as a share of the smaller side, {most}, must be in (0, 1];"
                " a whole number is a rank"
            )
        return max(1, int(most * float(rank)))
    if isinstance(rank, str):
        raise TypeError(
            f"{owner}: a rank is a whole number, a share in (0, 1] or a rule such as "
            f"ranks.evbmf(), got {rank!r}"
        )
    return checked_rank(rank, most, owner)


def checked_rank(rank: Any, most: int, owner: str) -> int:
    """The rank as a whole number from 1 to `most`.

    Raises:
        SettingError: it is outside.
        TypeError: it is no whole number.
    """
    try:
        k = operator.index(rank)
    except TypeError:
        k = None
    if k is None or isinstance(rank, (bool, np.bool_)):
        raise TypeError(f"{owner}: the rank must be a whole number, got {rank!r}")
    if not 1 <= k <= most:
        raise SettingError(f"{owner}: rank {k} must be from 1 to {most}, the smaller side")
    return k
