"""Dropout: of elements, of whole channels, and so that the mean and variance for selu stay."""

from __future__ import annotations

import threading

import numpy as np

from tape._core.memory import adopt, asarray, lengths, operand
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.cases import text_for
from tape.ops.logic import is_real, where
from tape.ops.naming import named
from tape.ops.random import generator

SELU_FLOOR = -1.7580993408473766  # what selu tends to below: minus its scale times its alpha
shared = threading.local()  # what `sharing` sets for its thread: `masks`


class sharing:
    """A with-block in which what to drop is drawn once for each tensor, into a dictionary."""

    def __init__(self, masks):
        self.masks = masks

    def __enter__(self):
        self.before = getattr(shared, "masks", None)
        shared.masks = self.masks

    def __exit__(self, *error):
        shared.masks = self.before


def chosen(name, x, shape, p, rng):
    """What to drop: bools of x's shape, each drawn with probability p for a place of `shape`."""
    masks = getattr(shared, "masks", None)
    key = x.serial, shape, p
    if masks is not None and key in masks:
        return masks[key]
    drawn = np.asarray(generator(rng, name).random(shape, np.float32) < p)
    if drawn.shape != x.shape:
        drawn = np.broadcast_to(drawn, x.shape).copy()
    mask = adopt(drawn)
    if masks is not None:
        masks[key] = mask
    return mask


def probability(name, p):
    """ValueError unless p is a number in [0, 1]."""
    if not is_real(p) or not 0 <= p <= 1:
        raise ValueError(f"{name}: p is {p!r}, expected a probability in [0, 1]")


def same_as_gate(x, dropped):
    """Shape rule of the op behind dropout."""
    if x != dropped:
        raise ShapeError(f"x is {x}, but what to drop {dropped}")
    return x


@op(
    shape=same_as_gate,
    name="dropout",
    saves="dropped",
    samples=[sample((3, 4), (3, 4), dtypes=[None, "bool"], scale=2.0)],
    errors=[
        bad(
            (3,),
            (2,),
            dtypes=[None, "bool"],
            scale=2.0,
            error=ShapeError,
            match=r"x is \(3,\), but what to drop \(2,\)",
        ),
        text_for("scale", (3,), (3,), dtypes=[None, "bool"]),
    ],
)
def drop(x, dropped, /, scale):
    """0 where dropped, else x * scale: dropout with its choice made.   Shapes: all (*s)"""
    y = np.asarray(np.multiply(x, scale))
    np.putmask(y, dropped, 0)
    return y


@drop.defvjp("x")
def drop_vjp(g, dropped, scale):
    return drop(g, dropped, scale)


@drop.defjvp
def drop_jvp(dx, dropped, scale):
    return drop(dx, dropped, scale)


def dropout(x, p=0.5, training=True, rng=None):
    """x with each element set to 0 with probability p, the others divided by 1 - p.

    So its expectation is x. Without training, or with p = 0, it is x itself. What is dropped is 0
    even where x is infinite or NaN. The gradient goes through what was kept.

    Shapes: x (*s) -> y (*s)

    Args:
        x: floating-point numbers.
        p: probability to drop an element, in [0, 1].
        training: whether to drop anything.
        rng: generator to draw from, by default that of `tape.random`.

    Raises:
        ValueError: p is outside of [0, 1] or NaN.

    Source: Srivastava et al. 2014, section 10 (JMLR 15, 1929-1958).

    >>> import tape
    >>> tape.random.seed(0)
    >>> y = tape.dropout(tape.ones(1000), 0.25)
    >>> sorted(set(y.tolist())), 700 < (y != 0.0).sum().item() < 800
    ([0.0, 1.3333333730697632], True)
    """
    probability("dropout", p)
    x = operand(x, "dropout")
    if not training or p == 0:
        return x
    return drop(x, chosen("dropout", x, x.shape, p, rng), 1 / (1 - p) if p < 1 else 0.0)


def per_channel(x, n_axes):
    """The shape of x with length 1 along its last axes: one number for each channel."""
    if x.ndim not in (n_axes + 1, n_axes + 2):
        raise ShapeError(
            f"x {lengths(x)} must have {n_axes + 1} axes, channels first, or a batch too"
        )
    return (*lengths(x)[: x.ndim - n_axes], *(1,) * n_axes)


def without_channels(name, x, p, training, rng, n_axes):
    """x with whole channels set to 0, the others divided by 1 - p."""
    probability(name, p)
    x = asarray(x)
    shape = per_channel(x, n_axes)
    if not training or p == 0:
        return x
    return drop(x, chosen(name, x, shape, p, rng), 1 / (1 - p) if p < 1 else 0.0)


@named
def dropout1d(x, p=0.5, training=True, rng=None):
    """x with whole channels set to 0 with probability p, the others divided by 1 - p.

    Neighbours in a channel are alike, so dropping single ones hides little. Without training, or
    with p = 0, it is x itself.

    Shapes: x (N, C, L) or (C, L) -> y as x

    Args:
        p: probability to drop a channel, in [0, 1].
        training: whether to drop anything.
        rng: generator to draw from, by default that of `tape.random`.

    Raises:
        ShapeError: x has another number of axes.
        ValueError: p is outside of [0, 1] or NaN.

    Source: Tompson et al. 2014 (arXiv 1411.4280).
    """
    return without_channels("dropout1d", x, p, training, rng, 1)


@named
def dropout2d(x, p=0.5, training=True, rng=None):
    """dropout1d of images.   Shapes: x (N, C, H, W) or (C, H, W) -> y as x

    >>> import tape
    >>> y = tape.dropout2d(tape.ones((8, 4, 2, 2)), 0.5)
    >>> bool(((y == 0.0).all(axis=(2, 3)) | (y == 2.0).all(axis=(2, 3))).all())
    True
    """
    return without_channels("dropout2d", x, p, training, rng, 2)


@named
def dropout3d(x, p=0.5, training=True, rng=None):
    """dropout1d of volumes.   Shapes: x (N, C, D, H, W) or (C, D, H, W) -> y as x"""
    return without_channels("dropout3d", x, p, training, rng, 3)


def to_the_floor(name, x, shape, p, rng):
    """x with what is dropped set to selu's floor, then moved and scaled back to mean 0, variance 1.

    With q = 1 - p and f the floor: a = (q + f**2 q p)**-0.5, b = -a p f.
    """
    if p == 1:
        return drop(x, chosen(name, x, shape, p, rng), 0.0)
    a = ((1 - p) * (1 + p * SELU_FLOOR**2)) ** -0.5
    dropped = chosen(name, x, shape, p, rng)
    b = -a * p * SELU_FLOOR
    return where(dropped, a * SELU_FLOOR + b, x * a + b)


@named
def alpha_dropout(x, p=0.5, training=True, rng=None):
    """Dropout for selu: of x with mean 0 and variance 1 the result has these too.

    An element is set, with probability p, to what selu tends to far below, and all are moved and
    scaled. Without training, or with p = 0, it is x itself; with p = 1 it is 0.

    Shapes: x (*s) -> y (*s)

    Args:
        p: probability to drop an element, in [0, 1].
        training: whether to drop anything.
        rng: generator to draw from, by default that of `tape.random`.

    Raises:
        ValueError: p is outside of [0, 1] or NaN.

    Source: Klambauer et al. 2017, section 2 (arXiv 1706.02515).
    """
    probability("alpha_dropout", p)
    x = asarray(x)
    if not training or p == 0:
        return x
    return to_the_floor("alpha_dropout", x, x.shape, p, rng)


@named
def feature_alpha_dropout(x, p=0.5, training=True, rng=None):
    """alpha_dropout of whole channels.   Shapes: x (N, C, *d) -> y as x

    Raises:
        ShapeError: x has fewer than two axes, while training.
        ValueError: p is outside of [0, 1] or NaN.
    """
    probability("feature_alpha_dropout", p)
    x = asarray(x)
    if not training or p == 0:
        return x
    if x.ndim < 2:
        raise ShapeError(f"x {lengths(x)} must have a batch axis and channels")
    shape = (*lengths(x)[:2], *(1,) * (x.ndim - 2))
    return to_the_floor("feature_alpha_dropout", x, shape, p, rng)
