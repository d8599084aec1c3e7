"""What a checkpoint holds beside the arrays of a model.

Note [What a checkpoint holds]
Arrays stand under their paths, as in `Module.state_dict`; what is shared stands under its first
path, and a table has the others. Arrays of an optimizer are called "optimizer:3:exp_avg", 3 being
the number of the parameter through all groups. All else is JSON among the texts of the header, by
names that start with "tape.": the table of aliases, the optimizer's settings, step, generators.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tape.errors import CheckpointError, TapeError
from tape.serialize.format import Header, parsed, shown

__all__ = ["OPTIMIZER", "OWN", "Contents", "assembled", "contents_of", "dismantled", "text_of"]

VERSION = "1"
OWN = "tape."  # texts of the header that are ours
OPTIMIZER = "optimizer:"
KINDS = {"aliases": dict, "optimizer": dict, "step": int, "rng": dict}


class Contents(NamedTuple):
    """A header, read."""

    names: dict[str, list[str]]  # of each of the model's arrays: its own and the aliases
    moments: list[str]  # names of the optimizer's arrays
    optimizer: dict[str, Any] | None
    rng: dict[str, Any]
    step: int | None
    metadata: dict[str, str]


def text_of(own: Mapping[str, Any]) -> dict[str, str]:
    """Texts for a header that hold these values.

    Raises:
        TypeError: a setting is no number, text or list of these.
    """
    texts = {name: json_of(name, value) for name, value in own.items()}
    return {OWN + name: text for name, text in {"version": VERSION, **texts}.items()} if own else {}


def json_of(name: str, value: Any) -> str:
    """A value as JSON."""
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: {name} has what JSON cannot hold: {error}") from None


def contents_of(header: Header, path: str) -> Contents:
    """What the header of a file says.

    Raises:
        CheckpointError: what tape writes there is damaged, or written by a later version.
    """
    metadata = header.metadata
    version = metadata.get(OWN + "version")
    if version is None:  # of another library: all texts are its own
        return Contents({name: [name] for name in header.entries}, [], None, {}, None, metadata)
    if version != VERSION:
        raise CheckpointError(
            f"load: {path}: written in version {shown(version)}, this tape reads {VERSION}"
        )
    own = {
        name: parsed(metadata[OWN + name], f"load: {path}: {OWN}{name}", kind, constants=True)
        for name, kind in KINDS.items()
        if OWN + name in metadata
    }
    if own.get("step", 0) < 0:
        raise CheckpointError(f"load: {path}: {OWN}step is damaged: {own['step']}")
    is_moment = {name: "optimizer" in own and name.startswith(OPTIMIZER) for name in header.entries}
    names = {name: [name] for name in header.entries if not is_moment[name]}
    for alias, name in own.get("aliases", {}).items():
        if alias in header.entries or not isinstance(name, str) or name not in names:
            raise CheckpointError(f"load: {path}: {alias} cannot be the same as {shown(name)}")
        names[name].append(alias)
    return Contents(
        names,
        [name for name in header.entries if is_moment[name]],
        own.get("optimizer"),
        own.get("rng", {}),
        own.get("step"),
        {name: text for name, text in metadata.items() if not name.startswith(OWN)},
    )


def dismantled(
    optimizer: Any, paths: Mapping[int, str]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The state of an optimizer as what JSON can hold, and its arrays.

    Args:
        optimizer: is not changed.
        paths: of parameters by identity.
    """
    state = optimizer.state_dict()
    steps: dict[str, int] = {}
    arrays: dict[str, np.ndarray] = {}
    for i, entry in state["state"].items():
        steps[str(i)] = entry["step"]
        arrays |= {f"{OPTIMIZER}{i}:{key}": a for key, a in entry.items() if key != "step"}
    groups = [
        {**settings, "params": [paths.get(id(tensor)) for tensor in group["params"]]}
        for settings, group in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {"kind": type(optimizer).__name__, "param_groups": groups, "steps": steps}, arrays


def assembled(
    optimizer: Any,
    contents: Contents,
    arrays: Mapping[str, np.ndarray],
    paths: Mapping[int, list[str]],
) -> tuple[Any, list[str]]:
    """New groups of an optimizer, and all that is wrong with what the file says of them.

    Args:
        optimizer: is not changed.
        contents: of the file.
        arrays: those of the optimizer are kept as they are.
        paths: of parameters by identity, all of each.
    """
    name, saved = type(optimizer).__name__, contents.optimizer
    if saved is None:
        return None, [f"the file has no state of an optimizer, for this {name}"]
    if saved.get("kind") != name:
        return None, [f"the file has the state of {saved.get('kind')!r}, this is {name!r}"]
    groups, steps = saved.get("param_groups"), saved.get("steps")
    if not isinstance(groups, list) or not isinstance(steps, dict):
        return None, [f"{name}: its state is damaged"]
    state: dict[Any, dict[str, Any]] = {number(i): {"step": n} for i, n in steps.items()}
    for key in contents.moments:
        _, i, part = (key + "::").split(":", 2)
        state.setdefault(number(i), {})[part[:-2]] = arrays[key]
    listed = [g.get("params") if isinstance(g, dict) else None for g in groups]
    saved_paths = [p for params in listed if isinstance(params, list) for p in params]
    labels = [p if isinstance(p, str) else None for p in saved_paths]
    try:
        fresh, faults = optimizer.plan_load({"param_groups": groups, "state": state}, labels)
    except TapeError as error:
        return None, [error.args[0]]
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    for n, (tensor, path) in enumerate(zip(tensors, labels, strict=True)):
        here = paths.get(id(tensor))
        if here and path is not None and not set(here) & set(contents.names.get(path, [path])):
            faults.append(f"{name}: its parameter {n} is {here[0]}, in the file it is {path}")
    return fresh, faults


def number(text: str) -> int | str:
    """The number of a parameter; what is none is left for the list of faults."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else text
