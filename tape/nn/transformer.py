"""`TransformerEncoderLayer`, `TransformerEncoder`: attention and a small network, in turns."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.nn.arguments import count, settings, share
from tape.nn.attention import MultiHeadAttention
from tape.nn.freeze import holding
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.norm import LayerNorm
from tape.nn.parameter import Uninferred, holders_of, innermost, is_parameter, parameter
from tape.nn.state import settle
from tape.ops.activated import function_of
from tape.ops.dropout import dropout
from tape.ops.linear import linear

__all__ = ["TransformerEncoder", "TransformerEncoderLayer"]


class TransformerEncoderLayer(Module):
    """Self-attention and a network of two linear layers, each added to what it was given.

    x = norm1(x + attention(x)),  y = norm2(x + linear2(activation(linear1(x)))), or, norm first,
    x = x + attention(norm1(x)),  y = x + linear2(activation(linear1(norm2(x))))

    Shapes: x (T, N, d_model), (N, T, d_model) with `batch_first`, or (T, d_model) -> y as x

    Args:
        d_model: numbers of an element of the sequence.
        nhead: heads of the attention.
        dim_feedforward: numbers between the two linear layers.
        dropout: probability to drop, while training: weights of the attention, and what each of
            the two parts gives, and what stands between the linear layers.
        activation: a function such as `tape.gelu`, or "relu" or "gelu".
        layer_norm_eps: eps of both normalisations.
        batch_first: whether the batch is the first axis.
        norm_first: whether to normalise what the parts are given, not what they gave.
        bias: whether the linear layers and normalisations have one.
        rng: generator that the first values and dropout draw from, by default that of
            `tape.random`.
        dtype: of the parameters, by default float32.

    Raises:
        ShapeError: x or a mask does not fit.
        ValueError: d_model is no multiple of nhead, dropout no probability, or there is no such
            activation.

    Source: Vaswani et al. 2017, section 3.1; norm first as in Xiong et al. 2020 (arXiv 2002.04745).

    >>> import tape
    >>> from tape import nn
    >>> nn.TransformerEncoderLayer(4, 2, dim_feedforward=8)(tape.zeros((3, 1, 4))).shape
    (3, 1, 4)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        name = "TransformerEncoderLayer"
        self.d_model = count(name, "d_model", d_model, least=1)
        n = count(name, "dim_feedforward", dim_feedforward, least=1)
        self.dropout, self.rng = share(name, "dropout", dropout), rng
        self.activation = function_of(activation, name)
        self.norm_first = bool(norm_first)
        self.self_attn = MultiHeadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, rng=rng, dtype=dtype
        )
        self.linear1 = Dense(n, d_model, bias=bias, rng=rng, dtype=dtype)
        self.linear2 = Dense(d_model, n, bias=bias, rng=rng, dtype=dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

    def forward(
        self,
        src: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
        """y for x = src; masks as those of `MultiHeadAttention`."""
        masks = src_mask, src_key_padding_mask, is_causal
        if self.norm_first:
            x = self._attended(self.norm1(src), src, *masks)
            return self._fed(self.norm2(x), x)
        x = self.norm1(self._attended(src, src, *masks))
        return self.norm2(self._fed(x, x))

    def _attended(self, x: Any, onto: Any, mask: Any, padding: Any, is_causal: bool) -> Tensor:
        """onto + attention(x)."""
        attention = self.self_attn
        if np.ndim(x) == 2 or self._drops():
            y, _ = attention(x, x, x, padding, False, mask, is_causal=is_causal)
            return onto + dropout(y, self.dropout, self.training, self.rng)
        y, _ = attention.mixed(x, x, x, padding, mask, is_causal)
        return linear(y, attention.out_proj.weight, attention.out_proj.bias, residual=onto)

    def _fed(self, x: Any, onto: Any) -> Tensor:
        """onto + linear2(activation(linear1(x)))."""
        x = linear(x, self.linear1.weight, self.linear1.bias, self.activation)
        if not self._drops():
            return linear(x, self.linear2.weight, self.linear2.bias, residual=onto)
        y = self.linear2(dropout(x, self.dropout, True, self.rng))
        return onto + dropout(y, self.dropout, True, self.rng)

    def _drops(self) -> bool:
        """Whether dropout is at work."""
        return self.training and self.dropout > 0

    def describe(self) -> str:
        """Sizes, and what is not as usual."""
        attention = self.self_attn
        return settings(
            self.d_model,
            attention.num_heads,
            dim_feedforward=self.linear1.n_out,
            dropout=self.dropout,
            activation=self.activation,
            batch_first=True if attention.batch_first else None,
            norm_first=True if self.norm_first else None,
        )


class TransformerEncoder(Module):
    """Several copies of an encoder layer, one after the other.

    Shapes: x as that of the layer -> y as x

    Args:
        encoder_layer: a `TransformerEncoderLayer`, or another module that is called like one;
            copied, so that all layers begin with the same values and learn their own.
        num_layers: how many copies.
        norm: a module of what the last one gave, or None.

    Raises:
        TypeError: encoder_layer is no module.
        ValueError: num_layers is negative.

    Source: Vaswani et al. 2017, section 3.1.

    >>> import tape
    >>> from tape import nn
    >>> encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, dim_feedforward=8), 2)
    >>> encoder(tape.zeros((3, 1, 4))).shape
    (3, 1, 4)
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        n = count("TransformerEncoder", "num_layers", num_layers)
        if not isinstance(encoder_layer, Module):
            kind = type(encoder_layer).__name__
            raise TypeError(f"TransformerEncoder: encoder_layer is a module, got a {kind}")
        self.layers = [encoder_layer.clone() for _ in range(n)]
        if innermost() is not None:
            for i, layer in enumerate(self.layers):
                _named(self, f"layers.{i}", layer)
        self.norm = norm

    def forward(
        self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Any:
        """y for x = src; masks as those of `MultiHeadAttention`, the same for every layer."""
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal)
        return x if self.norm is None else self.norm(x)


class _Copied:
    """An initialiser that gives what a layer began with; one is as good as the other."""

    def __init__(self, value: Tensor) -> None:
        self.value = np.array(value)

    def __call__(self, shape: tuple[int, ...], rng: Any, dtype: Any) -> np.ndarray:
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Copied)

    __hash__ = None  # type: ignore[assignment]


def _named(owner: Module, prefix: str, layer: Module) -> None:
    """Have a copied layer take part in the scope that is open, with names of its own."""
    named: dict[int, Any] = {}
    places = list(layer.walk(again=True))
    for path, entry, holder, name in places:
        if isinstance(entry, Module) or name not in vars(holder):
            continue
        if id(entry) not in named:
            waits = isinstance(entry, Uninferred)
            init, kind = (entry.init, entry.kind) if waits else (_Copied(entry), type(entry))
            rng = entry.rng if waits else None
            value = parameter(
                owner, f"{prefix}.{path}", entry.shape, init, rng, entry.dtype, kind=kind
            )
            if is_parameter(entry) and not (waits or entry.requires_grad or holders_of(entry)):
                value.requires_grad_(False)  # by itself, whatever is frozen around it
            named[id(entry)] = value
        vars(holder)[name] = named[id(entry)]
    settle([], holding([module for module in layer.modules() if module.is_frozen], stop=True))
