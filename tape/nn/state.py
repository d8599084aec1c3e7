"""State dictionaries: all parameters and buffers of a module as arrays by path, and back.

Note [Load at once]
Loading checks everything, makes what must be made, and only then writes. This file is compiled, so
nothing can interrupt the writing: Python looks for Ctrl-C only where it interprets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tape._core.memory import overwrite
from tape._core.tensor import Tensor
from tape.errors import TapeError, nearest
from tape.nn.parameter import Uninferred, refuse_uninferred, written
from tape.nn.tree import walk

__all__ = [
    "Plan",
    "Skipped",
    "commit",
    "listed",
    "load_state_dict",
    "plan",
    "set_mode",
    "settle",
    "slots",
    "state_dict",
]

MAX_LISTED = 30  # faults that one message lists


class Skipped(NamedTuple):
    """Paths that a load which is not strict passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Plan(NamedTuple):
    """What a load would set, and why it cannot; see Note [Load at once]."""

    values: list[tuple[Slot, np.ndarray]]
    skipped: Skipped
    faults: list[str]


class Slot:
    """A parameter or buffer and all its places in the tree."""

    __slots__ = ("entry", "owners", "paths")

    def __init__(self, entry: Tensor | Uninferred) -> None:
        self.entry = entry
        self.paths: list[str] = []
        self.owners: list[tuple[Any, str]] = []


def named_entries(module: Any) -> list[tuple[str, Tensor | Uninferred, Any, str]]:
    """(path, entry, owner, name in it) of every parameter and buffer at each of its places."""
    kinds = Tensor, Uninferred
    found = [part for part in walk(module, True, kinds) if isinstance(part[1], kinds)]
    paths: set[str] = set()
    for path, _, _, _ in found:
        if path in paths:
            raise TapeError(f"two parameters have the path {path}: rename an attribute or a key")
        paths.add(path)
    return found


def slots(module: Any) -> list[Slot]:
    """Every parameter and buffer of a module with all its paths, in order."""
    found: dict[int, Slot] = {}
    for path, entry, owner, name in named_entries(module):
        slot = found.setdefault(id(entry), Slot(entry))
        slot.paths.append(path)
        slot.owners.append((owner, name))
    return list(found.values())


def state_dict(module: Any) -> dict[str, np.ndarray]:
    """Copies of all parameters and buffers by path; see `Module.state_dict`."""
    tree = [(path, entry) for path, entry, _, _ in named_entries(module)]
    refuse_uninferred(tree, "state_dict")
    return {path: np.array(entry) for path, entry in tree}


def load_state_dict(module: Any, state: Mapping[str, Any], strict: bool) -> Skipped:
    """Check everything, then set everything; see `Module.load_state_dict`."""
    if not isinstance(state, Mapping):
        raise TapeError(
            f"load_state_dict: takes a dictionary of arrays by path, got a {type(state).__name__}"
        )
    arrays = {path: np.asarray(value) for path, value in state.items()}
    values, skipped, faults = plan(slots(module), arrays, strict)
    if faults:
        title = f"load_state_dict: nothing was loaded into this {type(module).__name__}:"
        raise TapeError(listed(title, faults))
    commit(values)
    return skipped


def plan(known: list[Slot], arrays: Mapping[str, np.ndarray], strict: bool) -> Plan:
    """What loading these arrays would set, and all that is wrong with them; nothing is changed.

    Of paths that are not known the arrays do not matter.
    """
    paths = {path: None for slot in known for path in slot.paths}
    skipped = Skipped(
        [p for slot in known if not any(q in arrays for q in slot.paths) for p in slot.paths],
        [path for path in arrays if path not in paths],
    )
    faults = [fault for slot in known for fault in misfits(slot, arrays)]
    if strict:
        half = MAX_LISTED // 2  # so that a long list of one kind does not hide the other
        missing = [f"missing: {path}" for path in skipped.missing_keys]
        near = skipped.missing_keys or list(paths)
        n_hints = min(half, 20_000 // (1 + len(near)))  # each takes some 20 us a name
        unexpected = [
            f"unexpected: {path}{nearest(path, near) if i < n_hints else ''}"
            for i, path in enumerate(skipped.unexpected_keys)
        ]
        faults += missing[:half] + unexpected[:half] + missing[half:] + unexpected[half:]
    given = [(slot, [arrays[path] for path in slot.paths if path in arrays]) for slot in known]
    return Plan([(slot, values[0]) for slot, values in given if values], skipped, faults)


def listed(title: str, faults: list[str]) -> str:
    """A message of a title and the first of many faults."""
    more = [f"and {len(faults) - MAX_LISTED} more"] if len(faults) > MAX_LISTED else []
    return "\n  ".join([title, *faults[:MAX_LISTED], *more])


def misfits(slot: Slot, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """What is wrong with the arrays given for one parameter."""
    entry, faults, fitting = slot.entry, [], []
    for path in slot.paths:
        if path not in arrays:
            continue
        array = arrays[path]
        if fits(entry, array.shape) and array.dtype == entry.dtype:
            fitting.append(path)
        else:
            faults.append(
                f"{path}: {array.dtype} {array.shape} given, {entry.dtype} "
                f"{written(entry.shape)} expected{transposed(entry, array.shape)}"
            )
    return faults + [
        f"{path} is {fitting[0]}, which is shared: two different values given"
        for path in fitting[1:]
        if arrays[path] is not arrays[fitting[0]]
        and arrays[path].tobytes() != arrays[fitting[0]].tobytes()
    ]


def fits(entry: Tensor | Uninferred, shape: tuple[int, ...]) -> bool:
    """Whether a parameter or buffer has this shape, or may yet have it."""
    return entry.fits(shape) if isinstance(entry, Uninferred) else entry.shape == shape


def transposed(entry: Tensor | Uninferred, shape: tuple[int, ...]) -> str:
    """A hint for weights of libraries that put the axes of inputs and outputs last, or nothing."""
    if fits(entry, shape) or len(shape) < 2:
        return ""
    axes = (len(shape) - 1, len(shape) - 2, *range(len(shape) - 2))
    turned = tuple([shape[axis] for axis in axes])
    how = ".T" if len(shape) == 2 else f".transpose{axes}"
    return f": it would fit transposed, array{how}" if fits(entry, turned) else ""


def commit(
    values: list[tuple[Slot, np.ndarray]], attributes: Iterable[tuple[Any, str, Any]] = ()
) -> None:
    """Set the values, then (object, name, value) of attributes; see Note [Load at once].

    Setting an attribute must not fail but for Ctrl-C, which NumPy's generators look for when they
    divide large integers: then it is set again, and Ctrl-C is raised at the end.
    """
    made = [(s, s.entry.filled(a)) for s, a in values if isinstance(s.entry, Uninferred)]
    old = [(s.entry, a) for s, a in values if isinstance(s.entry, Tensor)]
    overwrite([tensor for tensor, _ in old], copy_into, [array for _, array in old])
    for slot, tensor in made:
        slot.entry.value = tensor
        for owner, name in slot.owners:
            held = vars(owner)
            if held.get(name) is slot.entry:
                held[name] = tensor
    interrupt = None
    for thing, name, value in attributes:
        for _ in range(100):
            try:
                setattr(thing, name, value)
                break
            except BaseException as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt


def settle(attributes: list[tuple[dict, dict]], held: list[tuple[Any, tuple, Any]]) -> None:
    """Set attributes of modules, and which frozen modules hold parameters; None leaves gradients.

    Like `commit` nothing interrupts it.
    """
    for own, values in attributes:
        own.update(values)
    for entry, holders, trains in held:
        entry._holders = holders
        if trains is not None:
            Tensor.requires_grad_(entry, trains)  # what Parameter refuses is asked by users alone


def set_mode(modules: list[Any], training: bool) -> None:
    """Set `training` of all modules, of frozen ones for when they thaw; nothing interrupts it."""
    for module in modules:
        is_frozen = module._thawed_mode is not None
        vars(module)["_thawed_mode" if is_frozen else "training"] = training


def copy_into(arrays: list[np.ndarray], values: list[np.ndarray]) -> None:
    """Write each value into its array."""
    for array, value in zip(arrays, values, strict=True):
        array[...] = value
