"""`resized`: a copy of a model whose parameters and buffers have lost places along their axes.

The modules are those of the original, copied; so ties, activations, modes and what is frozen stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.netopt.factorization.factored import FactoredDense
from tape.nn.activation import PReLU
from tape.nn.clone import twins
from tape.nn.conv import Convolution, ConvTranspose2d
from tape.nn.freeze import holding
from tape.nn.linear import Dense
from tape.nn.module import Module
from tape.nn.parameter import Parameter, holders_of
from tape.nn.state import settle
from tape.nn.tree import below

__all__ = ["KeptPlaces", "follow", "resized", "taken"]

KeptPlaces = dict[int, tuple[np.ndarray, ...]]  # booleans for each axis, by the id of the tensor


def taken(array: np.ndarray, kept: tuple[np.ndarray, ...]) -> np.ndarray:
    """The places along each axis that are kept."""
    return np.ascontiguousarray(array[np.ix_(*kept)]) if kept else array


def resized(
    model: Module, kept: KeptPlaces, values: dict[int, np.ndarray], groups: dict[int, int]
) -> Any:
    """A copy of a model with only some places along the axes of its parameters and buffers.

    Args:
        model: the tree; it stays as it is.
        kept: which places stay, of those tensors that lose some.
        values: other values for tensors, before places are taken from them; by id.
        groups: how many are left of a `GroupNorm`, by id.
    """
    memo: dict[int, Any] = {}
    for entry in {id(e): e for m in below(model) for _, e in m.entries()}.values():
        if isinstance(entry, Tensor) and (id(entry) in kept or id(entry) in values):
            array = taken(values.get(id(entry), entry.numpy()), kept.get(id(entry), ()))
            if isinstance(entry, Parameter):
                learns = entry.requires_grad or bool(holders_of(entry))
                memo[id(entry)] = Parameter(array, learns)
            else:
                memo[id(entry)] = Tensor(array)
    new = twins(model, memo, share=False)
    pairs = list(zip(below(model), below(new), strict=True))
    settle([], holding([twin for _, twin in pairs if twin.is_frozen], stop=True))
    for old, twin in pairs:
        settle([(vars(twin), sizes_of(old, twin))], [])
        if id(old) in groups:
            settle([(vars(twin), {"num_groups": groups[id(old)]})], [])
    return new


def sizes_of(old: Any, new: Any) -> dict[str, int]:
    """What a layer says itself of the sizes of its parameters, where these have changed."""
    if isinstance(new, FactoredDense):
        return {"n_out": new.second.shape[0], "rank": new.first.shape[0]}
    if isinstance(new, Dense):
        return {"n_out": new.weight.shape[0]}
    if isinstance(new, ConvTranspose2d):
        return {"n_out": new.weight.shape[1] * new.groups}
    if isinstance(new, Convolution):
        n_out, is_split = new.weight.shape[0], old.groups > 1 and old.weight.shape[1] == 1
        groups = n_out * old.groups // old.n_out if is_split and old.n_out else old.groups
        return {"n_out": n_out, "groups": groups}
    if isinstance(new, PReLU):
        return {"n": new.weight.shape[0]}
    return {}


def follow(optimizer: Any, model: Module, new: Module, kept: KeptPlaces) -> None:
    """Have an optimizer go on with a resized model: what it remembers loses the same places.

    All of it, or nothing after an error; see `Optimizer.follow`.
    """
    before = optimizer.param_groups
    remembered = optimizer.state_dict()["state"]
    old_numbers = numbers(optimizer)
    entries = zip(below(model), below(new), strict=True)
    pairs = [
        (a, b)
        for old, twin in entries
        for (_, a), (_, b) in zip(old.entries(), twin.entries(), strict=True)
        if id(a) in kept and isinstance(a, Parameter)
    ]
    try:
        optimizer.follow(model, new)
        state, new_numbers = optimizer.state_dict(), numbers(optimizer)
        for a, b in pairs:
            its = remembered.get(old_numbers.get(id(a)))
            if its is not None and id(b) in new_numbers:
                state["state"][new_numbers[id(b)]] = {
                    name: taken(value, kept[id(a)])
                    if isinstance(value, np.ndarray) and value.shape == a.shape
                    else value
                    for name, value in its.items()
                }
        optimizer.load_state_dict(state)
    except BaseException:
        optimizer.param_groups = before
        raise


def numbers(optimizer: Any) -> dict[int, int]:
    """The number of each parameter in an optimizer's state, by id."""
    tensors = [tensor for group in optimizer.param_groups for tensor in group.track.tensors]
    return {id(tensor): i for i, tensor in enumerate(tensors)}
