"""Losses that ask for a margin: between right and wrong, near and far."""

from __future__ import annotations

import numpy as np

from tape._core.memory import asarray
from tape._core.tensor import Tensor
from tape.errors import DTypeError, IndexRangeError, ShapeError
from tape.ops.activation import relu
from tape.ops.distance import pairwise_distance
from tape.ops.elementwise import sqrt
from tape.ops.logic import clip, equal, minimum, not_equal, where
from tape.ops.lookup import take, take_along_axis
from tape.ops.loss import check, reduced
from tape.ops.naming import named
from tape.ops.reduce import sum as sum_over
from tape.ops.regression import check_reduction
from tape.ops.shape import expand_dims, reshape


@named
def hinge_embedding_loss(x, target, margin=1.0, reduction="mean"):
    """x where target is 1, else, where it is -1, what x lacks to margin: max(0, margin - x).

    Shapes: x, a distance, and target broadcast to (*s) -> y () or, with reduction "none", (*s)

    Raises:
        ShapeError: the shapes do not broadcast.
        ValueError: reduction is none of "mean", "sum", "none".

    >>> import tape
    >>> x = tape.tensor([0.25, 0.25])
    >>> tape.hinge_embedding_loss(x, tape.tensor([1.0, -1.0]), reduction="none").tolist()
    [0.25, 0.75]
    """
    check_reduction("hinge_embedding_loss", reduction)
    x, target = asarray(x), asarray(target)
    near = where(not_equal(target, -1.0), x, 0.0)
    far = where(not_equal(target, 1.0), clip(margin - x, 0.0), 0.0)
    return reduced(near + far, reduction)


@named
def margin_ranking_loss(x1, x2, target, margin=0.0, reduction="mean"):
    """max(0, margin - target * (x1 - x2)): x1 should be above x2 for target 1, below it for -1.

    Shapes: x1, x2, target broadcast to (*s) -> y () or, with reduction "none", (*s)

    Raises:
        ShapeError: the shapes do not broadcast.
        ValueError: reduction is none of "mean", "sum", "none".

    >>> import tape
    >>> tape.margin_ranking_loss(tape.tensor([1.0]), tape.tensor([3.0]), tape.tensor([1.0])).item()
    2.0
    """
    check_reduction("margin_ranking_loss", reduction)
    x1, x2, target = asarray(x1), asarray(x2), asarray(target)
    return reduced(clip(margin - target * (x1 - x2), 0.0), reduction)


@named
def cosine_embedding_loss(x1, x2, target, margin=0.0, reduction="mean"):
    """1 - cos(x1, x2) where target is 1, max(0, cos(x1, x2) - margin) where it is -1.

    Shapes: x1, x2 (N, n) or (n), target (N) or () -> y () or, with reduction "none", as target

    Raises:
        ShapeError: the shapes do not fit.
        ValueError: reduction is none of "mean", "sum", "none".

    >>> import tape
    >>> x = tape.tensor([[1.0, 0.0]])
    >>> tape.cosine_embedding_loss(x, x, tape.tensor([-1.0])).item()
    1.0
    """
    check_reduction("cosine_embedding_loss", reduction)
    x1, x2, target = asarray(x1), asarray(x2), asarray(target)
    if x1.shape != x2.shape or x1.ndim not in (1, 2) or target.shape != x1.shape[:-1]:
        raise ShapeError(
            f"x1 {x1.shape} and x2 {x2.shape} must be (N, n) or (n), target {target.shape} then "
            "(N) or ()"
        )
    squares = [sum_over(x * x, -1) + 1e-12 for x in (x1, x2)]
    cosine = sum_over(x1 * x2, -1) / sqrt(squares[0] * squares[1])
    near = where(equal(target, 1.0), 1 - cosine, 0.0)
    far = where(equal(target, -1.0), clip(cosine - margin, 0.0), 0.0)
    return reduced(near + far, reduction)


@named
def triplet_margin_loss(
    anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"
):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d as `pairwise_distance`.

    Shapes: anchor, positive, negative (*s, n) -> y () or, with reduction "none", (*s)

    Args:
        p, eps: as of `pairwise_distance`.
        swap: whether d(positive, negative) stands for d(anchor, negative) where it is smaller.

    Raises:
        ShapeError: the three differ in shape, or are 0-d.
        ValueError: margin is not above 0, p below 0, or reduction none of the three.

    Source: Balntas et al. 2016 (doi 10.5244/C.30.119).

    >>> import tape
    >>> a, n = tape.tensor([[0.0]]), tape.tensor([[0.25]])
    >>> round(tape.triplet_margin_loss(a, a, n).item(), 3)
    0.75
    """
    check_reduction("triplet_margin_loss", reduction)
    if not margin > 0:
        raise ValueError(f"triplet_margin_loss: margin is {margin}, not above 0")
    a, p_, n = asarray(anchor), asarray(positive), asarray(negative)
    if not a.shape == p_.shape == n.shape:
        raise ShapeError(f"anchor {a.shape}, positive {p_.shape} and negative {n.shape} differ")
    near, far = pairwise_distance(a, p_, p, eps), pairwise_distance(a, n, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(p_, n, p, eps))
    return reduced(clip(near - far + margin, 0.0), reduction)


@named
def multi_margin_loss(x, labels, p=1, margin=1.0, weight=None, reduction="mean"):
    """How much the other classes come within a margin of the labelled one, mean over the classes.

    y = sum over j != label of weight[label] * max(0, margin - x[label] + x[j])**p / C

    Shapes: x (N, C) or (C), labels (N) or () -> y () or, with reduction "none", as labels

    Args:
        p: 1 or 2.
        weight: (C), a factor for each class.

    Raises:
        IndexRangeError: a label is not in [0, C).
        ShapeError: x and labels do not fit, or weight is not (C).
        DTypeError: the labels are not integers.
        ValueError: p is neither 1 nor 2, or reduction none of the three.

    >>> import tape
    >>> tape.multi_margin_loss(tape.tensor([[0.0, 0.5]]), [0]).item()
    0.75
    """
    check_reduction("multi_margin_loss", reduction)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p is {p!r}, neither 1 nor 2")
    x, labels, shape = in_rows(x, asarray(labels))
    n = x.shape[1]
    check(labels, n)
    right = take_along_axis(x, expand_dims(labels, axis=-1))
    others = not_equal(expand_dims(labels, axis=-1), np.arange(n))
    short = where(others, relu(margin - right + x), 0.0)
    y = sum_over(short if p == 1 else short * short, -1) / n
    if weight is not None:
        weight = asarray(weight)
        if weight.shape != (n,):
            raise ShapeError(f"weight has shape {weight.shape}, expected {(n,)}, one a class")
        y = y * take(weight, labels)
    return reduced(reshape(y, shape), reduction)


def in_rows(x, labels):
    """x (N, C), labels (N), and the shape of the losses."""
    x = asarray(x)
    rows = reshape(x, (1, x.shape[-1] if x.ndim else 1)) if x.ndim < 2 else x
    if rows.ndim != 2 or labels.size != rows.shape[0] or labels.ndim > 1:
        raise ShapeError(
            f"x {x.shape} must be (N, C) or (C), one label a row; labels {labels.shape}"
        )
    return rows, reshape(labels, (rows.shape[0],)), labels.shape


@named
def multilabel_margin_loss(x, labels, reduction="mean"):
    """How much the other classes come within 1 of those labelled, mean over the classes.

    y = sum over labels i, others j of max(0, 1 - x[i] + x[j]) / C

    Shapes: x (N, C) or (C), labels of the same shape -> y () or, with reduction "none", (N) or ()

    Args:
        labels: the classes of a row, in [0, C), up to the first -1.

    Raises:
        IndexRangeError: a label before the first -1 is not in [0, C).
        ShapeError: the shapes differ, or are of more than two axes.
        DTypeError: the labels are not integers.
        ValueError: reduction is none of "mean", "sum", "none".

    >>> import tape
    >>> tape.multilabel_margin_loss(tape.tensor([0.0, 0.5, 1.0]), [1, -1, 0]).item()
    0.6666666865348816
    """
    check_reduction("multilabel_margin_loss", reduction)
    x, labels = asarray(x), asarray(labels)
    if x.shape != labels.shape or x.ndim > 2:
        raise ShapeError(f"x {x.shape} and labels {labels.shape} must be both (N, C) or both (C)")
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"labels are {labels.dtype}, expected integers")
    n = x.shape[-1] if x.ndim else 1
    shape, x = (
        x.shape[:-1],
        reshape(x, (-1, n) if x.size else (x.shape[0] if x.ndim == 2 else 1, n)),
    )
    places = labels.numpy().reshape(x.shape).astype(np.int64)
    counts = np.logical_and.accumulate(places != -1, axis=1)
    wrong = counts & ((places < 0) | (places >= n))
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0].tolist())
        raise IndexRangeError(f"label {places[at]} at {at} is out of range for {n} classes")
    places = np.where(counts, places, 0)
    is_label = np.zeros(x.shape, bool)
    np.logical_or.at(is_label, (np.arange(len(places))[:, None], places), counts)
    pairs = Tensor(counts[:, :, None] & ~is_label[:, None, :])
    right = expand_dims(take_along_axis(x, places), axis=-1)
    short = where(pairs, relu(1 - right + expand_dims(x, axis=1)), 0.0)
    return reduced(reshape(sum_over(short, (1, 2)) / n, shape), reduction)
