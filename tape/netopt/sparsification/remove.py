"""Filters taken out of a model, and the proof that nothing else changed.

Note [Proof of a removal]
What goes together was found on one forward; that the program then runs with what is left, and gives
what it should, is tried: on x the smaller model must give what the whole model gives with the
weights that go set to zero. Where it does not, as where a size stands in the program, the filters
stay.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tape.netopt.record import outputs, run
from tape.netopt.sparsification.channels import Channels
from tape.netopt.sparsification.resize import KeptPlaces, resized
from tape.nn.conv import Convolution, ConvTranspose2d
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import Parameter
from tape.nn.tree import below
from tape.ops.random import drawing_aside

__all__ = ["Removal", "fault", "removal"]

TOLERANCE = 1e-4  # relative, in float32, where sums of fewer numbers round otherwise


class Removal(NamedTuple):
    """A model without some filters, and the same model with them set to zero.

    Attributes:
        new: the smaller model.
        reference: the whole one.
        kept: what of each parameter and buffer was kept.
    """

    new: Any
    reference: Any
    kept: KeptPlaces


def removal(model: Module, channels: Channels, removed: np.ndarray, compensate: bool) -> Removal:
    """A copy of the model without the places that are tied to these roots.

    Args:
        model: the tree; it stays as it is.
        channels: of it.
        removed: roots.
        compensate: whether biases take on the mean of what is gone.
    """
    held = {id(e): e for m in below(model) for _, e in m.entries() if id(e) in channels.axes}
    kept = {}
    for key, axes in channels.axes.items():
        masks = tuple([channels.left(axis, removed) for axis in axes])
        if not all(mask.all() for mask in masks):
            kept[key] = masks
    groups = {
        key: int(channels.left(axis, removed).sum())
        for key, axis in channels.groups.items()
        if not channels.left(axis, removed).all()
    }
    biases = mean_biases(model, channels, removed) if compensate else {}
    zeroed = dict(biases)
    for key, masks in kept.items():
        if isinstance(held[key], Parameter):
            array = np.array(zeroed.get(key, held[key].numpy()))
            for axis, mask in enumerate(masks):
                np.moveaxis(array, axis, 0)[~mask] = 0
            zeroed[key] = array
    new = resized(model, kept, biases, groups)
    return Removal(new, resized(model, {}, zeroed, {}), kept)


def mean_biases(model: Module, channels: Channels, removed: np.ndarray) -> dict[int, np.ndarray]:
    """Biases that make up for the mean of what layers no longer get, by id.

    Layers with a bias of their own, in one group, that are not frozen.
    """
    holders: dict[int, int] = {}
    for module in below(model):
        for _, entry in module.entries():
            holders[id(entry)] = holders.get(id(entry), 0) + 1
    found = {}
    for layer in below(model):
        if not isinstance(layer, (Dense, Convolution)) or isinstance(layer, ConvTranspose2d):
            continue
        bias, seen = layer.bias, channels.seen.get(id(layer), ())
        if bias is None or layer.is_frozen or holders[id(bias)] > 1 or not seen:
            continue
        total, n = np.zeros(bias.shape), 0
        for op, xs, axes, _ in seen:
            x, w, x_axes = xs[0], xs[1], axes[0]
            assert x is not None
            assert w is not None
            assert x_axes is not None
            axis = x.ndim - 1 if "linear" in op else 1
            gone = ~channels.left(x_axes[axis], removed)
            rows = math.prod(x.shape) // max(1, x.shape[axis])
            n += rows
            if not gone.any() or w.shape[1] != x.shape[axis] or not rows:
                continue
            mean = np.moveaxis(x, axis, 0)[gone].reshape(gone.sum(), -1).mean(1, dtype=np.float64)
            taps = w[:, gone].reshape(len(w), len(mean), -1).sum(2, dtype=np.float64)
            total += rows * (taps @ mean)
        if total.any():
            found[id(bias)] = (bias.numpy() + total / n).astype(bias.dtype)
    return found


def fault(model: Module, channels: Channels, made: Removal, x: Any) -> str:
    """What is wrong with a removal, "" if nothing is; see Note [Proof of a removal]."""
    before = outputs(run(made.reference.clone().eval(), x))
    try:
        after = outputs(run(made.new.clone().eval(), x))
    except Exception as error:
        return f"the model does not run without them: {first_line(error)}"
    if not is_same(before, after):
        return "the model gives something else without them than with zeros"
    entries = [e for m in below(model) for _, e in m.entries()]
    if all(id(e) in channels.axes for e in entries if isinstance(e, Parameter)):
        return ""
    with drawing_aside():  # what evaluation does not come to, training may
        try:
            before = outputs(run(model.clone().train(), x))
        except Exception:
            return ""
        try:
            after = outputs(run(made.new.clone().train(), x))
        except Exception as error:
            return f"the model does not train without them: {first_line(error)}"
    shapes = [a.shape for a in before], [a.shape for a in after]
    return "" if shapes[0] == shapes[1] else "results in training have another shape without them"


def first_line(error: Exception) -> str:
    """The beginning of an error's message."""
    return (str(error) or type(error).__name__).splitlines()[0][:160]


def is_same(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    """Whether results are equal but for rounding."""
    if [a.shape for a in before] != [b.shape for b in after]:
        return False
    for a, b in zip(before, after, strict=True):
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)):
            return False
        a, b = a[finite].astype(np.float64), b[finite].astype(np.float64)
        if not np.linalg.norm(a - b) <= TOLERANCE * max(float(np.linalg.norm(a)), 1e-6):
            return False
    return True
