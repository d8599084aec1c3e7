"""Norms of vectors and matrices, and the condition number."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.errors import ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.determinant import slogdet
from tape.ops.dtype import floating, real
from tape.ops.elementwise import abs as absolute
from tape.ops.elementwise import sign
from tape.ops.extremes import attains
from tape.ops.extremes import max as largest
from tape.ops.extremes import min as smallest
from tape.ops.logic import equal, not_equal, where
from tape.ops.naming import named
from tape.ops.orthogonal import svdvals
from tape.ops.reduce import FORMS, WRONG_AXES, spread
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import expand_dims, moveaxis
from tape.ops.solve import inv

WITH_ZEROS = np.array([[0.0, 3.0, -4.0], [0.0, 0.0, 0.0]])
TIES = np.array([[1.0, -3.0, 3.0], [-2.0, 2.0, 2.0]])
ORDERS = [1, 2, 3, 2.5, 1.5, 0.5, -1, math.inf, -math.inf]


def measured(x, *, axis, keepdims, ord):
    """Shape rule of vector_norm."""
    if isinstance(ord, bool) or not isinstance(ord, (int, float)):
        raise ValueError(f"vector_norm: ord is a number, inf or -inf, got {ord!r}")
    if ord == -math.inf:
        for a in shapes.lines_of(len(x), axis):
            if x[a] == 0:
                raise ShapeError(f"axis {a} of {x} is empty, and ord={ord} has no identity")
    return shapes.reduce(x, axis=axis, keepdims=keepdims)


@op(
    shape=measured,
    saves="x y",
    samples=[
        *[sample((2, 3, 4), **form) for form in FORMS],
        *[sample((3, 4), axis=-1, low=0.5, ord=ord) for ord in ORDERS],
        *[sample((3, 4), low=-2.0, high=-0.5, ord=ord) for ord in ORDERS],
        *[sample(WITH_ZEROS, axis=1, smooth=False, ord=ord) for ord in [1, 2, 3, 1.5, 0.5]],
        *[sample(TIES, axis=1, smooth=False, ord=ord) for ord in [math.inf, -math.inf, 0]],
        sample((3, 4), ord=0),
        sample((0, 3), axis=0),
        sample((0, 3), axis=0, ord=math.inf),
        sample((2, 3), dtypes=["int64"]),
        *[sample((), axis=0, ord=ord) for ord in [0, 1, 2, 3, math.inf]],
        sample(()),
    ],
    errors=[
        *WRONG_AXES,
        bad((2, 3), ord="fro", error=ValueError, match="ord is a number, inf or -inf, got 'fro'"),
        bad((0, 3), axis=0, ord=-math.inf, error=ShapeError, match=r"axis 0 of \(0, 3\) is empty"),
    ],
)
def vector_norm(x, /, *, axis=None, keepdims=False, ord=2):
    """Norms of the vectors along axes (None: all elements): sum(|x|^ord)^(1/ord).

    inf is the largest |x|, -inf the smallest, 0 how many are not zero. Where a norm has a kink its
    gradient is 0 in the directions of zeros, and elements that tie share it equally, as in PyTorch.
    Integers are taken as float64.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        AxisError: x has no such axis, or it is given twice.
        ShapeError: there are no elements, and ord is -inf.
        ValueError: ord is no number.
    """
    x = floating(x)
    axis = shapes.lines_of(x.ndim, axis)
    if ord == 2:
        return np.sqrt(np.square(x).sum(axis, keepdims=keepdims))
    x = np.abs(x)
    if ord == math.inf:
        return np.asarray(x.max(axis, initial=0, keepdims=keepdims))
    if ord == -math.inf:
        return np.asarray(x.min(axis, keepdims=keepdims))
    if ord == 0:
        return np.asarray((x != 0).sum(axis, keepdims=keepdims).astype(x.dtype))
    if ord == 1:
        return np.asarray(x.sum(axis, keepdims=keepdims))
    return np.asarray((x**ord).sum(axis, keepdims=keepdims) ** x.dtype.type(1 / ord))


def slope(x, y, ord):
    """The derivative of a norm y by each element of x; y broadcasts to x."""
    if ord == 0:
        return np.zeros(x.shape, x.dtype)
    if ord == 1:
        return sign(x)
    if math.isinf(ord):
        won = attains(absolute(x), y)
        return where(won, sign(x), 0.0) / sum_over(
            won, axis=None if y.ndim == 0 else over(x, y), dtype=x.dtype, keepdims=True
        )
    nothing = equal(y, 0.0)
    if ord == 2:
        return where(nothing, 0.0, x / where(nothing, 1.0, y))
    if ord < 1:
        some = not_equal(x, 0.0)
        powers = where(some, absolute(where(some, x, 1.0)) ** (ord - 1), 0.0)
        return sign(x) * powers * y ** (1 - ord)
    powers = sign(x) * absolute(x) ** (ord - 1) if ord < 2 else x * absolute(x) ** (ord - 2)
    return where(nothing, 0.0, powers / where(nothing, 1.0, y) ** (ord - 1))


def over(x, y):
    """Axes along which y, which broadcasts to x, stands for several elements."""
    lead = x.ndim - y.ndim
    return tuple([a for a in range(x.ndim) if a < lead or y.shape[a - lead] != x.shape[a]])


@vector_norm.defvjp
def vector_norm_vjp(g, x, y, axis, keepdims, ord):
    y, g = spread(y, x.shape, axis, keepdims), spread(g, x.shape, axis, keepdims)
    return g * slope(x, y, ord)


@vector_norm.defjvp
def vector_norm_jvp(dx, x, y, axis, keepdims, ord):
    steps = dx * slope(x, spread(y, x.shape, axis, keepdims), ord)
    return sum_over(steps, axis, keepdims=keepdims)


@named
def matrix_norm(x, /, *, keepdims=False, ord="fro"):
    """Norms of stacked matrices.

    Args:
        keepdims: keep the last two axes, at length one.
        ord: "fro" the root of the sum of squares, "nuc" the sum of the singular values, 2 the
            largest of these and -2 the smallest, 1 and -1 the largest and smallest sum of |x| in a
            column, inf and -inf in a row.

    Shapes: x (..., m, n) -> y (...)

    Raises:
        ShapeError: x has fewer than two axes, or an axis is empty of which there is no smallest.
        ValueError: there is no such ord.

    >>> import tape
    >>> x = [[3.0, 0.0], [0.0, -4.0]]
    >>> [tape.linalg.matrix_norm(x, ord=ord).item() for ord in ("fro", "nuc", -2, 1)]
    [5.0, 7.0, 3.0, 4.0]
    """
    return norm_of_matrices("matrix_norm", x, ord, keepdims)


def norm_of_matrices(name, x, ord, keepdims):
    """matrix_norm, in whose name it is."""
    x = real(x)
    if x.ndim < 2:
        raise ShapeError(f"{name}: needs matrices, that is two axes or more, got {x.shape}")
    if ord not in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        raise ValueError(f"{name}: ord is 'fro', 'nuc', 1, 2, inf or minus that, got {ord!r}")
    try:
        if ord == "fro":
            y = vector_norm(x, axis=(-2, -1))
        elif ord == "nuc":
            y = sum_over(svdvals(x), -1)
        else:
            size = math.fabs(ord)
            sizes = svdvals(x) if size == 2 else sum_over(absolute(x), -2 if size == 1 else -1)
            if ord > 0 and not sizes.shape[-1]:
                y = sum_over(sizes, -1)  # the largest of no numbers that are not negative
            else:
                y = (largest if ord > 0 else smallest)(sizes, -1)
    except TapeError as error:
        error.op = name
        raise
    return expand_dims(y, axis=(-2, -1)) if keepdims else y


@named
def norm(x, /, ord=None, axis=None, keepdims=False):
    """The norm of vectors or matrices, as NumPy chooses which.

    Without ord and axis it is the root of the sum of all squares. Of one axis, or without axis of a
    vector, it is `vector_norm`; of two axes, or without axis of a matrix, `matrix_norm`.

    Shapes: x (*s) -> y (s without the axes)

    Raises:
        ShapeError: there are no axes for ord, or they are neither one nor two.
        AxisError: x has no such axis, or it is given twice.
        ValueError: there is no such ord.

    >>> import tape
    >>> tape.linalg.norm([[3.0, 4.0], [0.0, 2.0]], axis=1).tolist()
    [5.0, 2.0]
    """
    x = asarray(x)
    axis = tuple(axis) if isinstance(axis, list) else axis
    if axis is None and ord is None:
        return vector_norm(x, keepdims=keepdims)
    if isinstance(ord, str) and ord not in ("fro", "nuc"):
        raise ValueError(f"norm: ord is {ord!r}, not 'fro', 'nuc' or a number")
    if axis is None and x.ndim not in (1, 2):
        raise ShapeError(f"norm: ord={ord} of x {x.shape} needs one axis, or two for matrices")
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    try:
        if len(axes) == 1:
            return vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)
        if len(axes) != 2:
            raise ShapeError(f"norm: takes one axis, or two for matrices, got {axis}")
        shapes.axes_of(x.ndim, axes)
        moved = moveaxis(x, axes, (-2, -1))
    except TapeError as error:
        error.op = "norm"
        raise
    y = norm_of_matrices("norm", moved, "fro" if ord is None else ord, False)
    if not keepdims:
        return y
    return expand_dims(y, axis=shapes.axes_of(x.ndim, axes))


@named
def cond(x, /, p=None):
    """Condition numbers: how many times larger relative errors can get in solving with x.

    norm(x) * norm(inv(x)), inf for a singular x.

    Args:
        p: the norm, as of `matrix_norm`; None and 2: the largest singular value by the smallest, of
            matrices that need not be square; -2 the smallest by the largest.

    Shapes: x (..., m, n) -> y (...)

    Raises:
        ShapeError: x does not hold matrices, or not square ones for another p than 2 and -2.
        ValueError: there is no such p.

    >>> import tape
    >>> tape.linalg.cond([[2.0, 0.0], [0.0, -8.0]]).item()
    4.0
    """
    x = real(x)
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ShapeError(f"cond: needs matrices of at least one number, got {x.shape}")
    if p in (None, 2, -2):
        try:
            s = svdvals(x)
        except TapeError as error:
            error.op = "cond"
            raise
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    if x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"cond: p={p} needs square matrices, got {x.shape}")
    size = norm_of_matrices("cond", x, p, False)
    singular = slogdet(x).sign.numpy() == 0
    if not singular.any():
        return size * norm_of_matrices("cond", inv(x), p, False)
    other = where(singular[..., None, None], np.eye(x.shape[-1], dtype=x.dtype), x)
    y = size * norm_of_matrices("cond", inv(other), p, False)
    return where(singular, np.asarray(math.inf, x.dtype), y)
