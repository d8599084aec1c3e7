"""Attention: values mixed by how well their keys match a query."""

from __future__ import annotations

import math

import numpy as np

from tape import shapes
from tape._core.memory import asarray, count_on, lengths
from tape._core.recorded import is_recorded
from tape._core.tensor import Tensor
from tape.errors import DTypeError, ShapeError
from tape.ops.arrange import repeat
from tape.ops.dropout import dropout
from tape.ops.linalg import matmul
from tape.ops.logic import is_real, where
from tape.ops.naming import named
from tape.ops.shape import matrix_transpose
from tape.ops.softmax import softmax


@named
def scaled_dot_product_attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    scale=None,
    enable_gqa=False,
    rng=None,
):
    """Means of value, weighted by how well each key matches a query.

    y = softmax(query @ key.T * scale + mask) @ value, softmax along the keys

    Shapes: query (*b, L, E), key (*b, S, E), value (*b, S, V) -> y (*b, L, V), axes in front
    broadcast

    Args:
        attn_mask: broadcasts to (*b, L, S): bools, True where a query may look, or numbers that are
            added. A query that may look nowhere gets 0, and so do its gradients.
        dropout_p: probability to drop a weight, in [0, 1]; it drops whenever it is above 0.
        is_causal: whether query i may look at keys 0 to i only; not with a mask.
        scale: 1 / sqrt(E) by default.
        enable_gqa: whether a key and value of fewer heads (axis -3) serve several heads of query.
        rng: generator that dropout draws from, by default that of `tape.random`.

    Raises:
        ShapeError: the shapes do not fit each other, or the mask does not broadcast.
        DTypeError: the mask holds integers.
        ValueError: both a mask and is_causal, or dropout_p is no probability.

    Source: Vaswani et al. 2017, section 3.2.1 (arXiv 1706.03762).

    >>> import tape
    >>> q, v = tape.zeros((2, 4)), tape.tensor([[1.0], [3.0]])
    >>> tape.scaled_dot_product_attention(q, q, v).tolist()
    [[2.0], [2.0]]
    >>> tape.scaled_dot_product_attention(q, q, v, is_causal=True).tolist()
    [[1.0], [2.0]]
    """
    name = "scaled_dot_product_attention"
    query, key, value = asarray(query), asarray(key), asarray(value)
    check(query, key, value)
    if attn_mask is not None and is_causal:
        raise ValueError(f"{name}: give attn_mask or is_causal, not both")
    if not is_real(dropout_p) or not 0 <= dropout_p <= 1:
        raise ValueError(f"{name}: dropout_p is {dropout_p!r}, expected a probability in [0, 1]")
    if enable_gqa:
        key, value = [for_heads(x, query) for x in (key, value)]
    if scale is None:
        count_on(query, -1)
        scale = (lengths(query)[-1] or 1) ** -0.5
    scores = matmul(query * scale, matrix_transpose(key))
    if attn_mask is not None:
        weights = masked_softmax(scores, asarray(attn_mask))
    else:
        weights = softmax(masked(scores, lower(scores)) if is_causal else scores, -1)
    if dropout_p:
        weights = dropout(weights, dropout_p, True, rng)
    return matmul(weights, value)


def check(query, key, value):
    """ShapeError unless the last two axes fit."""
    given = f"query {lengths(query)}, key {lengths(key)}, value {lengths(value)}"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(f"needs two axes or more: {given}")
    if lengths(query)[-1] != lengths(key)[-1] or lengths(key)[-2] != lengths(value)[-2]:
        raise ShapeError(f"queries and keys need one length, keys and values one number: {given}")


def for_heads(x, query):
    """Keys or values, each head repeated for the heads of query that it serves."""
    if x.ndim < 3 or query.ndim < 3 or not lengths(x)[-3] or lengths(query)[-3] % lengths(x)[-3]:
        raise ShapeError(
            f"the heads of query {lengths(query)} are no multiple of those of {lengths(x)}"
        )
    count_on(query, -3)
    count_on(x, -3)
    n = lengths(query)[-3] // lengths(x)[-3]
    return x if n == 1 else repeat(x, n, axis=x.ndim - 3)


def lower(scores):
    """The mask by which query i sees keys 0 to i."""
    count_on(scores, -2, -1)
    return Tensor(np.tri(*lengths(scores)[-2:], dtype=bool))


def masked_softmax(scores, mask):
    """softmax of the scores along the last axis where a mask allows, 0 where it allows nothing."""
    scores = masked(scores, mask)
    values = mask if is_recorded(mask) else mask.numpy()  # of tensors, a branch is a guard
    barred = ~values if mask.dtype == bool else values == -math.inf
    blind = barred.all(-1, keepdims=True) if barred.ndim else barred
    if not blind.any():
        return softmax(scores, -1)
    return where(blind, 0.0, softmax(where(blind, 0.0, scores), -1))


def masked(scores, mask):
    """The scores with a mask of numbers added, or -inf where one of bools is False."""
    if mask.dtype.kind not in "bf":
        raise DTypeError(f"attn_mask is {mask.dtype}, expected bools or floats")
    if shapes.broadcast(lengths(scores), lengths(mask)) != lengths(scores):
        raise ShapeError(
            f"attn_mask {lengths(mask)} does not broadcast to the scores {lengths(scores)}"
        )
    if mask.dtype == bool:
        return where(mask, scores, -math.inf)
    return scores + mask.astype(scores.dtype, copy=False)
