"""Looking around in a recorded graph: `walk`, `find`, `find_all`."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from tape._core import recorded
from tape._core.tensor import Tensor
from tape.errors import GraphError

__all__ = ["find", "find_all", "labels", "nearest", "walk"]


def walk(outputs: Any) -> Iterator[Tensor]:
    """All recorded tensors that the outputs were made of, and these: depth first.

    Each comes once, before its operands, which follow from left to right. What was not recorded,
    such as data and constants that are gone, comes as far as it is known.

    Args:
        outputs: a tensor, or several in a list, a tuple or a dictionary.

    Raises:
        TypeError: something else.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0]).named("x")
    >>> [t.op.name if t.op else t.name for t in tape.graph.walk((x * 2).sum())]
    ['sum', 'multiply', None]
    """
    seen: set[int] = set()
    stack = ends(outputs)[::-1]
    while stack:
        t = stack.pop()
        if t.serial in seen:
            continue
        seen.add(t.serial)
        yield t
        parts = recorded.operands(t) or ()
        stack.extend(x for x in reversed(parts) if isinstance(x, Tensor))


def ends(outputs: Any) -> list[Tensor]:
    """The outputs as a list."""
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    parts = [parts] if isinstance(parts, Tensor) else list(parts)
    for part in parts:
        if not isinstance(part, Tensor):
            raise TypeError(f"graph: outputs are tensors, got a {type(part).__name__}")
    return parts


def find_all(outputs: Any, name: str) -> list[Tensor]:
    """The recorded tensors of that name, in the order of `walk`; none, and the list is empty.

    A tensor has the names it was given (`Tensor.named`), and the paths of the modules that gave it
    as their result: "features.conv1" in the module that gave an output, or its class's name and
    the path. A parameter has its path.

    Raises:
        TypeError: the name is no string.

    >>> import tape
    >>> from tape import nn
    >>> net = nn.Sequential(nn.Dense(4, 3), tape.tanh, nn.Dense(2))
    >>> y = net(tape.ones((5, 3)))
    >>> [t.shape for t in tape.graph.find_all(y, "0")]
    [(5, 4)]
    """
    if not isinstance(name, str):
        raise TypeError(f"find: a name is a string, got a {type(name).__name__}")
    return [t for t, known in labelled(outputs) if name in known]


def find(outputs: Any, name: str) -> Tensor | None:
    """The recorded tensor of that name, None if there is none; see `find_all`.

    Raises:
        GraphError: several have it.
        TypeError: the name is no string.
    """
    found = find_all(outputs, name)
    if len(found) > 1:
        raise GraphError(f"find: {len(found)} tensors are named {name!r}: take one from find_all")
    return found[0] if found else None


def labels(outputs: Any) -> dict[int, list[str]]:
    """Names and paths of all recorded tensors by serial number."""
    return {t.serial: known for t, known in labelled(outputs)}


def nearest(outputs: Any, name: str) -> str:
    """A hint at the names most like one that is not there, to end an error with."""
    known = sorted({label for _, found in labelled(outputs) for label in found if label})
    close = get_close_matches(name, known, n=3) or known[:5]
    return f"; there are {', '.join(map(repr, close))}" if close else "; nothing has a name"


def labelled(outputs: Any) -> Iterator[tuple[Tensor, list[str]]]:
    """All recorded tensors with their names and paths."""
    tensors = list(walk(outputs))
    paths = paths_from(tensors)
    entries: dict[int, str] = {}
    for t in tensors:
        module = recorded.module(t)
        if module is not None and id(module) in paths:
            for name, entry in module.entries():
                if isinstance(entry, Tensor):
                    entries.setdefault(entry.serial, joined(paths[id(module)][0], name))
    for t in tensors:
        known = list(recorded.names(t))
        for module in recorded.results_of(t):
            known += paths.get(id(module), [])
        if t.serial in entries:
            known.append(entries[t.serial])
        yield t, known


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def paths_from(tensors: list[Tensor]) -> dict[int, list[str]]:
    """The paths of all modules that took part, seen from the outermost ones."""
    took_part = {id(m): m for t in tensors for m in recorded.results_of(t)}
    inner: set[int] = set()
    trees: dict[int, list[tuple[str, Any]]] = {}
    for key, module in took_part.items():
        tree = trees[key] = list(module.named_modules())
        inner.update(id(below) for path, below in tree if path)
    paths: dict[int, list[str]] = {}
    for key, module in took_part.items():
        if key in inner:
            continue
        for path, below in trees[key]:
            paths.setdefault(id(below), []).append(path or type(module).__name__)
    return paths
