"""An optimizer follows a model through surgery: who keeps its state, who is new, who is gone."""

from __future__ import annotations

from typing import Any, NamedTuple

from tape._core.tensor import Tensor
from tape.nn.module import Module
from tape.nn.parameter import Parameter
from tape.optim.groups import Group
from tape.optim.steps import Track

__all__ = ["Followed", "follow"]

Place = tuple[int, int]  # the group, and the number of the parameter in it


class Followed(NamedTuple):
    """Paths of what an optimizer has carried over, begun, and dropped."""

    carried: list[str]
    fresh: list[str]
    dropped: list[str]


def follow(optimizer: Any, old: Any, new: Any) -> tuple[list[Group], Followed]:
    """New groups with the parameters of another model; see `Optimizer.follow`."""
    name = f"{type(optimizer).__name__}.follow"
    for model in (old, new):
        if not isinstance(model, Module):
            raise TypeError(f"{name}: takes modules, old and new, got a {type(model).__name__}")
    groups = optimizer.param_groups
    places: dict[int, Place] = {
        id(tensor): (g, i)
        for g, group in enumerate(groups)
        for i, tensor in enumerate(group.track.tensors)
    }
    before = [(path, entry) for path, entry, _, _ in old.walk() if isinstance(entry, Parameter)]
    after = list(new.named_parameters())
    if not any(id(entry) in places for _, entry in before):
        raise ValueError(
            f"{name}: none of the {len(before)} parameters of old is in this optimizer: old is "
            "the model that it was made for"
        )
    ancestors = matched(old, before, after)
    known = groups_at([(path, places.get(id(entry))) for path, entry in before])
    mine = {id(entry) for _, entry in before}
    coming = {id(entry) for _, entry in after}
    rows: list[list[tuple[Tensor, Place | None]]] = [
        [
            (tensor, (g, i))
            for i, tensor in enumerate(group.track.tensors)
            if id(tensor) not in mine and id(tensor) not in coming
        ]
        for g, group in enumerate(groups)
    ]
    followed = Followed([], [], [])
    used: set[Place | None] = {None}
    for path, entry in after:
        ancestor = ancestors.get(id(entry))
        at = places.get(id(entry), places.get(id(ancestor)))
        if at is not None:
            rows[at[0]].append((entry, at))
            followed.carried.append(path)
            used.add(at)
        elif ancestor is None and (group := home(path, known)) is not None:
            rows[group].append((entry, None))
            followed.fresh.append(path)
    followed.dropped.extend(path for path, e in before if places.get(id(e)) not in used)
    return [moved(group, row, groups) for group, row in zip(groups, rows, strict=True)], followed


def matched(
    old: Module, before: list[tuple[str, Parameter]], after: list[tuple[str, Parameter]]
) -> dict[int, Parameter]:
    """The old parameter, by the id of the new one that continues it: itself, or at its path."""
    mine = {id(entry) for _, entry in before}
    same = {id(entry): entry for _, entry in after if id(entry) in mine}
    if same:
        return same
    everywhere = old.walk(again=True)
    at_path = {path: entry for path, entry, _, _ in everywhere if isinstance(entry, Parameter)}
    return {
        id(entry): at_path[path]
        for path, entry in after
        if path in at_path and entry.shape == at_path[path].shape
    }


def groups_at(old: list[tuple[str, Place | None]]) -> dict[str, int | None]:
    """The group of the first parameter at or below each path, None for one that has none."""
    found: dict[str, int | None] = {}
    for path, place in old:
        at = path
        while at not in found:
            found[at] = None if place is None else place[0]
            at = at.rpartition(".")[0]
    return found


def home(path: str, groups: dict[str, int | None]) -> int | None:
    """The group of the old parameter at the nearest path: the same, or the longest begin."""
    while path not in groups:
        path = path.rpartition(".")[0]
    return groups[path]


def moved(group: Group, row: list[tuple[Tensor, Place | None]], groups: list[Group]) -> Group:
    """A group with the settings of an old one and other parameters, which bring their state."""
    tensors = [tensor for tensor, _ in row]
    track = Track(tensors)
    for k, (_, place) in enumerate(row):
        if place is None:
            continue
        source = groups[place[0]].track
        track.steps[k] = source.steps[place[1]]
        for name, column in source.columns.items():
            array = column[place[1]]
            if array is not None and array.dtype != tensors[k].dtype:
                array = array.astype(tensors[k].dtype)
            track.columns.setdefault(name, [None] * len(tensors))[k] = array
    track.compare()
    return group.with_track(track)
