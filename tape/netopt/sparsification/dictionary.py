"""Vectors as sums of a few multiples of a few others: dictionaries, and codes in them."""

from __future__ import annotations

import numpy as np

__all__ = ["coded", "learned_dictionary", "strongest"]

ROUNDS = 12  # of learning; the error is near its end
RIDGE = 1e-9  # of the largest number, so that equal entries do no harm


def strongest(p: np.ndarray, count: int, threshold: float = 0.0) -> np.ndarray:
    """p with all but the `count` largest |p| along axis 1 set to 0, and those up to `threshold`.

    Of equal ones the first are taken; NaN is the largest.   Shapes: p (n, k, ...) -> y (n, k, ...)
    """
    size = np.where(np.isnan(p), np.inf, np.abs(p))
    kept = size > threshold
    if count < p.shape[1]:
        order = np.argsort(-size, axis=1, kind="stable")
        taken = np.zeros_like(kept)
        np.put_along_axis(taken, order[:, :count], True, axis=1)
        kept &= taken
    return np.where(kept, p, p.dtype.type(0))


def coded(vectors: np.ndarray, dictionary: np.ndarray, count: int) -> np.ndarray:
    """Factors of at most `count` entries of a dictionary for each vector, one entry after another.

    Each time the entry that is next to what is left is taken, and all factors are fitted again
    (orthogonal matching pursuit). The error falls with each.

    Shapes: vectors (n, m), dictionary (k, m), whose rows have length 1 or 0 -> y (n, k)
    """
    n, k = len(vectors), len(dictionary)
    seen, gram = vectors @ dictionary.T, dictionary @ dictionary.T
    chosen = np.zeros((n, 0), np.intp)
    factors = np.zeros((n, 0))
    rows = np.arange(n)[:, None]
    for _ in range(min(count, k)):
        # What is left of a vector, seen by each entry, those chosen already left out.
        left = np.abs(seen - np.einsum("nt,ntk->nk", factors, gram[chosen]))
        left[rows, chosen] = -1
        chosen = np.concatenate([chosen, np.argmax(left, 1)[:, None]], 1)
        system = gram[chosen[:, :, None], chosen[:, None]] + RIDGE * np.eye(chosen.shape[1])
        factors = np.linalg.solve(system, seen[rows, chosen][..., None])[..., 0]
    y = np.zeros((n, k))
    y[rows, chosen] = factors
    return y


def learned_dictionary(
    vectors: np.ndarray, size: int, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(dictionary, factors): `size` vectors of length 1 or 0, and at most `count` factors for each.

    Where every entry may be used, singular vectors are best. Otherwise codes and entries are fitted
    in turns, from vectors drawn at random, and the best of all rounds is given.

    Shapes: vectors (n, m) -> dictionary (size, m), factors (n, size)

    Source: codes in turns with entries by least squares, Engan, Aase and Husoy, "Method of optimal
    directions for frame design", ICASSP 1999.
    """
    vectors = np.asarray(vectors, np.float64)
    n, m = vectors.shape
    scale = float(np.abs(vectors).max(initial=0.0)) or 1.0
    vectors = vectors / scale
    if count >= size or count >= m:
        _, _, directions = np.linalg.svd(vectors, full_matrices=False)
        dictionary = np.zeros((size, m))
        dictionary[: len(directions)] = directions[:size]
        factors = coded(vectors, dictionary, count)
        if np.linalg.norm(vectors - factors @ dictionary) < 1e-7 * np.linalg.norm(vectors):
            return dictionary, factors * scale
        best = dictionary, factors
    else:
        best = np.zeros((size, m)), np.zeros((n, size))
    rng = np.random.default_rng(seed)
    dictionary = normalised(vectors[rng.permutation(n)[:size]])
    dictionary = np.concatenate([dictionary, np.zeros((size - len(dictionary), m))])
    least = float(np.linalg.norm(vectors - best[1] @ best[0]))
    for _ in range(ROUNDS):
        factors = coded(vectors, dictionary, count)
        left = vectors - factors @ dictionary
        error = float(np.linalg.norm(left))
        if error < least:
            least, best = error, (dictionary, factors)
        dictionary = refitted(vectors, factors, left)
    return best[0], best[1] * scale


def refitted(vectors: np.ndarray, factors: np.ndarray, left: np.ndarray) -> np.ndarray:
    """The entries that fit best with these factors; those not used become what fits worst."""
    used = np.flatnonzero(factors.any(0))
    dictionary = np.zeros((factors.shape[1], vectors.shape[1]))
    dictionary[used] = np.linalg.lstsq(factors[:, used], vectors, rcond=None)[0]
    free = np.setdiff1d(np.arange(len(dictionary)), used)
    worst = np.argsort(-np.linalg.norm(left, axis=1), kind="stable")[: len(free)]
    dictionary[free[: len(worst)]] = left[worst]
    return normalised(dictionary)


def normalised(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths; those without a length stay 0."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
