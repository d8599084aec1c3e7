"""Looking around in a recorded graph: `walk`, `find`, `find_all`."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from tape._core import recorded
from tape._core.tensor import Tensor
from tape.errors import GraphError
from tape.nn.call import Called
from tape.nn.tree import below, places, resolve

__all__ = ["ends", "find", "find_all", "nearest", "outermost", "walk"]


def walk(outputs: Any) -> Iterator[Tensor]:
    """All recorded tensors that the outputs were made of, and these: depth first.

    Each comes once, before its operands, which follow from left to right. What was not recorded,
    such as data and constants that are gone, comes as far as it is known. A parameter that has not
    changed since comes as the same object, what else there is as a handle with the first name that
    it was given.

    Args:
        outputs: a tensor, or several in a list, a tuple or a dictionary.

    Raises:
        TypeError: something else.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0]).named("x")
    >>> [t.op.name if t.op else t.name for t in tape.graph.walk((x * 2).sum())]
    ['sum', 'multiply', 'x']
    """
    seen: set[int] = set()
    stack = ends(outputs)[::-1]
    while stack:
        t = stack.pop()
        if t.serial in seen:
            continue
        seen.add(t.serial)
        parts = recorded.operands(t) or ()
        owner = None if parts else recorded.owner(t)
        yield t if owner is None or owner.serial != t.serial else owner
        stack.extend(x for x in reversed(parts) if isinstance(x, Tensor))


def ends(outputs: Any) -> list[Tensor]:
    """The outputs as a list."""
    if isinstance(outputs, Called):
        raise TypeError(
            f"graph: a {type(outputs).__name__} is recorded as it runs: give what a call of it "
            "gives, a tensor"
        )
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    parts = [parts] if isinstance(parts, Tensor) else list(parts)
    for part in parts:
        if not isinstance(part, Tensor):
            raise TypeError(f"graph: outputs are tensors, got a {type(part).__name__}")
    return parts


def find_all(outputs: Any, name: str, model: Any = None) -> list[Tensor]:
    """The recorded tensors of that name, in the order of `walk`; none, and the list is empty.

    A tensor has the names it was given (`Tensor.named`), and those of the modules that gave it as
    their result: the path, such as "features.conv1", in the outermost module that took part, whose
    own name is that of its class. A parameter or buffer has its path, and its name if it was made
    in a scope. What is shared has all of its paths.

    Args:
        outputs: as for `walk`.
        name: a name or path.
        model: module whose paths are meant; None means the outermost ones that took part, as far
            as they gave a tensor or computed something themselves.

    Raises:
        TypeError: the name is no string.

    >>> import tape
    >>> from tape import nn
    >>> net = nn.Sequential(nn.Dense(4, 3), tape.tanh, nn.Dense(2))
    >>> y = net(tape.ones((5, 3)))
    >>> [t.shape for t in tape.graph.find_all(y, "0")]
    [(5, 4)]
    >>> tape.graph.find(y, "2.bias").shape
    (2,)
    """
    if not isinstance(name, str):
        raise TypeError(f"find: a name is a string, got a {type(name).__name__}")
    tensors = list(walk(outputs))
    entries: list[Any] = []
    for root in outermost(tensors) if model is None else [model]:
        entries += [root] if name == type(root).__name__ else []
        entries += [found[0] for found in [resolve(root, name)] if name and found is not None]
    wanted = {id(entry) for entry in entries}
    serials = {entry.serial for entry in entries if isinstance(entry, Tensor)}

    def is_meant(t: Tensor) -> bool:
        if t.serial in serials or name in recorded.names(t):
            return True
        owner = recorded.owner(t)
        if owner is not None and owner.name == name:
            return True
        return any(id(x) in wanted for x in (*recorded.results_of(t), owner))

    return [t for t in tensors if is_meant(t)]


def find(outputs: Any, name: str, model: Any = None) -> Tensor | None:
    """The recorded tensor of that name, None if there is none; see `find_all`.

    Raises:
        GraphError: several have it.
        TypeError: the name is no string.
    """
    found = find_all(outputs, name, model)
    if len(found) > 1:
        raise GraphError(f"find: {len(found)} tensors are named {name!r}: take one from find_all")
    return found[0] if found else None


def nearest(outputs: Any, name: str) -> str:
    """A hint at the names most like one that is not there, to end an error with."""
    tensors = list(walk(outputs))
    known = {label for t in tensors for label in recorded.names(t)}
    owners = [owner for owner in map(recorded.owner, tensors) if owner is not None]
    known |= {owner.name for owner in owners if owner.name}
    has_result = {id(m) for t in tensors for m in recorded.results_of(t)}
    leaves = {*map(id, owners), *(t.serial for t in tensors)}
    for root in outermost(tensors):
        for path, entry, _, _ in places(root):
            is_leaf = isinstance(entry, Tensor) and not leaves.isdisjoint([id(entry), entry.serial])
            if id(entry) in has_result or is_leaf:
                known.add(path or type(root).__name__)
    close = get_close_matches(name, sorted(known), n=3) or sorted(known)[:5]
    return f"; there are {', '.join(map(repr, close))}" if close else "; nothing has a name"


def outermost(tensors: list[Tensor]) -> list[Any]:
    """The modules that took part and are in no other one that did, in the order of the tensors."""
    took_part: dict[int, Any] = {}
    for t in tensors:
        for module in (*recorded.results_of(t), recorded.module(t)):
            if module is not None:
                took_part.setdefault(id(module), module)
    inner: set[int] = set()
    for module in below(*took_part.values()):
        inner.update(id(part) for _, part in module.entries())
    return [module for key, module in took_part.items() if key not in inner]
