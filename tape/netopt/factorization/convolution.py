"""`factor_convolution`: convolutions as chains of smaller ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tape.errors import SettingError
from tape.netopt.factorization.ranks import evbmf, rank_from
from tape.netopt.factorization.svd import svd_subprojection
from tape.netopt.factorization.tucker import composed, separable, sides, tucker2, unfolded
from tape.netopt.finish import check_paths, finished
from tape.netopt.finite import finite
from tape.netopt.frame import Optimization
from tape.netopt.judge import Kept, Place
from tape.nn.container import Sequential
from tape.nn.conv import Conv1d, Conv2d, Conv3d
from tape.nn.init import zeros
from tape.nn.module import Module
from tape.nn.parameter import Parameter
from tape.ops.geometry import padding_pairs

__all__ = ["FactorConvolution", "factor_convolution"]

METHODS = ("tucker", "separable")


def factor_convolution(
    model: Module,
    rank: Any = None,
    filter_function: Callable[[Any], Any] | None = None,
    *,
    method: str = "tucker",
    train: Callable[[Any], Any] | None = None,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model with rows of small convolutions in place of large ones.

    "tucker" makes three of one: 1x1 to fewer channels, the window with stride, padding and dilation
    on these, and 1x1 to all channels; one that would not reduce is left out, and a window of 1x1
    becomes two by singular values. "separable" makes two, along columns and along rows. Activation,
    bias, path, mode and ties stay; what was ``conv`` is then ``conv.0``, ``conv.1`` and so on.
    Convolutions in groups stay as they are.

    Args:
        model: the tree; it stays as it is.
        rank: how many channels in between; for "tucker" a pair (of the input's, of the output's),
            or one setting for both: a whole number, a float in (0, 1] as the share of the channels,
            or a rule such as ``ranks.energy(0.8)``. None is ``ranks.evbmf()``. A mapping of these
            by path, such as a `Plan`, leaves other layers alone.
        filter_function: says of a convolution of the model whether it is factored; or a path or
            pattern of paths; None is all.
        method: "tucker" or "separable", which is for `Conv2d`.

    The others are those of `factor_dense`.

    Raises:
        SettingError: a rank is not from 1 to what is possible; the layer is named.
        TapeError: no layer is chosen, or there are none.
        NumericsError: a weight has NaN or infinity.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Conv2d(32, 3, padding=1, activation=tape.relu, n_in=16))
    >>> small = netopt.factorization.factor_convolution(net, rank=(4, 8))
    >>> [(conv.n_in, conv.kernel, conv.n_out) for conv in small[0]]
    [(16, (1, 1), 4), (4, (3, 3), 8), (8, (1, 1), 32)]
    """
    optimization = FactorConvolution(rank, method)
    check_paths("factor_convolution", "rank", rank, model)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    return finished(model, optimization, train, filter_function, options, return_report)


class FactorConvolution(Optimization):
    """Convolutions as rows of smaller ones.

    The arguments are those of `factor_convolution`.
    """

    kinds = (Conv1d, Conv2d, Conv3d)

    def __init__(self, rank: Any = None, method: str = "tucker") -> None:
        if method not in METHODS:
            raise SettingError(f"factor_convolution: method is one of {METHODS}, got {method!r}")
        self.rank, self.method = evbmf() if rank is None else rank, method

    def transform(self, layer: Any, at: Place) -> Module | Kept:
        """The row of convolutions; see `factor_convolution`."""
        rank = self.rank
        if isinstance(rank, Mapping):
            if at.path not in rank:
                return Kept("not in the plan")
            rank = rank[at.path]
        if layer.groups > 1:
            return Kept(f"{layer.groups} groups are not supported")
        if self.method == "separable" and not isinstance(layer, Conv2d):
            return Kept("only Conv2d is separable")
        if not layer.weight.size:
            return Kept("has no numbers")
        key = id(layer.weight)
        if key not in at.shared:  # holds on to the weight, so that no other gets its id
            name = f"factor_convolution: {at.path or 'the layer'} {layer.weight.shape}"
            w = layer.weight.numpy()
            finite(name, w)
            dtype = layer.weight.dtype
            kernels = [
                Parameter(np.ascontiguousarray(k), dtype=dtype) for k in self.kernels(w, rank, name)
            ]
            at.shared[key] = layer.weight, kernels
        kernels = at.shared[key][1]
        if len(kernels) == 1:
            return Kept("full rank, there is nothing to gain")
        return row_of(layer, kernels)

    def kernels(self, w: Any, rank: Any, name: str) -> list[Any]:
        """The weights of the convolutions that take the place of one."""
        if self.method == "separable":
            return separable(w, rank_from(rank, sides(w), name))
        pair = rank if isinstance(rank, (tuple, list)) else (rank, rank)
        if len(pair) != 2:
            raise SettingError(
                f"{name}: rank is one for both or a pair (of the input's channels, of the "
                f"output's), got {rank!r}"
            )
        if set(w.shape[2:]) == {1}:
            matrix = unfolded(w, 1)
            k = min(rank_from(part, matrix, name) for part in pair)
            ones = w.shape[2:]
            w1, w2 = svd_subprojection(matrix, k)
            return [w1.T.reshape(k, -1, *ones), w2.T.reshape(-1, k, *ones)]
        n_in, n_out = (
            rank_from(part, unfolded(w, axis), name)
            for part, axis in zip(pair, (1, 0), strict=True)
        )
        return tucker2(w, n_in, n_out)

    def describe(self, new: Any) -> str:
        """How the layer was factored, and the channels in between."""
        between = ", ".join(str(conv.n_out) for conv in list(new)[:-1])
        is_plain = len(new) == 2 and new[0].kernel == new[1].kernel
        how = "separable" if self.method == "separable" else "SVD" if is_plain else "Tucker-2"
        return f"{how}, rank {between}"

    def error(self, old: Any, new: Any) -> float:
        """The relative error of the kernel, in the Frobenius norm."""
        w = old.weight.numpy()
        size = float(np.linalg.norm(w)) or 1.0
        return float(np.linalg.norm(w - composed([conv.weight.numpy() for conv in new]))) / size


def row_of(layer: Any, kernels: list[Parameter]) -> Sequential:
    """Convolutions with these kernels in a row that do what one layer does.

    The one whose window is longer than 1 along an axis steps along it; a window of length 1
    everywhere leaves that to the first.
    """
    n = layer.n_axes
    pads = padding_pairs(layer.padding, layer.kernel, layer.stride, layer.dilation)
    windows = [kernel.shape[2:] for kernel in kernels]
    steps = [next((i for i, w in enumerate(windows) if w[axis] > 1), 0) for axis in range(n)]
    convs = []
    for i, (kernel, window) in enumerate(zip(kernels, windows, strict=True)):
        here = [steps[axis] == i for axis in range(n)]
        is_last = i == len(kernels) - 1
        conv = type(layer)(
            kernel.shape[0],
            window,
            tuple([s if h else 1 for s, h in zip(layer.stride, here, strict=True)]),
            tuple([tuple(p) if h else (0, 0) for p, h in zip(pads, here, strict=True)]),
            tuple([d if h else 1 for d, h in zip(layer.dilation, here, strict=True)]),
            bias=False,
            activation=layer.activation if is_last else None,
            n_in=kernel.shape[1],
            init=zeros,
            dtype=kernel.dtype,
        )
        conv.weight = kernel
        conv.bias = layer.bias if is_last else None
        convs.append(conv)
    return Sequential(*convs)
