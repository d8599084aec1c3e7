"""One step of a recurrent layer: `RNNCell`, `LSTMCell`, `GRUCell`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.memory import asarray
from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.nn.arguments import count, settings
from tape.nn.init import Initialiser
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, parameter, shape_of
from tape.nn.recurrent import checked_nonlinearity, near_zero, no_bias, state_of
from tape.ops.gru import gru_states
from tape.ops.linear import linear
from tape.ops.recurrent import lstm_states, rnn_states
from tape.ops.shape import expand_dims, squeeze

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


class Cell(Module):
    """One step of a recurrent layer, for loops of one's own; base of the three kinds.

    Shapes: x (B, n_in) or (n_in), states (B, n_out) or (n_out) -> states as given

    Args:
        n_out: size of a state.
        n_in: numbers in a row of x; None takes them from the first x.
        bias: whether there are biases.
        init: first value of weights and biases, by default uniform within 1 / sqrt(n_out).
        rng: generator that `init` draws from, by default that of `tape.random`.
        dtype: of the parameters, by default float32.
    """

    gates = 1

    def __init__(
        self,
        n_out: int,
        n_in: int | None = None,
        bias: bool = True,
        init: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        self.n_out = count(name, "n_out", n_out, least=1)
        n, rows = None if n_in is None else count(name, "n_in", n_in), self.gates * self.n_out
        first = {"init": init, "rng": rng, "dtype": dtype, "default": near_zero(self.n_out)}
        self.weight_ih = parameter(self, "weight_ih", (rows, n), **first)
        self.weight_hh = parameter(self, "weight_hh", (rows, self.n_out), **first)
        self.bias_ih = parameter(self, "bias_ih", (rows,), **first) if bias else None
        self.bias_hh = parameter(self, "bias_hh", (rows,), **first) if bias else None

    @property
    def n_in(self) -> int | None:
        """Numbers in a row of x, None before they are inferred."""
        return self.weight_ih.shape[1]

    def rows_of(self, x: Any, **states: Any) -> tuple[Any, list[Any]]:
        """x as a sequence (1, B, n_in), and states (B, n_out), or 0 for those that are None."""
        name, shape = type(self).__name__, shape_of(type(self).__name__, x)
        if len(shape) not in (1, 2):
            raise ShapeError(f"{name}: x is {shape}, expected (B, n_in) or (n_in,)")
        if type(self.weight_ih) is Uninferred:
            self.infer(weight_ih=(self.gates * self.n_out, shape[-1]))
        if shape[-1] != self.n_in:
            raise ShapeError(f"{name}: x {shape} has {shape[-1]} numbers a row, not {self.n_in}")
        is_row = len(shape) == 1
        first: list[Any] = []
        for which, state in states.items():
            if state is not None:
                state_of(name, which, state, (*shape[:-1], self.n_out))
                state = expand_dims(state, axis=0) if is_row else asarray(state)
            first.append(0 if state is None else state)
        return expand_dims(x, axis=(0, 1) if is_row else 0), first

    def like(self, x: Any, state: Tensor) -> Tensor:
        """The state (B, n_out), without B if x has none."""
        return state if x.ndim == 2 else squeeze(state, axis=0)

    def gate_inputs(self, x: Any) -> Tensor:
        """What x adds to the gates, with both biases."""
        bias = None if self.bias_ih is None else self.bias_ih + self.bias_hh
        return linear(x, self.weight_ih, bias)

    def describe(self) -> str:
        """Sizes, and what is not as usual."""
        return settings(self.n_out, bias=None if self.bias_ih is not None else False)


class RNNCell(Cell):
    """activation(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh): one step of an `RNN`.

    See `tape.nn.cell.Cell` for the other arguments.

    Args:
        nonlinearity: "tanh" or "relu".

    Raises:
        ShapeError: x or h does not fit.
        ValueError: there is no such nonlinearity.

    >>> import tape
    >>> from tape import nn
    >>> nn.RNNCell(3)(tape.zeros((4, 2))).shape
    (4, 3)
    """

    def __init__(self, n_out: int, *args: Any, nonlinearity: str = "tanh", **kwargs: Any) -> None:
        self.nonlinearity = checked_nonlinearity("RNNCell", nonlinearity)
        super().__init__(n_out, *args, **kwargs)

    def forward(self, x: Any, h: Any = None) -> Tensor:
        """The next h, from zeros by default."""
        row, (first,) = self.rows_of(x, h=h)
        y = rnn_states(
            self.gate_inputs(row),
            first,
            self.weight_hh,
            reverse=False,
            activation=self.nonlinearity,
        )
        return self.like(x, y[0])


class LSTMCell(Cell):
    """One step of an `LSTM`.   See `tape.nn.cell.Cell` for the arguments.

    Raises:
        ShapeError: x or a state does not fit.

    >>> import tape
    >>> from tape import nn
    >>> h, c = nn.LSTMCell(3)(tape.zeros((4, 2)))
    >>> h.shape, c.shape
    ((4, 3), (4, 3))
    """

    gates = 4

    def forward(self, x: Any, states: tuple[Any, Any] | None = None) -> tuple[Tensor, Tensor]:
        """The next (h, c), from zeros by default."""
        h, c = (None, None) if states is None else states
        row, first = self.rows_of(x, h=h, c=c)
        planes = lstm_states(self.gate_inputs(row), *first, self.weight_hh, reverse=False)
        return self.like(x, planes[5, 0]), self.like(x, planes[4, 0])


class GRUCell(Cell):
    """One step of a `GRU`.   See `tape.nn.cell.Cell` for the arguments.

    Raises:
        ShapeError: x or h does not fit.

    >>> import tape
    >>> from tape import nn
    >>> nn.GRUCell(3)(tape.zeros((4, 2))).shape
    (4, 3)
    """

    gates = 3

    def forward(self, x: Any, h: Any = None) -> Tensor:
        """The next h, from zeros by default."""
        row, (first,) = self.rows_of(x, h=h)
        bias = no_bias(self.weight_hh) if self.bias_hh is None else self.bias_hh
        x_gates = linear(row, self.weight_ih, self.bias_ih)
        return self.like(x, gru_states(x_gates, first, self.weight_hh, bias, reverse=False)[4, 0])
