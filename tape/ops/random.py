"""Random tensors, and the generators they are drawn from.

Everything here takes `rng`, a numpy.random.Generator; without one it draws from the generator of
the process, which `seed` starts anew. NumPy's generators lock themselves while they draw, so
threads may share one: each number is handed out once, but to whom is the scheduler's choice. Give
each thread a generator of its own to get the same numbers every time.
"""

from __future__ import annotations

import threading

import numpy as np

from tape import shapes
from tape._core.convert import known_dtype
from tape._core.refusal import allocated
from tape.errors import DTypeError, ShapeError
from tape.ops.create import leaf, lengths, shape_of
from tape.ops.logic import is_real

process = {"generator": None}
making = threading.Lock()
# What `drawing`, `drawn_again` and `drawing_aside` set for their thread: `log`, `stand_ins`.
watched = threading.local()


def seed(n=None):
    """Start the generator of the process anew: from the integer n, or from the system's noise.

    >>> import tape
    >>> tape.random.seed(0)
    >>> first = tape.random.normal(2).tolist()
    >>> tape.random.seed(0)
    >>> tape.random.normal(2).tolist() == first
    True
    """
    process["generator"] = np.random.default_rng(n)


def generator(rng=None, name="generator"):
    """`rng` if given, else the generator of the process; errors are in the name of a function.

    Raises:
        TypeError: rng is neither None nor a numpy.random.Generator.
    """
    if rng is not None:
        if not isinstance(rng, np.random.Generator):
            kind = type(rng).__name__
            raise TypeError(f"{name}: rng is a numpy.random.Generator or None, got {kind}")
        return noted(rng, id(rng))
    if process["generator"] is None:
        with making:
            if process["generator"] is None:
                seed()
    return noted(process["generator"], None)


def noted(rng, key):
    """rng, or what stands in for it; with its state in the log, if there is one, at first use."""
    rng = (getattr(watched, "stand_ins", None) or {}).get(key, rng)
    log = getattr(watched, "log", None)
    if log is not None and key not in log:
        log[key] = rng, rng.bit_generator.state
    return rng


class drawing:
    """A with-block that gives a log of the generators drawn from in it, as they were before."""

    def __enter__(self):
        self.before = getattr(watched, "log", None)
        watched.log = {}
        return watched.log

    def __exit__(self, *error):
        inner, watched.log = watched.log, self.before
        if self.before is not None:
            for key, entry in inner.items():
                self.before.setdefault(key, entry)


class drawn_again:
    """A with-block in which the same numbers are drawn as when the log was made.

    From copies of the generators: those that are given, and those of other threads, go on as they
    are.
    """

    def __init__(self, log):
        self.log = log

    def __enter__(self):
        self.before = getattr(watched, "stand_ins", None)
        watched.stand_ins = {key: copied(rng, state) for key, (rng, state) in self.log.items()}

    def __exit__(self, *error):
        watched.stand_ins = self.before


class drawing_aside:
    """A with-block in which all numbers are drawn from copies of the generators: none moves."""

    def __enter__(self):
        self.before = getattr(watched, "stand_ins", None)
        watched.stand_ins = Copies()

    def __exit__(self, *error):
        watched.stand_ins = self.before


class Copies(dict):
    """Copies of generators, made when they are first asked for."""

    def __bool__(self):
        return True

    def get(self, key, rng):
        """The copy of a generator."""
        if key not in self:
            self[key] = copied(rng, rng.bit_generator.state)
        return self[key]


def copied(rng, state):
    """A generator of the same kind in a given state."""
    bits = type(rng.bit_generator)()
    bits.state = state
    return np.random.Generator(bits)


def drawn_as(dtype, name):
    """The dtype numbers are drawn in: float32 unless asked for float64."""
    kind = known_dtype(dtype or np.float32, name)
    if kind not in (np.float32, np.float64):
        raise DTypeError(f"{name}: draws float32 or float64, not {kind}")
    return kind


def real(name, **given):
    """TypeError in the name of a function unless these arguments are numbers."""
    for argument, x in given.items():
        if not is_real(x):
            raise TypeError(f"{name}: {argument} is a number, got {x!r}")


def fit(kind, *numbers):
    """Whether these numbers are finite in a float dtype."""
    most = float(np.finfo(kind).max)
    return all(-most <= x <= most for x in numbers)


def normal(shape=(), mean=0.0, std=1.0, *, dtype=None, rng=None, requires_grad=False):
    """Numbers from a normal distribution.   Shapes: -> (shape)

    Args:
        shape: of the result.
        mean, std: of the distribution; std at least 0.
        dtype: float32 (None) or float64; float32 is drawn as float32.
        rng: generator to draw from.
        requires_grad: as of `tape.tensor`.

    Raises:
        ValueError: std is below 0, or a number does not fit the dtype.
    """
    kind = drawn_as(dtype, "normal")
    real("normal", mean=mean, std=std)
    if not (std >= 0 and fit(kind, mean, std)):
        raise ValueError(f"normal: mean {mean} and std {std}, expected finite {kind} and std >= 0")
    rng, size = generator(rng, "normal"), lengths(shape, "normal")
    array = allocated("normal", size, kind, lambda: rng.standard_normal(size, kind))
    if type(array) is not np.ndarray:
        array = np.asarray(array, kind)
    if std != 1.0:
        array *= kind.type(std)
    if mean != 0.0:
        array += kind.type(mean)
    return leaf(array, None, requires_grad)


def uniform(shape=(), low=0.0, high=1.0, *, dtype=None, rng=None, requires_grad=False):
    """Numbers spread evenly over [low, high).   Shapes: -> (shape)

    Args:
        shape: of the result.
        low, high: finite; high is at least low and, unless the two are equal, never drawn.
        dtype: float32 (None) or float64; float32 is drawn as float32.
        rng: generator to draw from.
        requires_grad: as of `tape.tensor`.

    Raises:
        ValueError: high is below low, or a number does not fit the dtype.
    """
    kind = drawn_as(dtype, "uniform")
    real("uniform", low=low, high=high)
    if not (low <= high and fit(kind, low, high, high - low)):
        raise ValueError(f"uniform: no range of {kind} from {low} to {high}")
    first, last = kind.type(low), kind.type(high)
    rng, size = generator(rng, "uniform"), lengths(shape, "uniform")
    array = np.asarray(allocated("uniform", size, kind, lambda: rng.random(size, kind)))
    if (first, last) != (0.0, 1.0):
        array *= last - first
        array += first
        np.minimum(array, np.nextafter(last, first), out=array)  # rounding may have reached `high`
    return leaf(array, None, requires_grad)


def integers(low, high=None, shape=(), *, dtype=None, rng=None):
    """Whole numbers spread evenly over [low, high), or over [0, low) without high.

    Shapes: -> (shape), int64 unless another integer dtype is given

    Raises:
        ValueError: the range is empty, or does not fit the dtype.
        DTypeError: the dtype is not one of tape's integers.
    """
    kind = known_dtype(dtype or np.int64, "integers")
    real("integers", low=low, high=low if high is None else high)
    first, last = (0, low) if high is None else (low, high)
    if not first < last:
        raise ValueError(f"integers: no whole number from {first} up to, without, {last}")
    if kind.kind not in "iu":
        raise DTypeError(f"integers: draws integers, not {kind}")
    if first < np.iinfo(kind).min or last > np.iinfo(kind).max + 1:
        raise ValueError(f"integers: {kind} does not reach from {first} to {last}")
    rng, size = generator(rng, "integers"), lengths(shape, "integers")
    array = allocated("integers", size, kind, lambda: rng.integers(first, last, size, kind))
    return leaf(np.asarray(array), None, False)


def permutation(n, *, rng=None):
    """0, 1, ..., n - 1 in random order.   Shapes: -> (n), int64

    Raises:
        ShapeError: n is negative or no integer.
    """
    (n,) = lengths(n, "permutation")
    rng = generator(rng, "permutation")
    array = allocated("permutation", (n,), np.int64, lambda: rng.permutation(n))
    return leaf(array, None, False)


def bernoulli(p=0.5, shape=None, *, dtype=None, rng=None):
    """1 with probability p, else 0.   Shapes: p broadcasts to (shape), by default that of p

    Args:
        p: a number, or a tensor of probabilities, in [0, 1].
        shape: of the result.
        dtype: float32 unless given.
        rng: generator to draw from.

    Raises:
        ValueError: a probability is outside of [0, 1] or NaN.
        ShapeError: p does not broadcast to shape.
    """
    try:
        chance = np.asarray(p, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"bernoulli: p is a number or several, got {p!r}") from None
    if not np.all((chance >= 0) & (chance <= 1)):
        raise ValueError("bernoulli: a probability is outside of [0, 1]")
    kind = known_dtype(dtype or np.float32, "bernoulli")
    size = shape_of(p, "bernoulli") if shape is None else lengths(shape, "bernoulli")
    try:
        fits = shapes.broadcast(chance.shape, size) == size
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(f"bernoulli: p {chance.shape} does not broadcast to {size}")
    rng = generator(rng, "bernoulli")
    array = np.asarray(allocated("bernoulli", size, np.float64, lambda: rng.random(size) < chance))
    return leaf(array.astype(kind, copy=False), None, False)
