"""Comparisons, logic, and choices between elements: where, maximum, minimum, clip."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._kernels.dispatch import Loop
from tape.errors import ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.cases import MISFIT, UNFIT, each, pairs, text_for, truths


def predicate(loop, samples=None):
    """`op` for what NumPy's inner loop says of each pair of elements, yes or no."""
    return op(
        shape=shapes.broadcast,
        kernel=Loop(loop),
        differentiable=False,
        samples=samples or pairs(),
        errors=MISFIT,
    )


@predicate(np.equal)
def equal(a, b, /):
    """a == b, elementwise; NaN equals nothing.   Shapes: a, b broadcast -> y"""
    return np.equal(a, b)


@predicate(np.not_equal)
def not_equal(a, b, /):
    """a != b, elementwise.   Shapes: a, b broadcast -> y"""
    return np.not_equal(a, b)


@predicate(np.less)
def less(a, b, /):
    """a < b, elementwise.   Shapes: a, b broadcast -> y"""
    return np.less(a, b)


@predicate(np.less_equal)
def less_equal(a, b, /):
    """a <= b, elementwise.   Shapes: a, b broadcast -> y"""
    return np.less_equal(a, b)


@predicate(np.greater)
def greater(a, b, /):
    """a > b, elementwise.   Shapes: a, b broadcast -> y"""
    return np.greater(a, b)


@predicate(np.greater_equal)
def greater_equal(a, b, /):
    """a >= b, elementwise.   Shapes: a, b broadcast -> y"""
    return np.greater_equal(a, b)


@op(shape=shapes.same, differentiable=False, samples=each(), errors=UNFIT)
def isnan(x, /):
    """Whether x is NaN, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.isnan(x)


@op(shape=shapes.same, differentiable=False, samples=each(), errors=UNFIT)
def isinf(x, /):
    """Whether x is inf or -inf, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.isinf(x)


@op(shape=shapes.same, differentiable=False, samples=each(), errors=UNFIT)
def isfinite(x, /):
    """Whether x is neither NaN nor infinite, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.isfinite(x)


@predicate(np.logical_and, truths(2))
def logical_and(a, b, /):
    """Whether both are true (not zero), elementwise.   Shapes: a, b broadcast -> y"""
    return np.logical_and(a, b)


@predicate(np.logical_or, truths(2))
def logical_or(a, b, /):
    """Whether one is true (not zero), elementwise.   Shapes: a, b broadcast -> y"""
    return np.logical_or(a, b)


@predicate(np.logical_xor, truths(2))
def logical_xor(a, b, /):
    """Whether exactly one is true (not zero), elementwise.   Shapes: a, b broadcast -> y"""
    return np.logical_xor(a, b)


@op(
    shape=shapes.same,
    kernel=Loop(np.logical_not),
    differentiable=False,
    samples=truths(1),
    errors=UNFIT,
)
def logical_not(x, /):
    """Whether x is false (zero), elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.logical_not(x)


CHOICES = [
    sample((3, 4), *pair, dtypes=["bool", None, None])
    for pair in [((3, 4), (3, 4)), ((4,), (3, 1)), ((), ())]
]


@op(
    shape=shapes.broadcast,
    saves="condition",
    samples=CHOICES,
    errors=[bad((3,), (2,), (3,), error=ShapeError, match="do not broadcast")],
)
def where(condition, a, b, /):
    """a where condition is true (not zero), else b, elementwise.   Shapes: all broadcast -> y"""
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
        a, b = np.asarray(a, weak(a)), np.asarray(b, weak(b))
    return np.where(condition, a, b)


def weak(number):
    """The dtype of a tensor made of this number alone."""
    return np.float32 if type(number) is float else None


@where.defvjp("a")
def where_vjp_a(g, condition):
    return where(condition, g, 0.0)


@where.defvjp("b")
def where_vjp_b(g, condition):
    return where(condition, 0.0, g)


@where.defjvp
def where_jvp(da, db, condition):
    return where(condition, da, db)


# Equal operands share the gradient, as in PyTorch; NaN hands it to both.


@op(shape=shapes.broadcast, saves="a b", kernel=Loop(np.maximum), samples=pairs(), errors=MISFIT)
def maximum(a, b, /):
    """The larger of a and b, elementwise, NaN if one is; equal ones take half the gradient each.

    Shapes: a, b broadcast -> y
    """
    return np.maximum(a, b)


@maximum.defvjp("a")
def maximum_vjp_a(g, a, b):
    return where(less(a, b), 0.0, where(equal(a, b), g * 0.5, g))


@maximum.defvjp("b")
def maximum_vjp_b(g, a, b):
    return where(greater(a, b), 0.0, where(equal(a, b), g * 0.5, g))


@maximum.defjvp
def maximum_jvp(da, db, a, b):
    return where(less(a, b), db, where(greater(a, b), da, shared(da, db, a, b)))


def shared(da, db, a, b):
    """The tangent where neither is larger: half of both, or both where one is NaN."""
    both = da + db
    return where(equal(a, b), both * 0.5, both)


@op(shape=shapes.broadcast, saves="a b", kernel=Loop(np.minimum), samples=pairs(), errors=MISFIT)
def minimum(a, b, /):
    """The smaller of a and b, elementwise, NaN if one is; equal ones take half the gradient each.

    Shapes: a, b broadcast -> y
    """
    return np.minimum(a, b)


@minimum.defvjp("a")
def minimum_vjp_a(g, a, b):
    return where(greater(a, b), 0.0, where(equal(a, b), g * 0.5, g))


@minimum.defvjp("b")
def minimum_vjp_b(g, a, b):
    return where(less(a, b), 0.0, where(equal(a, b), g * 0.5, g))


@minimum.defjvp
def minimum_jvp(da, db, a, b):
    return where(greater(a, b), db, where(less(a, b), da, shared(da, db, a, b)))


CLIPPED = [
    sample((3, 4), min=-0.5, max=1.0, smooth=False),
    sample((3, 4), min=-5.0, max=5.0),
    sample((), max=0.5, low=0.6),
    sample((0, 3), min=0),
    sample((3,)),
]


@op(
    shape=shapes.same,
    name="clip",
    saves="x",
    samples=CLIPPED,
    errors=[*UNFIT, text_for("min", (3,)), text_for("max", (3,))],
)
def clip_between(x, /, min=None, max=None):
    """clip with numbers as bounds; the gradient is 1 on [min, max].   Shapes: x (*s) -> y (*s)"""
    y = x if isinstance(x, np.ndarray) else np.asarray(x, weak(x))
    try:
        if min is not None:
            y = np.maximum(y, min)
        if max is not None:
            y = np.minimum(y, max)
    except OverflowError:  # integers that cannot hold a bound
        y = np.clip(x, min, max)
    return y.copy() if y is x else y


@clip_between.defvjp
def clip_between_vjp(g, x, min, max):
    return within(g, x, min, max)


@clip_between.defjvp
def clip_between_jvp(dx, x, min, max):
    return within(dx, x, min, max)


def within(g, x, min, max):
    """g where x lies between the bounds, else 0."""
    if min is not None:
        g = where(greater_equal(x, min), g, 0.0)
    if max is not None:
        g = where(less_equal(x, max), g, 0.0)
    return g


def clip(x, /, min=None, max=None):
    """x moved into [min, max], elementwise; NaN stays, and above `min` goes `max` if they cross.

    y = minimum(maximum(x, min), max), in the dtype of x if the bounds are of its kind

    The gradient for x is 1 on [min, max], bounds included, and 0 outside, where a bound that is a
    tensor gets it, as in PyTorch. Where one of them is NaN nobody gets any.

    Shapes: x, min, max broadcast -> y

    Args:
        x: values of any dtype.
        min, max: a number, a tensor, or None for no bound.

    >>> import tape
    >>> tape.clip(tape.tensor([-3.0, 0.5, 9.0]), 0, 1).tolist()
    [0.0, 0.5, 1.0]
    """
    if is_bound(min) and is_bound(max):
        return clip_between(x, min, max)
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    if kind and kind in "iu":
        min, max = within_range(min, x.dtype), within_range(max, x.dtype)
    y = clip_to(x, min, max)
    return y.astype(x.dtype) if kind == "f" == y.dtype.kind and y.dtype != x.dtype else y


def within_range(bound, dtype):
    """Integers as bounds of a dtype: those it cannot hold are its own limits."""
    if is_bound(bound) or bound.dtype.kind not in "iu" or bound.dtype == dtype:
        return bound
    limits = [n for info in map(np.iinfo, (dtype, bound.dtype)) for n in (info.min, info.max)]
    return np.clip(np.asarray(bound), *sorted(limits)[1:3]).astype(dtype)


def clip_to(x, min, max):
    """clip with bounds of which one is a tensor.   Shapes: x, min, max broadcast -> y"""
    if min is not None:
        x = clip_between(x, min) if is_bound(min) else bounded(x, min, maximum, greater_equal, less)
    if max is not None:
        x = (
            clip_between(x, None, max)
            if is_bound(max)
            else bounded(x, max, minimum, less_equal, greater)
        )
    return x


def bounded(x, bound, closest, inside, outside):
    """closest(x, bound), whose gradient is all x's at the bound and nobody's where one is NaN."""
    try:
        y = closest(x, bound)
    except TapeError as error:
        error.op = "clip"
        raise
    if y.dtype.kind != "f":
        return y
    nothing = np.asarray(math.nan, y.dtype)
    return where(inside(x, bound), x, where(outside(x, bound), bound, nothing))


def is_real(x):
    """Whether x is a real number, Python's or NumPy's."""
    return isinstance(x, (int, float, np.integer, np.floating))


def is_bound(x):
    """Whether a bound is none or a plain number, which clip takes as a setting."""
    return x is None or type(x) is float or type(x) is int or type(x) is bool
