"""x[key] and x[key] = value, with gradients; what a key means stands in `key`."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray, choose, glance, origin_of, overwrite, written_from
from tape._core.recorded import is_recorded
from tape._core.state import is_recording
from tape._core.tensor import Tensor
from tape._kernels.indices import add_into, scatter_add
from tape._kernels.view import View
from tape.errors import AxisError, DTypeError, IndexRangeError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.key import INDEX, MASK, WHOLE, extent, filled, parted, run_of
from tape.ops.shape import reshape

GRID, TWICE = np.array([[2, 0], [-1, 1]]), np.array([1, 1, -2])
EVEN = np.array([True, False, True])
# Shape of x, index arrays, layout, shape of x[key]: what reading and writing are tried with.
KEYS = [
    ((3, 4), [], (1,), (4,)),
    ((3, 4), [], (WHOLE, slice(None, None, -2)), (3, 2)),
    ((3, 4), [], (..., None, slice(1, 3)), (3, 1, 2)),
    ((3, 4), [], (), (3, 4)),
    ((), [], (None,), (1,)),
    ((0, 3), [], (slice(0, 5), 2), (0,)),
    ((4, 3), [GRID], (INDEX,), (2, 2, 3)),
    ((3, 4), [GRID], (..., INDEX), (3, 2, 2)),
    ((4, 4, 2), [GRID, np.array([0, 3])], (INDEX, INDEX), (2, 2, 2)),
    ((2, 4, 4), [GRID, np.array([[0], [2]])], (WHOLE, INDEX, INDEX), (2, 2, 2)),
    ((4, 2, 3), [GRID], (INDEX, WHOLE, 1), (2, 2, 2)),
    ((3, 2), [EVEN], (MASK,), (2, 2)),
    ((2, 3), [EVEN, np.array(True)], (slice(1, None), MASK, MASK), (1, 2)),
    ((3,), [np.zeros((0, 2), np.int64)], (INDEX,), (0, 2)),
    ((0, 4), [GRID], (WHOLE, INDEX), (0, 2, 2)),
]
# Keys that name elements more than once, whose gradients add up.
REPEATING = [
    ((3, 4), [TWICE], (INDEX,), (3, 4)),
    ((4, 3), [TWICE], (WHOLE, INDEX), (4, 3)),
    ((3, 4), [TWICE, TWICE], (INDEX, INDEX), (3,)),
    ((3, 2, 3), [TWICE, TWICE], (INDEX, WHOLE, INDEX), (3, 2)),
]
BAD_KEYS = [
    ((3, 4), [], (3,), IndexRangeError, "index 3 is out of range for axis 0 of length 3"),
    ((3, 4), [], (..., -5), IndexRangeError, "index -5 is out of range for axis 1 of length 4"),
    ((3, 4), [], (0, 0, 0), AxisError, r"the key is for 3 axes, x \(3, 4\) has 2"),
    ((3, 4), [], (..., ...), AxisError, "at most one"),
    ((3, 4), [TWICE], (..., INDEX, ...), AxisError, "at most one"),
    ((3, 4), [TWICE, TWICE, TWICE], (..., INDEX, INDEX, INDEX), AxisError, "the key is for 3 axes"),
    ((3, 4), [], (slice(0, 1, 0),), ShapeError, "the step of a slice is 0"),
    ((3, 4), [GRID], (WHOLE, 0, INDEX), AxisError, "for 3 axes"),
    ((2, 4), [GRID], (INDEX,), IndexRangeError, r"index 2 at \(0, 0\) .* axis 0 of length 2"),
    ((3, 4), [GRID, TWICE], (INDEX, INDEX), ShapeError, r"\(2, 2\) and \(3,\) do not broadcast"),
    ((4, 4), [EVEN], (MASK,), ShapeError, r"a mask \(3,\) does not fit axes 0 on of x \(4, 4\)"),
    ((3, 4), [TWICE, EVEN], (INDEX, MASK), ShapeError, "does not fit axes 1 on"),
    ((3, 3), [TWICE, EVEN], (INDEX, MASK), ShapeError, "chooses 2 places"),
]


def refusals(*operands):
    """The bad keys as bad samples; `operands` stand after x."""
    return [
        bad(x, *operands, *indices, layout=layout, error=error, match=match)
        for x, indices, layout, error, match in BAD_KEYS
    ]


def indexed(x, *indices, layout):
    """Shape rule: the shape of x[key], None if a mask's values tell."""
    shape = extent(x, indices, layout)
    return None if -1 in shape else shape


@op(
    shape=indexed,
    saves="indices x.shape",
    kernel=View(np.ndarray.__getitem__),
    samples=[sample(x, *i, layout=layout) for x, i, layout, _ in KEYS + REPEATING],
    errors=refusals(),
)
def get_item(x, /, *indices, layout):
    """x[key], the key parted into arrays and layout.   Shapes: as in NumPy"""
    if not indices:
        return x[layout]
    key = filled(x.shape, layout, indices)
    if len(indices) == 1 and x.flags.c_contiguous:
        run = run_of(layout, x.ndim)
        if run is not None:
            # Three times as fast for rows; of any other x, take would first copy all.
            return x.take(key[layout.index(INDEX)], run[0])
    try:
        return x[key]
    except IndexError:
        raise mismatch(indices, layout) from None


def mismatch(indices, layout):
    """The error for a mask that does not choose as many places as the index arrays beside it."""
    kinds = [part for part in layout if type(part) is str]
    masks = [i for i, kind in zip(indices, kinds, strict=True) if kind == MASK]
    counts = " and ".join([str(np.count_nonzero(mask)) for mask in masks])
    return ShapeError(f"a mask chooses {counts} places, the index arrays beside it do not fit")


@get_item.defvjp("x")
def get_item_vjp(g, indices, x_shape, layout):
    return get_item_grad(g, *indices, layout=layout, shape=x_shape)


@get_item.defjvp
def get_item_jvp(dx, indices, layout):
    return get_item(dx, *indices, layout=layout)


@get_item.defadd("x")
def get_item_add(total, g, indices, layout):
    part = g.numpy()
    if not indices:
        add_into(total[layout if ... in layout else (*layout, ...)], part)
        return True
    run = run_of(layout, total.ndim)
    if run is not None:
        add_run(total, part, [index.numpy() for index in indices], run)
    return run is not None


def add_run(total, part, indices, run):
    """total[key] += part for index arrays side by side, equal ones adding up in order."""
    first, last = run[0], run[0] + run[1]
    lengths = total.shape[:first], total.shape[first:last], total.shape[last:]
    rows = flat(indices, lengths[1])
    outer, n, inner = math.prod(lengths[0]), math.prod(lengths[1]), math.prod(lengths[2])
    part = np.ascontiguousarray(part).reshape(outer, rows.size, inner)
    scatter_add(total.reshape(outer, n, inner), rows, part)


def flat(indices, lengths):
    """Index arrays along neighbouring axes as one 1-d array along these axes flattened."""
    if len(indices) == 1:
        return np.ascontiguousarray(indices[0], np.intp).reshape(-1)
    rows = 0
    for index, n in zip(indices, lengths, strict=True):
        rows = rows * n + np.where(index < 0, index + n, index)
    return np.ascontiguousarray(rows, np.intp).reshape(-1)


def filling(part, *indices, layout, shape):
    """Shape rule of get_item_grad."""
    return shape


@op(
    shape=filling,
    saves="indices",
    samples=[sample(y, *i, layout=layout, shape=x) for x, i, layout, y in KEYS + REPEATING],
    errors=[
        bad(
            (5,),
            layout=(1,),
            shape=(3, 4),
            error=ShapeError,
            match=r"part \(5,\) is not of the",
        )
    ],
)
def get_item_grad(part, /, *indices, layout, shape):
    """Zeros of a shape with `part` added in at a key: what x[key] had from x's gradient.

    Equal indices add up, in the order of `part`: the same bits on every run.

    Shapes: part (shape of x[key]) -> y (shape)
    """
    y = np.zeros(shape, part.dtype)
    run = run_of(layout, len(shape)) if indices and part.dtype.kind == "f" else None
    try:
        if run is not None:
            add_run(y, part, indices, run)
        elif INDEX in layout:
            np.add.at(y, filled(shape, layout, indices), part)
        else:
            y[filled(shape, layout, indices) if indices else layout] = part  # nothing named twice
    except ValueError:
        raise ShapeError(
            f"part {part.shape} is not of the shape that the key has in {shape}"
        ) from None
    return y


@get_item_grad.defvjp("part")
def get_item_grad_vjp(g, indices, layout):
    return get_item(g, *indices, layout=layout)


@get_item_grad.defjvp
def get_item_grad_jvp(dpart, indices, layout, shape):
    return get_item_grad(dpart, *indices, layout=layout, shape=shape)


def item(x, key):
    """x[key]: numbers, slices, None, ..., index and mask arrays or tensors, mixed as in NumPy.

    Raises:
        IndexRangeError: an index leaves its axis.
        AxisError: more indices than axes.
        ShapeError: a mask of another shape than x, index arrays that do not broadcast.
        DTypeError: something that is no index.
    """
    try:
        layout, indices = parted(key)
    except TapeError as error:
        error.op = "get_item"
        raise
    y = get_item(x, *indices, layout=layout)
    for index in indices:
        if isinstance(index, Tensor) and index.dtype == bool:
            return choose(y)
    return y


def written(x, value, *indices, layout):
    """Shape rule: x's own shape, if the value broadcasts to x[key]."""
    shape = extent(x, indices, layout)
    if -1 not in shape:
        try:
            fits = shapes.broadcast(shape, value) == shape
        except ShapeError:
            fits = False
        if not fits:
            raise ShapeError(f"a value {value} does not broadcast to x[key] {shape}")
    return x


WRITES = [sample(x, y, *i, layout=layout) for x, i, layout, y in KEYS]
WRITES += [
    sample((3, 4), (4,), layout=(slice(0, 2),)),
    sample((3, 4), (2, 1), EVEN, layout=(MASK,)),
    sample((4, 3), (), GRID, layout=(INDEX,)),
    sample((3, 4), 1.5, layout=(0,)),
]


@op(
    shape=written,
    saves="indices",
    samples=WRITES,
    errors=[
        *refusals(()),
        bad((3, 4), (3,), layout=(0,), error=ShapeError, match=r"value \(3,\) does not broadcast"),
        bad((3, 4), (3, 4), EVEN, layout=(MASK,), error=ShapeError, match="does not broadcast"),
    ],
)
def set_item(x, value, /, *indices, layout):
    """x with `value` at a key, of x's dtype; a place named twice gets the last one, as in NumPy.

    The gradient of x is zero at the key, that of value is g[key]: where a place is named twice, as
    in PyTorch, both values get the gradient of the place.

    Shapes: x (*s), value broadcasts to x[key] -> y (*s)
    """
    y = x.copy()
    put([y], fitting(value, x.dtype), indices, layout)
    return y


@set_item.defvjp("x")
def set_item_vjp_x(g, indices, layout):
    return set_item(g, 0.0, *indices, layout=layout)


@set_item.defvjp("value")
def set_item_vjp_value(g, indices, layout):
    return get_item(g, *indices, layout=layout)


@set_item.defjvp
def set_item_jvp(dx, dvalue, indices, layout):
    return set_item(dx, dvalue, *indices, layout=layout)


def fitting(value, dtype):
    """value in a dtype, or DTypeError: a cast must not change the kind (float to integer)."""
    if not isinstance(value, np.ndarray):
        if dtype.kind != "f" and np.result_type(value, dtype) != dtype:
            raise DTypeError(f"the number {value!r} does not fit a {dtype} tensor")
        try:
            return np.asarray(value, dtype)
        except OverflowError:
            raise DTypeError(f"the number {value!r} does not fit a {dtype} tensor") from None
    if value.dtype == dtype:
        return value
    if not np.can_cast(value.dtype, dtype, "same_kind"):
        raise DTypeError(f"{value.dtype} values do not fit a {dtype} tensor: cast them with astype")
    with np.errstate(all="ignore"):
        return value.astype(dtype)


def put(arrays, value, indices, layout):
    """Write into the only array; NumPy, too, writes nothing unless all of it can be written."""
    array = arrays[0]
    key = filled(array.shape, layout, indices) if indices else layout
    try:
        array[key] = value
    except IndexError:
        raise mismatch(indices, layout) from None
    except (TypeError, ValueError):  # the former if a mask meets a value of two axes or more
        shape = array[key].shape
        raise ShapeError(f"a value {value.shape} does not broadcast to x[key] {shape}") from None


def assign_item(x, key, value):
    """x[key] = value: the handle moves on to the new value, others on the old one keep it.

    While recording, if x or value needs a gradient, the write is an op with gradients for both.
    Otherwise x's memory is written to if nobody else can see it, and copied first if somebody can:
    so a slice of x taken before, or a graph recorded before, still has the old value.

    Raises:
        IndexRangeError, AxisError, ShapeError: as in reading; value does not broadcast to x[key].
        DTypeError: value is of another kind than x (a float for an integer tensor).
        GradError: x is a leaf that requires a gradient, and this is recorded.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0, 3.0])
    >>> old = x[1:]
    >>> x[0], x[1:] = 5.0, old * 10
    >>> x.tolist(), old.tolist()
    ([5.0, 20.0, 30.0], [2.0, 3.0])
    """
    try:
        layout, indices = parted(key)
        is_number = type(value) in (float, int, bool)
        value = value if is_number else operand(value, x.dtype)
        if not is_number and value.ndim > 1 and value.shape[0] == 1:
            value = without_leading_ones(value, x, indices, layout)
        sources = [part for part in (x, value, *indices) if isinstance(part, Tensor)]
        if is_recording() and any(t.requires_grad or is_recorded(t) for t in sources):
            x._refuse_on_recorded_leaf("x[key] = value")
            x._become(set_item(x, value, *indices, layout=layout), "set_item")
            return
        shape = () if is_number else value.shape
        written(x.shape, shape, *[index.shape for index in indices], layout=layout)
        array = fitting(value if is_number else glance(value), x.dtype)
        keys = [glance(i) if isinstance(i, Tensor) else np.asarray(i) for i in indices]
        origin = origin_of(sources)
        overwrite([x], put, array, keys, layout)
        written_from(x, origin)
    except TapeError as error:
        error.op = error.op or "set_item"
        raise


def operand(value, dtype):
    """A value to write as a tensor; integers in a list take x's dtype if they fit."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return asarray(value)
    if holds_tensor(value):
        raise DTypeError("a sequence of tensors is no value: join them with tape.stack")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"a value is a tensor, an array or numbers, got a {type(value).__name__}")
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        for extreme in (array.min(), array.max()) if array.size else ():
            fitting(int(extreme), dtype)
    return asarray(array.astype(dtype) if array.size == 0 or array.dtype.kind in "iu" else array)


def holds_tensor(value):
    """Whether a tensor is in a nested sequence."""
    if isinstance(value, (list, tuple)):
        return any(holds_tensor(part) for part in value)
    return isinstance(value, Tensor)


def without_leading_ones(value, x, indices, layout):
    """value without axes of length one in front that x[key] does not have."""
    ndim = len(extent(x.shape, [i.shape for i in indices], layout))
    shape = value.shape
    while len(shape) > ndim and shape[0] == 1:
        shape = shape[1:]
    return reshape(value, shape)
