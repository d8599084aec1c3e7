"""`circulant_dense`: dense layers whose matrix is made of circulant blocks.

Note [Circulant blocks]
A circulant block has one number for each wrapped diagonal, C[a, b] = w[(a - b) mod k], and its
product with a vector is a convolution of k points with w, modulo k: a product of spectra. A matrix
of such blocks has a k-th of the numbers of a full one, and with the spectra of w known costs, for
each row of x, 4 multiply-adds for two blocks' worth of frequencies in place of k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tape._core.memory import adopt, asarray
from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.netopt.finish import check_paths, finished
from tape.netopt.finite import finite
from tape.netopt.frame import Optimization
from tape.netopt.frequency.circular import (
    Line,
    Spots,
    circular_product,
    inverse,
    multiplied,
    spectrum,
    work,
)
from tape.netopt.judge import Kept, Place
from tape.netopt.lowered import Lowered
from tape.nn.arguments import checked_activation, count, settings
from tape.nn.init import Initialiser, glorot_uniform, zeros
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import Parameter, Uninferred, parameter, size_at
from tape.ops.dtype import floating, real
from tape.ops.pad import pad
from tape.ops.shape import reshape

__all__ = [
    "BlockCirculantDense",
    "CirculantDense",
    "SpectralDense",
    "circulant_dense",
    "circulant_projection",
]

GLOROT = glorot_uniform()  # takes blocks for the window of a convolution, which is right here


def circulant_projection(w: Any, block: int) -> np.ndarray:
    """The block-circulant matrix next to w in the Frobenius norm, one number for each diagonal.

    y[i, j, d] = the mean of w[i * k + a, j * k + b] over those a, b with (a - b) mod k = d that w
    has, 0 if it has none.

    Shapes: w (n_out, n_in) -> y (ceil(n_out / k), ceil(n_in / k), k)

    Args:
        block: k, >= 1.

    Raises:
        ValueError: block is below 1.
        ShapeError: w is no matrix.

    Source: Ding et al., CirCNN, 2017, arXiv 1708.08917, for the form of the matrix.

    >>> import numpy as np
    >>> from tape.netopt import frequency
    >>> frequency.circulant_projection(np.array([[1.0, 4.0], [2.0, 3.0]]), 2).tolist()
    [[[2.0, 3.0]]]
    """
    k = count("circulant_projection", "block", block, least=1)
    w = np.asarray(w)
    if w.ndim != 2:
        raise ShapeError(f"circulant_projection: w must be a matrix, got {w.shape}")
    n_out, n_in = w.shape
    p, q = -(-n_out // k), -(-n_in // k)
    y = np.zeros((p, q, k))
    known = np.zeros((p, q, k))
    whole = np.zeros((p * k, q * k))
    whole[:n_out, :n_in] = w
    blocks = whole.reshape(p, k, q, k)
    here = np.zeros((p * k, q * k))
    here[:n_out, :n_in] = 1
    counts = here.reshape(p, k, q, k)
    diagonal = np.arange(k)
    for b in range(k):  # column b of each block is w, b places on
        y += blocks[..., b][:, (diagonal + b) % k].transpose(0, 2, 1)
        known += counts[..., b][:, (diagonal + b) % k].transpose(0, 2, 1)
    y /= np.maximum(known, 1)
    return y.astype(w.dtype if w.dtype.kind == "f" else np.float64)


def expanded(w: np.ndarray, n_out: int, n_in: int) -> np.ndarray:
    """The matrix (n_out, n_in) of circulant blocks, from one number for each diagonal."""
    p, q, k = w.shape
    at = np.arange(k)
    blocks = w[:, :, (at[:, None] - at) % k]
    return blocks.transpose(0, 2, 1, 3).reshape(p * k, q * k)[:n_out, :n_in]


def spots_of(block: int) -> tuple[Spots, tuple[int, int]]:
    """Where a circular product of one row of a block's size takes place."""
    row = Line(0, 1, 1), Line(0, 1, block)
    return Spots(row, row, row), (1, block)


class BlockCirculantDense(Module):
    """activation(x @ W.T + bias), where W is made of circulant blocks.

    W[i * k + a, j * k + b] = weight[i, j, (a - b) mod k]; where k does not divide the sizes, what
    reaches beyond them is cut off. Forward and backward go by way of frequencies.

    Shapes: x (*s, n_in), weight (ceil(n_out / k), ceil(n_in / k), k), bias (n_out,) ->
    y (*s, n_out)

    Args:
        n_out: size of the result's last axis.
        block: k, the size of a block, >= 1; the matrix has a k-th of the numbers of a full one.
        n_in: size of x's last axis; None takes it from the first x.

    The others are those of `nn.Dense`.

    Raises:
        ShapeError: x has another last axis than `n_in`.
        ValueError: block is below 1.

    Source: Ding et al., CirCNN, 2017, arXiv 1708.08917, section 3.

    >>> import tape
    >>> from tape import netopt
    >>> layer = netopt.frequency.BlockCirculantDense(6, block=4)
    >>> layer(tape.ones((3, 10))).shape, layer.weight.shape
    ((3, 6), (2, 3, 4))
    """

    def __init__(
        self,
        n_out: int,
        block: int,
        n_in: int | None = None,
        activation: Any = None,
        bias: bool = True,
        init: Initialiser | None = None,
        init_bias: Initialiser | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = None,
    ) -> None:
        name = "BlockCirculantDense"
        self.n_out, self.block = count(name, "n_out", n_out), count(name, "block", block, least=1)
        self.n_in = None if n_in is None else count(name, "n_in", n_in)
        self.activation = checked_activation(name, activation)
        shape = self.shape_for(self.n_in)
        self.weight = parameter(self, "weight", shape, init, rng, dtype, default=GLOROT)
        self.bias = None
        if bias:
            shape = (self.n_out,)
            self.bias = parameter(self, "bias", shape, init_bias, rng, dtype, default=zeros)

    def shape_for(self, n_in: int | None) -> tuple[Any, ...]:
        """Shape of the weight for a size of x."""
        blocks = None if n_in is None else -(-n_in // self.block)
        return -(-self.n_out // self.block), blocks, self.block

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        x = real(x)
        size = size_at("BlockCirculantDense", x, -1)
        if type(self.weight) is Uninferred:
            self.infer(weight=self.shape_for(size))
            self.n_in = size
        rows = rows_of(self, x)
        p, q, k = self.weight.shape
        rows = rows if q * k == size else pad(rows, ((0, 0), (0, q * k - size)))
        spots, lengths = spots_of(k)
        more = {"spots": spots, "lengths": lengths, "turned": False}
        a, b = reshape(rows, (1, -1, q, 1, k)), reshape(self.weight, (1, p, q, 1, k))
        y = reshape(circular_product(a, b, **more), (rows.shape[0], p * k))
        y = reshape(y[:, : self.n_out], (*x.shape[:-1], self.n_out))
        y = y if self.bias is None else y + self.bias
        return y if self.activation is None else self.activation(y)

    def expanded(self) -> np.ndarray:
        """The whole matrix (n_out, n_in), as an array.

        Raises:
            ShapeError: n_in is not known yet.
        """
        if self.n_in is None:
            raise ShapeError("BlockCirculantDense: n_in is not known before the first x")
        return expanded(self.weight.numpy(), self.n_out, self.n_in)

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs, the spectra of the weight known."""
        p, q, k = self.weight.shape
        return work(math.prod(y_shape[:-1]), p, q, 1, *spots_of(k))

    def describe(self) -> str:
        """Output size, block and activation."""
        bias = None if self.bias is not None else False
        return settings(self.n_out, block=self.block, activation=self.activation, bias=bias)


class SpectralDense(Lowered):
    """A `BlockCirculantDense`, lowered: what it keeps are the spectra of its weight.

    Buffers: spectrum (k // 2 + 1, 2, p, q), real parts and imaginary ones, for a weight (p, q, k);
    bias. Shapes: as the layer

    Args:
        layer: the trained one.
    """

    spectrum: Any
    bias: Any

    def __init__(self, layer: Any) -> None:
        self.n_out, self.n_in, self.block = layer.n_out, layer.n_in, layer.block
        self.activation = layer.activation
        w = layer.weight.numpy()
        spots, lengths = spots_of(self.block)
        self.register_buffer("spectrum", spectrum(w[:, :, None], spots.b, lengths))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.numpy())
        self.eval()

    def run(self, x: Any) -> Any:
        """The result for rows."""
        x = asarray(x)
        rows = floating(rows_of(self, x).numpy())
        b = self.spectrum.numpy()
        dtype = np.result_type(rows.dtype, b.dtype)
        (_, _, p, q), k = b.shape, self.block
        whole = rows.astype(dtype, copy=False)
        if q * k != self.n_in:
            whole = np.zeros((rows.shape[0], q * k), dtype)
            whole[:, : self.n_in] = rows
        spots, lengths = spots_of(k)
        a = spectrum(whole.reshape(1, -1, q, 1, k), spots.a, lengths)
        product = multiplied(a, b[:, :, None].astype(dtype, copy=False), False)
        y = inverse(product, spots.y, lengths).reshape(-1, p * k)[:, : self.n_out]
        y = np.ascontiguousarray(y).reshape(*x.shape[:-1], self.n_out)
        if self.bias is not None:
            y += self.bias.numpy()
        made = adopt(y)
        return made if self.activation is None else self.activation(made)

    def multiply_adds(self, x: Any, y_shape: tuple[int, ...]) -> int:
        """How many a call costs."""
        p, q = self.spectrum.shape[2:]
        return work(math.prod(y_shape[:-1]), p, q, 1, *spots_of(self.block))

    def describe(self) -> str:
        """Output size, block and activation."""
        return settings(self.n_out, block=self.block, activation=self.activation)


def rows_of(layer: Any, x: Tensor) -> Tensor:
    """x as rows (m, n_in); ShapeError if it has another last axis."""
    if not x.ndim or x.shape[-1] != layer.n_in:
        raise ShapeError(
            f"{type(layer).__name__}: x {x.shape} has not {layer.n_in} features in its last axis"
        )
    return x if x.ndim == 2 else reshape(x, (math.prod(x.shape[:-1]), layer.n_in))


def circulant_dense(
    model: Module,
    block: Any = 64,
    filter_function: Callable[[Dense], Any] | None = None,
    *,
    train: Callable[[Any], Any] | None = None,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model whose dense layers have matrices of circulant blocks, lowered.

    Each begins as the nearest such matrix, see `circulant_projection`. Of a trained matrix that
    keeps little, a k-th of what is not structured: the model has to be trained, by `train`, and
    better from the start. It pays for large layers, from about 1000 x 1000 on.

    Args:
        model: the tree; it stays as it is.
        block: k, the size of a block, >= 2; or a mapping of these by path, which leaves other
            layers alone. A layer with a side shorter than k is left alone.
        filter_function: says of a dense layer of the model whether it is changed; or a path or
            pattern of paths; None is all.

    The others are those of `factor_dense`.

    Raises:
        TapeError: no layer is chosen, or there are none.
        ValueError: block is below 2.
        NumericsError: a weight has NaN or infinity.

    Source: Ding et al., CirCNN, 2017, arXiv 1708.08917.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(512, 1024, activation=tape.relu), nn.Dense(10, 512))
    >>> def train(model): ...
    >>> small, report = netopt.frequency.circulant_dense(net, 64, train=train, return_report=True)
    >>> report["0"].action, report["0"].bytes
    ('circulant blocks of 64, lowered to spectra', (2099200, 35840))
    >>> report["1"].action
    'kept: a block of 64 does not fit (10, 512)'
    """
    optimization = CirculantDense(block)
    check_paths("circulant_dense", "block", block, model)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    return finished(model, optimization, train, filter_function, options, return_report)


class CirculantDense(Optimization):
    """Dense layers of circulant blocks.

    The arguments are those of `circulant_dense`.
    """

    kinds = (Dense,)

    def __init__(self, block: Any = 64) -> None:
        for k in block.values() if isinstance(block, Mapping) else [block]:
            count("circulant_dense", "block", k, least=2)
        self.block = block

    def transform(self, layer: Dense, at: Place) -> Module | Kept:
        """The layer of circulant blocks; see `circulant_dense`."""
        k = self.block
        if isinstance(k, Mapping):
            if at.path not in k:
                return Kept("not in the plan")
            k = k[at.path]
        shape = layer.weight.shape
        if not layer.weight.size:
            return Kept("has no numbers")
        if k > min(shape):
            return Kept(f"a block of {k} does not fit {shape}")
        key = id(layer.weight)
        if key not in at.shared:  # holds on to the weight, so that no other gets its id
            w = layer.weight.numpy()
            finite(f"circulant_dense: {at.path or 'the layer'} {shape}", w)
            at.shared[key] = layer.weight, Parameter(circulant_projection(w, k))
        weight = at.shared[key][1]
        bias, n_in = layer.bias is not None, shape[1]
        new = BlockCirculantDense(
            layer.n_out, k, n_in, layer.activation, bias, zeros, dtype=weight.dtype
        )
        new.weight, new.bias = weight, layer.bias
        return new

    def lower(self, layer: Any, at: Place) -> Module | None:
        """The layer that keeps spectra."""
        if type(layer) is not BlockCirculantDense:
            return None
        w = layer.weight.numpy()
        finite(f"lower: {at.path or 'the layer'}.weight {w.shape}", w)
        return SpectralDense(layer)

    def describe(self, new: Any) -> str:
        """The size of the blocks."""
        if isinstance(new, SpectralDense):
            return "lowered to spectra"
        return f"circulant blocks of {new.block}"

    def error(self, old: Any, new: Any) -> float:
        """The relative error of the matrix, in the Frobenius norm."""
        w = old.weight.numpy()
        return float(np.linalg.norm(w - new.expanded())) / (float(np.linalg.norm(w)) or 1.0)
