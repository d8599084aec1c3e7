"""State dictionaries: all parameters and buffers of a module as arrays by path, and back.

Note [Load at once]
Loading checks everything, makes what must be made, and only then writes. This file is compiled, so
nothing can interrupt the writing: Python looks for Ctrl-C only where it interprets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tape._core.memory import overwrite
from tape._core.tensor import Tensor
from tape.errors import TapeError
from tape.nn.parameter import Uninferred, refuse_uninferred, written

__all__ = ["Skipped", "load_state_dict", "state_dict"]

MAX_LISTED = 30  # faults that one message lists


class Skipped(NamedTuple):
    """Paths that a load which is not strict passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Slot:
    """A parameter or buffer and all its places in the tree."""

    __slots__ = ("entry", "owners", "paths")

    def __init__(self, entry: Tensor | Uninferred) -> None:
        self.entry = entry
        self.paths: list[str] = []
        self.owners: list[tuple[Any, str]] = []


def slots(module: Any) -> list[Slot]:
    """Every parameter and buffer of a module with all its paths, in order."""
    found: dict[int, Slot] = {}
    paths: set[str] = set()
    for path, entry, owner, name in module.walk(again=True):
        if not isinstance(entry, (Tensor, Uninferred)):
            continue
        if path in paths:
            raise TapeError(f"two parameters have the path {path}: rename an attribute or a key")
        paths.add(path)
        slot = found.setdefault(id(entry), Slot(entry))
        slot.paths.append(path)
        slot.owners.append((owner, name))
    return list(found.values())


def state_dict(module: Any) -> dict[str, np.ndarray]:
    """Copies of all parameters and buffers by path; see `Module.state_dict`."""
    tree = [(path, entry) for path, entry, _, _ in module.walk(again=True)]
    refuse_uninferred(tree, "state_dict")
    slots(module)  # refuses a path that two have
    return {path: np.array(entry) for path, entry in tree if isinstance(entry, Tensor)}


def load_state_dict(module: Any, state: Mapping[str, Any], strict: bool) -> Skipped:
    """Check everything, then set everything; see `Module.load_state_dict`."""
    if not isinstance(state, Mapping):
        raise TapeError(
            f"load_state_dict: takes a dictionary of arrays by path, got a {type(state).__name__}"
        )
    known = slots(module)
    arrays = {path: np.asarray(value) for path, value in state.items()}
    paths = [path for slot in known for path in slot.paths]
    skipped = Skipped(
        [p for slot in known if not any(q in arrays for q in slot.paths) for p in slot.paths],
        [path for path in arrays if path not in set(paths)],
    )
    faults = [fault for slot in known for fault in misfits(slot, arrays)]
    if strict:
        faults += [f"missing: {path}" for path in skipped.missing_keys]
        faults += [f"unexpected: {path}{nearest(path, paths)}" for path in skipped.unexpected_keys]
    if faults:
        more = [f"and {len(faults) - MAX_LISTED} more"] if len(faults) > MAX_LISTED else []
        raise TapeError(
            "\n  ".join(
                [
                    f"load_state_dict: nothing was loaded into this {type(module).__name__}:",
                    *faults[:MAX_LISTED],
                    *more,
                ]
            )
        )
    given = [(slot, [arrays[path] for path in slot.paths if path in arrays]) for slot in known]
    commit([(slot, values[0]) for slot, values in given if values])
    return skipped


def misfits(slot: Slot, arrays: dict[str, np.ndarray]) -> list[str]:
    """What is wrong with the arrays given for one parameter."""
    entry, faults, fitting = slot.entry, [], []
    for path in slot.paths:
        if path not in arrays:
            continue
        array = arrays[path]
        fits = (
            entry.fits(array.shape)
            if isinstance(entry, Uninferred)
            else (entry.shape == array.shape)
        )
        if fits and array.dtype == entry.dtype:
            fitting.append(path)
        else:
            faults.append(
                f"{path}: {array.dtype} {array.shape} given, {entry.dtype} "
                f"{written(entry.shape)} expected"
            )
    return faults + [
        f"{path} is {fitting[0]}, which is shared: two different values given"
        for path in fitting[1:]
        if arrays[path].tobytes() != arrays[fitting[0]].tobytes()
    ]


def nearest(path: str, paths: list[str]) -> str:
    """A hint at a known path that looks like this one, or nothing."""
    from difflib import get_close_matches  # 3 ms to import, for an error

    found = get_close_matches(path, paths, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def commit(values: list[tuple[Slot, np.ndarray]]) -> None:
    """Set the values; see Note [Load at once]."""
    made = [(s, s.entry.holding(a)) for s, a in values if isinstance(s.entry, Uninferred)]
    old = [(s.entry, a) for s, a in values if isinstance(s.entry, Tensor)]
    overwrite([tensor for tensor, _ in old], copy_into, [array for _, array in old])
    for slot, tensor in made:
        slot.entry.value = tensor
        for owner, name in slot.owners:
            attributes = vars(owner)
            if attributes.get(name) is slot.entry:
                attributes[name] = tensor


def copy_into(arrays: list[np.ndarray], values: list[np.ndarray]) -> None:
    """Write each value into its array."""
    for array, value in zip(arrays, values, strict=True):
        array[...] = value
