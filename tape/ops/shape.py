"""Views and rearrangements of one tensor: the same elements, in another shape or order of axes."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import operand
from tape._kernels.view import MatrixTranspose, Permute, Reshape
from tape.errors import AxisError, DTypeError, ShapeError
from tape.op import bad, op, sample

NO_AXIS = bad((2, 3), axis=2, error=AxisError, match="axis 2 is out of range for 2 axes")


def reshaped(x, *, shape):
    """Shape rule: as many elements, one -1 filled in."""
    size, known, free = math.prod(x), 1, -1
    shape = shape if isinstance(shape, tuple) else (shape,)
    for i, n in enumerate(shape):
        if type(n) is not int and not hasattr(n, "__index__"):
            raise DTypeError(f"a shape holds integers, got {n!r}")
        if n >= 0:
            known *= n
        elif n == -1 and free < 0:
            free = i
        else:
            raise ShapeError(f"the shape {shape} may have one -1 and nothing below it")
    if size != known if free < 0 else known == 0 or size % known:
        raise ShapeError(f"{size} elements of {x} do not fill the shape {shape}")
    return shape if free < 0 else (*shape[:free], size // known, *shape[free + 1 :])


@op(
    shape=reshaped,
    saves="x.shape",
    kernel=Reshape(np.ndarray.reshape),
    linear=True,
    samples=[
        sample((3, 4), shape=(2, 6)),
        sample((3, 4), shape=(-1,)),
        sample((), shape=(1, 1)),
        sample((0, 3), shape=(3, 0)),
        sample((0, 3), shape=(-1, 3)),
        sample((2, 3), shape=6),
        sample((2, 3), shape=(3, 2), copy=True),
    ],
    errors=[
        bad((3, 4), shape=(5, 2), error=ShapeError, match=r"12 elements of \(3, 4\) do not fill"),
        bad((3, 4), shape=(-1, -1), error=ShapeError, match="may have one -1"),
        bad((3, 4), shape=(-2, 6), error=ShapeError, match="may have one -1"),
        bad((0, 3), shape=(-1, 0), error=ShapeError, match="0 elements"),
        bad((2, 3), shape=(2.0, 3), error=DTypeError, match="integers, got 2.0"),
    ],
)
def reshape(x, /, shape, *, copy=None):
    """The same elements, in C order, in another shape; one entry of it may be -1.

    Args:
        x: the tensor.
        shape: a length or several.
        copy: True for memory of its own, False for an error where x's cannot be used.

    Shapes: x (*s) -> y (shape), of equal product

    Raises:
        ShapeError: x's elements do not fill the shape, or it has two -1; a copy is needed, which
            `copy` forbids.
        DTypeError: a length is no integer.
    """
    if copy is not None:
        try:
            return x.reshape(shape, copy=copy)
        except ValueError:
            raise ShapeError(f"{x.shape} of strides {x.strides}: {shape} needs a copy") from None
    return x.reshape(shape)


@reshape.defvjp
def reshape_vjp(g, x_shape):
    return reshape(g, x_shape)


def reshape_method(x, *shape):
    """The same elements in another shape: ``t.reshape(2, -1)`` or ``t.reshape((2, -1))``."""
    return reshape(
        x, shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    )


def flatten(x, /):
    """All elements along one axis, in C order.   Shapes: x (*s) -> y (n,), n the product of s"""
    return reshape(x, (-1,))


def expanded(x, *, axis):
    """Shape rule: new axes of length one where `axis` says, counted in the result."""
    n_new = len(axis) if isinstance(axis, tuple) else 1
    shape = list(x)
    for a in shapes.axes_of(len(x) + n_new, axis):
        shape.insert(a, 1)
    return tuple(shape)


@op(
    shape=expanded,
    saves="x.shape",
    linear=True,
    samples=[
        sample((2, 3)),
        sample((2, 3), axis=-1),
        sample((2, 3), axis=(0, 2)),
        sample(()),
        sample((0, 3), axis=1),
        sample((2,), axis=()),
    ],
    errors=[
        bad((2, 3), axis=3, error=AxisError, match="axis 3 is out of range for 3 axes"),
        bad((2, 3), axis=(0, -4), error=AxisError, match="names an axis twice"),
    ],
)
def expand_dims(x, /, axis=0):
    """x with an axis of length one put in so that it is `axis` of the result; several if a tuple.

    Shapes: x (*s) -> y (..., 1, ...)

    Raises:
        AxisError: the result has no such axis, or it is given twice.
    """
    return x.reshape(expanded(x.shape, axis=axis))


@expand_dims.defvjp
def expand_dims_vjp(g, x_shape):
    return reshape(g, x_shape)


def squeezed(x, *, axis):
    """Shape rule: axes of length one dropped."""
    if axis is None:
        return tuple([n for n in x if n != 1])
    axes = shapes.axes_of(len(x), axis)
    for a in axes:
        if x[a] != 1:
            raise ShapeError(f"axis {a} of {x} has length {x[a]}, only length 1 can go")
    return tuple([n for a, n in enumerate(x) if a not in axes])


@op(
    shape=squeezed,
    saves="x.shape",
    linear=True,
    samples=[
        sample((2, 1, 3)),
        sample((1, 2, 1), axis=-1),
        sample((1, 2, 1), axis=(0, 2)),
        sample(()),
        sample((0, 1), axis=1),
        sample((2, 1), axis=()),
    ],
    errors=[
        bad((2, 3), axis=1, error=ShapeError, match=r"axis 1 of \(2, 3\) has length 3"),
        NO_AXIS,
    ],
)
def squeeze(x, /, axis=None):
    """x without these axes, all of length one; None: without every axis of length one.

    Shapes: x (..., 1, ...) -> y (*s)

    Raises:
        ShapeError: an axis has another length than one.
        AxisError: x has no such axis, or it is given twice.
    """
    return x.reshape(squeezed(x.shape, axis=axis))


@squeeze.defvjp
def squeeze_vjp(g, x_shape):
    return reshape(g, x_shape)


def order_of(axes):
    """Axes as a tuple; one may stand alone."""
    return axes if isinstance(axes, tuple) else (axes,)


def permuted(x, *, axes):
    """Shape rule: every axis once."""
    ndim, seen, axes = len(x), 0, order_of(axes)
    for a in axes:
        seen |= 1 << shapes.axis_of(ndim, a)
    if len(axes) != ndim or seen != (1 << ndim) - 1:
        raise AxisError(f"axes {axes} are no permutation of the {ndim} axes of {x}")
    return tuple([x[a] for a in axes])


@op(
    shape=permuted,
    kernel=Permute(np.ndarray.transpose),
    linear=True,
    samples=[
        sample((2, 3, 4), axes=(2, 0, 1)),
        sample((2, 3), axes=(-1, 0)),
        sample((), axes=()),
        sample((3,), axes=0),
        sample((0, 3), axes=(1, 0)),
    ],
    errors=[
        bad((2, 3), axes=(0, 0), error=AxisError, match="no permutation of the 2 axes"),
        bad((2, 3), axes=(0, 2), error=AxisError, match="axis 2 is out of range"),
        bad((2, 3), axes=1, error=AxisError, match=r"axes \(1,\) are no permutation"),
        bad((2, 3), axes=None, error=AxisError, match="an axis is an integer, got None"),
        bad((2, 3), axes=(True, False), error=AxisError, match="an axis is an integer, got True"),
    ],
)
def permute_dims(x, /, axes):
    """x with its axes in another order.   Shapes: x (*s) -> y (s[axes[0]], s[axes[1]], ...)

    Raises:
        AxisError: `axes` does not name each axis of x once.
    """
    return x.transpose(axes)


@permute_dims.defvjp
def permute_dims_vjp(g, axes):
    axes = order_of(axes)
    inverse = [0] * len(axes)
    for i, a in enumerate(axes):
        inverse[a] = i
    return permute_dims(g, tuple(inverse))


def transpose(x, /, axes=None):
    """x with its axes in the order of `axes`, or reversed.   Shapes: x (*s) -> y (permuted s)

    Raises:
        AxisError: `axes` does not name each axis of x once.

    >>> import tape
    >>> tape.transpose([[1.0, 2.0]]).tolist()
    [[1.0], [2.0]]
    """
    x = operand(x, "transpose")
    try:
        return permute_dims(x, tuple(range(x.ndim - 1, -1, -1)) if axes is None else axes)
    except AxisError as error:
        error.op = "transpose"
        raise


def ordered(name, order, axes):
    """The axes of ``x.transpose(1, 0)``, ``x.transpose((1, 0))``, ``x.transpose(axes=(1, 0))``."""
    if order and axes is not None:
        raise TypeError(f"{name}: axes {order}, and axes={axes} as well")
    if not order:
        return axes
    return order[0] if len(order) == 1 else order


def transpose_method(x, *order, axes=None):
    """x with its axes in another order, ``x.transpose(1, 0)``, or reversed: ``x.transpose()``.

    Raises:
        AxisError: the axes do not name each axis of x once.
    """
    return transpose(x, ordered("transpose", order, axes))


def permute_dims_method(x, *order, axes=None):
    """x with its axes in another order: ``x.permute_dims(1, 0)`` or ``x.permute_dims((1, 0))``.

    Raises:
        AxisError: the axes do not name each axis of x once.
    """
    return permute_dims(x, ordered("permute_dims", order, axes))


def last_two_swapped(x):
    """Shape rule: the last two axes swapped."""
    if len(x) < 2:
        raise ShapeError(f"needs two axes to swap, got {x}")
    return (*x[:-2], x[-1], x[-2])


@op(
    shape=last_two_swapped,
    kernel=MatrixTranspose(),
    linear=True,
    samples=[sample((2, 3, 4)), sample((0, 3))],
    errors=[bad((3,), error=ShapeError, match="two axes")],
)
def matrix_transpose(x, /):
    """The last two axes swapped.   Shapes: x (..., m, n) -> y (..., n, m)

    Raises:
        ShapeError: x has fewer than two axes.
    """
    return x.swapaxes(-1, -2)


@matrix_transpose.defvjp
def matrix_transpose_vjp(g):
    return matrix_transpose(g)


def swapped(x, *, axis1, axis2):
    """Shape rule: two axes swapped."""
    i, j = shapes.axis_of(len(x), axis1), shapes.axis_of(len(x), axis2)
    shape = list(x)
    shape[i], shape[j] = x[j], x[i]
    return tuple(shape)


@op(
    shape=swapped,
    linear=True,
    samples=[sample((2, 3, 4), axis1=0, axis2=-1), sample((2, 0), axis1=1, axis2=1)],
    errors=[bad((2, 3), axis1=0, axis2=2, error=AxisError, match="axis 2 is out of range")],
)
def swapaxes(x, /, axis1, axis2):
    """x with two axes swapped.   Shapes: x (..., m, ..., n, ...) -> y (..., n, ..., m, ...)

    Raises:
        AxisError: x has no such axis.
    """
    return x.swapaxes(axis1, axis2)


@swapaxes.defvjp
def swapaxes_vjp(g, axis1, axis2):
    return swapaxes(g, axis1, axis2)


def moved(ndim, source, destination):
    """The permutation that puts axis source[i] at destination[i] and keeps the others in order."""
    source = source if isinstance(source, tuple) else (source,)
    destination = destination if isinstance(destination, tuple) else (destination,)
    if len(source) != len(destination):
        raise AxisError(
            f"{len(source)} axes {source} cannot go to {len(destination)} {destination}"
        )
    for axes in (source, destination):
        shapes.axes_of(ndim, axes)
    order = [a for a in range(ndim) if a not in [s % ndim for s in source]]
    for to, a in sorted([(d % ndim, s % ndim) for s, d in zip(source, destination, strict=True)]):
        order.insert(to, a)
    return tuple(order)


def rearranged(x, *, source, destination):
    """Shape rule of moveaxis."""
    return tuple([x[a] for a in moved(len(x), source, destination)])


@op(
    shape=rearranged,
    linear=True,
    samples=[
        sample((2, 3, 4), source=0, destination=-1),
        sample((2, 0), source=1, destination=0),
        sample((2, 3, 4), source=(0, 1), destination=(2, 0)),
        sample((), source=(), destination=()),
    ],
    errors=[
        bad((2, 3), source=2, destination=0, error=AxisError, match="axis 2 is out of range"),
        bad(
            (2, 3), source=(0, 1), destination=0, error=AxisError, match="2 axes .* cannot go to 1"
        ),
        bad((2, 3), source=(0, 0), destination=(0, 1), error=AxisError, match="twice"),
    ],
)
def moveaxis(x, /, source, destination):
    """x with axes moved to other places, the rest in order.   Shapes: x (*s) -> y (permuted s)

    Raises:
        AxisError: x has no such axis, one is given twice, or they are not as many as places.
    """
    return x.transpose(moved(x.ndim, source, destination))


@moveaxis.defvjp
def moveaxis_vjp(g, source, destination):
    return moveaxis(g, destination, source)
