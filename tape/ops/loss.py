"""Cross entropy and squared error, and how losses are reduced to one number."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import count_on, glance, lengths, operand, refuse_values
from tape._core.tensor import Tensor
from tape._kernels import rows
from tape.errors import DTypeError, IndexRangeError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.dtype import floating
from tape.ops.elementwise import square
from tape.ops.logic import equal, is_real, not_equal, where
from tape.ops.lookup import one_hot, take
from tape.ops.reduce import mean
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import moveaxis, reshape
from tape.ops.softmax import log_softmax, softmax, softmax_grad

REDUCTIONS = ("mean", "sum", "none")
CHOICE = "'mean', 'sum' or 'none'"
LABELS = np.array([2, 0, 3])


def labelled(x, labels, *, reduction):
    """Shape rule: rows of logits and one label each -> a loss each, or one."""
    if len(x) != 2 or labels != x[:1]:
        raise ShapeError(f"logits {x} need one label a row, got labels {labels}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"cross_entropy: reduction is {reduction!r}, not {CHOICE}")
    return labels if reduction == "none" else ()


def mislabelled(labels, *words, reduction="mean", error=IndexRangeError):
    """A call with labels that must be refused in these words."""
    return bad((3, 4), labels, reduction=reduction, error=error, match=".*".join(words))


@op(
    name="cross_entropy",
    shape=labelled,
    kernel=rows.CrossEntropy(),
    saves="x labels x.shape",
    samples=[
        *[sample((3, 4), LABELS, reduction=r) for r in REDUCTIONS],
        sample((3, 4), LABELS, reduction="mean", low=-1000.0, high=1000.0),
        sample((0, 4), LABELS[:0], reduction="sum"),
        sample((3, 4), LABELS.astype(np.uint8), reduction="none"),
    ],
    errors=[
        mislabelled(LABELS + 1, "label 4 at position 2 is out of range for 4 classes"),
        mislabelled(LABELS - 1, "label -1 at position 1 is out of range for 4 classes"),
        mislabelled(LABELS[:2], "need one label a row", r"\(2,\)", error=ShapeError),
        mislabelled((3,), "labels are float64", error=DTypeError),
        mislabelled(LABELS, "reduction is 'max'", reduction="max", error=ValueError),
    ],
)
def cross_entropy_rows(x, labels, /, reduction):
    """-log_softmax(x)[i, labels[i]] of every row i.

    Shapes: x (m, n), labels (m) -> y (), or (m) for reduction "none"
    """
    y = rows.cross_entropy_rows(floating(x), checked(labels, x.shape[1]))
    if reduction == "none":
        return y
    return np.add.reduce(y) / (y.dtype.type(y.size) if reduction == "mean" else 1)


def checked(labels, n):
    """Labels as int64, each naming one of n classes."""
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"labels are {labels.dtype} {labels.shape}, expected integers, or probabilities in "
            "the shape of the logits"
        )
    outside = (labels < 0) | (labels >= n)
    if outside.any():
        place = tuple(np.argwhere(outside)[0].tolist())
        at = place[0] if len(place) == 1 else place
        raise IndexRangeError(
            f"label {labels[place]} at position {at} is out of range for {n} classes"
        )
    return labels.astype(np.int64, copy=False)


def check(labels, n):
    """Raise what `checked` raises of labels, a tensor or an array."""
    try:
        checked(glance(labels) if isinstance(labels, Tensor) else labels, n)
    except IndexRangeError:
        if isinstance(labels, Tensor):
            refuse_values(labels)
        raise


@cross_entropy_rows.defvjp("x")
def cross_entropy_rows_vjp(g, x, labels, x_shape, reduction):
    return cross_entropy_grad(x, labels, g / x_shape[0] if reduction == "mean" else g)


@cross_entropy_rows.defjvp
def cross_entropy_rows_jvp(dx, x, labels, reduction):
    return reduced(sum_over(cross_entropy_grad(x, labels, 1.0) * dx, axis=1), reduction)


def scaled(x, labels, scale):
    """Shape rule: as `labelled`, and a scale each, or one for all."""
    if labelled(x, labels, reduction="none") != scale and scale != ():
        raise ShapeError(f"logits {x} need one scale a row, got {scale}")
    return x


@op(
    shape=scaled,
    kernel=rows.CrossEntropyGrad(),
    saves="x labels scale",
    samples=[
        sample((3, 4), LABELS, (3,)),
        sample((3, 4), LABELS, 1.0),
        sample((0, 4), np.zeros(0, np.int64), (0,)),
    ],
    errors=[
        bad((3, 4), LABELS, (2,), error=ShapeError, match="one scale a row"),
        bad((3, 4), LABELS + 1, 1.0, error=IndexRangeError, match="label 4 at position 2"),
    ],
)
def cross_entropy_grad(x, labels, scale, /):
    """(softmax(x) - one_hot(labels)) * scale: the gradient of cross_entropy by rows.

    Shapes: x (m, n), labels (m), scale (m) or () -> y (m, n)
    """
    if isinstance(scale, np.ndarray):
        x = x.astype(np.result_type(x, scale), copy=False)
    x = floating(x)
    scale = np.broadcast_to(np.asarray(scale, x.dtype), x.shape[:1])
    return rows.cross_entropy_rows_grad(x, checked(labels, x.shape[1]), scale)


@cross_entropy_grad.defvjp("x")
def cross_entropy_grad_vjp_x(g, x, scale):
    return softmax_slope(g, x) * column(scale)


@cross_entropy_grad.defvjp("scale")
def cross_entropy_grad_vjp_scale(g, x, labels):
    return sum_over(cross_entropy_grad(x, labels, 1.0) * g, axis=1)


@cross_entropy_grad.defjvp
def cross_entropy_grad_jvp(dx, dscale, x, labels, scale):
    return softmax_slope(dx, x) * column(scale) + cross_entropy_grad(x, labels, dscale)


def softmax_slope(g, x):
    """The symmetric Jacobian of softmax at x, times g, row by row."""
    return softmax_grad(g, softmax(x), 1)


def column(scale):
    """One number a row, to be multiplied with a matrix."""
    return reshape(scale, (-1, 1)) if isinstance(scale, Tensor) and scale.ndim else scale


def alike(x, p):
    """Shape rule: rows of logits and of probabilities."""
    if len(x) != 2 or x != p:
        raise ShapeError(f"logits {x} and probabilities {p} must be matrices of one shape")
    return x[:1]


@op(
    shape=alike,
    name="cross_entropy_soft",
    saves="x p",
    samples=[
        sample((3, 4), (3, 4), low=0.0, high=1.0),
        sample((0, 4), (0, 4)),
    ],
    errors=[bad((3, 4), (3, 5), error=ShapeError, match=r"\(3, 4\) and .* \(3, 5\)")],
)
def cross_entropy_soft(x, p, /):
    """-sum(p * log_softmax(x)) of every row; what has no probability counts for nothing.

    Shapes: x, p (m, n) -> y (m)
    """
    terms = rows.log_softmax(floating(x)) * -p
    terms[p == 0] = 0  # also where the logarithm is -inf
    return terms.sum(axis=1)


@cross_entropy_soft.defvjp("x")
def cross_entropy_soft_vjp_x(g, x, p):
    return column(g) * soft_slope(x, p)


@cross_entropy_soft.defvjp("p")
def cross_entropy_soft_vjp_p(g, x):
    return -log_softmax(x) * column(g)


@cross_entropy_soft.defjvp
def cross_entropy_soft_jvp(dx, dp, x, p):
    still = equal(dp, 0.0)  # 0 times the logarithm of 0 is 0 here
    moved = where(still, 0.0, dp * where(still, 0.0, log_softmax(x)))
    return sum_over(soft_slope(x, p) * dx - moved, axis=1)


def soft_slope(x, p):
    """d cross_entropy_soft / dx of every row."""
    return softmax(x) * sum_over(p, axis=1, keepdims=True) - p


def cross_entropy(
    logits,
    labels,
    weight=None,
    *,
    axis=None,
    label_smoothing=0.0,
    ignore_index=None,
    reduction="mean",
):
    """Cross-entropy of the softmax of logits against labels, or against probabilities.

    y = -log_softmax(logits)[label], or -sum(p * log_softmax(logits)) over the classes

    Shapes: logits (N, C, *d) or (C); labels the same without the axis of classes (integers), or of
    the same shape (probabilities) -> y (), or labels without that axis for reduction "none"

    Args:
        weight: (C), a factor for each class. The mean is then over the weights of the labels; with
            probabilities it stays one over the examples.
        axis: where the classes are: by default 1, or 0 in logits (C).
        label_smoothing: share of each label, in [0, 1], that is spread over all classes.
        ignore_index: labels of this value cost nothing and do not count, whatever their logits.
        reduction: "mean", "sum" or "none".

    Raises:
        IndexRangeError: a label is not in [0, C).
        ShapeError: labels have neither the shape of logits without classes nor, as probabilities,
            that of logits; or weight is not (C).
        DTypeError: labels of their own shape are not integers.
        ValueError: reduction or label_smoothing is none of those.

    >>> import tape
    >>> tape.cross_entropy(tape.zeros((2, 4)), [0, 3]).item()
    1.3862943649291992
    """
    if not isinstance(labels, (Tensor, np.ndarray)):
        labels = operand(labels, "cross_entropy").numpy()
    if not isinstance(logits, (Tensor, np.ndarray)):
        logits = operand(logits, "cross_entropy")
    plain = weight is None and ignore_index is None and not label_smoothing
    if plain and axis is None and logits.ndim == 2 and labels.ndim == 1:
        return cross_entropy_rows(logits, labels, reduction)
    if reduction not in REDUCTIONS:
        raise ValueError(f"cross_entropy: reduction is {reduction!r}, not {CHOICE}")
    if not is_real(label_smoothing) or not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing!r}, not in [0, 1]")
    weight = None if weight is None else operand(weight, "cross_entropy")
    try:
        y, total = losses(logits, labels, axis, weight, label_smoothing, ignore_index)
    except TapeError as error:
        error.op = "cross_entropy"
        raise
    return reduced(y, reduction, total)


def losses(logits, labels, axis, weight, smoothing, ignored):
    """The loss of every example, and what their mean is divided by (None: how many there are)."""
    axis = min(1, logits.ndim - 1) if axis is None else axis
    axis = shapes.axis_of(logits.ndim, axis)
    outer = (*lengths(logits)[:axis], *lengths(logits)[axis + 1 :])
    x, n = by_class(logits, axis), lengths(logits)[axis]
    if weight is not None and lengths(weight) != (n,):
        raise ShapeError(f"weight has shape {lengths(weight)}, expected {(n,)}, one a class")
    if labels.dtype.kind == "f" and lengths(labels) == lengths(logits):
        y = losses_of_shares(x, by_class(labels, axis), weight, smoothing)
        return reshape(y, outer), None
    if lengths(labels) != outer:
        raise ShapeError(
            f"labels are {labels.dtype} {lengths(labels)}, logits {lengths(logits)}: expected "
            f"integers {outer}, or probabilities in the shape of the logits"
        )
    kept = None if ignored is None else not_equal(labels, ignored)
    if kept is not None:
        labels = where(kept, labels, 0)
        x = where(reshape(kept, (lengths(x)[0], 1)), x, 0.0)  # what is ignored may be NaN
    check(labels, n)
    flat = reshape(labels, lengths(x)[:1])
    if smoothing:
        count_on(x, 1)
        y = losses_of_shares(x, one_hot(flat, n, x.dtype), weight, smoothing)
    else:
        y = cross_entropy_rows(x, flat, "none")
    y, total = reshape(y, outer), None
    if weight is not None:
        total = take(weight, labels)
        y = y if smoothing else y * total
    if kept is not None:
        y = where(kept, y, 0.0)
        total = int(sum_over(kept)) if weight is None else where(kept, total, 0.0)
    return y, total if weight is None else sum_over(total)


def losses_of_shares(x, p, weight, smoothing):
    """Losses against probabilities, smoothed and weighted."""
    if smoothing:
        count_on(x, 1)
        p = p * (1 - smoothing) + smoothing / lengths(x)[1]
    return cross_entropy_soft(x, p if weight is None else p * weight)


def by_class(x, axis):
    """A tensor as a matrix: classes along the rows, everything else one row each."""
    if axis != x.ndim - 1:
        x = moveaxis(x, axis, -1)
    return x if x.ndim == 2 else reshape(x, (math.prod(lengths(x)[:-1]), lengths(x)[-1]))


def reduced(y, reduction, total=None):
    """The mean (over `total`, if not all count alike), the sum, or the losses as they are."""
    if reduction == "none":
        return y
    if reduction == "sum":
        return sum_over(y)
    return mean(y) if total is None else sum_over(y) / total


def mse_loss(x, target, reduction="mean"):
    """Squared error (x - target)**2, as its mean over all elements unless asked otherwise.

    Shapes: x (*s), target (*s) -> y () or, with reduction "none", (*s)

    Args:
        target: a tensor of x's very shape (nothing is broadcast), or a number.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.
        ValueError: reduction is none of those.

    >>> import tape
    >>> tape.mse_loss(tape.tensor([1.0, 2.0]), tape.tensor([1.0, 4.0])).item()
    2.0
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"mse_loss: reduction is {reduction!r}, not {CHOICE}")
    x = x if isinstance(x, Tensor) else operand(x, "mse_loss")
    if not isinstance(target, (int, float)):
        target = target if isinstance(target, Tensor) else operand(target, "mse_loss")
        if lengths(x) != lengths(target):
            raise ShapeError(f"mse_loss: x has shape {lengths(x)}, target {lengths(target)}")
    return reduced(square(x - target), reduction)
