"""`MultiHeadAttention`: several attentions side by side, between learned projections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tape._core.memory import asarray, count_on, lengths
from tape._core.tensor import Tensor
from tape.errors import DTypeError, ShapeError
from tape.nn.arguments import count, settings, share
from tape.nn.init import glorot_uniform, uniform, zeros
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import parameter, shape_of
from tape.ops.attention import lower, masked, scaled_dot_product_attention
from tape.ops.dropout import dropout
from tape.ops.join import concat
from tape.ops.linalg import matmul
from tape.ops.linear import linear
from tape.ops.logic import where
from tape.ops.reduce import broadcast_to, mean
from tape.ops.shape import expand_dims, matrix_transpose, permute_dims, reshape, squeeze
from tape.ops.softmax import softmax

__all__ = ["MultiHeadAttention"]

IN_PROJ = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class MultiHeadAttention(Module):
    """Attention of several heads: y = concat(heads) @ out_proj.weight.T + out_proj.bias.

    head = softmax(q @ k.T / sqrt(d) + mask) @ v, where q, k and v are each head's part, d =
    embed_dim / num_heads numbers, of query, key and value after a linear layer

    Shapes: query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim), N first with
    `batch_first`, or all without N -> y as query, weights (N, L, S) or, of every head,
    (N, num_heads, L, S)

    Args:
        embed_dim: numbers of a query and of a result, a multiple of `num_heads`.
        num_heads: how many heads there are.
        dropout: probability to drop a weight, while training.
        bias: whether the linear layers have one.
        kdim, vdim: numbers of a key and of a value, `embed_dim` by default.
        batch_first: whether the batch is the first axis.
        add_bias_kv: whether a learned key and value stand behind those given.
        add_zero_attn: whether a key and value of zeros stand behind all others.
        rng: generator that the first values and dropout draw from, by default that of
            `tape.random`.
        dtype: of the parameters, by default float32.

    Parameters are called as PyTorch calls them: ``in_proj_weight``, or with kdim or vdim
    ``q_proj_weight``, ``k_proj_weight``, ``v_proj_weight``; ``in_proj_bias``, ``out_proj``;
    ``bias_k``, ``bias_v``. Weights have a column for each key, those added included.

    Raises:
        ShapeError: query, key, value and masks do not fit each other.
        DTypeError: a mask holds integers.
        ValueError: embed_dim is no multiple of num_heads, or dropout no probability.

    Source: Vaswani et al. 2017, section 3.2.2 (arXiv 1706.03762).

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.MultiHeadAttention(4, 2, batch_first=True)
    >>> x = tape.zeros((1, 3, 4))
    >>> y, weights = layer(x, x, x)
    >>> y.shape, weights.shape
    ((1, 3, 4), (1, 3, 3))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        name = "MultiHeadAttention"
        self.embed_dim = E = count(name, "embed_dim", embed_dim, least=1)
        self.num_heads = count(name, "num_heads", num_heads, least=1)
        if E % self.num_heads:
            raise ValueError(f"{name}: embed_dim {E} is no multiple of num_heads {num_heads}")
        self.dropout, self.batch_first, self.rng = share(name, "dropout", dropout), batch_first, rng
        self.kdim = E if kdim is None else count(name, "kdim", kdim, least=1)
        self.vdim = E if vdim is None else count(name, "vdim", vdim, least=1)
        init = glorot_uniform()
        if (self.kdim, self.vdim) == (E, E):
            self.in_proj_weight = parameter(self, "in_proj_weight", (3 * E, E), init, rng, dtype)
        else:
            for which, size in zip(IN_PROJ, (E, self.kdim, self.vdim), strict=True):
                setattr(self, which, parameter(self, which, (E, size), init, rng, dtype))
        self.in_proj_bias = self.bias_k = self.bias_v = None
        if bias:
            self.in_proj_bias = parameter(self, "in_proj_bias", (3 * E,), zeros, rng, dtype)
        if add_bias_kv:
            self.bias_k = parameter(self, "bias_k", (1, 1, E), init, rng, dtype)
            self.bias_v = parameter(self, "bias_v", (1, 1, E), init, rng, dtype)
        self.add_zero_attn = bool(add_zero_attn)
        near = uniform(-1 / math.sqrt(E), 1 / math.sqrt(E))
        self.out_proj = Dense(E, E, bias=bias, init=near, rng=rng, dtype=dtype)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(y, weights, or None without `need_weights`).

        Args:
            query, key, value: see the class.
            key_padding_mask: (N, S), or (S) without N: bools, True where a key is *not* looked at,
                or numbers that are added to its scores.
            need_weights: whether to give the weights too, after dropout, and their mean over the
                heads if `average_attn_weights`. A query that may look nowhere gets, as in PyTorch,
                NaN with the weights and the mean of nothing, 0, without.
            attn_mask: (L, S) or (N num_heads, L, S), bools or numbers in the same sense.
            is_causal: query i looks at keys 0 to i only; an `attn_mask` says so itself.

        A query that may look nowhere gets 0 from every head.
        """
        single = len(shape_of("MultiHeadAttention", query)) == 2
        if single:
            axis = 0 if self.batch_first else 1
            query, key, value = _alike((query, key, value), lambda x: expand_dims(x, axis=axis))
            if key_padding_mask is not None:
                key_padding_mask = expand_dims(asarray(key_padding_mask), axis=0)
        mixed, weights = self.mixed(
            query, key, value, key_padding_mask, attn_mask, is_causal, need_weights
        )
        y = self.out_proj(mixed)
        if weights is not None and average_attn_weights:
            weights = mean(weights, axis=1)
        if single:
            y, weights = (
                squeeze(y, axis=axis),
                None if weights is None else squeeze(weights, axis=0),
            )
        return y, weights

    def mixed(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        attn_mask: Any = None,
        is_causal: bool = False,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """What the heads give side by side, before `out_proj`, and every head's weights or None."""
        self._check(query, key, value)
        q, k, v = self._heads(query, key, value)
        p = self.dropout if self.training else 0.0
        causal = is_causal and attn_mask is None
        added = self.bias_k is not None or self.add_zero_attn
        if causal and (added or key_padding_mask is not None):
            count_on(q, 2)
            count_on(k, 2)
            barred = ~np.tri(lengths(q)[2], lengths(k)[2], dtype=bool)
            causal, attn_mask = False, Tensor(barred)
        mask = self._mask(lengths(q)[0], lengths(q)[2], lengths(k)[2], key_padding_mask, attn_mask)
        if added:
            k, v, mask = self._extended(k, v, mask)
        weights = None
        if need_weights:
            scores = matmul(q * (self.embed_dim // self.num_heads) ** -0.5, matrix_transpose(k))
            mask = lower(scores) if causal else mask
            weights = softmax(scores if mask is None else masked(scores, mask), -1)
            weights = dropout(weights, p, True, self.rng) if p else weights
            y = matmul(weights, v)
        else:
            y = scaled_dot_product_attention(q, k, v, mask, p, causal, rng=self.rng)
        y = permute_dims(y, (0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3))
        return reshape(y, (*lengths(y)[:2], self.embed_dim)), weights

    def _check(self, query: Any, key: Any, value: Any) -> None:
        """ShapeError unless query, key and value fit each other and the layer."""
        shapes = [shape_of("MultiHeadAttention", x) for x in (query, key, value)]
        q, k, v = shapes
        batch = 0 if self.batch_first else 1
        given = f"MultiHeadAttention: query {q}, key {k}, value {v}"
        if {len(shape) for shape in shapes} != {3}:
            raise ShapeError(f"{given}: each needs three axes, or two without a batch")
        if (q[2], k[2], v[2]) != (self.embed_dim, self.kdim, self.vdim):
            wanted = f"{self.embed_dim}, {self.kdim} and {self.vdim}"
            raise ShapeError(f"{given}: expected {wanted} numbers on the last axis")
        if k[:2] != v[:2] or q[batch] != k[batch]:
            raise ShapeError(f"{given}: keys and values need one number, and all one batch")

    def _heads(self, query: Any, key: Any, value: Any) -> list[Tensor]:
        """Projected query, key and value, (N, num_heads, length, d) each."""
        E, bias = self.embed_dim, self.in_proj_bias
        weight = vars(self).get("in_proj_weight")
        if weight is not None and query is key and key is value:
            x = linear(query, weight, bias)
            x = reshape(x, (*lengths(x)[:2], 3, self.num_heads, E // self.num_heads))
            x = permute_dims(x, (2, 0, 3, 1, 4) if self.batch_first else (2, 1, 3, 0, 4))
            return [x[0], x[1], x[2]]
        heads = []
        for i, x in enumerate((query, key, value)):
            rows = slice(i * E, (i + 1) * E)
            w = getattr(self, IN_PROJ[i]) if weight is None else weight[rows]
            x = linear(x, w, None if bias is None else bias[rows])
            x = reshape(x, (*lengths(x)[:2], self.num_heads, E // self.num_heads))
            heads.append(permute_dims(x, (0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3)))
        return heads

    def _extended(self, k: Tensor, v: Tensor, mask: Tensor | None) -> Any:
        """Keys, values and mask with the learned ones and those of zeros, which all may look at."""
        count_on(k, 0)
        n, shape = lengths(k)[2], (lengths(k)[0], self.num_heads, 1, lengths(k)[3])
        nothing = Tensor(np.zeros(shape, k.dtype))
        ends: list[Any] = [[k], [v]]
        for end, learned in zip(ends, (self.bias_k, self.bias_v), strict=True):
            if learned is not None:
                head = permute_dims(reshape(learned, (1, 1, self.num_heads, -1)), (0, 2, 1, 3))
                end.append(broadcast_to(head, shape))
            if self.add_zero_attn:
                end.append(nothing)
        k, v = [concat(*end, axis=2) for end in ends]
        if mask is not None:
            free = np.full((*lengths(mask)[:-1], lengths(k)[2] - n), mask.dtype == bool, mask.dtype)
            mask = concat(mask, Tensor(free), axis=-1)
        return k, v, mask

    def _mask(self, N: int, L: int, S: int, padding: Any, attn_mask: Any) -> Tensor | None:
        """Both masks as one that broadcasts to (N, num_heads, L, S): True where one may look."""
        masks = []
        for name, mask, shapes in (
            ("key_padding_mask", padding, [(N, S)]),
            ("attn_mask", attn_mask, [(L, S), (N * self.num_heads, L, S)]),
        ):
            if mask is None:
                continue
            mask = asarray(mask)
            if lengths(mask) not in shapes:
                wanted = " or ".join(map(str, shapes))
                raise ShapeError(
                    f"MultiHeadAttention: {name} is {lengths(mask)}, expected {wanted}"
                )
            if mask.dtype.kind not in "bf":
                raise DTypeError(
                    f"MultiHeadAttention: {name} is {mask.dtype}, expected bools or floats"
                )
            if lengths(mask) == (N, S) and name == "key_padding_mask":
                mask = expand_dims(mask, axis=(1, 2))
            elif mask.ndim == 3:
                mask = reshape(mask, (-1 if N else N, self.num_heads, L, S))
            masks.append(mask)
        if not masks:
            return None
        if all(mask.dtype == bool for mask in masks):
            return ~(masks[0] if len(masks) == 1 else masks[0] | masks[1])
        kind = next(mask.dtype for mask in masks if mask.dtype != bool)
        barred, free = np.array(-math.inf, kind), np.array(0, kind)
        added = [where(mask, barred, free) if mask.dtype == bool else mask for mask in masks]
        return added[0] if len(added) == 1 else added[0] + added[1]

    def describe(self) -> str:
        """Sizes, and what is not as usual."""
        E = self.embed_dim
        return settings(
            E,
            self.num_heads,
            dropout=self.dropout or None,
            bias=None if self.in_proj_bias is not None else False,
            kdim=None if self.kdim == E else self.kdim,
            vdim=None if self.vdim == E else self.vdim,
            batch_first=True if self.batch_first else None,
            add_bias_kv=None if self.bias_k is None else True,
            add_zero_attn=self.add_zero_attn or None,
        )


def _alike(xs: tuple[Any, ...], function: Any) -> list[Any]:
    """The function of each; what was one tensor stays one."""
    made = {id(x): function(x) for x in xs}
    return [made[id(x)] for x in xs]
