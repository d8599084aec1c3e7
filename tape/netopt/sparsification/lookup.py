"""`lookup_convolution`: convolutions whose filters look up a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tape.errors import SettingError
from tape.netopt.finish import check_paths, finished
from tape.netopt.finite import finite
from tape.netopt.frame import Optimization
from tape.netopt.judge import Kept, Place
from tape.netopt.sparsification.dictionary import learned_dictionary
from tape.netopt.sparsification.lookup_layers import LookupConv2d, LoweredLookupConv2d
from tape.nn.arguments import count, number
from tape.nn.conv import Conv2d
from tape.nn.init import zeros
from tape.nn.module import Module
from tape.nn.parameter import Parameter

__all__ = ["LookupConvolution", "lookup_convolution"]


def lookup_convolution(
    model: Module,
    size: Any,
    lookups: int = 3,
    filter_function: Callable[[Any], Any] | None = None,
    *,
    threshold: float = 0.0,
    train: Callable[[Any], Any] | None = None,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model whose convolutions look up a dictionary of their own, lowered.

    The weight at each place of a filter becomes a sum of `lookups` multiples of `size` vectors that
    all filters of the layer share. With n_in channels, and a window of R x S, a pixel then costs
    size * n_in + n_out * R * S * lookups multiply-adds instead of n_out * R * S * n_in, each lookup
    as long as some four of the others. Measured on one core, 3 lookups are 2 to 4 times as fast for
    64 channels at 56 x 56 and 9 times for 256 at 14 x 14; small layers, below some million
    multiply-adds, and windows of 1 x 1 gain nothing. The dictionary begins as one learned from the
    weight; train the model, by `train`.

    Args:
        model: the tree; it stays as it is.
        size: of the dictionary, a whole number; or a float in (0, 1], the share of the channels of
            a filter; or a mapping of these by path, which leaves other layers alone.
        lookups: how many vectors a place of a filter is made of, from 1 to `size`; a layer whose
            dictionary is smaller than that is made of all.
        filter_function: says of a convolution of the model whether it is changed; or a path or
            pattern of paths; None is all.
        threshold: coefficients count only above it, >= 0.

    The others are those of `factor_dense`.

    Raises:
        SettingError: a size is out of range.
        TapeError: no layer is chosen, or there are none.
        NumericsError: a weight has NaN or infinity.

    Source: Bagherinezhad, Rastegari and Farhadi, LCNN, 2016, arXiv 1611.06473; how a trained weight
    becomes a dictionary is ours.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Conv2d(32, 3, padding=1, activation=tape.relu, n_in=64))
    >>> def train(model): ...
    >>> small = netopt.sparsification.lookup_convolution(net, 16, lookups=3, train=train)
    >>> small[0]
    LoweredLookupConv2d(32, 3, size=16, lookups=3, padding=1, activation=relu): dictionary (16, ...
    """
    optimization = LookupConvolution(size, lookups, threshold)
    check_paths("lookup_convolution", "size", size, model)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    return finished(model, optimization, train, filter_function, options, return_report)


class LookupConvolution(Optimization):
    """Convolutions whose filters look up a dictionary.

    The arguments are those of `lookup_convolution`.
    """

    kinds = (Conv2d,)

    def __init__(self, size: Any, lookups: int = 3, threshold: float = 0.0) -> None:
        name = "lookup_convolution"
        self.lookups = count(name, "lookups", lookups, least=1)
        self.threshold = number(name, "threshold", threshold, 0)
        for value in size.values() if isinstance(size, Mapping) else [size]:
            is_share = isinstance(value, (float, np.floating))
            if is_share and not 0 < value <= 1:
                raise SettingError(f"{name}: a share of the channels is in (0, 1], got {value!r}")
            if not is_share:
                count(name, "size", value, least=1)
        self.size = size

    def transform(self, layer: Any, at: Place) -> Module | Kept:
        """The layer with a dictionary; see `lookup_convolution`."""
        size = self.size
        if isinstance(size, Mapping):
            if at.path not in size:
                return Kept("not in the plan")
            size = size[at.path]
        if not layer.weight.size:
            return Kept("has no numbers")
        n_out, per_group, *_ = layer.weight.shape
        if per_group == 1:
            return Kept("has one channel in a group, there is nothing to look up")
        k = max(1, round(size * per_group)) if isinstance(size, float) else int(size)
        lookups = min(self.lookups, k)
        key = id(layer.weight)
        if key not in at.shared:  # holds on to the weight, so that no other gets its id
            w = layer.weight.numpy()
            finite(f"lookup_convolution: {at.path or 'the layer'} {w.shape}", w)
            rows = w.transpose(0, 2, 3, 1)
            dictionary, factors = learned_dictionary(rows.reshape(-1, per_group), k, lookups)
            factors = factors.reshape(*rows.shape[:3], k).transpose(0, 3, 1, 2)
            made = [np.ascontiguousarray(part, w.dtype) for part in (dictionary, factors)]
            at.shared[key] = layer.weight, *map(Parameter, made)
        _, dictionary, coefficients = at.shared[key]
        new = LookupConv2d(
            n_out,
            layer.kernel,
            k,
            lookups,
            self.threshold,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            layer.bias is not None,
            layer.activation,
            layer.n_in,
            init=zeros,
            dtype=layer.weight.dtype,
        )
        new.dictionary, new.coefficients, new.bias = dictionary, coefficients, layer.bias
        return new

    def lower(self, layer: Any, at: Place) -> Module | None:
        """The layer that looks up."""
        if type(layer) is not LookupConv2d:
            return None
        for name in ("dictionary", "coefficients"):
            part = getattr(layer, name).numpy()
            finite(f"lower: {at.path or 'the layer'}.{name} {part.shape}", part)
        return LoweredLookupConv2d(layer)

    def describe(self, new: Any) -> str:
        """The dictionary, and how often it is looked up."""
        if isinstance(new, LoweredLookupConv2d):
            return "lowered to lookups"
        return f"dictionary of {new.size}, {new.lookups} lookups"

    def error(self, old: Any, new: Any) -> float:
        """The relative error of the kernel, in the Frobenius norm."""
        w = old.weight.numpy()
        size = float(np.linalg.norm(w)) or 1.0
        return float(np.linalg.norm(w - new.weight.numpy())) / size
