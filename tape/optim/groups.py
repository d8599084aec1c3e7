"""Groups of parameters: reading and checking what an optimizer is given, and where each one is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.errors import GradError, ShapeError
from tape.nn.parameter import Parameter, Uninferred, written
from tape.optim.steps import Track

__all__ = ["Group", "listed", "plain", "read_groups", "read_settings"]


class Group(dict):
    """Settings by name, the parameters under "params" for reading, and their `track`."""

    def __init__(
        self, name: str, params: Any, settings: Mapping[str, Any], taken: Iterable[Tensor] = ()
    ) -> None:
        tensors = [params] if isinstance(params, (Tensor, Uninferred)) else listed(name, params)
        if not tensors:
            raise ValueError(
                f"{name}: there are no parameters: an empty list, a generator that was used "
                "before, or a model without any"
            )
        known = {id(tensor) for tensor in taken}
        for i, tensor in enumerate(tensors):
            check_parameter(name, i, tensor)
            if id(tensor) in known:
                raise ValueError(f"{name}: parameter {i} {tensor.shape} is there twice")
            known.add(id(tensor))
        super().__init__(params=tuple(tensors), **settings)
        self.track = Track(tensors)

    def with_track(self, track: Track, **settings: Any) -> Group:
        """One with other parameters, even none, and the same settings where none are given."""
        made = Group.__new__(Group)
        made.update({**self, **settings, "params": tuple(track.tensors)})
        made.track = track
        return made


def check_parameter(name: str, i: int, tensor: Any) -> None:
    """Raise unless an optimizer can change this tensor."""
    if isinstance(tensor, Uninferred):
        if tensor.value is None:
            raise ShapeError(
                f"{name}: parameter {i} {written(tensor.shape)} has no size yet: call the model "
                "once on an example, then take its parameters and make the optimizer"
            )
        raise ShapeError(f"{name}: parameter {i} was taken from its layer before it had a size")
    if not isinstance(tensor, Tensor):
        hint = ": take model.parameters()" if isinstance(tensor, (tuple, str)) else ""
        raise TypeError(f"{name}: parameter {i} is a {type(tensor).__name__}, not a tensor{hint}")
    if not tensor.is_leaf:
        raise GradError(
            f"{name}: parameter {i} {tensor.shape} is the result of {tensor.op.name}: only leaves "
            "can be changed by steps"
        )
    if not tensor.requires_grad and not isinstance(tensor, Parameter):
        raise GradError(
            f"{name}: parameter {i} {tensor.shape} needs no gradient: leave it out, or say "
            "requires_grad_()"
        )


def listed(name: str, params: Any) -> list[Any]:
    """What was given for parameters, as a list.

    Raises:
        TypeError: it is a module by itself, or cannot be a list.
    """
    if hasattr(params, "parameters") or not isinstance(params, Iterable):
        raise TypeError(
            f"{name}: params is one {type(params).__name__}: give model.parameters() or a list"
        )
    return list(params)


def plain(value: Any) -> Any:
    """A setting, Python's own number where a tensor or array holds a single one."""
    if isinstance(value, (tuple, list)):
        return type(value)([plain(part) for part in value])
    if isinstance(value, (Tensor, np.ndarray, np.generic)) and value.size == 1:
        return value.item()
    return value


def read_groups(name: str, params: Any) -> list[Mapping[str, Any]]:
    """What an optimizer is given as a list of groups.

    Raises:
        TypeError: it is a tensor or module by itself, no list, or mixes tensors and groups.
    """
    if isinstance(params, (Tensor, Uninferred)):
        raise TypeError(f"{name}: params is one {type(params).__name__}: give a list, [w]")
    parts = [params] if isinstance(params, Mapping) else listed(name, params)
    groups = [part for part in parts if isinstance(part, Mapping)]
    if not groups:
        return [{"params": parts}]
    if len(groups) != len(parts):
        raise TypeError(f"{name}: params mixes tensors and groups")
    return groups


def read_settings(name: str, group: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict:
    """The settings of a group: its own, and the defaults where it has none.

    Raises:
        ValueError: the group has a setting that the optimizer does not know, or no parameters.
    """
    unknown = [key for key in group if key not in defaults and key != "params"]
    if unknown:
        raise ValueError(
            f"{name}: a group has no setting {unknown[0]!r}; it may have {', '.join(defaults)}"
        )
    if "params" not in group:
        raise ValueError(f"{name}: a group needs 'params', its parameters")
    return {key: plain(group.get(key, default)) for key, default in defaults.items()}
