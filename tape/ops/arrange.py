"""Elements in another order, or repeated."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray, count_as_read
from tape._core.refusal import addressable, allocated
from tape.errors import AxisError, DTypeError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.naming import named
from tape.ops.reduce import broadcast_to
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import NO_AXIS, reshape


def along(x, *, axis):
    """Shape rule: x's own shape, with `axis` (None: all axes) checked."""
    shapes.axes_of(len(x), axis)
    return x


@op(
    shape=along,
    linear=True,
    samples=[
        sample((2, 3)),
        sample((2, 3), axis=-1),
        sample((2, 3, 4), axis=(0, 2)),
        sample(()),
        sample((0, 3), axis=0),
    ],
    errors=[NO_AXIS],
)
def flip(x, /, *, axis=None):
    """x with its elements in reverse order along axes (None: all).   Shapes: x (*s) -> y (*s)

    Raises:
        AxisError: x has no such axis, or it is given twice.
    """
    axes = shapes.axes_of(x.ndim, axis)
    backwards = slice(None, None, -1)
    return x[(..., *[backwards if a in axes else slice(None) for a in range(x.ndim)])]


@flip.defvjp
def flip_vjp(g, axis):
    return flip(g, axis=axis)


def rolled(x, *, shift, axis):
    """Shape rule of roll: one shift for each axis."""
    if axis is None:
        if isinstance(shift, tuple):
            raise AxisError(f"shifts {shift} need one axis each, got axis=None")
        return x
    for a in axis if isinstance(axis, tuple) else (axis,):
        shapes.axis_of(len(x), a)
    n_axes = len(axis) if isinstance(axis, tuple) else 1
    if isinstance(shift, tuple) and n_axes != 1 and len(shift) != n_axes:
        raise AxisError(f"{len(shift)} shifts {shift} for {n_axes} axes {axis}")
    return x


@op(
    shape=rolled,
    linear=True,
    samples=[
        sample((2, 3), shift=2),
        sample((2, 3), shift=-1, axis=1),
        sample((), shift=1),
        sample((3, 4), shift=(1, -6), axis=(0, 1)),
        sample((0, 3), shift=1, axis=0),
        sample((3, 4), shift=1, axis=(0, 1)),
    ],
    errors=[
        bad((2, 3), shift=1, axis=2, error=AxisError, match="axis 2 is out of range"),
        bad((2, 3), shift=(1, 2), error=AxisError, match="need one axis each"),
        bad((2, 3), shift=(1, 2, 3), axis=(0, 1), error=AxisError, match="3 shifts"),
    ],
)
def roll(x, /, shift, axis=None):
    """x with elements pushed `shift` places on and those that fall off put in front.

    y[i] = x[(i - shift) % n] along `axis`; without an axis the elements count as one row.

    Shapes: x (*s) -> y (*s)

    Raises:
        AxisError: x has no such axis, or there are not as many shifts as axes.
    """
    return np.roll(x, shift, axis)


@roll.defvjp
def roll_vjp(g, shift, axis):
    return roll(g, tuple([-s for s in shift]) if isinstance(shift, tuple) else -shift, axis)


@named
def broadcast_arrays(*xs):
    """Tensors stretched to their common shape, as a list.   Shapes: (*s_i) broadcast -> (*s) each

    >>> import tape
    >>> [x.shape for x in tape.broadcast_arrays(tape.tensor([1.0, 2.0]), tape.tensor([[3.0]]))]
    [(1, 2), (1, 2)]
    """
    xs = [asarray(x) for x in xs]
    try:
        shape = shapes.broadcast(*[x.shape for x in xs]) if xs else ()
    except ShapeError as error:
        error.op = "broadcast_arrays"
        raise
    for x in xs:
        count_as_read(x)
    return [x if x.shape == shape else broadcast_to(x, shape) for x in xs]


@named
def meshgrid(*xs, indexing="xy"):
    """The coordinates of a grid, as a list: a tensor for each axis, all of the grid's shape.

    Args:
        *xs: the coordinates along each axis, one axis each; a number stands for one.
        indexing: "ij" for a grid of shape (n_0, n_1, ...), "xy" for one of (n_1, n_0, ...).

    Shapes: n of (n_i) -> n of (n_0, n_1, ...), or (n_1, n_0, ...)

    Raises:
        ShapeError: an operand has two axes or more, or there are more than 64 operands.
        DTypeError: the operands are not of one dtype.
        ValueError: indexing is neither "xy" nor "ij".

    >>> import tape
    >>> x, y = tape.meshgrid(tape.arange(2), tape.arange(3))
    >>> x.tolist()
    [[0, 1], [0, 1], [0, 1]]
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing {indexing!r} is neither 'xy' nor 'ij'")
    xs = [asarray(x) for x in xs]
    if len(xs) > 64:
        raise ShapeError(f"meshgrid: {len(xs)} operands, a tensor has at most 64 axes")
    for x in xs:
        if x.ndim > 1:
            raise ShapeError(f"meshgrid: takes operands of one axis, got {x.shape}")
        if x.dtype != xs[0].dtype:
            raise DTypeError(f"meshgrid: operands are of {xs[0].dtype} and of {x.dtype}")
    order = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        order[:2] = 1, 0
    for x in xs:
        count_as_read(x)
    shape = tuple([xs[i].size for i in order])
    grids = []
    for i, x in enumerate(xs):
        along_one = (1,) * order[i] + (x.size,) + (1,) * (len(xs) - order[i] - 1)
        grids.append(broadcast_to(reshape(x, along_one), shape))
    return grids


def is_count(n):
    """Whether n is an integer of at least 0."""
    return hasattr(n, "__index__") and n >= 0


def repetitions(x, reps):
    """x's shape and the repetitions, both with as many entries; missing ones are 1 in front."""
    reps = reps if isinstance(reps, tuple) else (reps,)
    if not all(is_count(r) for r in reps):
        raise ShapeError(f"repetitions {reps} must be integers of at least 0")
    ndim = max(len(x), len(reps))
    return (1,) * (ndim - len(x)) + x, (1,) * (ndim - len(reps)) + reps


def tiled(x, *, reps):
    """Shape rule: each length times its repetitions."""
    return tuple([n * r for n, r in zip(*repetitions(x, reps), strict=True)])


@op(
    shape=tiled,
    saves="x.shape",
    linear=True,
    samples=[
        sample((2, 3), reps=2),
        sample((2, 3), reps=(2, 1, 3)),
        sample((2, 3), reps=()),
        sample((), reps=(2,)),
        sample((0, 3), reps=(2, 2)),
        sample((2, 3), reps=(0, 1)),
    ],
    errors=[bad((2, 3), reps=(-1, 2), error=ShapeError, match=r"repetitions \(-1, 2\) must be")],
)
def tile(x, /, reps):
    """Copies of x laid side by side, reps[i] of them along axis i.

    Shapes: x (*s) -> y (s[i] * reps[i]); the shorter of s and reps gets ones in front

    Raises:
        ShapeError: a repetition is negative or no integer.
    """
    addressable(tiled(np.shape(x), reps=reps), x.itemsize)
    return np.tile(x, reps)


@tile.defvjp
def tile_vjp(g, x_shape, reps):
    pairs = [(r, n) for n, r in zip(*repetitions(x_shape, reps), strict=True)]
    apart = reshape(g, tuple([n for pair in pairs for n in pair]))
    return reshape(sum_over(apart, tuple(range(0, 2 * len(pairs), 2))), x_shape)


def repeated(x, *, repeats, axis):
    """Shape rule: one length times `repeats`; without an axis the number of elements."""
    if not is_count(repeats):
        raise ShapeError(f"repeats {repeats!r} must be an integer of at least 0")
    if axis is None:
        return (math.prod(x) * repeats,)
    axis = shapes.axis_of(len(x), axis)
    return (*x[:axis], x[axis] * repeats, *x[axis + 1 :])


@op(
    name="repeat",
    shape=repeated,
    saves="x.shape",
    linear=True,
    samples=[
        sample((2, 3), repeats=2),
        sample((2, 3), repeats=3, axis=1),
        sample((2, 3), repeats=2, axis=-2),
        sample((), repeats=2),
        sample((0, 3), repeats=2, axis=1),
        sample((2, 3), repeats=0, axis=0),
    ],
    errors=[
        bad((2, 3), repeats=-1, error=ShapeError, match="repeats -1 must be"),
        bad((2, 3), repeats=(1, 2), axis=0, error=ShapeError, match="must be an integer"),
        bad((2, 3), repeats=1, axis=2, error=AxisError, match="axis 2 is out of range"),
    ],
)
def repeat_each(x, /, repeats, axis=None):
    """repeat with one number for all.   Shapes: x (..., n, ...) -> y (..., n * repeats, ...)"""
    # NumPy's crashes where the size overflows.
    addressable(repeated(x.shape, repeats=repeats, axis=axis), x.itemsize)
    return x.repeat(repeats, axis)


@repeat_each.defvjp
def repeat_each_vjp(g, x_shape, repeats, axis):
    at = len(x_shape) if axis is None else shapes.axis_of(len(x_shape), axis) + 1
    return sum_over(reshape(g, (*x_shape[:at], repeats, *x_shape[at:])), at)


def repeat(x, repeats, /, axis=None):
    """Each element `repeats` times in a row, along an axis; None: of all elements, as one row.

    Args:
        x: the tensor.
        repeats: an integer of at least 0, or an array, tensor or list of one for each element
            along the axis.
        axis: the axis along which to repeat.

    Shapes: x (..., n, ...) -> y (..., n * repeats, ...), or (..., sum(repeats), ...)

    Raises:
        ShapeError: repeats is negative or no integer, or not one for each element.
        DTypeError: repeats holds no integers.
        AxisError: x has no such axis.

    >>> import tape
    >>> tape.repeat(tape.tensor([1.0, 2.0, 3.0]), [2, 0, 1]).tolist()
    [1.0, 1.0, 3.0]
    """
    if not hasattr(repeats, "shape") and not isinstance(repeats, list):
        return repeat_each(x, repeats, axis)
    try:
        counts = np.asarray(repeats)
        if counts.dtype.kind not in "iu" and counts.size:
            raise DTypeError(f"repeats must be integers, got {counts.dtype}")
        if counts.size == 1:
            return repeat_each(x, int(counts.reshape(())), axis)
        x = reshape(x, (-1,)) if axis is None else asarray(x)
        axis = 0 if axis is None else shapes.axis_of(x.ndim, axis)
        if counts.shape != (x.shape[axis],):
            raise ShapeError(f"repeats {counts.shape} for {x.shape[axis]} elements along {axis}")
        if counts.size and counts.min() < 0:
            raise ShapeError(f"repeats must be at least 0, got {counts.min()}")
        n, counts = sum(counts.tolist()), counts.astype(np.intp)
        addressable((n,), counts.itemsize)
        rows = allocated("repeat", (n,), np.intp, lambda: np.arange(counts.size).repeat(counts))
        return x[(*(slice(None),) * axis, rows)]
    except TapeError as error:
        error.op = "repeat"
        raise
