"""Several tensors joined into one, and one cut into several."""

from __future__ import annotations

import math
from itertools import pairwise
from operator import index

import numpy as np

from tape import shapes
from tape._core.memory import count_on, lengths, operand
from tape.errors import AxisError, DTypeError, ShapeError
from tape.op import bad, op, sample
from tape.ops.shape import reshape

NO_TENSOR = bad(error=ShapeError, match="needs at least one tensor")


def arrays_of(xs):
    """Operands as arrays; Python numbers take the dtype of the arrays, among themselves float32."""
    if all(type(x) is np.ndarray for x in xs):
        return xs
    dtype = np.result_type(*xs)
    if dtype == np.float64 and not any(isinstance(x, np.ndarray) for x in xs):
        dtype = np.float32
    return [np.asarray(x, dtype) for x in xs]


def joined(*xs, axis):
    """Shape rule: lengths added up along one axis, the others equal."""
    if not xs:
        raise ShapeError("needs at least one tensor")
    if axis is None:
        return (sum([math.prod(x) for x in xs]),)
    first = xs[0]
    if not first:
        raise ShapeError("a 0-d tensor has no axis to join along: use stack, or axis=None")
    axis = shapes.axis_of(len(first), axis)
    n = 0
    for i, x in enumerate(xs):
        if len(x) != len(first) or x[:axis] != first[:axis] or x[axis + 1 :] != first[axis + 1 :]:
            raise ShapeError(f"tensor {i} {x} differs from {first} in more than axis {axis}")
        n += x[axis]
    return (*first[:axis], n, *first[axis + 1 :])


@op(
    shape=joined,
    saves="xs.shape",
    linear=True,
    samples=[
        sample((2, 3), (1, 3)),
        sample((2, 3), (2, 1), (2, 0), axis=-1),
        sample((2, 3), (), (4,), axis=None),
        sample((0, 3), (0, 3)),
        sample((5,)),
    ],
    errors=[
        NO_TENSOR,
        bad(
            (2, 3),
            (2, 4),
            error=ShapeError,
            match=r"tensor 1 \(2, 4\) differs from \(2, 3\) in more",
        ),
        bad((2, 3), (3,), error=ShapeError, match=r"tensor 1 \(3,\) differs"),
        bad((), (), error=ShapeError, match="no axis to join along"),
        bad((2, 3), axis=2, error=AxisError, match="axis 2 is out of range for 2 axes"),
    ],
)
def concat(*xs, axis=0):
    """Tensors one after the other along an axis; None: all their elements along one axis.

    Shapes: n of (..., m_i, ...) -> (..., sum of m_i, ...)

    Raises:
        ShapeError: there are no tensors, or they differ in more than that axis.
        AxisError: they have no such axis.

    >>> import tape
    >>> tape.concat([tape.tensor([1.0, 2.0]), tape.tensor([3.0])]).tolist()
    [1.0, 2.0, 3.0]
    """
    return np.concatenate(arrays_of(xs), axis)


@concat.defvjp
def concat_vjp(g, xs_shape, axis):
    if axis is None:
        stops = [0]
        for x in xs_shape:
            stops.append(stops[-1] + math.prod(x))
        return tuple([reshape(g[stops[i] : stops[i + 1]], x) for i, x in enumerate(xs_shape)])
    axis = shapes.axis_of(len(xs_shape[0]), axis)
    before, start, parts = (slice(None),) * axis, 0, []
    for x in xs_shape:
        parts.append(g[(*before, slice(start, start + x[axis]))])
        start += x[axis]
    return tuple(parts)


def stacked(*xs, axis):
    """Shape rule: a new axis as long as there are operands, all of one shape."""
    if not xs:
        raise ShapeError("needs at least one tensor")
    first = xs[0]
    for i, x in enumerate(xs):
        if x != first:
            raise ShapeError(f"all shapes must be equal, tensor {i} is {x}, the first {first}")
    axis = shapes.axis_of(len(first) + 1, axis)
    return (*first[:axis], len(xs), *first[axis:])


@op(
    shape=stacked,
    saves="xs.shape",
    linear=True,
    samples=[
        sample((2, 3), (2, 3)),
        sample((2,), (2,), (2,), axis=-1),
        sample((2, 3), (2, 3), axis=1),
        sample((), ()),
        sample((0, 3), (0, 3)),
    ],
    errors=[
        NO_TENSOR,
        bad(
            (2,),
            (3,),
            error=ShapeError,
            match=r"must be equal, tensor 1 is \(3,\), the first \(2,\)",
        ),
        bad((2,), (2,), axis=2, error=AxisError, match="axis 2 is out of range for 2 axes"),
    ],
)
def stack(*xs, axis=0):
    """Tensors of one shape side by side along a new axis.   Shapes: n of (*s) -> (..., n, ...)

    Raises:
        ShapeError: there are no tensors, or their shapes differ.
        AxisError: the result has no such axis.
    """
    xs = arrays_of(xs)
    axis = shapes.axis_of(xs[0].ndim + 1, axis)
    at = (*(slice(None),) * axis, None)
    return np.concatenate([x[at] for x in xs], axis)


@stack.defvjp
def stack_vjp(g, xs_shape, axis):
    before = (slice(None),) * shapes.axis_of(len(xs_shape[0]) + 1, axis)
    return tuple([g[(*before, i)] for i in range(len(xs_shape))])


def axis_in(name, ndim, axis):
    """axis counted from the front, or AxisError in the name of a function."""
    try:
        return shapes.axis_of(ndim, axis)
    except AxisError as error:
        error.op = name
        raise


def unstack(x, /, axis=0):
    """The slices of x along an axis, which they lose, as a tuple of tensors.

    Shapes: x (..., n, ...) -> n of (..., ...)

    Raises:
        AxisError: x has no such axis.

    >>> import tape
    >>> [row.tolist() for row in tape.unstack(tape.tensor([[1.0, 2.0], [3.0, 4.0]]))]
    [[1.0, 2.0], [3.0, 4.0]]
    """
    x = operand(x, "unstack")
    axis = axis_in("unstack", x.ndim, axis)
    before = (slice(None),) * axis
    count_on(x, axis)
    return tuple([x[(*before, i)] for i in range(lengths(x)[axis])])


def places(sections):
    """The places to split at as Python's integers."""
    try:
        return [index(place) for place in sections]
    except TypeError:
        raise DTypeError(f"split: sections are an integer or several, got {sections!r}") from None


def split(x, sections, /, axis=0):
    """x cut along an axis, as a list: into equal sections, or before each of the places listed.

    Shapes: x (..., n, ...) -> list of (..., m_i, ...), the m_i add up to n

    Raises:
        ShapeError: n is no multiple of the number of sections, or that is below 1.
        DTypeError: sections are neither an integer nor several.
        AxisError: x has no such axis.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0, 3.0, 4.0])
    >>> [part.tolist() for part in tape.split(x, 2)]
    [[1.0, 2.0], [3.0, 4.0]]
    >>> [part.tolist() for part in tape.split(x, [1])]
    [[1.0], [2.0, 3.0, 4.0]]
    """
    x = operand(x, "split")
    axis = axis_in("split", x.ndim, axis)
    n, before = lengths(x)[axis], (slice(None),) * axis
    count_on(x, axis)
    if hasattr(sections, "__index__") and not getattr(sections, "ndim", 0):
        sections = int(sections)
        if sections < 1 or n % sections:
            raise ShapeError(f"split: axis {axis} of length {n} has no {sections} equal sections")
        bounds = list(range(0, n + 1, n // sections)) if n else [0] * (sections + 1)
    else:
        # As a slice would read them: negative places count back, those outside are the ends.
        bounds = [0, *[slice(place, None).indices(n)[0] for place in places(sections)], n]
    return [x[(*before, slice(start, stop))] for start, stop in pairwise(bounds)]
