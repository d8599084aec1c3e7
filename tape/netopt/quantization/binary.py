"""What one calls to binarize: convolutions and dense layers, in one step or in three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tape.errors import SettingError
from tape.netopt.finish import finished, handed_over
from tape.netopt.frame import Optimization, lower, transform
from tape.netopt.quantization.binarize import Binarize, BinarizeConvolution, BinarizeDense
from tape.nn.conv import Conv2d
from tape.nn.linear import Dense
from tape.nn.module import Module

__all__ = [
    "binarize_convolution",
    "binarize_dense",
    "convert_to_binary_convolution",
    "convert_to_binary_dense",
    "convert_to_native_binary_convolution",
]


def convert_to_binary_convolution(
    model: Module,
    filter_function: Callable[[Conv2d], Any] | str | None = None,
    *,
    scale: str | None = "filter",
    zero: int = -1,
    window: float | None = 1.0,
    clip: float | None = None,
    input_scale: bool = False,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model with `BinaryConv2d` layers, which train, in place of `nn.Conv2d` ones.

    A layer that computes conv2d(x, w) * 1 + b then computes conv2d(sign(x), sign(w)) * scale + b.
    The trained weight is kept, as are bias, activation, path and mode. Train it, call `eval`, then
    `convert_to_native_binary_convolution`.

    Args:
        model: the tree; it stays as it is.
        filter_function: says of a convolution of the model whether it is changed; or a path or
            pattern of paths; None is all. The first one is better left as it is.
        scale: "filter" multiplies each filter's results by the mean of its |weight|, "tensor" all
            by the mean of all, None by nothing.
        zero: the sign of 0, -1 or 1. Behind a relu 1 makes every sign 1.
        window: beyond which |x| and |weight| get no gradient; None lets everything through.
        clip: while training the weight is held in [-clip, clip]; None lets it grow.
        input_scale: whether results are multiplied by the mean of |x| of each image, which keeps
            layers in front from passing bits.
        x: a calibration batch, or a tuple of operands: what latency and drift are measured on.
        metric: ``metric(model)`` gives a number for the report, such as the accuracy.
        optimizer: goes on with the new model, see `Optimizer.follow`.
        only_cheaper: whether layers that, lowered, would be larger, or slower on `x`, stay as they
            are; a warning says so unless the report is returned.
        return_report: whether to return (model, `Report`).

    Raises:
        TapeError: no layer is chosen, or there are none.
        NumericsError: a weight has NaN or infinity.
        SettingError: a setting is none of these.

    Source: Hubara et al. 2016, arXiv 1609.07061; Rastegari et al. 2016, XNOR-Net, section 3.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Conv2d(8, 3, n_in=1), tape.relu, nn.Conv2d(8, 3, n_in=8))
    >>> binary = netopt.quantization.convert_to_binary_convolution(net, "2")
    >>> type(binary[0]).__name__, type(binary[2]).__name__
    ('Conv2d', 'BinaryConv2d')
    """
    signs: Any = {"scale": scale, "zero": zero, "window": window, "clip": clip}
    todo = BinarizeConvolution(input_scale=input_scale, **signs)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    return transformed(model, todo, filter_function, options, return_report)


def convert_to_binary_dense(
    model: Module,
    filter_function: Callable[[Dense], Any] | str | None = None,
    *,
    scale: str | None = "filter",
    zero: int = -1,
    window: float | None = 1.0,
    clip: float | None = None,
    input_scale: bool = False,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of the model with `BinaryDense` layers, which train, in place of `nn.Dense` ones.

    The arguments, and what is raised, are those of `convert_to_binary_convolution`, which says what
    the steps are; `convert_to_native_binary_convolution` lowers dense layers as well.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(64, 64, tape.relu), nn.Dense(10, 64))
    >>> netopt.quantization.convert_to_binary_dense(net, "1")[1]
    BinaryDense(10): weight (10, 64), bias (10,): 650 parameters
    """
    signs: Any = {"scale": scale, "zero": zero, "window": window, "clip": clip}
    todo = BinarizeDense(input_scale=input_scale, **signs)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    return transformed(model, todo, filter_function, options, return_report)


def convert_to_native_binary_convolution(
    model: Module,
    *,
    x: Any = None,
    check: bool = True,
    pass_bits: bool = True,
    return_report: bool = False,
) -> Any:
    """A copy of a trained binary model with forward-only layers that count packed signs.

    Of a binary layer, convolution or dense, one bit a weight is left. Where layers stand in a row
    in an `nn.Sequential`, with activations, batch norms and max poolings between two binary ones,
    the first one gives packed signs, and what is between is folded into its thresholds. So does an
    `nn.Conv2d` in front of a binary layer, if all between keeps signs: a max pooling, and a relu
    where 0 has the sign -1. A max pooling of signs does not know NaN, which is the sign of 0 there.

    Args:
        model: with binary layers, in evaluation mode; it stays as it is.
        x: a batch, or a tuple of operands, on which the lowered model is held against `model`, and
            timed.
        check: whether anything else than the same is an error: each layer on drawn numbers to the
            last bit, each threshold at every count there can be, and on `x` every sign that comes
            to a binary layer, and the result to a relative 1e-5.
        pass_bits: False has every layer give numbers: for a model that calls the parts of an
            `nn.Sequential` one by one.
        return_report: whether to return (model, `Report`).

    Raises:
        TapeError: there is nothing to lower, the model is in training mode, or the check fails.
        NumericsError: a weight has NaN or infinity.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Conv2d(40, 3, n_in=40), tape.relu, nn.Conv2d(40, 3, n_in=40)).eval()
    >>> binary = netopt.quantization.convert_to_binary_convolution(net)
    >>> low = netopt.quantization.convert_to_native_binary_convolution(binary)
    >>> low
    Sequential
      0: NativeBinaryConv2d(40, 3, gives='bits'): words (225,), least (40,), flip (40,)
      1: Folded(relu)
      2: NativeBinaryConv2d(40, 3): words (225,), scale (40,), bias (40,)
    >>> x = tape.random.normal((2, 40, 9, 9))
    >>> bool((low(x) == binary(x)).all())
    True
    """
    made = lower(model, Binarize(x, check, pass_bits), x=x, check_lowered=check)
    return made if return_report else made.model


def binarize_convolution(
    model: Module,
    train_function: Callable[[Any], Any],
    filter_function: Callable[[Conv2d], Any] | str | None = None,
    *,
    scale: str | None = "filter",
    zero: int = -1,
    window: float | None = 1.0,
    clip: float | None = None,
    input_scale: bool = False,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    check: bool = True,
    return_report: bool = False,
) -> Any:
    """The model with binary convolutions, trained and lowered.

    The three steps are `convert_to_binary_convolution`, `train_function` and
    `convert_to_native_binary_convolution`.

    Args:
        model: the tree; it stays as it is.
        train_function: called once with the transformed model; what it returns is used if it is a
            model. Accuracy drops much without it.
        filter_function: says of a convolution of the model whether it is changed; or a path or
            pattern of paths; None is all. The first one is better left as it is.
        check: as in `convert_to_native_binary_convolution`.

    The others, and what is raised, are those of these two functions.

    Raises:
        SettingError: there is no `train_function`.
    """
    signs: Any = {"scale": scale, "zero": zero, "window": window, "clip": clip}
    todo = BinarizeConvolution(x, check, input_scale=input_scale, **signs)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    options["check_lowered"] = check
    train = trainer("binarize_convolution", "convert_to_binary_convolution", train_function)
    return finished(model, todo, train, filter_function, options, return_report)


def binarize_dense(
    model: Module,
    train_function: Callable[[Any], Any],
    filter_function: Callable[[Dense], Any] | str | None = None,
    *,
    scale: str | None = "filter",
    zero: int = -1,
    window: float | None = 1.0,
    clip: float | None = None,
    input_scale: bool = False,
    x: Any = None,
    metric: Callable[[Any], float] | None = None,
    optimizer: Any = None,
    only_cheaper: bool = True,
    check: bool = True,
    return_report: bool = False,
) -> Any:
    """The model with binary dense layers, trained and lowered.

    Arguments and what is raised are those of `binarize_convolution`.
    """
    signs: Any = {"scale": scale, "zero": zero, "window": window, "clip": clip}
    todo = BinarizeDense(x, check, input_scale=input_scale, **signs)
    options = {"x": x, "metric": metric, "optimizer": optimizer, "only_cheaper": only_cheaper}
    options["check_lowered"] = check
    train = trainer("binarize_dense", "convert_to_binary_dense", train_function)
    return finished(model, todo, train, filter_function, options, return_report)


def trainer(name: str, other: str, train: Any) -> Callable[[Any], Any]:
    """The function that trains.

    Raises:
        SettingError: there is none.
    """
    if not callable(train) or isinstance(train, Module):
        raise SettingError(
            f"{name}: train_function trains the transformed model, got {train!r:.80}; to do "
            f"without, use {other} and convert_to_native_binary_convolution"
        )
    return train


def transformed(
    model: Module, todo: Optimization, where: Any, options: dict[str, Any], return_report: bool
) -> Any:
    """The transformed model, with its report if asked for."""
    return handed_over(transform(model, todo, where=where, **options), todo, return_report)
