"""`quantize_int8`: dense layers and convolutions on 8 bits, activations calibrated on a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape._kernels.int8_filters import LONGEST
from tape.errors import NumericsError, SettingError
from tape.netopt.finish import finished
from tape.netopt.frame import Optimization
from tape.netopt.judge import Kept, Place
from tape.netopt.quantization.quantized import QuantizedConv2d, QuantizedDense
from tape.nn.conv import Conv2d
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.ops.int8 import Codes

__all__ = ["QuantizeInt8", "blank", "codes_for", "quantize_int8"]


def quantize_int8(
    model: Module,
    x: Any,
    filter_function: Callable[[Any], Any] | str | None = None,
    *,
    coverage: float = 1.0,
    metric: Callable[[Any], float] | None = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model with `QuantizedDense` and `QuantizedConv2d` layers, forward only.

    Weights are rounded to int8 with one scale a row or filter; activations become uint8 codes of
    the range that they have on `x`, 0 being exactly one of them. Sums are exact, and the results of
    a layer floats: the same on every machine.

    Args:
        model: the tree; it stays as it is.
        x: a calibration batch, or a tuple of operands: what the layers see of it tells the range.
        filter_function: says of a layer whether it is quantised; or a path or pattern of paths;
            None is all.
        coverage: the share of activations that the range holds, in (0, 1]: 0.9999 cuts outliers
            off, for finer steps.
        metric: ``metric(model)`` gives a number for the report, such as the accuracy.
        only_cheaper: whether layers that would become larger, or slower on `x`, stay as they are;
            a warning says so unless the report is returned.
        return_report: whether to return (model, `Report`).

    Raises:
        SettingError: there is no batch, or `coverage` is out of range.
        TapeError: no layer is chosen, or there are none.
        NumericsError: a weight, or what comes to a layer of x, has NaN or infinity.

    >>> import tape
    >>> from tape import netopt, nn
    >>> from tape.netopt.quantization.int8 import quantize_int8
    >>> net = nn.Sequential(nn.Dense(512, 784, activation=tape.relu), nn.Dense(10, 512))
    >>> fast = quantize_int8(net, tape.ones((64, 784)), only_cheaper=False)
    >>> fast[0]
    QuantizedDense(512, 784, activation=relu): weight (512, 784), scale (512,), bias (512,), ...
    """
    if x is None:
        raise SettingError("quantize_int8: needs x, a batch that tells the range of activations")
    options = {"x": x, "metric": metric, "only_cheaper": only_cheaper}
    return finished(model, QuantizeInt8(coverage), None, filter_function, options, return_report)


class QuantizeInt8(Optimization):
    """Layers on codes of 8 bits with weights of int8.

    The argument is that of `quantize_int8`.
    """

    kinds = (Dense, Conv2d)

    def __init__(self, coverage: float = 1.0) -> None:
        if isinstance(coverage, bool) or not isinstance(coverage, (int, float)):
            raise SettingError(f"quantize_int8: coverage is a number in (0, 1], got {coverage!r}")
        if not 0 < coverage <= 1:
            raise SettingError(f"quantize_int8: coverage is in (0, 1], got {coverage}")
        self.coverage = float(coverage)

    def transform(self, layer: Any, at: Place) -> Module | Kept:
        """The quantised layer, or why it stays; see `quantize_int8`."""
        name = f"quantize_int8: {at.path or 'the layer'} {layer.weight.shape}"
        seen = [array_of(call.operand) for call in at.calls]
        if not any(a.size for a in seen):
            return Kept("x does not come to it")
        if any(a.dtype.kind != "f" for a in seen):
            return Kept("takes whole numbers")
        if math.prod(layer.weight.shape[1:]) > LONGEST:
            return Kept(f"sums of more than {LONGEST} terms may not fit 32 bits")
        codes = codes_for(seen, self.coverage, name)
        weight = layer.weight.numpy()
        bias = None if layer.bias is None else layer.bias.numpy()
        for array, what in ((weight, "weight"), (bias, "bias")):
            if array is not None and not np.isfinite(array).all():
                raise NumericsError(f"{name}: its {what} has NaN or infinity")
        return blank(layer).fill(weight, bias, codes)

    def describe(self, new: Any) -> str:
        """The dtype, and the step of activations."""
        return f"int8, x in steps of {new.x_codes.scale:.2g}"

    def error(self, old: Any, new: Any) -> float:
        """The relative error of the weight, in the Frobenius norm."""
        w = np.asarray(old.weight.numpy(), np.float64)
        rows = new.scale.numpy().reshape(-1, *(1,) * (w.ndim - 1))
        size = float(np.linalg.norm(w)) or 1.0
        return float(np.linalg.norm(w - new.weight.numpy() * rows)) / size


def blank(layer: Any) -> Any:
    """The quantised layer that computes what a dense layer or a convolution does, of zeros."""
    has_bias = layer.bias is not None
    if isinstance(layer, Dense):
        return QuantizedDense(layer.n_out, layer.n_in or 0, layer.activation, has_bias)
    return QuantizedConv2d(
        layer.n_out,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        has_bias,
        layer.activation,
        n_in=layer.n_in or 0,
    )


def codes_for(seen: list[np.ndarray], coverage: float, name: str) -> Codes:
    """Codes whose range holds 0 and so large a share of these numbers, of both ends alike.

    Raises:
        NumericsError: there is NaN or infinity.
    """
    numbers = np.concatenate([a.ravel() for a in seen])
    if not np.isfinite(numbers).all():
        raise NumericsError(f"{name}: what comes to it of x has NaN or infinity")
    cut = (1 - coverage) / 2
    low, high = (numbers.min(), numbers.max()) if not cut else np.quantile(numbers, [cut, 1 - cut])
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = float(np.float32((high - low) / 255))
    if scale < 1e-30:
        return Codes(1.0, 0)
    return Codes(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def array_of(x: Any) -> np.ndarray:
    """An operand as an array."""
    return x.numpy() if isinstance(x, Tensor) else np.asarray(x)
