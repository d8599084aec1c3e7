"""Signs of a linear layer: packed while its result is in the cache, which is never kept."""

from __future__ import annotations

import math

import numpy as np

from tape._kernels.bits import pack, words_as
from tape._kernels.product import Linear
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.activated import by_steps
from tape.ops.linear import affine, features
from tape.ops.signs import NO_BORDER, floats, slow_bits

ROWS = 240  # at a time: a product packs w for as many, see gemm.h
PRODUCT = Linear()


def words_of_features(x, w, b, *, rule):
    """Shape rule of linear_words."""
    *rows, n = features(x, w, b)
    return (*rows, (n + 31) // 32)


def slow_words(x, w, b, *, rule):
    """linear_words, the result made first."""
    y = by_steps(x, w, b)
    return slow_bits(y, axis=y.ndim - 1, rule=rule, window=0.0, border=NO_BORDER)


@op(
    name="linear_bits",
    shape=words_of_features,
    differentiable=False,
    ref=slow_words,
    samples=[
        sample((3, 4), (40, 4), (40,), rule="negative"),
        sample((2, 3, 4), (5, 4), 0, rule="not positive"),
        sample((4,), (32, 4), (32,), rule="negative"),
        sample((300, 4), (2, 4), 1.5, rule="negative"),
        sample((0, 4), (2, 4), (2,), rule="negative"),
        sample((3, 0), (2, 0), (2,), rule="negative"),
        sample((3, 4), (2, 4), (2,), rule="negative", dtypes=["float32", "float32", "float64"]),
    ],
    errors=[
        bad(
            (3, 5),
            (2, 4),
            (2,),
            rule="negative",
            error=ShapeError,
            match=r"x \(3, 5\) has 5 features, w \(2, 4\)",
        ),
    ],
)
def linear_words(x, w, b, /, *, rule):
    """The words of the signs of x @ w.T + b. See `linear_bits`.

    Shapes: x (..., n_in), w (n_out, n_in), b (n_out) or () -> y (..., ceil(n_out / 32)), uint32
    """
    n_out, n_in = w.shape
    m = math.prod(x.shape[:-1])
    rows = x.reshape(m, n_in)
    words = np.empty((m, (n_out + 31) // 32), np.uint32)
    for at in range(0, m, ROWS):
        some = rows[at : at + ROWS]
        y = PRODUCT(some, w, b)
        y = affine.forward(some, w, b) if y is None else y
        words[at : at + ROWS] = pack(y, 1, rule).words
    return words.reshape(*x.shape[:-1], words.shape[1])


def linear_bits(x, w, b=None, /, strict=False):
    """The signs of x @ w.T + b, one bit each: `pack_bits(linear(x, w, b), -1)` without the floats.

    Has no gradient: it is for inference, in front of a layer that takes packed signs.

    Args:
        w: the weight, one row a result.
        b: the bias, None for none.
        strict: only a result > 0 is +1. By default only one < 0 is -1.

    Shapes: x (..., n_in), w (n_out, n_in), b (n_out) -> (..., n_out), packed along the last axis

    Raises:
        ShapeError: x has another number of features than w takes, or b does not fit.
        DTypeError: x or w holds no floats.

    >>> import tape
    >>> x, w = tape.tensor([[1.0, -2.0]]), tape.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> tape.unpack_bits(tape.linear_bits(x, w)).tolist()
    [[1.0, -1.0]]
    """
    x, w = floats(x, "linear_bits"), floats(w, "linear_bits", "w")
    rule = "not positive" if strict else "negative"
    words = linear_words(x, w, 0 if b is None else b, rule=rule).numpy()
    shape = (*x.shape[:-1], w.shape[0])
    return words_as(words, shape, len(shape) - 1, NO_BORDER)
