"""`factor_dense`: dense layers with a product of two thin matrices in place of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import SettingError
from tape.netopt.factorization.factored import FactoredDense
from tape.netopt.factorization.ranks import checked_rank, rank_from
from tape.netopt.factorization.svd import balanced as balanced_factors
from tape.netopt.factorization.svd import data_projection, spectrum_on, svd_subprojection
from tape.netopt.finish import check_paths, finished
from tape.netopt.finite import finite
from tape.netopt.frame import Optimization
from tape.netopt.judge import Kept, Place
from tape.nn.init import zeros
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import Parameter

__all__ = ["FactorDense", "factor_dense"]

Factors = tuple[Any, Any]


def factor_dense(
    model: Module,
    projection_function: Callable[[np.ndarray], int] | None = None,
    filter_function: Callable[[Dense], Any] | None = None,
    factor_function: Callable[[np.ndarray, int], Factors] | None = None,
    *,
    rank: Any = None,
    balanced: bool = False,
    data_aware: bool = False,
    train: Callable[[Any], Any] | None = None,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model with `FactoredDense` layers in place of dense ones.

    A layer that computes x @ W + b computes x @ W1 @ W2 + b, which costs rank * (n_in + n_out)
    multiply-adds a row instead of n_in * n_out. Activation, bias, path, mode and ties stay. Layers
    that share a weight share its factors. There is nothing to lower.

    The functions see W as (n_in, n_out), the transpose of `Dense.weight`, and read-only.

    Args:
        model: the tree; it stays as it is.
        projection_function: gives the rank for W, from 1 to its smaller side.
        filter_function: says of a dense layer of the model whether it is factored; or a path or
            pattern of paths; None is all.
        factor_function: ``factor_function(W, rank)`` gives (W1, W2) of the shapes (n_in, rank) and
            (rank, n_out); by default `svd_subprojection`. Without a rank it gets the smaller side.
        rank: instead of `projection_function`: a whole number; a float in (0, 1], the share of the
            smaller side; a rule such as ``ranks.energy(0.95)``, ``ranks.error(0.1)`` or
            ``ranks.evbmf()``; or a mapping of these by path, such as a `Plan`, which leaves other
            layers alone.
        balanced: whether both factors get the roots of the singular values, which trains better,
            or the second one gets all.
        data_aware: whether the error of the layer's results on `x` is made small instead of that
            of W: better at the same rank.
        train: called once with the transformed model; what it returns is used if it is a model.
        x: a calibration batch, or a tuple of operands: what latency and drift are measured on.
        metric: ``metric(model)`` gives a number for the report, such as the accuracy.
        optimizer: goes on with the new model, see `Optimizer.follow`.
        only_cheaper: whether layers that would become larger, or slower on `x`, stay as they are;
            a warning says so unless the report is returned.
        return_report: whether to return (model, `Report`).

    Raises:
        SettingError: there is neither rank nor function, or two of them; a rank is not from 1 to
            the smaller side, or for a path that is no layer's; or factors have other shapes. The
            layer is named.
        TapeError: no layer is chosen, or there are none.
        NumericsError: a weight has NaN or infinity.

    Source: Xue, Li, Gong, "Restructuring of deep neural network acoustic models with singular
    value decomposition", Interspeech 2013; `data_aware` is ours.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(200, 784, activation=tape.relu), nn.Dense(10, 200))
    >>> small, report = netopt.factorization.factor_dense(net, rank=0.25, return_report=True)
    >>> print(report)
    Dense layers as products of two thin matrices.
    layer  kind   done               parameters              bytes  error
    -----  -----  -----------  ----------------  -----------------  -----
    0      Dense  SVD rank 50  157,000 > 49,400  628,000 > 197,600  0...
    1      Dense  SVD rank 2        2,010 > 430      8,040 > 1,720  0...
    -----  -----  -----------  ----------------  -----------------  -----
    total                      159,010 > 49,830  636,040 > 199,320
    """
    optimization = FactorDense(rank, projection_function, factor_function, balanced, data_aware)
    check_paths("factor_dense", "rank", rank, model)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    if data_aware and x is None:
        raise SettingError("factor_dense: data_aware needs x, a batch to be aware of")
    return finished(model, optimization, train, filter_function, options, return_report)


class FactorDense(Optimization):
    """Dense layers as products of two thin matrices.

    The arguments are those of `factor_dense`.
    """

    kinds = (Dense,)

    def __init__(
        self,
        rank: Any = None,
        projection_function: Callable[[np.ndarray], int] | None = None,
        factor_function: Callable[[np.ndarray, int], Factors] | None = None,
        balanced: bool = False,
        data_aware: bool = False,
    ) -> None:
        if rank is None and projection_function is None and factor_function is None:
            raise SettingError(
                "factor_dense: needs a rank, a projection_function that gives one, or a "
                "factor_function"
            )
        if rank is not None and projection_function is not None:
            raise SettingError("factor_dense: takes rank or projection_function, not both")
        if factor_function is not None and (data_aware or balanced):
            raise SettingError(
                "factor_dense: factor_function makes the factors: balanced and data_aware are for "
                "those by singular values"
            )
        for function in (projection_function, factor_function):
            if function is not None and not callable(function):
                raise TypeError(f"factor_dense: {function!r} is no function")
        self.rank = projection_function if rank is None else rank
        self.factor_function = factor_function
        self.balanced, self.data_aware = balanced, data_aware

    def transform(self, layer: Dense, at: Place) -> Module | Kept:
        """The factored layer; see `factor_dense`."""
        rank = self.rank
        if isinstance(rank, Mapping):
            if at.path not in rank:
                return Kept("not in the plan")
            rank = rank[at.path]
        if not layer.weight.size:
            return Kept("has no numbers")
        key = id(layer.weight)
        if key not in at.shared:  # holds on to the weight, so that no other gets its id
            at.shared[key] = layer.weight, *self.factors(layer, rank, at)
        _, first, second = at.shared[key]
        k, bias = first.shape[0], layer.bias is not None
        new = FactoredDense(layer.n_out, 0, 0, layer.activation, bias, zeros, dtype=first.dtype)
        new.rank, new.first, new.second, new.bias = k, first, second, layer.bias
        return new

    def factors(self, layer: Dense, rank: Any, at: Place) -> tuple[Parameter, Parameter]:
        """The two matrices of a `FactoredDense` for a weight."""
        name = f"factor_dense: {at.path or 'the layer'} {layer.weight.shape[::-1]}"
        w = layer.weight.numpy().T
        finite(name, w)
        rows = None
        if self.data_aware:
            if not at.calls:
                raise SettingError(f"{name}: data_aware, but x does not come to this layer")
            rows = np.concatenate([matrix_of(call.operand) for call in at.calls])
            finite(f"{name}: what comes to it of x", rows)
        spectrum = None if rows is None else spectrum_on(w, rows)
        is_any = rank is None and self.factor_function is not None
        k = min(w.shape) if is_any else rank_from(rank, w, name, spectrum)
        if self.factor_function is not None:
            w1, w2 = checked_factors(self.factor_function(w, k), w, k, name)
        elif rows is not None:
            w1, w2 = data_projection(w, rows, checked_rank(k, min(w.shape), name))
        else:
            w1, w2 = svd_subprojection(w, k)
        if self.balanced:
            w1, w2 = balanced_factors(w1, w2)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is named
            arrays = [np.asarray(part.T, layer.weight.dtype, order="C") for part in (w1, w2)]
        finite(f"{name}: its factors", *arrays)
        return Parameter(arrays[0]), Parameter(arrays[1])

    def describe(self, new: Any) -> str:
        """How the layer was factored, and the rank."""
        how = "SVD of results," if self.data_aware else "SVD"
        return f"{'factored,' if self.factor_function is not None else how} rank {new.rank}"

    def error(self, old: Any, new: Any) -> float:
        """The relative error of the matrix, in the Frobenius norm."""
        w, second = (np.asarray(a.numpy(), np.float64) for a in (old.weight, new.second))
        return float(np.linalg.norm(w - second @ new.first.numpy())) / float(
            np.linalg.norm(w) or 1.0
        )


def matrix_of(x: Any) -> np.ndarray:
    """What came to a layer, one row for each vector."""
    array = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
    return array.reshape(-1, array.shape[-1])


def checked_factors(made: Any, w: Any, k: int, name: str) -> Factors:
    """The factors that a user's function gave, as arrays.

    Raises:
        SettingError: they are not two, have other shapes, or NaN or infinity.
    """
    if not isinstance(made, (tuple, list)) or len(made) != 2:
        raise SettingError(f"{name}: factor_function must give (W1, W2), got {made!r:.80}")
    try:
        w1, w2 = (np.asarray(part) for part in made)
    except ValueError as error:
        raise SettingError(f"{name}: factor_function gave no matrix: {error}") from error
    if not (w1.dtype.kind in "fiu" and w2.dtype.kind in "fiu"):
        raise SettingError(f"{name}: factor_function gave {w1.dtype} and {w2.dtype} numbers")
    expected = (w.shape[0], k), (k, w.shape[1])
    if (w1.shape, w2.shape) != expected:
        raise SettingError(
            f"{name}: factor_function gave factors {w1.shape} and {w2.shape}, rank {k} needs "
            f"{expected[0]} and {expected[1]}"
        )
    finite(f"{name}: a factor of factor_function", w1, w2)
    return w1, w2
