"""Connectionist temporal classification: the loss of a sequence that is not aligned with its input.

The recursion over time is made of ops on the whole batch, so every order of derivative follows.
"""

from __future__ import annotations

import math
from operator import index

import numpy as np

from tape._core.memory import asarray
from tape._core.tensor import Tensor
from tape.errors import DTypeError, IndexRangeError, ShapeError
from tape.ops.elementwise import sqrt
from tape.ops.index import get_item
from tape.ops.join import concat, stack
from tape.ops.key import WHOLE
from tape.ops.logic import isinf, where
from tape.ops.lookup import take_along_axis
from tape.ops.loss import reduced
from tape.ops.naming import named
from tape.ops.reduce import sum as sum_over
from tape.ops.regression import check_reduction
from tape.ops.shape import expand_dims, reshape
from tape.ops.softmax import log_softmax, logsumexp


@named
def ctc_loss(
    x, labels, input_lengths, label_lengths, blank=0, reduction="mean", zero_infinity=False
):
    """Negative log-likelihood of sequences of labels, summed over all ways to align them with x.

    An alignment names a class for each time; with repetitions merged and then blanks dropped it
    must give the labels.

    Shapes: x (T, N, C) or (T, C); labels (N, S), or all one after the other (sum of lengths);
    lengths (N) or, for one sequence, () -> y (), or with reduction "none" (N) or ()

    Args:
        x: logarithms of probabilities along the last axis. They are normalised first, so logits
            will do as well; and so the gradient is that of the logits, as in PyTorch.
        input_lengths: how many times of x count, for each sequence, at most T.
        label_lengths: how many labels count, for each sequence.
        blank: the class that stands for no label.
        reduction: "mean" (of each loss divided by the number of its labels), "sum" or "none".
        zero_infinity: count a sequence that no alignment gives, whose loss is inf and whose
            gradient NaN, as 0.

    Raises:
        ShapeError: shapes or lengths do not fit.
        IndexRangeError: a label, or blank, is not in [0, C).
        DTypeError: labels or lengths are not integers.
        ValueError: reduction is none of the three.

    Source: Graves et al. 2006 (doi 10.1145/1143844.1143891).

    >>> import tape
    >>> x = tape.zeros((2, 1, 2))  # two times, a blank and a label: three of four alignments
    >>> round(tape.ctc_loss(x, [[1]], [2], [1]).item(), 4) == round(-math.log(3 / 4), 4)
    True
    """
    check_reduction("ctc_loss", reduction)
    x = asarray(x)
    if x.ndim not in (2, 3):
        raise ShapeError(f"x {x.shape} must be (T, N, C) or (T, C)")
    alone = x.ndim == 2
    x = log_softmax(expand_dims(x, axis=1) if alone else x, -1)
    times, n, n_classes = x.shape
    if not 0 <= index(blank) < n_classes:
        raise IndexRangeError(f"blank {blank} is out of range for {n_classes} classes")
    used = lengths_of(input_lengths, "input_lengths", n, times)
    rows, counts = labels_of(labels, label_lengths, n, n_classes)
    y = -log_likelihood(x, rows, used, counts, blank)
    none = isinf(y)
    if zero_infinity:
        y = where(none, 0.0, y)
    elif none.numpy().any():
        y = y + undefined(x, used, none)
    if alone:
        y = reshape(y, ())
    if reduction == "mean":
        y = y / Tensor(np.maximum(counts, 1).reshape(y.shape).astype(y.dtype))
    return reduced(y, reduction)


def undefined(x, used, none):
    """0 for each sequence, with NaN as its gradient where there is no alignment to have one."""
    counted = (np.arange(x.shape[0])[:, None] < used) & none.numpy()
    counted = counted[..., None] & np.isfinite(x.numpy())
    zeros = sum_over(where(counted, x, 0.0), (0, 2)) * 0.0
    return where(none, sqrt(zeros), 0.0)


def integers_of(values, what):
    """Whole numbers as an int64 array."""
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise DTypeError(f"{what} must be integers, got {array.dtype}")
    return array.astype(np.int64)


def lengths_of(lengths, what, n, most):
    """n lengths, each in [0, most]."""
    array = np.atleast_1d(integers_of(lengths, what))
    if array.shape != (n,):
        raise ShapeError(f"{what} {array.shape} must be one for each of {n} sequences")
    if ((array < 0) | (array > most)).any():
        found = array[(array < 0) | (array > most)][0]
        raise ShapeError(f"{what}: {found} is not in [0, {most}]")
    return array


def labels_of(labels, lengths, n, n_classes):
    """Labels as rows of equal length, zeros behind those that count, and how many count."""
    array = integers_of(labels, "labels")
    if array.ndim not in (1, 2) or (array.ndim == 2 and len(array) != n):
        raise ShapeError(f"labels {array.shape} must be ({n}, S), or one axis of all together")
    counts = lengths_of(lengths, "label_lengths", n, array.shape[-1])
    rows = np.zeros((n, int(counts.max(initial=0))), np.int64)
    counted = np.arange(rows.shape[1]) < counts[:, None]
    if array.ndim == 1:
        if counts.sum() != array.size:
            raise ShapeError(f"{array.size} labels, but label_lengths sum to {counts.sum()}")
        rows[counted] = array
    else:
        rows[counted] = array[:, : rows.shape[1]][counted]
    wrong = (rows < 0) | (rows >= n_classes)
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0].tolist())
        raise IndexRangeError(f"label {rows[at]} at {at} is out of range for {n_classes} classes")
    return rows, counts


def log_likelihood(x, rows, used, counts, blank):
    """The logarithm of the summed probability of all alignments, for each sequence.

    a[s] is that of all beginnings that end in place s of blank, label, blank, label, ..., blank. At
    the next time one may stay, move on by one, or jump over a blank between two different labels.
    """
    n, width = rows.shape[0], 2 * rows.shape[1] + 1
    places = np.full((n, width), blank)
    places[:, 1::2] = rows
    jumps = np.full((n, width), -np.inf, x.dtype)
    differ = rows[:, 1:] != rows[:, :-1]
    jumps[:, 3::2][differ] = 0.0
    barred, jumps = Tensor(np.full((n, 2), -np.inf, x.dtype)), Tensor(jumps)
    emitted = take_along_axis(x, places[None], axis=2)
    start = np.where(np.arange(width) < 1, 0.0, -np.inf).astype(x.dtype)
    a = Tensor(np.broadcast_to(start, (n, width)))  # before any time: one step from here
    for t in range(int(used.max(initial=0))):
        wide = concat([barred, a], axis=1)
        one = get_item(wide, layout=(WHOLE, slice(1, width + 1)))
        two = get_item(wide, layout=(WHOLE, slice(0, width))) + jumps
        ways = [a, one] if t == 0 else [a, one, two]
        following = logsumexp(stack(ways), 0) + get_item(emitted, layout=(t,))
        a = following if t < used.min() else where((t < used)[:, None], following, a)
    last = np.stack([2 * counts, np.maximum(2 * counts - 1, 0)], axis=1)
    ends = take_along_axis(a, last, axis=1)
    only = np.where(counts == 0, -math.inf, 0.0).astype(x.dtype)
    return logsumexp(ends + Tensor(np.stack([0 * counts, only], axis=1).astype(x.dtype)), 1)
