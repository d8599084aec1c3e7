"""Freezing: modules that neither learn, nor move statistics, nor drop numbers, until they thaw.

Note [Frozen parameters]
A parameter is frozen while any frozen module holds it, through whichever name: a module that is
frozen does not change. So it knows the frozen modules that took its gradient away, by weak
references, and gets the gradient back when the last of them thaws. A parameter that needed no
gradient before knows none, and stays as it is.

A frozen module reads False from its `training`, which layers look at anyway, and keeps in
`_thawed_mode` what `train` and `eval` have said in the meantime.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from tape.nn.parameter import Uninferred, holders_of, is_parameter
from tape.nn.state import settle
from tape.nn.tree import below, select

__all__ = ["freeze", "holding", "mode_of", "unfreeze"]

Where = str | type | Callable[[Any], Any] | None


def freeze(root: Any, where: Where) -> None:
    """Freeze the modules that `where` names and all below; see `Module.freeze`."""
    chosen = below(*([root] if where is None else select("freeze", root, where)))
    modes = [
        (vars(module), {"_thawed_mode": module.training, "training": False})
        for module in chosen
        if not module.is_frozen
    ]
    settle(modes, holding(chosen, stop=True))


def holding(modules: list[Any], stop: bool) -> list[tuple[Any, tuple, Any]]:
    """What `settle` takes so that these frozen modules hold their parameters.

    Args:
        modules: copies of frozen modules among them.
        stop: whether parameters that learn are held as well, and stop.
    """
    owners: dict[int, tuple[Any, list[Any]]] = {}
    for module in modules:
        for entry in own_parameters(module):
            owners.setdefault(id(entry), (entry, []))[1].append(module)
    changes = []
    for entry, its in owners.values():
        holders = holders_of(entry)
        if holders or (stop and trains(entry)):
            known = {id(module) for module in its}
            others = [at for at in holders if at() is not None and id(at()) not in known]
            off = False if stop and not isinstance(entry, Uninferred) else None
            changes.append((entry, (*others, *map(weakref.ref, its)), off))
    return changes


def unfreeze(root: Any, where: Where) -> None:
    """Undo `freeze` for the modules that `where` names and all below; see `Module.unfreeze`."""
    chosen = below(*([root] if where is None else select("unfreeze", root, where)))
    modes = [
        (vars(module), {"training": module._thawed_mode, "_thawed_mode": None})
        for module in chosen
        if module.is_frozen
    ]
    thawing = {id(module) for module in chosen}
    entries = {id(entry): entry for module in chosen for entry in own_parameters(module)}
    changes = []
    for entry in entries.values():
        if holders := holders_of(entry):
            left = tuple([at for at in holders if still_holds(at(), entry, thawing)])
            on = None if left or isinstance(entry, Uninferred) else True
            changes.append((entry, left, on))
    settle(modes, changes)


def own_parameters(module: Any) -> list[Any]:
    """A module's own parameters, made or waiting for their sizes, without those below."""
    return [entry for _, entry in module.entries() if is_parameter(entry)]


def trains(entry: Any) -> bool:
    """Whether a parameter learns, or will once it has its size."""
    return isinstance(entry, Uninferred) or entry.requires_grad


def still_holds(module: Any, entry: Any, thawing: set[int]) -> bool:
    """Whether a module keeps a parameter frozen once others have thawed."""
    if module is None or id(module) in thawing or not module.is_frozen:
        return False
    return any(part is entry for part in own_parameters(module))


def mode_of(module: Any) -> bool:
    """What `train` and `eval` have said last, also of a frozen module."""
    return module.training if module._thawed_mode is None else module._thawed_mode
