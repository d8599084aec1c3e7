"""Losses of predicted probabilities and their logarithms: of two classes, of many, of shares."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.cases import MISFIT
from tape.ops.dtype import astype, floating
from tape.ops.elementwise import exp, log, log1p
from tape.ops.logic import clip, not_equal, where
from tape.ops.lookup import take, take_along_axis
from tape.ops.loss import check, reduced
from tape.ops.naming import named
from tape.ops.reduce import mean
from tape.ops.reduce import sum as sum_over
from tape.ops.regression import check_reduction, compared
from tape.ops.shape import expand_dims, squeeze
from tape.ops.shrink import logsigmoid
from tape.ops.special import xlogy

LEAST_LOG = -100.0  # PyTorch's: keeps the loss of a certain error finite
LEAST_SPREAD = 1e-12  # and the least x (1 - x) that the gradient divides by


def outside_of(x, low, high):
    """The first number of an array that is outside of [low, high], or None."""
    found = x[(x < low) | (x > high)]
    return found[0] if found.size else None


def in_pairs(x, target):
    """Shape rule: what broadcasting gives."""
    return shapes.broadcast(x, target)


@op(
    name="binary_cross_entropy",
    shape=in_pairs,
    saves="x target",
    samples=[
        sample((3, 4), (3, 4), low=0.1, high=0.9),
        sample((), (), low=0.1, high=0.9),
        sample((0, 3), (0, 3)),
    ],
    errors=[
        *MISFIT,
        bad(np.array([0.5, 1.5]), (2,), error=ValueError, match=r"x has 1.5, outside of \[0, 1\]"),
    ],
)
def uncertainty(x, target, /):
    """-(target * log(x) + (1 - target) * log(1 - x)), elementwise.   Shapes: broadcast -> y"""
    x, target = floating(x), floating(target)
    found = outside_of(np.atleast_1d(x), 0, 1)
    if found is not None:
        raise ValueError(f"binary_cross_entropy: x has {found}, outside of [0, 1]")
    with np.errstate(divide="ignore"):
        no, yes = np.maximum(np.log1p(-x), LEAST_LOG), np.maximum(np.log(x), LEAST_LOG)
    return (target - 1) * no - target * yes


@uncertainty.defvjp("x")
def uncertainty_vjp_x(g, x, target):
    return g * (x - target) / clip(x * (1 - x), LEAST_SPREAD)


@uncertainty.defvjp("target")
def uncertainty_vjp_target(g, x):
    return g * (log1p(-x) - log(x))


@uncertainty.defjvp
def uncertainty_jvp(dx, dtarget, x, target):
    return uncertainty_vjp_x(dx, x, target) + uncertainty_vjp_target(dtarget, x)


@named
def binary_cross_entropy(x, target, weight=None, reduction="mean"):
    """Cross-entropy of probabilities against 0, 1, or a share between.

    y = -weight * (target * log(x) + (1 - target) * log(1 - x)), each logarithm at least -100

    Shapes: x (*s) in [0, 1], target (*s), weight broadcasts to (*s) -> y () or, with reduction
    "none", (*s)

    Raises:
        ShapeError: x and target differ in shape, or weight does not broadcast to it.
        ValueError: a probability is outside of [0, 1], or reduction is none of the three.

    >>> import tape
    >>> tape.binary_cross_entropy(tape.tensor([0.5]), tape.tensor([1.0])).item()
    0.6931471824645996
    """
    check_reduction("binary_cross_entropy", reduction)
    x, target = compared(x, target)
    x = x if x.dtype.kind == "f" else astype(x, np.float64)
    return reduced(weighted(uncertainty(x, target), weight), reduction)


def weighted(y, weight):
    """Losses times their weights, which broadcast to them."""
    if weight is None:
        return y
    weight = asarray(weight)
    if shapes.broadcast(y.shape, weight.shape) != y.shape:
        raise ShapeError(f"weight {weight.shape} does not broadcast to the losses {y.shape}")
    return y * weight


@named
def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    """Cross-entropy of sigmoid(x) against 0, 1, or a share between, exact for any finite x.

    y = -weight * (pos_weight * target * log(sigmoid(x)) + (1 - target) * log(sigmoid(-x)))

    Shapes: x (*s), target (*s), weight and pos_weight broadcast to (*s) -> y () or, with reduction
    "none", (*s)

    Raises:
        ShapeError: x and target differ in shape, or a weight does not broadcast to it.
        ValueError: reduction is none of the three.

    >>> import tape
    >>> tape.binary_cross_entropy_with_logits(tape.tensor([0.0]), tape.tensor([1.0])).item()
    0.6931471824645996
    """
    check_reduction("binary_cross_entropy_with_logits", reduction)
    x, target = compared(x, target)
    no = (1 - target) * x
    if pos_weight is None:
        return reduced(weighted(no - logsigmoid(x), weight), reduction)
    scale = weighted(target, asarray(pos_weight) - 1) + 1
    return reduced(weighted(no - scale * logsigmoid(x), weight), reduction)


@named
def nll_loss(x, labels, weight=None, ignore_index=None, reduction="mean"):
    """Negative log-likelihood of labels: -weight[label] * x[label], from logarithms x.

    With `log_softmax` before it, it is `cross_entropy`.

    Shapes: x (N, C, *d) or (C), labels (N, *d) or () in [0, C) -> y (), or as labels for reduction
    "none"

    Args:
        weight: (C), a factor for each class; the mean is then over the weights of the labels.
        ignore_index: labels of this value cost nothing and do not count.

    Raises:
        IndexRangeError: a label is not in [0, C).
        ShapeError: x and labels do not fit, or weight is not (C).
        DTypeError: the labels are not integers.
        ValueError: reduction is none of the three.

    >>> import tape
    >>> tape.nll_loss(tape.tensor([[-1.0, -2.0], [-3.0, -4.0]]), [0, 1]).item()
    2.5
    """
    check_reduction("nll_loss", reduction)
    x, labels = asarray(x), asarray(labels)
    axis = min(1, x.ndim - 1)
    if x.ndim == 0 or labels.shape != (*x.shape[:axis], *x.shape[axis + 1 :]):
        raise ShapeError(f"x {x.shape} needs one label each, got labels {labels.shape}")
    n = x.shape[axis]
    kept = None if ignore_index is None else not_equal(labels, ignore_index)
    labels = labels if kept is None else where(kept, labels, 0)
    check(labels, n)
    y = -squeeze(take_along_axis(x, expand_dims(labels, axis=axis), axis=axis), axis=axis)
    total = None
    if weight is not None:
        weight = asarray(weight)
        if weight.shape != (n,):
            raise ShapeError(f"weight has shape {weight.shape}, expected {(n,)}, one a class")
        total = take(weight, labels)
        y = y * total
    if kept is not None:
        y = where(kept, y, 0.0)
        total = kept.astype(x.dtype) if total is None else where(kept, total, 0.0)
    return reduced(y, reduction, None if total is None else sum_over(total))


@named
def kl_div(x, target, reduction="mean", log_target=False):
    """Kullback-Leibler divergence, elementwise: target * (log(target) - x), from logarithms x.

    Shapes: x (*s), target (*s) -> y () or, with reduction "none", (*s)

    Args:
        reduction: "mean" over all elements, "batchmean", which is the sum divided by the length of
            the first axis and so the divergence, "sum" or "none".
        log_target: whether target holds logarithms too: y = exp(target) * (target - x).

    Raises:
        ShapeError: the shapes differ.
        ValueError: reduction is none of these.

    >>> import tape
    >>> x, target = tape.tensor([[0.5, 0.5]]).log(), tape.tensor([[1.0, 0.0]])
    >>> tape.kl_div(x, target, "batchmean").item()
    0.6931471824645996
    """
    if reduction != "batchmean":
        check_reduction("kl_div", reduction)
    x, target = asarray(x), asarray(target)
    if x.shape != target.shape:
        raise ShapeError(f"x has shape {x.shape}, target {target.shape}")
    y = exp(target) * (target - x) if log_target else xlogy(target, target) - target * x
    if reduction == "batchmean":
        return sum_over(y) / x.shape[0] if x.ndim else y
    return reduced(y, reduction)


@named
def soft_margin_loss(x, target, reduction="mean"):
    """log(1 + exp(-target * x)), for targets 1 and -1, without overflow.

    Shapes: x (*s), target (*s) -> y () or, with reduction "none", (*s)

    Raises:
        ShapeError: the shapes differ.
        ValueError: reduction is none of "mean", "sum", "none".

    >>> import tape
    >>> tape.soft_margin_loss(tape.tensor([0.0]), tape.tensor([1.0])).item()
    0.6931471824645996
    """
    check_reduction("soft_margin_loss", reduction)
    x, target = compared(x, target)
    return reduced(-logsigmoid(target * x), reduction)


@named
def multilabel_soft_margin_loss(x, target, weight=None, reduction="mean"):
    """Mean over the classes of the cross-entropy of sigmoid(x) against 0 or 1 for each class.

    y = -mean of weight * (target * log(sigmoid(x)) + (1 - target) * log(sigmoid(-x)))

    Shapes: x (*s, C), target (*s, C), weight broadcasts to (*s, C) -> y () or, with reduction
    "none", (*s)

    Raises:
        ShapeError: x and target differ in shape or are 0-d, or weight does not broadcast to it.
        ValueError: reduction is none of "mean", "sum", "none".

    >>> import tape
    >>> tape.multilabel_soft_margin_loss(tape.zeros((1, 3)), tape.ones((1, 3))).item()
    0.6931471824645996
    """
    check_reduction("multilabel_soft_margin_loss", reduction)
    x, target = compared(x, target)
    y = -(target * logsigmoid(x) + (1 - target) * logsigmoid(-x))
    return reduced(mean(weighted(y, weight), -1), reduction)
