"""`Ties`: places along axes of tensors, which of them go together, and which have to stay."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Axes", "Ties", "fixed", "reshaped"]

Axes = tuple[np.ndarray, ...]  # for each axis the number of every place along it
Places = np.ndarray


def fixed(n: int) -> Places:
    """Places that nothing is known of and nothing is to be removed from: number 0."""
    return np.zeros(n, np.int64)


class Ties:
    """Numbers for places along axes, and what is said of them: a filter is such a place.

    Places that are tied are removed together or not at all; those that are locked stay, and all
    that are tied to them.
    """

    def __init__(self) -> None:
        self.n = 1  # 0 stands for places that stay
        self.pairs: list[tuple[Places, Places]] = []
        self.locks: list[tuple[Places, str]] = []

    def fresh(self, n: int) -> Places:
        """Numbers for the places of a new axis."""
        self.n += n
        return np.arange(self.n - n, self.n)

    def tie(self, a: Places, b: Places, why: str) -> Places:
        """Tie the places of two axes of one length, and give those of the axis that comes of both.

        Args:
            why: what is said of those that meet places which stay.
        """
        if a is b:
            return a
        if len(a) != len(b):
            raise ValueError(f"axes of {len(a)} and {len(b)} places cannot be tied")
        one, other = a != 0, b != 0
        self.lock(a[one & ~other], why)
        self.lock(b[other & ~one], why)
        both = one & other
        if both.any():
            self.pairs.append((a[both], b[both]))
        return np.where(both, a, 0)

    def lock(self, places: Places, why: str) -> None:
        """Have places stay."""
        places = places[places != 0]
        if places.size:
            self.locks.append((places, why))

    def settle(self) -> tuple[np.ndarray, dict[int, str]]:
        """(the least number that each place is tied to, why those stay that do, by this number)."""
        least = np.arange(self.n)
        a, b = (
            np.concatenate([np.asarray(pair[i]) for pair in self.pairs] or [fixed(0)])
            for i in (0, 1)
        )
        while not np.array_equal(least[a], least[b]):
            low = np.minimum(least[a], least[b])
            for side in (a, b):
                np.minimum.at(least, least[side], low)
            while not np.array_equal(least[least], least):
                least = least[least]
        reasons: dict[int, str] = {0: "stays"}
        for places, why in self.locks:
            for root in np.unique(least[places]).tolist():
                reasons.setdefault(root, why)
        return least, reasons


def reshaped(ties: Ties, x: Axes, shape: tuple[int, ...], why: str) -> Axes:
    """The axes of a tensor in another shape, read along in C order.

    Axes that become one are tied as little as possible: (C, H, W) gives C places for H W numbers
    each. Of an axis that becomes several, the first one that is longer than 1 carries its places.
    """
    sizes = tuple([len(axis) for axis in x])
    if 0 in sizes:
        return tuple([fixed(n) for n in shape])
    made: list[Places] = []
    for before, after in runs(sizes, shape):
        axes = [x[i] for i in before]
        lengths = [shape[i] for i in after]
        if [len(axis) for axis in axes] == lengths:
            made += axes
            continue
        live = [i for i, axis in enumerate(axes) if axis.any()]
        if not live:
            made += [fixed(n) for n in lengths]
            continue
        for i in live[1:] if lengths else live:
            ties.lock(axes[i], why)
        if not lengths:
            continue
        at = live[0]
        column = [1] * len(axes)
        column[at] = -1
        whole = np.broadcast_to(axes[at].reshape(column), [len(axis) for axis in axes])
        inner = math.prod(len(axis) for axis in axes[at + 1 :])
        made += spread(ties, whole.reshape(lengths), inner, why)
    return tuple(made)


def spread(ties: Ties, whole: np.ndarray, inner: int, why: str) -> list[Places]:
    """The axes of a block of places, one of which carries them.

    Args:
        inner: how many neighbours in it are the same place.
    """
    for axis in range(whole.ndim):  # that alone tells the places apart, as after (C, H, W) > C H W
        line = np.moveaxis(whole, axis, 0).reshape(whole.shape[axis], -1)
        if (line == line[:, :1]).all() and (whole.shape[axis] > 1 or whole.size == 1):
            return [line[:, 0] if i == axis else fixed(n) for i, n in enumerate(whole.shape)]
    axis = next((i for i, n in enumerate(whole.shape) if n > 1), 0)
    line = np.moveaxis(whole, axis, 0).reshape(whole.shape[axis], -1)
    if line.shape[1] % inner == 0:
        line = line[:, ::inner]
    first = np.where(line.all(1), line[:, 0], 0)
    ties.tie(np.repeat(first, line.shape[1]), line.ravel(), why)
    return [first if i == axis else fixed(n) for i, n in enumerate(whole.shape)]


def runs(a: tuple[int, ...], b: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes of two shapes of one size that hold as many numbers."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        mine, its = ([i] if i < len(a) else []), ([j] if j < len(b) else [])
        n, m = (a[i] if mine else 1), (b[j] if its else 1)
        i, j = i + len(mine), j + len(its)
        while n != m:
            if n < m:
                n, mine, i = n * a[i], [*mine, i], i + 1
            else:
                m, its, j = m * b[j], [*its, j], j + 1
        found.append((mine, its))
    return found
