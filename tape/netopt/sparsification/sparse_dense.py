"""`SparseDense`: a dense layer of which only what is not zero is kept, forward only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape._kernels.sparse_rows import SparseRows
from tape.errors import ShapeError, TapeError
from tape.netopt.lowered import Lowered
from tape.netopt.made import Made
from tape.nn.arguments import checked_activation, count, settings
from tape.nn.parameter import shape_of

__all__ = ["SparseDense"]


class SparseDense(Lowered):
    """activation(x @ weight.T + bias) for a weight that is mostly zeros.

    Buffers: `values` (n,), the numbers that are not zero, row by row; `places` (n,), their columns;
    `starts` (n_out + 1,), where rows begin; bias (n_out,).

    Shapes: x (*s, n_in) -> y (*s, n_out)

    Args:
        n_out, n_in: sizes of the weight.
        n: how many numbers are not zero.
        activation: function of the result, or None.
        bias: whether there is one.
        dtype: of the values, float32 or float64.

    Raises:
        ShapeError: x has another last axis than `n_in`.
        TapeError: the buffers say no matrix.
        GradError: backward came to this layer.

    >>> import numpy as np, tape
    >>> from tape.netopt import sparsification
    >>> layer = sparsification.SparseDense(2, 3, 1, bias=False)
    >>> layer = layer.fill(np.float32([[0, 0, 2], [0, 0, 0]]))
    >>> layer(tape.tensor([[1.0, 2.0, 3.0]])).tolist()
    [[6.0, 0.0]]
    """

    values: Any
    places: Any
    starts: Any

    def __init__(
        self,
        n_out: int,
        n_in: int,
        n: int,
        activation: Any = None,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        name = "SparseDense"
        self.n_out, self.n_in = count(name, "n_out", n_out), count(name, "n_in", n_in)
        n, dtype = count(name, "n", n), np.dtype(np.float32 if dtype is None else dtype)
        self.activation = checked_activation(name, activation)
        self.made = Made()
        self.register_buffer("values", np.zeros(n, dtype))
        self.register_buffer("places", np.zeros(n, np.int32))
        self.register_buffer("starts", np.zeros(self.n_out + 1, np.int32))
        self.bias: Any = None
        if bias:
            self.register_buffer("bias", np.zeros(self.n_out, dtype))

    def fill(self, weight: np.ndarray, bias: np.ndarray | None = None) -> SparseDense:
        """Take the numbers of a weight (n_out, n_in), and of a bias; returns itself.

        Raises:
            TapeError: they are of another size than the layer, or dtype.
        """
        rows, places = np.nonzero(weight)
        starts = np.searchsorted(rows, np.arange(self.n_out + 1))
        state = {"values": weight[rows, places]}
        state |= {"places": places.astype(np.int32), "starts": starts.astype(np.int32)}
        if bias is not None:
            state["bias"] = bias
        self.load_state_dict(state)
        return self

    def rows(self, dtype: Any) -> SparseRows:
        """The rows of the buffers as numbers of a dtype, made again where these have changed."""
        held = self.starts, self.places, self.values

        def make() -> SparseRows:
            starts, places, values = (t.numpy() for t in held)
            try:
                return SparseRows(starts, places, values.astype(dtype, copy=False), self.n_in)
            except ValueError as error:
                raise TapeError(f"SparseDense: its buffers are no matrix: {error}") from error

        rows: SparseRows = self.made.of(dtype, held, make)
        return rows

    def run(self, x: Any) -> Any:
        """The result for x."""
        shape = shape_of("SparseDense", x)
        if not shape or shape[-1] != self.n_in:
            raise ShapeError(
                f"SparseDense: x {shape} has not {self.n_in} features in its last axis"
            )
        array = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
        dtype = np.result_type(array, self.values.dtype) if array.dtype.kind == "f" else None
        dtype = self.values.dtype if dtype is None else dtype
        bias = None if self.bias is None else self.bias.numpy().astype(dtype, copy=False)
        flat = array.reshape(math.prod(shape[:-1]), self.n_in).astype(dtype, copy=False)
        y = Tensor(self.rows(dtype).product(flat, bias).reshape(*shape[:-1], self.n_out))
        return y if self.activation is None else self.activation(y)

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs."""
        return math.prod(y_shape[:-1]) * self.values.size

    @property
    def sparsity(self) -> float:
        """The share of the weight that is zero."""
        size = self.n_out * self.n_in
        return 1.0 - self.values.size / size if size else 0.0

    def describe(self) -> str:
        """Sizes, how many numbers, and activation."""
        bias = None if self.bias is not None else False
        return settings(
            self.n_out, self.n_in, self.values.size, activation=self.activation, bias=bias
        )
