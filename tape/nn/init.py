"""Initialisers: first values of parameters, as functions ``init(shape, rng, dtype) -> array``.

`zeros` and `ones` are such functions; all others are called first, as in ``init.normal(std=0.02)``,
and give one. A weight's axes are outputs, inputs, and then those of a window: dense (n_out, n_in),
convolution (C_out, C_in / groups, R, S). With r the size of the window (1 if there is none),
fan_in = shape[1] r and fan_out = shape[0] r.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tape.errors import ShapeError
from tape.nn.arguments import number
from tape.ops.random import generator

__all__ = [
    "constant",
    "fans",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "zeros",
]

Shape = tuple[int, ...]
Initialiser = Callable[..., np.ndarray]  # called as init(shape, rng, dtype)


def zeros(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
    """All 0."""
    return np.zeros(shape, dtype)


def ones(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
    """All 1."""
    return np.ones(shape, dtype)


def constant(value: float) -> Initialiser:
    """All `value`."""

    def constant(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        return np.full(shape, value, dtype)

    return constant


def uniform(low: float = -0.05, high: float = 0.05) -> Initialiser:
    """Uniform between `low` and `high`.

    Raises:
        ValueError: low is above high.
    """
    low, high = number("uniform", "low", low), number("uniform", "high", high)
    if not low <= high:
        raise ValueError(f"uniform: low = {low} is above high = {high}")

    def uniform(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        return rng.uniform(low, high, shape).astype(dtype)

    return uniform


def normal(std: float = 0.05, mean: float = 0.0) -> Initialiser:
    """Normal with standard deviation `std` >= 0."""
    std, mean = number("normal", "std", std, least=0), number("normal", "mean", mean)

    def normal(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        return rng.normal(mean, std, shape).astype(dtype)

    return normal


def truncated_normal(std: float = 0.05, mean: float = 0.0, bound: float = 2.0) -> Initialiser:
    """Normal, but never further than ``bound * std`` from `mean`.

    `std` is that of the normal before it is cut: at a bound of 2 what comes out has 0.88 of it.

    Raises:
        ValueError: `std` is negative, or `bound` not positive.
    """
    std = number("truncated_normal", "std", std, least=0)
    mean = number("truncated_normal", "mean", mean)
    if not number("truncated_normal", "bound", bound, infinite=True) > 0:
        raise ValueError(f"truncated_normal: bound must be positive, got {bound}")

    def truncated_normal(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        z = np.empty(math.prod(shape))
        missing = np.arange(z.size)
        while missing.size:
            if bound >= 1:
                z[missing] = rng.standard_normal(missing.size)
                missing = missing[np.abs(z[missing]) > bound]
            else:  # A normal would nearly always be too far out: weigh a uniform by the density.
                z[missing] = rng.uniform(-bound, bound, missing.size)
                kept = rng.random(missing.size) < np.exp(-0.5 * z[missing] ** 2)
                missing = missing[~kept]
        return (mean + std * z.reshape(shape)).astype(dtype)

    return truncated_normal


def glorot_uniform(gain: float = 1.0) -> Initialiser:
    """Uniform within ``gain * sqrt(6 / (fan_in + fan_out))``: variance 2 / (fan_in + fan_out).

    Keeps the variance of signals and gradients alike about the same from layer to layer.
    Source: Glorot and Bengio 2010, equation 16.
    """
    return _scaled("glorot_uniform", gain, np.mean, _symmetric)


def glorot_normal(gain: float = 1.0) -> Initialiser:
    """Normal with ``std = gain * sqrt(2 / (fan_in + fan_out))``.

    Source: Glorot and Bengio 2010, equation 12.
    """
    return _scaled("glorot_normal", gain, np.mean, _centred)


def he_uniform(gain: float = math.sqrt(2.0)) -> Initialiser:
    """Uniform within ``gain * sqrt(3 / fan_in)``; the gain of sqrt(2) is that for relu.

    Source: He et al. 2015, section 2.2.
    """
    return _scaled("he_uniform", gain, _first, _symmetric)


def he_normal(gain: float = math.sqrt(2.0)) -> Initialiser:
    """Normal with ``std = gain / sqrt(fan_in)``; the gain of sqrt(2) is that for relu.

    Source: He et al. 2015, section 2.2.
    """
    return _scaled("he_normal", gain, _first, _centred)


def lecun_uniform() -> Initialiser:
    """Uniform within ``sqrt(3 / fan_in)``: variance 1 / fan_in.

    Source: LeCun et al. 1998, Efficient BackProp, section 4.6.
    """
    return _scaled("lecun_uniform", 1.0, _first, _symmetric)


def lecun_normal() -> Initialiser:
    """Normal with ``std = 1 / sqrt(fan_in)``: what self-normalising networks (selu) need.

    Source: LeCun et al. 1998, section 4.6; Klambauer et al. 2017.
    """
    return _scaled("lecun_normal", 1.0, _first, _centred)


def orthogonal(gain: float = 1.0) -> Initialiser:
    """A random matrix with orthonormal rows or columns, whichever are fewer, times `gain`.

    Axes after the first count as one. Source: Saxe et al. 2014, section 3.1; uniform among all such
    matrices by Mezzadri 2007, section 5.
    """
    gain = number("orthogonal", "gain", gain)

    def orthogonal(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        fans("orthogonal", shape)
        rows, columns = shape[0], math.prod(shape[1:])
        draws = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(draws)
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        q = q if rows >= columns else q.T
        return (gain * q.reshape(shape)).astype(dtype)

    return orthogonal


def identity(gain: float = 1.0) -> Initialiser:
    """Output i is ``gain`` times input i; in a convolution, at the centre of the window.

    Inputs without an output are dropped, outputs without an input are 0.
    """
    gain = number("identity", "gain", gain)

    def identity(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        fans("identity", shape)
        y = np.zeros(shape, dtype)
        centre = [(size - 1) // 2 for size in shape[2:]]
        if y.size:
            for i in range(min(shape[:2])):
                y[(i, i, *centre)] = gain
        return y

    return identity


def fans(name: str, shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: how many numbers an output is made of, and an input goes into.

    Raises:
        ShapeError: the shape has fewer than two axes; `name` is who asks.
    """
    if len(shape) < 2:
        raise ShapeError(
            f"{name}: takes weights of at least two axes, outputs and inputs, not {shape}"
        )
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def first_value(
    initialiser: Initialiser, shape: Shape, rng: np.random.Generator | None, dtype: Any
) -> np.ndarray:
    """What the initialiser gives, checked; without `rng` from the generator of `tape.random`.

    Raises:
        ShapeError: it gives an array of another shape.
    """
    value = np.asarray(initialiser(shape, generator(rng), dtype), dtype)
    if value.shape != shape:
        raise ShapeError(
            f"the initialiser {initialiser!r} gives shape {value.shape} where {shape} is needed"
        )
    return value


def checked(layer: str, initialiser: Initialiser) -> Initialiser:
    """The initialiser itself, unless it is one that must be called first.

    Raises:
        TypeError: it is not a function ``init(shape, rng, dtype)``.
    """
    name = getattr(initialiser, "__name__", "")
    if name in __all__ and globals()[name] is initialiser and name not in ("zeros", "ones"):
        raise TypeError(f"{layer}: init.{name} makes an initialiser: call it, init.{name}(...)")
    if not callable(initialiser):
        raise TypeError(
            f"{layer}: an initialiser is a function init(shape, rng, dtype), got {initialiser!r}; "
            "for one value everywhere take init.constant(value)"
        )
    return initialiser


def _scaled(
    name: str, gain: float, reduce: Callable[..., Any], draw: Callable[..., np.ndarray]
) -> Initialiser:
    """Values of variance ``gain**2 / reduce((fan_in, fan_out))``, drawn by `draw`."""
    gain = number(name, "gain", gain, least=0)

    def scaled(shape: Shape, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        fan = float(reduce(fans(name, shape)))
        return draw(rng, gain / math.sqrt(max(fan, 1.0)), shape).astype(dtype)

    scaled.__name__ = scaled.__qualname__ = name
    return scaled


def _symmetric(rng: np.random.Generator, std: float, shape: Shape) -> np.ndarray:
    return rng.uniform(-math.sqrt(3.0) * std, math.sqrt(3.0) * std, shape)


def _centred(rng: np.random.Generator, std: float, shape: Shape) -> np.ndarray:
    return rng.normal(0.0, std, shape)


def _first(fan_in_and_fan_out: tuple[int, int]) -> int:
    return fan_in_and_fan_out[0]
