"""Elements and rows looked up by integers, and places looked up by value."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray, choose
from tape._core.tensor import Tensor
from tape.errors import AxisError, DTypeError, IndexRangeError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.arrange import is_count
from tape.ops.cases import UNFIT
from tape.ops.dtype import known_dtype
from tape.ops.index import add_run, get_item, get_item_grad
from tape.ops.key import INDEX, WHOLE, array_of, check_range
from tape.ops.logic import equal, is_real, where
from tape.ops.naming import named
from tape.ops.shape import expand_dims, reshape

COLUMNS = np.array([[2, 0, -1], [1, 1, 0]])
PADDED = np.array([[3, 0], [1, 3]])


def listed(indices):
    """Indices as they are, or, given as a list or a number, as an array."""
    return indices if isinstance(indices, (Tensor, np.ndarray)) else array_of(indices)


def integers(indices, what):
    """The array or tensor itself if it holds integers; DTypeError in the name of what they are."""
    index = listed(indices)
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{what} must be integers, got {index.dtype}")
    return index


def take(x, indices, /, axis=None):
    """Slices of x at integer places of an axis; None: elements of x read as one row.

    Shapes: x (..., n, ...), indices (*s) in [-n, n) -> y (..., *s, ...)

    Raises:
        IndexRangeError: an index is not in [-n, n).
        DTypeError: the indices are not integers.

    >>> import tape
    >>> tape.take(tape.tensor([1.0, 2.0, 3.0]), [2, 0, 2]).tolist()
    [3.0, 1.0, 3.0]
    """
    try:
        x = reshape(x, (-1,)) if axis is None else asarray(x)
        before = (WHOLE,) * (0 if axis is None else shapes.axis_of(x.ndim, axis))
        index = integers(indices, "indices")
        if index.ndim == 0:
            return get_item(x, layout=(*before, int(index)))
        return get_item(x, index, layout=(*before, INDEX))
    except TapeError as error:
        error.op = "take"
        raise


def alongside(x, indices, *, axis):
    """Shape rule: indices' shape, its other axes broadcast with x's."""
    axis = shapes.axis_of(len(x), axis)
    if len(indices) != len(x):
        raise ShapeError(f"x {x} and indices {indices} must have as many axes")
    others = shapes.broadcast((*x[:axis], *x[axis + 1 :]), (*indices[:axis], *indices[axis + 1 :]))
    return (*others[:axis], indices[axis], *others[axis:])


@op(
    shape=alongside,
    saves="indices x.shape",
    samples=[
        sample((2, 3), COLUMNS),
        sample((3, 3), COLUMNS, axis=0, low=-1.0),
        sample((2, 1, 3), COLUMNS[None], axis=-1),
        sample((2, 3), COLUMNS[:1]),
        sample((4,), np.zeros((0,), np.int64)),
        sample((0, 3), np.zeros((0, 2), np.int64)),
    ],
    errors=[
        bad((2, 3), COLUMNS[0], error=ShapeError, match="must have as many axes"),
        bad((4, 3), COLUMNS, error=ShapeError, match="do not broadcast"),
        bad((2, 2), COLUMNS, error=IndexRangeError, match=r"index 2 at \(0, 0\) .* of length 2"),
        bad((2, 3), (2, 3), error=DTypeError, match="indices must be integers, got float"),
        bad((2, 3), COLUMNS, axis=2, error=AxisError, match="axis 2 is out of range"),
    ],
)
def take_along_axis(x, indices, /, *, axis=-1):
    """Elements of x at a place of an axis for each place of the others, as argmax gives them.

    y[i, j] = x[i, indices[i, j]] for two axes and axis=1.

    Shapes: x (..., n, ...), indices (..., m, ...) in [-n, n) -> y (..., m, ...)

    Raises:
        IndexRangeError: an index is not in [-n, n).
        ShapeError: x and indices differ in their number of axes, or the others do not broadcast.
        DTypeError: the indices are not integers.
        AxisError: x has no such axis.
    """
    axis, n = shapes.axis_of(x.ndim, axis), x.shape[axis]
    integers(indices, "indices")
    what = f"index {{0}} at {{1}} is out of range for axis {axis} of length {n}"
    check_range(indices, -n, n, what)
    return x[lattice(indices.astype(np.intp, copy=False), x.shape, axis)]


def lattice(indices, x_shape, axis):
    """The key made of `indices` along an axis, and of every place along the others."""
    key = []
    for a, n in enumerate(x_shape):
        spread = (1,) * a + (n,) + (1,) * (len(x_shape) - a - 1)
        key.append(indices if a == axis else np.arange(n).reshape(spread))
    return tuple(key)


@take_along_axis.defvjp("x")
def take_along_axis_vjp(g, indices, x_shape, axis):
    key = lattice(indices, x_shape, axis % len(x_shape))
    return get_item_grad(g, *key, layout=(INDEX,) * len(x_shape), shape=x_shape)


@take_along_axis.defjvp
def take_along_axis_jvp(dx, indices, axis):
    return take_along_axis(dx, indices, axis=axis)


def rows(indices, weight, *, padding_idx, max_norm, norm_type):
    """Shape rule: one row of weight for each index."""
    for name, value in (("max_norm", max_norm), ("norm_type", norm_type)):
        if value is not None and not (is_real(value) and value >= 0):
            raise ValueError(f"embedding: {name} must be a number of at least 0, got {value!r}")
    if len(weight) != 2:
        raise ShapeError(f"weight (n, m) has two axes, got {weight}")
    n = weight[0]
    if padding_idx is not None and not (
        hasattr(padding_idx, "__index__") and -n <= padding_idx < n
    ):
        raise IndexRangeError(f"padding_idx {padding_idx} is none of {n} rows")
    return (*indices, weight[1])


@op(
    name="embedding",
    shape=rows,
    saves="indices weight.shape",
    samples=[
        sample(PADDED, (4, 3)),
        sample(np.array(2), (4, 3)),
        sample(np.zeros((0, 2), np.int64), (4, 3)),
        sample(PADDED, (4, 3), padding_idx=3, smooth=False),
        sample(PADDED, (4, 3), padding_idx=-4, smooth=False),
        sample(PADDED, (4, 3), padding_idx=0, scale_grad_by_freq=True, smooth=False),
        sample(PADDED, (4, 3), max_norm=0.5, smooth=False),
        sample(np.array(2), (4, 3), max_norm=0.5, norm_type=math.inf, smooth=False),
    ],
    errors=[
        bad(PADDED, (3, 2), error=IndexRangeError, match=r"index 3 at \(0, 0\) .* 3 rows"),
        bad(PADDED - 1, (4, 2), error=IndexRangeError, match=r"index -1 at \(0, 1\) .* 4 rows"),
        bad(PADDED, (4, 2), padding_idx=4, error=IndexRangeError, match="4 is none of 4 rows"),
        bad(PADDED, (4,), error=ShapeError, match="two axes"),
        bad((2,), (4, 2), error=DTypeError, match="indices must be integers, got float"),
        bad(PADDED, (4, 2), max_norm=-1.0, error=ValueError, match="max_norm must be a number"),
        bad(PADDED, (4, 2), norm_type="fro", error=ValueError, match="at least 0, got 'fro'"),
    ],
)
def rows_at(
    indices, weight, /, *, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False
):
    """embedding of arrays or tensors.   Shapes: indices (*s), weight (n, m) -> y (*s, m)"""
    index = np.asarray(indices)
    integers(index, "indices")
    n = weight.shape[0]
    check_range(index, 0, n, f"index {{0}} at {{1}} is out of range for a weight of {n} rows")
    if weight.flags.c_contiguous:
        found = weight.take(index.astype(np.intp, copy=False), 0)
    else:
        found = weight[index]
    return found if max_norm is None else bounded(found, max_norm, norm_type)


def bounded(rows, max_norm, norm_type):
    """An array, its last axis scaled to a norm where it is longer than that."""
    norms = np.linalg.norm(rows, norm_type, -1, True) if rows.size else rows[..., :1]
    factor = np.where(norms > max_norm, max_norm / (norms + 1e-7), 1.0)
    return rows * factor.astype(rows.dtype, copy=False)


@rows_at.defvjp("weight")
def rows_at_vjp(g, indices, weight_shape, padding_idx, scale_grad_by_freq):
    g = shared_by_freq(g, indices, scale_grad_by_freq)
    g = without_padding(g, indices, weight_shape, padding_idx)
    return get_item_grad(g, indices, layout=(INDEX,), shape=weight_shape)


@rows_at.defadd("weight")
def rows_at_add(total, g, indices, padding_idx, scale_grad_by_freq):
    if padding_idx is not None or scale_grad_by_freq:
        return False
    add_run(total, g.numpy(), [np.asarray(indices)], (0, 1))
    return True


@rows_at.defjvp
def rows_at_jvp(indices, dweight, padding_idx, scale_grad_by_freq):
    moved = shared_by_freq(rows_at(indices, dweight), indices, scale_grad_by_freq)
    return without_padding(moved, indices, dweight.shape, padding_idx)


def shared_by_freq(rows, indices, scale_grad_by_freq):
    """Rows divided by how often their index is looked up."""
    if not scale_grad_by_freq or not rows.size:
        return rows
    index = np.asarray(indices)
    counts = np.bincount(index.ravel().astype(np.intp))[index]
    return rows / Tensor(counts[..., None].astype(rows.dtype))


def without_padding(rows, indices, weight_shape, padding_idx):
    """Rows, zero where the index is that of the padding."""
    if padding_idx is None:
        return rows
    is_padding = expand_dims(equal(indices, padding_idx % weight_shape[0]), axis=-1)
    return where(is_padding, 0.0, rows)


def embedding(
    indices, weight, *, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False
):
    """The row of weight for each index; no negative ones.

    The gradient of a row is the sum of g where it was looked up; that of row `padding_idx` is zero.

    Shapes: indices (*s) in [0, n), weight (n, m) -> y (*s, m)

    Args:
        max_norm: longer rows are taken scaled to this norm; their gradient is that of rows which
            have it already. The weight stays as it is: `nn.Embedding` scales it too, as PyTorch.
        norm_type: order of that norm, at least 0, inf included.
        scale_grad_by_freq: the gradient of a row is the mean of g where it was looked up.

    Raises:
        IndexRangeError: an index is not in [0, n), or padding_idx not in [-n, n).
        DTypeError: the indices are not integers.
        ShapeError: weight is no matrix.
        ValueError: max_norm or norm_type is no number of at least 0.

    >>> import tape
    >>> tape.embedding([1, 1], tape.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [3.0, 4.0]]
    """
    try:
        indices = listed(indices)
    except TapeError as error:
        error.op = "embedding"
        raise
    return rows_at(
        indices,
        weight,
        padding_idx=padding_idx,
        max_norm=max_norm,
        norm_type=norm_type,
        scale_grad_by_freq=scale_grad_by_freq,
    )


def hot(labels, *, n_classes):
    """Shape rule: a new last axis as long as there are classes."""
    if not is_count(n_classes):
        raise ShapeError(f"n_classes {n_classes!r} must be an integer of at least 0")
    return (*labels, n_classes)


@op(
    name="one_hot",
    shape=hot,
    differentiable=False,
    samples=[
        sample(PADDED, n_classes=4),
        sample(np.array(0), n_classes=1, dtype="float64"),
        sample(np.zeros((0,), np.int64), n_classes=3),
    ],
    errors=[
        bad(PADDED, n_classes=3, error=IndexRangeError, match=r"label 3 at \(0, 0\) .* 3 classes"),
        bad(-PADDED, n_classes=4, error=IndexRangeError, match=r"label -3 at \(0, 0\)"),
        bad((2,), n_classes=3, error=DTypeError, match="labels must be integers, got float"),
        bad(PADDED, n_classes=-1, error=ShapeError, match="n_classes -1 must be"),
    ],
)
def ones_at(labels, /, n_classes, dtype="float32"):
    """one_hot of an array or tensor.   Shapes: labels (*s) -> y (*s, n_classes)"""
    labels = np.asarray(labels)
    integers(labels, "labels")
    check_range(
        labels, 0, n_classes, f"label {{0}} at {{1}} is out of range for {n_classes} classes"
    )
    y = np.zeros((*labels.shape, n_classes), known_dtype(dtype, "one_hot"))
    places = np.arange(labels.size) * n_classes + labels.ravel().astype(np.intp)
    y.reshape(-1)[places] = 1
    return y


def one_hot(labels, n_classes, dtype="float32"):
    """1 at the label's place of a new last axis, 0 elsewhere.

    Shapes: labels (*s) in [0, n_classes) -> y (*s, n_classes)

    Raises:
        IndexRangeError: a label is not in [0, n_classes).
        DTypeError: the labels are not integers, or tape has no such dtype.
        ShapeError: n_classes is negative or no integer.

    >>> import tape
    >>> tape.one_hot([0, 2], 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    try:
        labels = listed(labels)
    except TapeError as error:
        error.op = "one_hot"
        raise
    return ones_at(labels, n_classes, dtype)


@op(
    shape=shapes.from_values,
    differentiable=False,
    samples=[
        sample((3, 4)),
        sample((3, 4), dtypes=["bool"]),
        sample(np.zeros((2, 2))),
        sample(()),
        sample((0, 3)),
    ],
    errors=UNFIT,
)
def argwhere(x, /):
    """Indices of the elements that are not zero, in C order.   Shapes: x (*s) -> y (n, len(s))"""
    return np.argwhere(x)


@named
def nonzero(x, /):
    """The indices of the elements that are not zero, one 1-d tensor for each axis of x.

    Shapes: x (*s) -> len(s) of (n,)

    Raises:
        ShapeError: x is 0-d.

    >>> import tape
    >>> [i.tolist() for i in tape.nonzero(tape.tensor([[0, 7], [8, 0]]))]
    [[0, 1], [1, 0]]
    """
    x = asarray(x)
    if x.ndim == 0:
        raise ShapeError("nonzero: a 0-d tensor has no axis to count along; reshape it to (1,)")
    found = choose(argwhere(x))
    return tuple([get_item(found, layout=(WHOLE, axis)) for axis in range(x.ndim)])
