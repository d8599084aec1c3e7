"""Bits between binary layers: what stands between two of them in a row becomes a threshold.

Note [Folding into thresholds]
Behind a binary layer stand functions of each channel alone: its scale and bias, an activation, a
batch norm. If they rise or fall with the count, the sign that the next binary layer takes is that
of a count below or above a whole number, which `sign_thresholds` finds by evaluating the very
functions; that it holds is checked at every count there can be. A max pooling between them chooses
among counts as it does among signs, if what is behind it rises. Where it falls, for a batch norm
with a negative weight, the signs of that channel pass turned, and the next layer's weight is turned
in it as well.

Behind a convolution of floats there are no counts. If nothing but signs of its results is used, it
gives these in place of floats, by `SignConv2d`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from tape._core.memory import asarray
from tape._core.state import no_grad
from tape.netopt.quantization.folded import Folded, factor_and_shift
from tape.netopt.quantization.native import (
    BitMaxPool2d,
    Native,
    NativeBinaryConv2d,
    NativeBinaryDense,
)
from tape.netopt.quantization.sign_conv import SignConv2d
from tape.nn.activation import (
    ELU,
    SELU,
    Hardsigmoid,
    Hardtanh,
    LeakyReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)
from tape.nn.call import Called
from tape.nn.clone import shallow
from tape.nn.container import Flatten, Sequential
from tape.nn.conv import Conv2d
from tape.nn.dropout import AlphaDropout, Dropout, Dropout2d
from tape.nn.module import Module
from tape.nn.norm import BatchNorm, BatchNorm1d, BatchNorm2d
from tape.nn.pool import MaxPool2d
from tape.nn.replace import replace
from tape.nn.tree import below
from tape.ops.activation import leaky_relu, relu, sigmoid
from tape.ops.elementwise import tanh
from tape.ops.elu import elu, selu
from tape.ops.rectifiers import hardsigmoid, hardtanh, relu6
from tape.ops.shrink import softsign
from tape.ops.signs import NO_BORDER, sign_thresholds
from tape.ops.smooth import softplus

__all__ = ["chained", "is_row", "shared_in"]

ODD = (Tanh, Softsign)  # whose result has the sign of x, whatever that of 0
CUT = (ReLU, ReLU6)  # only where 0 has the sign -1
OTHERS = (SELU, Sigmoid, Hardsigmoid, Hardtanh, Softplus)  # that act on each number alone
FUNCTIONS = (  # and as functions
    *(relu, relu6, leaky_relu, tanh, softsign, elu, selu),
    *(sigmoid, hardsigmoid, hardtanh, softplus),
)
QUIET = (Dropout, Dropout2d, AlphaDropout)  # nothing, in evaluation mode
LARGEST = 1 << 22  # numbers at a time when all counts are gone through


class Spot(NamedTuple):
    """A place in a row of layers."""

    owner: Sequential
    number: int

    @property
    def layer(self) -> Any:
        """What stands there."""
        return self.owner.layers[self.number]

    def put(self, layer: Any) -> None:
        """Set what stands there."""
        self.owner.layers[self.number] = layer


def chained(model: Module) -> Module:
    """The model, lowered layers in it, with bits passed wherever they can be.

    Args:
        model: whose modules but for `Native` ones are shared with others: these are not changed.
    """
    shared = shared_in(model)
    inside: set[int] = set()
    roots: list[str] = []
    for path, module in model.named_modules():
        if is_row(module) and id(module) not in inside:
            roots.append(path)
            inside |= {id(part) for part in nested(module, shared)}
    for path in reversed(roots):  # what is deeper first
        module = next(entry for at, entry in model.named_modules() if at == path)
        new = row_of_bits(module, shared_in(model))
        model = replace(model, path, new) if path else new
    return model


def shared_in(model: Module, parameters: bool = False) -> set[int]:
    """The ids of the modules, and parameters, that stand at several places of a tree."""
    parts = (part for module in below(model) for _, part in module.entries())
    places = Counter(id(part) for part in parts if parameters or isinstance(part, Called))
    return {key for key, n in places.items() if n > 1}


def is_row(module: Any) -> bool:
    """Whether it calls its layers one after the other, and nothing else."""
    return isinstance(module, Sequential) and type(module).forward is Sequential.forward


def nested(row: Any, shared: set[int]) -> list[Any]:
    """The rows that are parts of a row, and theirs, but for those that stand elsewhere too."""
    found = []
    for layer in row.layers:
        if is_row(layer) and id(layer) not in shared:
            found += [layer, *nested(layer, shared)]
    return found


def spots(row: Any, shared: set[int]) -> list[Spot]:
    """The places of a row, and of the rows in it, which are copied."""
    found = []
    for number, layer in enumerate(row.layers):
        if is_row(layer) and id(layer) not in shared:
            row.layers[number] = shallow(layer, {})
            found += spots(row.layers[number], shared)
        else:
            found.append(Spot(row, number))
    return found


def row_of_bits(row: Any, shared: set[int]) -> Any:
    """A copy of a row that passes bits where it can."""
    row = shallow(row, {})
    line = spots(row, shared)
    for at, spot in enumerate(line):
        if takes_bits(spot.layer, shared):
            fold(line[:at], spot.layer, shared)
    for before, spot in itertools.pairwise(line):
        if isinstance(spot.layer, BatchNorm) and takes_bits(before.layer, shared):
            into_scale(before.layer, spot, shared)
    return row


def takes_bits(layer: Any, shared: set[int]) -> bool:
    """Whether a layer looks at nothing but the signs of x."""
    return isinstance(layer, Native) and id(layer) not in shared and not layer.input_scale


def fold(before: list[Spot], user: Native, shared: set[int]) -> None:
    """Have what stands before a binary layer give it bits, if it can."""
    between: list[Spot] = []
    for spot in reversed(before):
        if not (is_step(spot.layer) and id(spot.layer) not in shared):
            break
        between.insert(0, spot)
    rest = before[: len(before) - len(between)]
    maker = rest[-1].layer if rest else None
    if takes_bits(maker, shared) and from_counts(maker, between, user):
        return
    if id(maker) not in shared and gives_signs(maker, between, user):
        made = SignConv2d(maker, user.zero)
        rest[-1].put(made)
        put_bits(between, user, made)
    else:
        from_numbers(between, user)


def is_step(layer: Any) -> bool:
    """Whether a layer may become a part of a threshold, or work on bits."""
    if isinstance(layer, BatchNorm):
        return type(layer) in (BatchNorm1d, BatchNorm2d) and layer.running_mean is not None
    if isinstance(layer, MaxPool2d):
        plain = type(layer) is MaxPool2d and not layer.ceil_mode and not layer.return_indices
        return plain
    if isinstance(layer, Flatten):
        return type(layer) is Flatten and layer.start == 1
    return isinstance(layer, Folded) or acts_alone(layer)


def acts_alone(layer: Any) -> bool:
    """Whether a layer is a known function of each number, or nothing in evaluation mode."""
    if isinstance(layer, (ELU, LeakyReLU)):  # which rise for these alone
        return getattr(layer, "alpha", 1) >= 0 and getattr(layer, "negative_slope", 1) >= 0
    known = (*ODD, *CUT, *OTHERS, *QUIET)
    return type(layer) in known or any(layer is function for function in FUNCTIONS)


def keeps_signs(layer: Any, zero: int) -> bool:
    """Whether the signs of a step's results are those of what it is given."""
    if type(layer) in (*ODD, *QUIET, Folded) or layer is tanh or layer is softsign:
        return True
    if type(layer) in (*CUT,) or layer is relu or layer is relu6:
        return zero == -1
    return isinstance(layer, Flatten | MaxPool2d)


def from_counts(maker: Any, between: list[Spot], user: Any) -> bool:
    """Fold what is between two binary layers into thresholds of the first one; whether it could."""
    if maker.dtype != np.float32 or maker.least is not None:
        return False
    if maker.activation is not None and not acts_alone(maker.activation):
        return False
    flattens = [isinstance(spot.layer, Flatten) for spot in between]
    images = isinstance(maker, NativeBinaryConv2d)
    if any(flattens) != (images and isinstance(user, NativeBinaryDense)) or sum(flattens) > 1:
        return False
    if isinstance(user, NativeBinaryConv2d) and not images:
        return False
    end = flattens.index(True) if any(flattens) else len(between)
    norm, other = (BatchNorm2d, BatchNorm1d) if images else (BatchNorm1d, BatchNorm2d)
    steps = [spot.layer for spot in between]
    if any(isinstance(s, other) or (isinstance(s, MaxPool2d) and not images) for s in steps):
        return False
    if any(isinstance(s, (norm, MaxPool2d)) for s in steps[end:]):
        return False
    turned = turned_by(steps, maker.n_out)
    if turned is None:
        return False
    apart = (1, maker.n_out, 1, 1) if images else (1, maker.n_out)
    row = [s for s in steps if not isinstance(s, (Flatten, MaxPool2d))]
    found = thresholds(maker, row, apart, user.zero == -1)
    if found is None:
        return False
    least, flip = found
    maker.is_normed = any(isinstance(s, norm) for s in steps)
    maker.give_signs(least, flip ^ turned)
    if turned.any():
        user.turn(turned)
    put_bits(between, user, maker)
    return True


def turned_by(steps: list[Any], n: int) -> np.ndarray | None:
    """In which channels what follows the poolings falls; None if they disagree."""
    falls, found = np.zeros(n, bool), None
    for step in reversed(steps):
        if isinstance(step, MaxPool2d):
            if found is not None and (found != falls).any():
                return None
            found = falls
        elif isinstance(step, BatchNorm) and step.weight is not None:
            falls = falls ^ (step.weight.numpy() < 0)
    return np.zeros(n, bool) if found is None else found


def thresholds(
    maker: Any, steps: list[Any], apart: tuple[int, ...], strict: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """(least, flip) of the counts of a layer whose results go through steps.

    None if its sign is not that of a count above or below a number.
    """
    scale, bias = (None if t is None else t.numpy() for t in (maker.scale, maker.bias))

    def results(counts: np.ndarray) -> np.ndarray:
        y = counts if scale is None else counts * scale
        y = asarray((y if bias is None else y + bias).reshape(-1, *apart[1:]))
        for step in ([] if maker.activation is None else [maker.activation]) + steps:
            y = step(y)
        return y.numpy().reshape(counts.shape)

    reach, n = maker.reach, maker.n_out
    with no_grad():
        try:
            least, flip = sign_thresholds(results, reach, n, strict)
        except ValueError:  # NaN
            return None
        rows = max(1, LARGEST // max(n, 1))
        for first in range(-reach, reach + 1, rows):
            counts = np.arange(first, min(first + rows, reach + 1))[:, None]
            y = results(np.repeat(counts.astype(np.float32), n, 1))
            positive = y > 0 if strict else ~(y < 0)
            if (positive != ((counts >= least) ^ flip)).any():
                return None
    return least, flip


def gives_signs(maker: Any, between: list[Spot], user: Any) -> bool:
    """Whether a convolution of floats may give the signs that a binary layer takes."""
    if type(maker) is not Conv2d or maker.groups != 1 or maker.weight.dtype.char not in "fd":
        return False
    if maker.activation is not None and not keeps_signs(maker.activation, user.zero):
        return False
    steps = [spot.layer for spot in between]
    flat = [isinstance(step, Flatten) for step in steps]
    if sum(flat) != isinstance(user, NativeBinaryDense):
        return False
    if any(flat) and any(isinstance(step, MaxPool2d) for step in steps[flat.index(True) :]):
        return False
    return all(keeps_signs(step, user.zero) for step in steps)


def from_numbers(between: list[Spot], user: Any) -> None:
    """Have the signs of numbers taken as early as they are what they will be."""
    first = len(between)
    while first and keeps_signs(between[first - 1].layer, user.zero):
        first -= 1
    late = between[first:]
    pools = [isinstance(spot.layer, MaxPool2d) for spot in late]
    for spot in late[: pools.index(True)] if any(pools) else late:
        if not isinstance(spot.layer, Flatten):
            spot.put(Folded(name_of(spot.layer)))
    if any(pools):
        put_bits(late[pools.index(True) :], user, None)


def put_bits(between: list[Spot], user: Any, maker: Any) -> None:
    """Put in what works on bits, with the border that the next one wants."""
    wanted = NO_BORDER
    if isinstance(user, NativeBinaryConv2d) and user.padding != ((0, 0), (0, 0)):
        wanted = (*user.padding[0], *user.padding[1])
    for spot in reversed(between):
        if isinstance(spot.layer, MaxPool2d):
            spot.put(BitMaxPool2d(spot.layer, user.zero, wanted))
            wanted = NO_BORDER
        else:
            spot.put(Folded(name_of(spot.layer)))
    if isinstance(maker, (NativeBinaryConv2d, SignConv2d)):
        maker.border = wanted


def name_of(layer: Any) -> str:
    """What a layer or function is called."""
    if isinstance(layer, Folded):
        return layer.what
    return type(layer).__name__ if isinstance(layer, Module) else str(layer.name)


def into_scale(maker: Any, spot: Spot, shared: set[int]) -> None:
    """Make a batch norm right behind a binary layer that gives numbers a part of its scale."""
    norm = spot.layer
    kinds = {NativeBinaryConv2d: BatchNorm2d, NativeBinaryDense: BatchNorm1d}
    if type(norm) is not kinds[type(maker)]:
        return
    if maker.activation is not None or maker.least is not None or norm.running_mean is None:
        return
    if maker.dtype != np.float32 or id(norm) in shared:
        return
    factor, shift = factor_and_shift(norm)
    scale, bias = (None if t is None else t.numpy() for t in (maker.scale, maker.bias))
    maker.register_buffer("scale", (factor * (1 if scale is None else scale)).astype(np.float32))
    start = shift if bias is None else bias * factor + shift
    maker.register_buffer("bias", start.astype(np.float32))
    maker.is_normed = True
    spot.put(Folded(name_of(norm)))
