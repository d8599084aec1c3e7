"""Losses of predicted numbers: absolute and Huber's, and those of Gaussians and of counts."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray, glance, lengths
from tape._core.recorded import is_recorded
from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.op import op, sample
from tape.ops.cases import each, text_for
from tape.ops.dtype import floating
from tape.ops.elementwise import abs as absolute
from tape.ops.elementwise import exp, log, square
from tape.ops.logic import clip, greater, is_real, maximum, where
from tape.ops.loss import CHOICE, REDUCTIONS, reduced
from tape.ops.naming import named
from tape.ops.shape import expand_dims


def check_reduction(name, reduction):
    """ValueError unless the reduction is one of the three."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction is {reduction!r}, not {CHOICE}")


def compared(x, target):
    """x and its target as tensors of one shape; a target that is a number stays one."""
    x = asarray(x)
    if not isinstance(target, (int, float)):
        target = asarray(target)
        if lengths(x) != lengths(target):
            raise ShapeError(f"x has shape {lengths(x)}, target {lengths(target)}")
    return x, target


@named
def l1_loss(x, target, reduction="mean"):
    """Absolute error |x - target|, as its mean over all elements unless asked otherwise.

    Shapes: x (*s), target (*s) or a number -> y () or, with reduction "none", (*s)

    Raises:
        ShapeError: the shapes differ: nothing is broadcast.
        ValueError: reduction is none of "mean", "sum", "none".

    >>> import tape
    >>> tape.l1_loss(tape.tensor([1.0, 2.0]), tape.tensor([1.0, 4.0])).item()
    1.0
    """
    check_reduction("l1_loss", reduction)
    x, target = compared(x, target)
    return reduced(absolute(x - target), reduction)


@op(
    shape=shapes.same,
    saves="x",
    samples=[
        *[sample(s.shapes[0], delta=1.0, smooth=False) for s in each()],
        sample((3, 4), delta=3.0),
        sample((3, 4), delta=0.5, low=0.6),
    ],
    errors=[text_for("delta", (3,))],
)
def bowl(x, /, delta):
    """x**2 / 2 where |x| <= delta, else delta * (|x| - delta / 2): straight lines far out.

    Shapes: x (*s) -> y (*s)
    """
    x = floating(x)
    size = np.absolute(x)
    near = np.minimum(size, delta)
    return near * (size - near * 0.5)


@bowl.defvjp
def bowl_vjp(g, x, delta):
    return g * clip(x, -delta, delta)


@bowl.defjvp
def bowl_jvp(dx, x, delta):
    return dx * clip(x, -delta, delta)


@named
def huber_loss(x, target, reduction="mean", delta=1.0):
    """Squared error where it is small, absolute error where it is large.

    y = d**2 / 2 where |d| <= delta, else delta * (|d| - delta / 2), with d = x - target

    Shapes: x (*s), target (*s) or a number -> y () or, with reduction "none", (*s)

    Raises:
        ShapeError: the shapes differ.
        ValueError: delta is not above 0, or reduction none of "mean", "sum", "none".

    Source: Huber 1964 (doi 10.1214/aoms/1177703732).

    >>> import tape
    >>> tape.huber_loss(tape.tensor([0.5, 4.0]), 0.0, "none").tolist()
    [0.125, 3.5]
    """
    check_reduction("huber_loss", reduction)
    if not is_real(delta) or not delta > 0:
        raise ValueError(f"huber_loss: delta is {delta!r}, not a number above 0")
    x, target = compared(x, target)
    return reduced(bowl(x - target, float(delta)), reduction)


@named
def smooth_l1_loss(x, target, reduction="mean", beta=1.0):
    """huber_loss divided by its delta, here beta: absolute error with a round bottom.

    y = d**2 / (2 beta) where |d| < beta, else |d| - beta / 2, with d = x - target

    Shapes: x (*s), target (*s) or a number -> y () or, with reduction "none", (*s)

    Args:
        beta: at least 0; 0 gives the absolute error.

    Raises:
        ShapeError: the shapes differ.
        ValueError: beta is below 0, or reduction none of "mean", "sum", "none".

    Source: Girshick 2015, equation 3 (arXiv 1504.08083).

    >>> import tape
    >>> tape.smooth_l1_loss(tape.tensor([0.5, 4.0]), 0.0, "none").tolist()
    [0.125, 3.5]
    """
    check_reduction("smooth_l1_loss", reduction)
    if not is_real(beta) or not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta is {beta!r}, not a number of at least 0")
    x, target = compared(x, target)
    d = x - target
    y = bowl(d, float(beta)) if beta else absolute(d)
    return reduced(y / beta if beta not in (0, 1) else y, reduction)


@named
def gaussian_nll_loss(x, target, var, full=False, eps=1e-6, reduction="mean"):
    """Negative log-likelihood of target under Gaussians of mean x and variance var.

    y = (log(max(var, eps)) + (x - target)**2 / max(var, eps)) / 2

    Shapes: x (*s), target broadcasts with it, var (*s), (*s) with one axis of length 1 or without
    the last axis, or a number -> y () or, with reduction "none", (*s)

    Args:
        full: whether to add the constant log(2 pi) / 2.
        eps: the least variance, above 0; below it the gradient of var passes as it is.

    Raises:
        ShapeError: var is of none of these shapes, or the others do not broadcast.
        ValueError: a variance is below 0, eps is not above 0, or reduction none of the three.

    Source: Nix and Weigend 1994 (doi 10.1109/ICNN.1994.374138).

    >>> import tape
    >>> tape.gaussian_nll_loss(tape.tensor([1.0, 3.0]), tape.tensor([1.0, 1.0]), 1.0).item()
    1.0
    """
    check_reduction("gaussian_nll_loss", reduction)
    if not is_real(eps) or not eps > 0:
        raise ValueError(f"gaussian_nll_loss: eps is {eps!r}, not a number above 0")
    x, target = asarray(x), asarray(target)
    var = Tensor(var, x.dtype) if is_real(var) else asarray(var)
    sizes, wanted = lengths(var), lengths(x)
    if var.ndim and sizes != wanted:
        if sizes == wanted[:-1]:
            var = expand_dims(var, axis=-1)
        elif sizes != (1,) and sizes not in one_for_all(wanted):
            raise ShapeError(
                f"var {sizes} fits neither x {wanted} nor x without its last axis, nor has it "
                "length 1 in place of one of x's"
            )
    if is_recorded(var):  # a branch is a guard
        refused, raised = bool((var < 0).any()), (maximum(var, eps) - var).detach()
    else:
        values = var.numpy()
        refused, raised = (values < 0).any(), Tensor(np.maximum(values, eps) - values)
    if refused:
        values = glance(var)
        raise ValueError(f"gaussian_nll_loss: a variance is {values[values < 0][0]}, below 0")
    var = var + raised
    y = (log(var) + square(x - target) / var) * 0.5
    return reduced(y + 0.5 * math.log(2 * math.pi) if full else y, reduction)


def one_for_all(shape):
    """A shape with one axis, each in turn, of length 1."""
    return [(*shape[:axis], 1, *shape[axis + 1 :]) for axis in range(len(shape))]


@named
def poisson_nll_loss(x, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """Negative log-likelihood of counts under Poisson distributions of mean exp(x), or x.

    y = exp(x) - target * x, or, without log_input, x - target * log(x + eps)

    Shapes: x (*s), target (*s) -> y () or, with reduction "none", (*s)

    Args:
        log_input: whether x is the logarithm of the mean.
        full: whether to add Stirling's log(target!), for targets above 1:
            target * log(target) - target + log(2 pi target) / 2.

    Raises:
        ShapeError: the shapes differ.
        ValueError: reduction is none of "mean", "sum", "none".

    >>> import tape
    >>> tape.poisson_nll_loss(tape.tensor([0.0]), tape.tensor([3.0])).item()
    1.0
    """
    check_reduction("poisson_nll_loss", reduction)
    x, target = compared(x, target)
    target = target if isinstance(target, Tensor) else Tensor(target, x.dtype)
    y = exp(x) - target * x if log_input else x - target * log(x + eps)
    if full:
        many = greater(target, 1.0)
        n = where(many, target, 1.0)
        stirling = n * log(n) - n + 0.5 * log(n * (2 * math.pi))
        y = y + where(many, stirling, 0.0)
    return reduced(y, reduction)
