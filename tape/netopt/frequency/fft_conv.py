"""`fft_convolution`: convolutions by way of frequencies, where that is measured to be faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tape.netopt.cost import multiply_adds
from tape.netopt.finish import finished
from tape.netopt.finite import finite
from tape.netopt.frame import Optimization
from tape.netopt.frequency.fft_layers import (
    FftConv1d,
    FftConv2d,
    SpectralConv,
    images_of,
    lowered_plan,
)
from tape.netopt.judge import Kept, Place
from tape.netopt.measure import compare
from tape.netopt.record import called
from tape.netopt.report import duration, grouped
from tape.nn.arguments import count
from tape.nn.conv import Conv1d, Conv2d
from tape.nn.init import zeros
from tape.nn.module import Module

__all__ = ["FftConvolution", "fft_convolution"]

KINDS: dict[type, type] = {Conv1d: FftConv1d, Conv2d: FftConv2d}


def fft_convolution(
    model: Module,
    filter_function: Callable[[Any], Any] | None = None,
    *,
    most_bytes: int = 2**28,
    train: Callable[[Any], Any] | None = None,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model whose large convolutions go by way of frequencies, lowered.

    A convolution with a window of R x S costs R * S multiply-adds for each pair of channels and
    pixel, by way of frequencies about 2 to 10 whatever the window. A layer is changed only if it is
    then faster here, on what `x` brings it; the results differ by rounding. Measured, it pays from
    7 x 7 on between 64 channels (15 x 15: 5 times as fast, 31 x 31: 19 times), and in layers of one
    channel per group for windows of half the image; not for 3 x 3, and less the larger the stride,
    since all frequencies are computed. Any stride, padding, dilation and groups.

    Args:
        model: the tree; it stays as it is.
        filter_function: says of a convolution of the model whether it is looked at; or a path or
            pattern of paths; None is all.
        most_bytes: how much memory the spectra of one weight may take, >= 0. They are kept beside
            the weight, not saved, and no part of the report's bytes.
        train: called once with the model before it is lowered; what it returns is used if it is a
            model.
        x: a batch, or a tuple of operands, on which layers are measured; other sizes of images work
            as well, but nobody knows how fast.
        metric: ``metric(model)`` gives a number for the report, such as the accuracy.
        optimizer: goes on with the new model, see `Optimizer.follow`.
        only_cheaper: whether layers that are not measured to be faster stay as they are; a warning
            says so unless the report is returned.
        return_report: whether to return (model, `Report`).

    Raises:
        TapeError: no layer is chosen, or there are none.
        NumericsError: a weight has NaN or infinity.
        ValueError: most_bytes is negative.

    Source: Mathieu, Henaff and LeCun, "Fast training of convolutional networks through FFTs",
    2013, arXiv 1312.5851; transforms as products of matrices are ours.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Conv2d(32, 21, padding="same", activation=tape.relu, n_in=32))
    >>> x = tape.random.normal((1, 32, 32, 32))
    >>> fast, report = netopt.frequency.fft_convolution(net, x=x, return_report=True)
    >>> report["0"].action
    'FFT, lowered to spectra of 7.57 MB'
    """
    optimization = FftConvolution(most_bytes, only_cheaper)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    return finished(model, optimization, train, filter_function, options, return_report)


class FftConvolution(Optimization):
    """Convolutions by way of frequencies.

    Args:
        most_bytes: see `fft_convolution`.
        measured: whether layers that are not measured to be faster stay as they are.
    """

    kinds = (Conv1d, Conv2d)

    def __init__(self, most_bytes: int = 2**28, measured: bool = True) -> None:
        self.most_bytes = count("fft_convolution", "most_bytes", most_bytes)
        self.measured = bool(measured)

    def transform(self, layer: Any, at: Place) -> Module | Kept:
        """The layer by way of frequencies, or why it does not pay."""
        if not layer.weight.size:
            return Kept("has no numbers")
        finite(
            f"fft_convolution: {at.path or 'the layer'} {layer.weight.shape}", layer.weight.numpy()
        )
        kind = next(new for old, new in KINDS.items() if isinstance(layer, old))
        new = kind(
            layer.n_out,
            layer.kernel,
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
        new.weight, new.bias = layer.weight, layer.bias
        return self.objection(layer, new, at) if self.measured else new

    def objection(self, layer: Any, new: Any, at: Place) -> Module | Kept:
        """The new layer, or why it does not pay: counted first, for what is hopeless is large."""
        if not at.calls:
            return Kept("not measured, there is no x")
        low = SpectralConv(new)
        for call in at.calls:
            images, _ = images_of(low, call.operand)
            p, _ = lowered_plan(low, images.shape)
            size = p.spectrum_size * layer.weight.dtype.itemsize
            if size > self.most_bytes:
                return Kept(
                    f"spectra of {grouped(size)} bytes, most_bytes is {grouped(self.most_bytes)}",
                    True,
                )
            before = multiply_adds(layer, {id(layer): [call]})
            if p.multiply_adds >= before:
                return Kept(
                    f"FFT has {grouped(p.multiply_adds)} multiply-adds, "
                    f"the layer {grouped(before)}",
                    True,
                )
        a, b = layer.clone().eval(), low
        found = compare(lambda: called(a, at.calls), lambda: called(b, at.calls))
        if found.ratio >= 1:
            return Kept(
                f"FFT takes {duration(found.after)}, the layer {duration(found.before)}", True
            )
        return new

    def lower(self, layer: Any, at: Place) -> Module | None:
        """The layer with the spectra of its weight."""
        if type(layer) not in KINDS.values():
            return None
        w = layer.weight.numpy()
        finite(f"lower: {at.path or 'the layer'}.weight {w.shape}", w)
        return SpectralConv(layer)

    def describe(self, new: Any) -> str:
        """That it is one by FFT, and what it keeps."""
        if not isinstance(new, SpectralConv):
            return "FFT"
        made = new.made.last[2]
        size = "" if made is None else f" of {made.nbytes / 1e6:.3g} MB"
        return f"lowered to spectra{size}"
