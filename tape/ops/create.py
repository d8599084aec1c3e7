"""New tensors: constants, ranges, the triangles of a matrix.

What is created here is a leaf. `dtype` is float32 unless something else follows from integers or
booleans given; `device` may be None or "cpu"; `requires_grad` is as of `tape.tensor`.
"""

from __future__ import annotations

import math
from operator import index

import numpy as np

from tape._core.convert import known_dtype
from tape._core.memory import adopt, count_as_read, operand
from tape._core.refusal import allocated, too_large
from tape._core.tensor import Tensor
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


def shape_of(x, name):
    """Shape of a tensor, array, number or nested list; errors are in the name of a function."""
    if isinstance(x, (int, float)):
        return ()
    x = x if hasattr(x, "shape") else operand(x, name)
    return (count_as_read(x) if isinstance(x, Tensor) and x.ndim else x).shape


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


def filled(name, make, shape, dtype, device, requires_grad):
    """A leaf that make(shape, dtype) gives."""
    axes, kind = lengths(shape, name), chosen(dtype, name)
    return leaf(allocated(name, axes, kind, lambda: make(axes, kind)), device, requires_grad)


def zeros(shape, *, dtype=None, device=None, requires_grad=False):
    """Zeros.   Shapes: -> (shape)

    >>> import tape
    >>> tape.zeros((2, 2)).tolist()
    [[0.0, 0.0], [0.0, 0.0]]

    Raises:
        ShapeError: a length is negative or no integer.
        SizeError: there is no memory for so many.
        DTypeError: tape has no such dtype.
        ValueError: device is neither None nor "cpu".
    """
    return filled("zeros", np.zeros, shape, dtype, device, requires_grad)


def ones(shape, *, dtype=None, device=None, requires_grad=False):
    """Ones.   Shapes: -> (shape).   Raises: as `zeros`"""
    return filled("ones", np.ones, shape, dtype, device, requires_grad)


def empty(shape, *, dtype=None, device=None, requires_grad=False):
    """Whatever the memory holds, to be written over.   Shapes: -> (shape).   Raises: as `zeros`"""
    return filled("empty", np.empty, shape, dtype, device, requires_grad)


def full(shape, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One number everywhere; dtype is that of the number: bool, int64 or float32.

    Shapes: -> (shape)

    Raises:
        ShapeError: fill_value has axes; and as `zeros`.
        DTypeError: fill_value does not fit the dtype; and as `zeros`.
    """
    if shape_of(fill_value, "full") != ():
        found = shape_of(fill_value, "full")
        raise ShapeError(f"full: the value has shape {found}, expected a number")
    kind = chosen(dtype or dtype_of(fill_value), "full")
    try:
        value = np.asarray(fill_value, kind)
    except (OverflowError, ValueError):  # the latter of NaN
        raise DTypeError(f"full: the number {fill_value!r} does not fit {kind}") from None
    axes = lengths(shape, "full")
    array = allocated("full", axes, kind, lambda: np.full(axes, value, kind))
    return leaf(array, device, requires_grad)


def zeros_like(x, /, *, dtype=None, device=None, requires_grad=False):
    """Zeros of the shape and dtype of x.   Shapes: x (*s) -> (*s)"""
    return filled(
        "zeros_like",
        np.zeros,
        shape_of(x, "zeros_like"),
        dtype or dtype_of(x),
        device,
        requires_grad,
    )


def ones_like(x, /, *, dtype=None, device=None, requires_grad=False):
    """Ones of the shape and dtype of x.   Shapes: x (*s) -> (*s)"""
    return filled(
        "ones_like", np.ones, shape_of(x, "ones_like"), dtype or dtype_of(x), device, requires_grad
    )


def empty_like(x, /, *, dtype=None, device=None, requires_grad=False):
    """Whatever the memory holds, of the shape and dtype of x.   Shapes: x (*s) -> (*s)"""
    return filled(
        "empty_like",
        np.empty,
        shape_of(x, "empty_like"),
        dtype or dtype_of(x),
        device,
        requires_grad,
    )


def full_like(x, /, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One number everywhere, of the shape and dtype of x.   Shapes: x (*s) -> (*s)"""
    shape, kind = shape_of(x, "full_like"), dtype or dtype_of(x)
    return full(shape, fill_value, dtype=kind, device=device, requires_grad=requires_grad)


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
        SizeError: there is no memory for so many.
    """
    start, stop = (0, start) if stop is None else (start, stop)
    named = ("start", start), ("stop", stop), ("step", step)
    numbers = [number(x, "arange", name) for name, x in named]
    if not numbers[2] or not all(map(math.isfinite, numbers)):
        raise ValueError(f"arange: no range from {start} to {stop} in steps of {step}")
    whole = all(isinstance(x, int) for x in numbers)
    kind = chosen(dtype or (np.int64 if whole else np.float32), "arange")
    counted = kind if whole and kind.kind in "iu" else np.dtype("int64" if whole else "float64")
    try:
        values = counting(numbers, counted, kind).astype(kind, copy=False)
    except OverflowError:
        raise DTypeError(f"arange: {start}, {stop} and {step} do not fit {kind}") from None
    except (MemoryError, ValueError):
        from fractions import Fraction  # needed by this error alone

        start, stop, step = map(Fraction, numbers)
        n = math.ceil((stop - start) / step)
        raise too_large((n,), counted.itemsize, "arange") from None
    return leaf(values, device, requires_grad)


def counting(numbers, counted, kind):
    """np.arange in the dtype `counted`; in float64 where that cannot hold them and `kind` can."""
    try:
        return np.arange(*numbers, dtype=counted)
    except OverflowError:
        if kind.kind != "f":
            raise
        return np.arange(*map(float, numbers))


def linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True, requires_grad=False):
    """num numbers evenly spaced from start to stop, which is one of them where `endpoint`.

    Shapes: -> (num)

    >>> import tape
    >>> tape.linspace(0, 1, 3).tolist()
    [0.0, 0.5, 1.0]

    Raises:
        ShapeError: num is negative or no integer.
        SizeError: there is no memory for so many.
        TypeError: start or stop is no number.
    """
    (n,) = lengths(num, "linspace")
    ends = number(start, "linspace", "start"), number(stop, "linspace", "stop")
    first, last, kind = float(ends[0]), float(ends[1]), chosen(dtype, "linspace")

    def make():
        return np.linspace(first, last, n, endpoint=endpoint).astype(kind, copy=False)

    return leaf(allocated("linspace", (n,), np.float64, make), device, requires_grad)


def eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None, requires_grad=False):
    """Ones on the k-th diagonal (above the main one for k > 0), else zeros.

    Shapes: -> (n_rows, n_cols), square without n_cols

    Raises: as `zeros`
    """
    rows, cols = lengths((n_rows, n_rows if n_cols is None else n_cols), "eye")
    kind, k = chosen(dtype, "eye"), offset(k, "eye")
    array = allocated("eye", (rows, cols), kind, lambda: np.eye(rows, cols, k, kind))
    return leaf(array, device, requires_grad)


def offset(k, name):
    """The number of a diagonal, an integer."""
    try:
        return index(k)
    except TypeError:
        raise TypeError(f"{name}: k is an integer, got {k!r}") from None


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
