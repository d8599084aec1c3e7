"""Keys of x[key], read as NumPy reads them: what they choose, whether they fit.

Note [Layout of a key]
A key is parted into its layout, a setting, and the arrays in it, which are operands:
x[1:, i, None, m] has the layout (slice(1, None), INDEX, None, MASK) and the operands i and m.
So reuse tells numbers and slices by value and index tensors by their nodes, and a rule keeps an
index like any other operand.
"""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.tensor import Tensor
from tape._kernels.indices import first_outside
from tape.errors import AxisError, DTypeError, IndexRangeError, MaskError, ShapeError

INDEX, MASK = "index", "mask"
WHOLE = slice(None)


def parted(key):
    """The layout of a key, and its arrays; see Note [Layout of a key]."""
    parts = key if type(key) is tuple else (key,)
    for part in parts:
        kind = type(part)
        if not (kind is int or (kind is slice and is_plain(part)) or part is None or part is ...):
            return parted_with_arrays(parts)
    return parts, ()


def is_plain(part):
    """Whether a slice is made of Python's own integers."""
    for bound in (part.start, part.stop, part.step):
        if bound is not None and type(bound) is not int:
            return False
    return True


def parted_with_arrays(parts):
    """The same for any key; a 0-d integer counts as a number, a bool as a 0-d mask."""
    layout, indices = [], []
    for part in parts:
        if part is None or part is ...:
            layout.append(part)
        elif isinstance(part, slice):
            layout.append(slice(number(part.start), number(part.stop), number(part.step)))
        elif isinstance(part, (int, np.integer)) and not isinstance(part, bool):
            layout.append(int(part))
        else:
            index = part if isinstance(part, (Tensor, np.ndarray)) else array_of(part)
            kind = index.dtype.kind
            if kind not in "biu":
                is_given = index is part or index.ndim
                raise refused(f"{index.dtype} of shape {index.shape}" if is_given else repr(part))
            if kind != "b" and index.ndim == 0:
                layout.append(int(index))
            else:
                layout.append(MASK if kind == "b" else INDEX)
                indices.append(index)
    return tuple(layout), tuple(indices)


def number(bound):
    """A slice's start, stop or step as Python's own integer."""
    try:
        return None if bound is None else bound.__index__()
    except (AttributeError, TypeError):
        raise refused(f"a slice with {bound!r}") from None


def array_of(part):
    """A list, a range, a bool as an index array."""
    try:
        index = np.asarray(part)
    except ValueError:
        raise refused(f"an uneven {type(part).__name__}") from None
    if index.dtype.kind not in "biuf":
        raise refused(repr(part))
    return index.astype(np.intp) if index.size == 0 and index.dtype.kind == "f" else index


def refused(what):
    """The error for a part of a key that is no index."""
    return DTypeError(f"a key is made of integers, bools, slices, None and ..., got {what}")


def places(x, indices, layout):
    """[(part, its first axis, the axis after it, number of its array)] of a layout.

    Args:
        x, indices: the shapes of what is indexed, and of the index arrays.
        layout: the result ends in ``...`` if there is none in it.
    """
    widths, k, rest = [], 0, -1
    for part in layout:
        if part is ...:
            if rest >= 0:
                raise AxisError("a key has at most one ...")
            rest = len(widths)
        widths.append(0 if part is None or part is ... else len(indices[k]) if part == MASK else 1)
        k += type(part) is str
    n_axes = sum(widths)
    if n_axes > len(x):
        error = MaskError if MASK in layout else AxisError
        raise error(f"the key is for {n_axes} axes, x {x} has {len(x)}")
    if rest < 0:
        layout, rest = (*layout, ...), len(widths)
        widths.append(0)
    widths[rest] = len(x) - n_axes
    found, axis, k = [], 0, 0
    for part, width in zip(layout, widths, strict=True):
        found.append((part, axis, axis + width, k))
        axis += width
        k += type(part) is str
    return found


def extent(x, indices, layout):
    """The shape of x[key]; -1 is a length that only a mask's values tell.

    The common shape of the index arrays stands where they stood side by side (then numbers count as
    arrays), else in front. A mask stands for one 1-d array along each of its axes.
    """
    run = run_of(layout, len(x)) if indices else None
    if run is not None:
        return (*x[: run[0]], *together(indices), *x[run[0] + run[1] :])
    shape, arrays, at, last = [], [], 0, -1
    for place, (part, axis, end, k) in enumerate(places(x, indices, layout)):
        kind = type(part)
        if part is None:
            shape.append(1)
        elif part is ...:
            shape += x[axis:end]
        elif kind is slice:
            if part.step == 0:
                raise ShapeError("the step of a slice is 0")
            shape.append(len(range(*part.indices(x[axis]))))
        else:
            if kind is int and not -x[axis] <= part < x[axis]:
                raise IndexRangeError(
                    f"index {part} is out of range for axis {axis} of length {x[axis]}"
                )
            if kind is str:
                if part == MASK and not covers(indices[k], x[axis:end]):
                    raise MaskError(f"a mask {indices[k]} does not fit axes {axis} on of x {x}")
                arrays.append((-1,) if part == MASK else indices[k])
            at = len(shape) if last < 0 else at if last == place - 1 else 0
            last = place
    return (*shape[:at], *together(arrays), *shape[at:]) if arrays else tuple(shape)


def covers(mask, lengths):
    """Whether a mask is of these lengths, or, as in NumPy, empty where it is not."""
    return mask == lengths or all(m in (n, 0) for m, n in zip(mask, lengths, strict=True))


def together(arrays):
    """The common shape of index arrays, (-1,) among them for masks."""
    if len(arrays) == 1:
        return arrays[0]
    known = [shape for shape in arrays if shape != (-1,)]
    try:
        common = shapes.broadcast(*known) if known else ()
    except ShapeError as error:
        raise ShapeError(f"index arrays: {error}") from None
    return (*common[:-1], -1) if len(known) < len(arrays) and common[-1:] in ((), (1,)) else common


def check_range(index, low, high, what):
    """IndexRangeError unless all of an integer array is in [low, high).

    The message is `what`, with {0} for the first value that is not, and {1} for its place.
    """
    at = first_outside(index, low, high)
    if at >= 0:
        place = tuple([int(i) for i in np.unravel_index(at, index.shape)])
        raise IndexRangeError(what.format(index[place], place))


def filled(x, layout, indices):
    """The key for an array of shape x that NumPy takes, every index array checked."""
    run = run_of(layout, len(x))
    if run is not None:
        axes = range(run[0], run[0] + run[1])
    else:
        found = places(x, [index.shape for index in indices], layout)
        axes = [axis for part, axis, _, _ in found if type(part) is str]
    key, k = [], 0
    for part in layout:
        if type(part) is str:
            index, axis = indices[k], axes[k]
            k += 1
            if part == INDEX:
                n = x[axis]
                what = "index {0} at {1} is out of range for "
                check_range(index, -n, n, f"{what}axis {axis} of length {n}")
                # NumPy would read the largest uint64 as -1; after the check there is none.
                part = index.astype(np.intp, copy=False)
            else:
                part = index
        key.append(part)
    return tuple(key)


def run_of(layout, ndim):
    """(first axis, number) of index arrays side by side among whole axes; None for other keys."""
    axis, first, n, is_over, has_rest = 0, 0, 0, False, False
    for part in layout:
        kind = type(part)
        if kind is str and part == INDEX and not is_over:
            first, n = first if n else axis, n + 1
            axis += 1
        elif part is ... and not has_rest and len(layout) <= ndim + 1:
            is_over, has_rest, axis = n > 0, True, axis + ndim - len(layout) + 1
        elif kind is slice and part == WHOLE:
            is_over, axis = n > 0, axis + 1
        else:
            return None
    return (first, n) if n and axis <= ndim else None
