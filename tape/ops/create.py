"""New tensors: constants, ranges, the triangles of a matrix.

What is created here is a leaf. `dtype` is float32 unless something else follows from integers or
booleans given; `device` may be None or "cpu"; `requires_grad` is as of `tape.tensor`.
"""

from __future__ import annotations

import math
from operator import index

import numpy as np

from tape._core.convert import known_dtype
from tape._core.memory import adopt
from tape.errors import DTypeError, ShapeError
from tape.op import bad, op, sample
from tape.ops.logic import is_real


def leaf(array, device, requires_grad):
    """A leaf on a new array."""
    if device is not None and device != "cpu":
        raise ValueError(f"device: {device!r} is not there, only None or 'cpu'")
    t = adopt(array)
    if requires_grad:
        t.requires_grad_()
    return t


def lengths(shape, name):
    """A shape as a tuple of lengths."""
    try:
        axes = tuple([index(n) for n in (shape if np.iterable(shape) else (shape,))])
    except TypeError:
        raise ShapeError(f"{name}: a shape is an integer or several, got {shape!r}") from None
    if any(n < 0 for n in axes):
        raise ShapeError(f"{name}: the shape {axes} has a negative length")
    return axes


def shape_of(x):
    """Shape of a tensor, array, number or nested list."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def dtype_of(x):
    """The dtype of a tensor or array, and that which tape gives to a number."""
    if type(x) is float:
        return np.dtype(np.float32)
    return np.dtype(x.dtype) if hasattr(x, "dtype") else np.asarray(x).dtype


def chosen(dtype, name):
    """The dtype asked for, by default float32."""
    return known_dtype(dtype or np.float32, name)


def number(x, name, argument):
    """A Python number, from a number or a tensor or array of one element."""
    x = x.item() if hasattr(x, "item") else x
    if not is_real(x):
        raise TypeError(f"{name}: {argument} is a number, got {x!r}")
    return x


def zeros(shape, *, dtype=None, device=None, requires_grad=False):
    """Zeros.   Shapes: -> (shape)

    >>> import tape
    >>> tape.zeros((2, 2)).tolist()
    [[0.0, 0.0], [0.0, 0.0]]

    Raises:
        ShapeError: a length is negative or no integer.
        DTypeError: tape has no such dtype.
        ValueError: device is neither None nor "cpu".
    """
    return leaf(np.zeros(lengths(shape, "zeros"), chosen(dtype, "zeros")), device, requires_grad)


def ones(shape, *, dtype=None, device=None, requires_grad=False):
    """Ones.   Shapes: -> (shape).   Raises: as `zeros`"""
    return leaf(np.ones(lengths(shape, "ones"), chosen(dtype, "ones")), device, requires_grad)


def empty(shape, *, dtype=None, device=None, requires_grad=False):
    """Whatever the memory holds, to be written over.   Shapes: -> (shape).   Raises: as `zeros`"""
    return leaf(np.empty(lengths(shape, "empty"), chosen(dtype, "empty")), device, requires_grad)


def full(shape, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One number everywhere; dtype is that of the number: bool, int64 or float32.

    Shapes: -> (shape)

    Raises:
        ShapeError: fill_value has axes; and as `zeros`.
        DTypeError: fill_value does not fit the dtype; and as `zeros`.
    """
    if shape_of(fill_value) != ():
        raise ShapeError(f"full: the value has shape {shape_of(fill_value)}, expected a number")
    kind = chosen(dtype or dtype_of(fill_value), "full")
    try:
        value = np.asarray(fill_value, kind)
    except (OverflowError, ValueError):  # the latter of NaN
        raise DTypeError(f"full: the number {fill_value!r} does not fit {kind}") from None
    array = np.full(lengths(shape, "full"), value, kind)
    return leaf(array, device, requires_grad)


def zeros_like(x, /, *, dtype=None, device=None, requires_grad=False):
    """Zeros of the shape and dtype of x.   Shapes: x (*s) -> (*s)"""
    kind = chosen(dtype or dtype_of(x), "zeros_like")
    return leaf(np.zeros(shape_of(x), kind), device, requires_grad)


def ones_like(x, /, *, dtype=None, device=None, requires_grad=False):
    """Ones of the shape and dtype of x.   Shapes: x (*s) -> (*s)"""
    kind = chosen(dtype or dtype_of(x), "ones_like")
    return leaf(np.ones(shape_of(x), kind), device, requires_grad)


def empty_like(x, /, *, dtype=None, device=None, requires_grad=False):
    """Whatever the memory holds, of the shape and dtype of x.   Shapes: x (*s) -> (*s)"""
    kind = chosen(dtype or dtype_of(x), "empty_like")
    return leaf(np.empty(shape_of(x), kind), device, requires_grad)


def full_like(x, /, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One number everywhere, of the shape and dtype of x.   Shapes: x (*s) -> (*s)"""
    kind = dtype or dtype_of(x)
    return full(shape_of(x), fill_value, dtype=kind, device=device, requires_grad=requires_grad)


def arange(start, /, stop=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """start, start + step, ... as long as below stop (above it for a negative step).

    Called with one number, that is `stop` and start is 0. Integers give int64, else float32,
    counted in float64.

    Shapes: -> (n), n = max(0, ceil((stop - start) / step))

    >>> import tape
    >>> tape.arange(5, 0, -2).tolist()
    [5, 3, 1]

    Raises:
        ValueError: step is 0, or a number is infinite or NaN.
        TypeError: start, stop or step is no number.
        DTypeError: they do not fit the dtype.
    """
    start, stop = (0, start) if stop is None else (start, stop)
    named = ("start", start), ("stop", stop), ("step", step)
    numbers = [number(x, "arange", name) for name, x in named]
    if not numbers[2] or not all(map(math.isfinite, numbers)):
        raise ValueError(f"arange: no range from {start} to {stop} in steps of {step}")
    whole = all(isinstance(x, int) for x in numbers)
    kind = chosen(dtype or (np.int64 if whole else np.float32), "arange")
    counted = kind if whole and kind.kind in "iu" else np.int64 if whole else np.float64
    try:
        values = np.arange(*numbers, dtype=counted)
    except OverflowError:
        if kind.kind != "f":
            raise DTypeError(f"arange: {start}, {stop} and {step} do not fit {kind}") from None
        values = np.arange(*map(float, numbers))
    return leaf(values.astype(kind, copy=False), device, requires_grad)


def linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True, requires_grad=False):
    """num numbers evenly spaced from start to stop, which is one of them where `endpoint`.

    Shapes: -> (num)

    >>> import tape
    >>> tape.linspace(0, 1, 3).tolist()
    [0.0, 0.5, 1.0]

    Raises:
        ShapeError: num is negative or no integer.
        TypeError: start or stop is no number.
    """
    (n,) = lengths(num, "linspace")
    ends = number(start, "linspace", "start"), number(stop, "linspace", "stop")
    values = np.linspace(*map(float, ends), n, endpoint=endpoint)
    return leaf(values.astype(chosen(dtype, "linspace"), copy=False), device, requires_grad)


def eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None, requires_grad=False):
    """Ones on the k-th diagonal (above the main one for k > 0), else zeros.

    Shapes: -> (n_rows, n_cols), square without n_cols

    Raises: as `zeros`
    """
    rows, cols = lengths((n_rows, n_rows if n_cols is None else n_cols), "eye")
    return leaf(np.eye(rows, cols, k, chosen(dtype, "eye")), device, requires_grad)


def matrices(x):
    """Shape rule: stacked matrices, of their own shape."""
    if len(x) < 2:
        raise ShapeError(f"needs matrices, that is two axes or more, got {x}")
    return x


def nearest_diagonal(k, shape):
    """The number k of a diagonal, or if it is outside the matrices that of the next one outside."""
    return max(-shape[-2], min(index(k), shape[-1]))


TRIANGLES = [
    sample((3, 4)),
    sample((2, 3, 3), k=1),
    sample((4, 2), k=-1),
    sample((0, 3), k=5),
    sample((2, 3), k=10**30),
    sample((2, 3), k=-(10**30)),
]
NO_TRIANGLE = [
    bad((3,), error=ShapeError, match=r"two axes or more, got \(3,\)"),
    bad((2, 2), k=0.5, error=DTypeError, match=r"\(2, 2\), k=0\.5"),
]


@op(shape=matrices, linear=True, samples=TRIANGLES, errors=NO_TRIANGLE)
def tril(x, /, k=0):
    """x with zeros above the k-th diagonal.   Shapes: x (..., m, n) -> y (..., m, n)

    Raises:
        ShapeError: x has fewer than two axes.
    """
    return np.tril(x, nearest_diagonal(k, x.shape))


@tril.defvjp
def tril_vjp(g, k):
    return tril(g, k)


@op(shape=matrices, linear=True, samples=TRIANGLES, errors=NO_TRIANGLE)
def triu(x, /, k=0):
    """x with zeros below the k-th diagonal.   Shapes: x (..., m, n) -> y (..., m, n)

    Raises:
        ShapeError: x has fewer than two axes.
    """
    return np.triu(x, nearest_diagonal(k, x.shape))


@triu.defvjp
def triu_vjp(g, k):
    return triu(g, k)
