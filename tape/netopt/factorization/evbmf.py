"""EVBMF: how many components of a noisy matrix are signal, found by Bayes without a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["evbmf_rank"]

GRID = 400  # variances looked at before the search narrows down
STEPS = 60  # of the search by thirds, each of which leaves two thirds


def evbmf_rank(s: Any, shape: tuple[int, int]) -> int:
    """The number of singular values that are signal, by empirical variational Bayes.

    The matrix is taken for a product of two factors with normal priors plus noise of one variance.
    For this model the best factors are known in closed form but for the variance v, which
    minimises, over x_i = s_i^2 / (M v),

        sum over x <= X of (x - ln x)
          + sum over x > X of (x - t - ln(x / (t + 1)) + a ln(t / a + 1))

    with a = L / M, X = (1 + T) (1 + a / T), T = 2.5129 sqrt(a), and t of x as in `shrunk`. Signal
    is what has s_i > sqrt(M v X). Of a matrix of deficient rank it is that rank.

    Args:
        s: all min(L, M) singular values, the largest first.
        shape: of the matrix, in any order.

    Source: Nakajima, Sugiyama, Babacan, Tomioka, "Global analytic solution of fully-observed
    variational Bayesian matrix factorization", JMLR 14 (2013), theorems 2 and 3.

    >>> from tape.netopt.factorization.evbmf import evbmf_rank
    >>> evbmf_rank([9.0, 8.0] + [1.0] * 30, (32, 64))
    2
    """
    values = np.asarray(s, np.float64)
    small, large = min(shape), max(shape)
    if not values.size or not values[0] > 0:
        return 0
    squares = np.square(values / values[0])
    tiny = (np.finfo(np.float32).eps * large) ** 2
    n_numerical = int(np.count_nonzero(squares > tiny))
    if n_numerical < small:  # noise would leave no value at 0
        return n_numerical
    a = small / large
    t_edge = 2.5129 * np.sqrt(a)
    edge = (1 + t_edge) * (1 + a / t_edge)
    n_most = max(0, min(int(np.ceil(small / (1 + a))) - 1, len(squares) - 1))
    low = max(squares[n_most] / (large * edge), np.mean(squares[n_most:]) / large)
    high = float(np.sum(squares)) / (small * large)

    def energy(log_v: float) -> float:
        x = squares / (large * np.exp(log_v))
        noise, signal = x[x <= edge], x[x > edge]
        t = shrunk(signal, a)
        costs = signal - t + np.log((t + 1) / signal) + a * np.log(t / a + 1)
        return float(np.sum(noise - np.log(noise)) + np.sum(costs))

    v = float(np.exp(lowest(energy, np.log(low), np.log(max(high, low)))))
    return int(np.count_nonzero(squares > large * v * edge))


def shrunk(x: Any, a: float) -> Any:
    """What is left of signal once the noise is taken off."""
    rest = x - (1 + a)
    return 0.5 * (rest + np.sqrt(np.maximum(rest * rest - 4 * a, 0.0)))


def lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number is smallest: on a grid, then between its neighbours."""
    grid = np.linspace(low, high, GRID)
    at = int(np.argmin([function(point) for point in grid]))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, GRID - 1)]
    for _ in range(STEPS):
        third = (high - low) / 3
        if function(low + third) <= function(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2
