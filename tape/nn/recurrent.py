"""Recurrent layers over sequences: `RNN`, `LSTM`, `GRU`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tape._core.memory import lengths
from tape._core.state import is_recording
from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.nn.arguments import count, settings, share
from tape.nn.init import Initialiser, uniform
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, parameter, shape_of
from tape.ops.dropout import dropout
from tape.ops.gru import gru_states
from tape.ops.join import concat, stack
from tape.ops.linear import linear
from tape.ops.recurrent import lstm_states, rnn_states
from tape.ops.shape import expand_dims, permute_dims, squeeze

__all__ = ["GRU", "LSTM", "RNN"]

NONLINEARITIES = ("tanh", "relu")


def near_zero(n_out: int) -> Initialiser:
    """Uniform within 1 / sqrt(n_out), for weights and biases alike."""
    return uniform(-1 / math.sqrt(max(n_out, 1)), 1 / math.sqrt(max(n_out, 1)))


def checked_nonlinearity(layer: str, name: Any) -> str:
    """The name itself, if it is one of an activation that a plain recurrent layer has.

    Raises:
        ValueError: it is none.
    """
    if name not in NONLINEARITIES:
        raise ValueError(f"{layer}: nonlinearity is 'tanh' or 'relu', got {name!r}")
    return name


def state_of(layer: str, name: str, state: Any, shape: tuple[int, ...]) -> Any:
    """The state itself, if it has the shape.

    Raises:
        ShapeError: it has another one.
    """
    if shape_of(layer, state) != shape:
        raise ShapeError(f"{layer}: {name} is {tuple(state.shape)}, expected {shape}")
    return state


def no_bias(weight: Any) -> np.ndarray:
    """A bias of zeros for a GRU, which adds one to its hidden product."""
    return np.zeros(weight.shape[0], weight.dtype)


class Recurrent(Module):
    """Layers over a sequence, each reading what the one below gave; base of the three kinds.

    Shapes: x (T, B, n_in), or (B, T, n_in) with `batch_first`, or (T, n_in) for a single sequence
    -> y as x with D n_out numbers a step; states (num_layers D, B, n_out), without B for a single
    sequence; D = 2 if bidirectional, else 1

    Args:
        n_out: size of a state.
        n_in: numbers a step of x; None takes them from the first x.
        num_layers: how many layers stand one above the other.
        bias: whether there are biases.
        batch_first: whether the batch is the first axis of x and y; that of states is the second.
        dropout: probability to drop a number between layers, while training.
        bidirectional: whether each layer also reads backwards; what both directions give stands
            side by side.
        init: first value of all weights and biases, by default uniform within 1 / sqrt(n_out).
        rng: generator that `init` and dropout draw from, by default that of `tape.random`.
        dtype: of the parameters, by default float32.

    Parameters are called as PyTorch calls them: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``,
    ``bias_hh_l0``, with the number of the layer, and ``_reverse`` after it for reading backwards.
    """

    gates = 1
    states: tuple[str, ...] = ("h0",)

    def __init__(
        self,
        n_out: int,
        n_in: int | None = None,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        init: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        self.n_out = count(name, "n_out", n_out, least=1)
        self.num_layers = count(name, "num_layers", num_layers, least=1)
        self.has_bias, self.batch_first = bool(bias), bool(batch_first)
        self.dropout, self.rng = share(name, "dropout", dropout), rng
        self.bidirectional = bool(bidirectional)
        near = near_zero(self.n_out)
        n = None if n_in is None else count(name, "n_in", n_in)
        rows = self.gates * self.n_out
        for suffix in self.suffixes():
            shapes: dict[str, tuple[int | None, ...]]
            shapes = {"weight_ih": (rows, n), "weight_hh": (rows, self.n_out)}
            if self.has_bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for kind, shape in shapes.items():
                which = f"{kind}_{suffix}"
                entry = parameter(self, which, shape, init, rng, dtype, default=near)
                setattr(self, which, entry)
            if suffix == self.suffixes()[self.directions - 1]:
                n = self.directions * self.n_out  # what the layers above read

    @property
    def directions(self) -> int:
        """2 if the layers read in both directions, else 1."""
        return 1 + self.bidirectional

    @property
    def n_in(self) -> int | None:
        """Numbers a step of x, None before they are inferred."""
        return vars(self)["weight_ih_l0"].shape[1]

    def suffixes(self) -> list[str]:
        """The ends of the parameters' names, layer by layer."""
        ways = ["", "_reverse"][: 1 + self.bidirectional]
        return [f"l{i}{way}" for i in range(self.num_layers) for way in ways]

    def run(self, x: Any, states: tuple[Any, ...] | None) -> tuple[Tensor, list[Tensor]]:
        """What the last layer gave for every step, and the last states of all layers."""
        name = type(self).__name__
        shape = shape_of(name, x)
        if len(shape) not in (2, 3):
            raise ShapeError(f"{name}: x is {shape}, expected (T, n_in), or a batch of three axes")
        single = len(shape) == 2
        self._infer(shape[-1])
        if shape[-1] != self.n_in:
            raise ShapeError(f"{name}: x {shape} has {shape[-1]} numbers a step, not {self.n_in}")
        if not single and self.batch_first:
            x = permute_dims(x, (1, 0, 2))
        B = () if single else lengths(x)[1:2]
        x = expand_dims(x, axis=1) if single else x
        n = self.num_layers * self.directions
        given: list[Any] = [None] * len(self.states)
        if states is not None:
            for i, (which, state) in enumerate(zip(self.states, states, strict=True)):
                state = state_of(name, which, state, (n, *B, self.n_out))
                given[i] = expand_dims(state, axis=1) if single else state
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            if layer:
                x = dropout(x, self.dropout, self.training, self.rng)
            ways = []
            for way in range(self.directions):
                at = layer * self.directions + way
                first = [0 if state is None else state[at] for state in given]
                planes = self.sequence(x, first, self.suffixes()[at], bool(way))
                ways.append(planes[0])
                last.append([plane[0 if way else -1] for plane in planes])
            # Without a graph a copy of the states lets the memory of all gates go.
            alone = len(ways) == 1 and (self.gates == 1 or is_recording())
            x = ways[0] if alone else concat(*ways, axis=-1)
        ends = [stack(*parts) for parts in zip(*last, strict=True)]
        if single:
            return squeeze(x, axis=1), [squeeze(end, axis=1) for end in ends]
        return permute_dims(x, (1, 0, 2)) if self.batch_first else x, ends

    def sequence(self, x: Any, first: list[Any], suffix: str, reverse: bool) -> list[Tensor]:
        """The states of one layer in one direction, all steps of them."""
        raise NotImplementedError

    def weights(self, suffix: str) -> list[Any]:
        """Both weights and both biases, or None for these, of one layer in one direction."""
        kinds = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
        return [getattr(self, f"{kind}_{suffix}", None) for kind in kinds]

    def gate_inputs(self, x: Any, suffix: str) -> Tensor:
        """What x adds to the gates, with both biases, in one product for all steps."""
        w, _, b, hidden_b = self.weights(suffix)
        return linear(x, w, None if b is None else b + hidden_b)

    def _infer(self, n_in: int) -> None:
        """Settle how many numbers a step of x has."""
        waiting = [f"weight_ih_{suffix}" for suffix in self.suffixes()[: self.directions]]
        if Uninferred in [type(vars(self)[name]) for name in waiting]:
            self.infer(**dict.fromkeys(waiting, (self.gates * self.n_out, n_in)))

    def describe(self) -> str:
        """Sizes, and what is not as usual."""
        return settings(
            self.n_out,
            num_layers=None if self.num_layers == 1 else self.num_layers,
            bias=None if self.has_bias else False,
            batch_first=True if self.batch_first else None,
            dropout=self.dropout or None,
            bidirectional=True if self.bidirectional else None,
        )


class RNN(Recurrent):
    """h[t] = activation(x[t] @ weight_ih.T + bias_ih + h[t - 1] @ weight_hh.T + bias_hh).

    See `tape.nn.recurrent.Recurrent` for the arguments that all recurrent layers share.

    Args:
        nonlinearity: "tanh" or "relu".

    Raises:
        ShapeError: x or a state does not fit, or a sequence has no steps.
        ValueError: there is no such nonlinearity, or dropout is no probability.

    Source: Elman 1990.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.RNN(3, num_layers=2)
    >>> y, h = layer(tape.zeros((5, 1, 2)))
    >>> y.shape, h.shape
    ((5, 1, 3), (2, 1, 3))
    """

    def __init__(self, n_out: int, *args: Any, nonlinearity: str = "tanh", **kwargs: Any) -> None:
        self.nonlinearity = checked_nonlinearity("RNN", nonlinearity)
        super().__init__(n_out, *args, **kwargs)

    def forward(self, x: Any, h0: Any = None) -> tuple[Tensor, Tensor]:
        """(y, last h) for x and first states, zeros by default."""
        y, (h,) = self.run(x, None if h0 is None else (h0,))
        return y, h

    def sequence(self, x: Any, first: list[Any], suffix: str, reverse: bool) -> list[Tensor]:
        """The states of one layer in one direction."""
        w = self.weights(suffix)[1]
        x = self.gate_inputs(x, suffix)
        return [rnn_states(x, first[0], w, reverse=reverse, activation=self.nonlinearity)]

    def describe(self) -> str:
        """Sizes, and what is not as usual."""
        other = None if self.nonlinearity == "tanh" else self.nonlinearity
        return ", ".join(filter(None, [super().describe(), settings(nonlinearity=other)]))


class LSTM(Recurrent):
    """Long short-term memory: gates i, f, o in (0, 1) decide what a cell c takes, keeps and shows.

    i, f, g, o = split(x[t] @ weight_ih.T + bias_ih + h[t - 1] @ weight_hh.T + bias_hh), then
    sigmoid, and tanh of g;  c[t] = f * c[t - 1] + i * g,  h[t] = o * tanh(c[t])

    See `tape.nn.recurrent.Recurrent` for the arguments; projections of h (PyTorch's proj_size) are
    not supported.

    Raises:
        ShapeError: x or a state does not fit, or a sequence has no steps.
        ValueError: dropout is no probability, or proj_size is not 0.

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.LSTM(3, bidirectional=True)
    >>> y, (h, c) = layer(tape.zeros((5, 1, 2)))
    >>> y.shape, h.shape, c.shape
    ((5, 1, 6), (2, 1, 3), (2, 1, 3))
    """

    gates, states = 4, ("h0", "c0")

    def __init__(self, n_out: int, *args: Any, proj_size: int = 0, **kwargs: Any) -> None:
        if proj_size:
            raise ValueError(
                f"LSTM: proj_size is {proj_size!r}: projections are not supported, put a Dense "
                "layer behind"
            )
        super().__init__(n_out, *args, **kwargs)

    def forward(self, x: Any, states: tuple[Any, Any] | None = None) -> tuple[Tensor, Any]:
        """(y, (last h, last c)) for x and first states (h0, c0), zeros by default."""
        if states is not None and (not isinstance(states, (tuple, list)) or len(states) != 2):
            raise TypeError(f"LSTM: the states are a pair (h0, c0), got {type(states).__name__}")
        y, (h, c) = self.run(x, None if states is None else tuple(states))
        return y, (h, c)

    def sequence(self, x: Any, first: list[Any], suffix: str, reverse: bool) -> list[Tensor]:
        """The states and cells of one layer in one direction."""
        w = self.weights(suffix)[1]
        planes = lstm_states(self.gate_inputs(x, suffix), *first, w, reverse=reverse)
        return [planes[5], planes[4]]


class GRU(Recurrent):
    """Gated recurrent units: a state that is a mean of the last one and a candidate n.

    r, z = sigmoid(...) of sums as in `LSTM`
    n = tanh(x[t] @ weight_ih.T + bias_ih + r * (h[t - 1] @ weight_hh.T + bias_hh)), its rows
    h[t] = (1 - z) * n + z * h[t - 1]

    See `tape.nn.recurrent.Recurrent` for the arguments.

    Raises:
        ShapeError: x or a state does not fit, or a sequence has no steps.
        ValueError: dropout is no probability.

    Source: Cho et al. 2014 (arXiv 1406.1078), with r after the product.

    >>> import tape
    >>> from tape import nn
    >>> layer = nn.GRU(3, batch_first=True)
    >>> y, h = layer(tape.zeros((1, 5, 2)))
    >>> y.shape, h.shape
    ((1, 5, 3), (1, 1, 3))
    """

    gates = 3

    def forward(self, x: Any, h0: Any = None) -> tuple[Tensor, Tensor]:
        """(y, last h) for x and first states, zeros by default."""
        y, (h,) = self.run(x, None if h0 is None else (h0,))
        return y, h

    def sequence(self, x: Any, first: list[Any], suffix: str, reverse: bool) -> list[Tensor]:
        """The states of one layer in one direction."""
        w, hidden_w, b, hidden_b = self.weights(suffix)
        if hidden_b is None:
            hidden_b = no_bias(hidden_w)
        return [gru_states(linear(x, w, b), first[0], hidden_w, hidden_b, reverse=reverse)[4]]
