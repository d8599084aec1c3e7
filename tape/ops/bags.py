"""embedding_bag: rows looked up and put together bag by bag, without the rows in between."""

from __future__ import annotations

import numpy as np

from tape._core.memory import asarray
from tape._core.tensor import Tensor
from tape.errors import IndexRangeError, ShapeError
from tape.ops.index import get_item, get_item_grad
from tape.ops.key import INDEX, check_range
from tape.ops.logic import where
from tape.ops.lookup import embedding, integers, listed, take_along_axis
from tape.ops.naming import named
from tape.ops.shape import expand_dims, reshape

MODES = ("sum", "mean", "max")


@named
def embedding_bag(
    indices,
    weight,
    offsets=None,
    *,
    mode="mean",
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=None,
    max_norm=None,
    norm_type=2.0,
    scale_grad_by_freq=False,
):
    """Sum, mean or largest of the rows of weight at the indices of each bag; 0 for an empty bag.

    Shapes: indices (B, n), or (n) with offsets (B), in [0, N); weight (N, m) -> y (B, m)

    Args:
        offsets: where each bag starts in a row of indices: from 0 on, not falling.
        mode: "sum", "mean" or "max". The gradient of a maximum goes to the first row that has it.
        per_sample_weights: a factor for each index, for "sum" only.
        include_last_offset: whether the last offset is where the last bag ends.
        padding_idx: a row that no bag counts, and that gets no gradient.
        max_norm, norm_type: longer rows are taken scaled to this norm, as `embedding` does.
        scale_grad_by_freq: the gradient of a row is divided by how often it was looked up; not for
            mode "max".

    Raises:
        IndexRangeError: an index is not in [0, N), or padding_idx not in [-N, N).
        ShapeError: the shapes do not fit, or the offsets are no starts of bags.
        DTypeError: the indices or offsets are not integers.
        ValueError: mode is none of the three, weighs what is no sum, or shares out a maximum;
            max_norm or norm_type is no number of at least 0.

    >>> import tape
    >>> weight = tape.tensor([[1.0], [2.0], [4.0]])
    >>> tape.embedding_bag([0, 2, 1], weight, [0, 2], mode="sum").tolist()
    [[5.0], [2.0]]
    """
    if mode not in MODES:
        raise ValueError(f"embedding_bag: mode is {mode!r}, none of {', '.join(MODES)}")
    if per_sample_weights is not None and mode != "sum":
        raise ValueError(f"embedding_bag: per_sample_weights are for mode 'sum', not {mode!r}")
    if scale_grad_by_freq and mode == "max":
        raise ValueError("embedding_bag: scale_grad_by_freq is for modes 'sum' and 'mean'")
    indices, weight = asarray(integers(listed(indices), "indices")), asarray(weight)
    if weight.ndim != 2:
        raise ShapeError(f"weight (N, m) has two axes, got {weight.shape}")
    flat, starts = bags_of(indices, offsets, include_last_offset)
    n = weight.shape[0]
    check_range(flat, 0, n, f"index {{0}} at {{1}} is out of range for a weight of {n} rows")
    bags = np.repeat(np.arange(len(starts)), np.diff(starts, append=flat.size))
    scales = None
    if per_sample_weights is not None:
        scales = asarray(per_sample_weights)
        if scales.shape != indices.shape:
            raise ShapeError(f"per_sample_weights {scales.shape}, but indices {indices.shape}")
        scales = reshape(scales, (flat.size,))
    if padding_idx is not None:
        if not hasattr(padding_idx, "__index__") or not -n <= padding_idx < n:
            raise IndexRangeError(f"padding_idx {padding_idx} is none of {n} rows")
        kept = np.flatnonzero(flat != padding_idx % n)
        flat, bags = flat[kept], bags[kept]
        scales = scales if scales is None else get_item(scales, kept, layout=(INDEX,))
    counts = np.bincount(bags, minlength=len(starts))[:, None]
    if mode == "max" and max_norm is None:
        return largest_rows(weight, flat, counts)
    bound = {"max_norm": max_norm, "norm_type": norm_type}
    rows = embedding(flat, weight, **bound, scale_grad_by_freq=scale_grad_by_freq)
    if mode == "max":
        return largest_rows(rows, np.arange(flat.size), counts)
    if scales is not None:
        rows = rows * expand_dims(scales, axis=-1)
    shape = (len(starts), weight.shape[1])
    y = get_item_grad(rows, bags, layout=(INDEX,), shape=shape)
    return y if mode == "sum" else y / Tensor(np.maximum(counts, 1), weight.dtype)


def bags_of(indices, offsets, include_last_offset):
    """The indices in one row, and where in it each bag starts."""
    flat = indices.numpy().reshape(-1).astype(np.int64)
    if indices.ndim == 2:
        if offsets is not None:
            raise ShapeError(f"indices {indices.shape} are bags already: no offsets")
        return flat, np.arange(indices.shape[0]) * indices.shape[1]
    if indices.ndim != 1 or offsets is None:
        raise ShapeError(f"indices {indices.shape} must be (B, n), or (n) with offsets")
    given = np.asarray(integers(listed(offsets), "offsets")).astype(np.int64)
    if given.ndim != 1 or (include_last_offset and not given.size):
        raise ShapeError(f"offsets {given.shape} must be one for each bag")
    rising = given.size == 0 or (given[0] == 0 and (np.diff(given) >= 0).all())
    if not rising or (given.size and given[-1] > flat.size):
        raise ShapeError(
            f"offsets {given.tolist()} must start with 0, not fall, and end within {flat.size} "
            "indices"
        )
    if not include_last_offset:
        return flat, given
    return flat[: given[-1]], given[:-1]


def largest_rows(weight, flat, counts):
    """Of each bag, and for each column, the largest number of the rows that it names."""
    values = weight.numpy()
    rows = np.zeros((len(counts), weight.shape[1]), np.int64)
    ends = np.cumsum(counts)
    for bag, (end, count) in enumerate(zip(ends.tolist(), counts[:, 0].tolist(), strict=True)):
        if count:
            named_rows = flat[end - count : end]
            rows[bag] = named_rows[values[named_rows].argmax(0)]
    if not weight.shape[0]:
        return Tensor(np.zeros(rows.shape), weight.dtype)
    return where(counts > 0, take_along_axis(weight, rows, axis=0), 0.0)
