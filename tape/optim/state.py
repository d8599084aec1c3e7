"""The state of an optimizer as plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tape.errors import TapeError
from tape.optim.groups import Group, plain
from tape.optim.steps import Track

__all__ = ["load_state_dict", "plan", "state_dict"]


def state_dict(groups: list[Group]) -> dict[str, Any]:
    """Copies of all settings and state; see `Optimizer.state_dict`."""
    saved: list[dict[str, Any]] = []
    state: dict[int, dict[str, Any]] = {}
    n = 0
    for group in groups:
        track = group.track
        settings = {key: value for key, value in group.items() if key != "params"}
        saved.append({**settings, "params": list(range(n, n + len(track.tensors)))})
        for i, steps in enumerate(track.steps):
            arrays = {name: column[i] for name, column in track.columns.items()}
            kept = {name: array.copy() for name, array in arrays.items() if array is not None}
            if steps or kept:
                state[n + i] = {"step": steps, **kept}
        n += len(track.tensors)
    return {"param_groups": saved, "state": state}


def refuse_other_data(name: str, state: Any) -> None:
    """Raise TapeError for what is not built as a state at all."""

    def need(part: Any, kind: Any, what: str) -> Any:
        if isinstance(part, kind):
            return part
        word = "list" if kind == (list, tuple) else "dictionary"
        raise TapeError(
            f"{name}.load_state_dict: {what} must be a {word}, got a {type(part).__name__}"
        )

    need(state, Mapping, "the state")
    for group in need(state.get("param_groups", ()), (list, tuple), "its 'param_groups'"):
        need(group, Mapping, "each of its 'param_groups'")
        need(group.get("params", ()), (list, tuple), "each 'params'")
    for entry in need(state.get("state", {}), Mapping, "its 'state'").values():
        need(entry, Mapping, "each entry of its 'state'")


def load_state_dict(optimizer: Any, state: Mapping[str, Any]) -> list[Group]:
    """New groups on the same parameters with the saved settings and state.

    Raises:
        TapeError: they do not fit; all reasons are listed.
    """
    groups, faults = plan(optimizer, state, None)
    if faults:
        title = f"{type(optimizer).__name__}.load_state_dict: nothing was loaded:"
        raise TapeError("\n  ".join([title, *faults]))
    return groups


def plan(
    optimizer: Any, state: Mapping[str, Any], paths: list[str | None] | None
) -> tuple[list[Group], list[str]]:
    """The new groups that loading the state would set, and all that is wrong with it.

    Args:
        optimizer: is not changed.
        state: what `state_dict` gave; with `paths`, arrays that may be kept without a copy.
        paths: of the parameters, to name them by; None where one has none.

    Raises:
        TapeError: the state is not built as one, or belongs to other groups.
    """
    name, groups = type(optimizer).__name__, optimizer.param_groups
    refuse_other_data(name, state)
    saved = state.get("param_groups", ())
    sizes = [len(group.track.tensors) for group in groups]
    if [len(s.get("params", ())) for s in saved] != sizes or "state" not in state:
        raise TapeError(
            f"{name}.load_state_dict: the groups have {sizes} parameters, those of the state "
            f"{[len(s.get('params', ())) for s in saved]}: it belongs to another model or optimizer"
        )
    faults: list[str] = []
    loaded = []
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    for i, (first, group, settings) in enumerate(zip(starts, groups, saved, strict=True)):
        wrong = sorted(set(settings) ^ set(group))
        if wrong:
            faults.append(f"group {i}: only one side has {', '.join(wrong)}")
            continue
        given = {key: _like(group[key], plain(settings[key])) for key in group if key != "params"}
        try:
            optimizer.check(given)
        except (TypeError, ValueError) as error:
            faults.append(f"group {i}: {error}")
        fresh = group.with_track(Track(group.track.tensors), **given)
        for j in range(len(group.track.tensors)):
            entry = state["state"].get(first + j, {})
            what = (paths and paths[first + j]) or f"parameter {first + j}"
            faults += _load_parameter(optimizer, fresh, j, entry, what, copy=paths is None)
        fresh.track.compare()
        loaded.append(fresh)
    known = range(sum(sizes))
    faults += [
        f"state of parameter {i!r}, which is not there" for i in state["state"] if i not in known
    ]
    return loaded, faults


def _load_parameter(
    optimizer: Any, group: Group, i: int, entry: Mapping[str, Any], what: str, copy: bool
) -> list[str]:
    """Note one parameter's state down in a new group; what is wrong with it."""
    faults = []
    tensor, track = group.track.tensors[i], group.track
    steps = entry.get("step", 0)
    if entry and not (isinstance(steps, int) and "step" in entry and steps >= 0):
        faults.append(f"{what}: step is {entry.get('step')!r}")
    track.steps[i] = steps
    for name, value in entry.items():
        if name == "step":
            continue
        array = np.array(value, order="C", copy=copy or None)
        if name not in optimizer.state_names:
            faults.append(f"{what}: no array is called {name!r}")
        elif array.shape != tensor.shape or array.dtype != tensor.dtype:
            faults.append(
                f"{what}: {name} is {array.dtype} {array.shape}, the parameter {tensor.dtype} "
                f"{tensor.shape}"
            )
        else:
            track.columns.setdefault(name, [None] * len(track.tensors))[i] = array
    return faults


def _like(old: Any, new: Any) -> Any:
    """new, as a tuple where old is one: JSON knows lists only."""
    return tuple(new) if isinstance(old, tuple) and isinstance(new, list) else new
