"""The tree below a module: what it holds, walked without recursion, and what paths name in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from functools import cache
from typing import Any

from tape._core.tensor import Tensor
from tape.errors import DTypeError, TapeError, nearest
from tape.nn.call import Called
from tape.nn.parameter import Parameter, Uninferred

__all__ = ["below", "held", "inside_out", "places", "resolve", "select", "walk"]

CONTAINERS = (list, tuple, dict, set, frozenset)
PARTS = (Called, Parameter, Uninferred)
SWITCHES = {"freeze": False, "unfreeze": True}  # what requires_grad_ takes to do so with one


def held(module: Any) -> Iterator[tuple[str, Any]]:
    """(name, parameter, buffer, module or `Uninferred`, made or not) of a module's own."""
    for name, value in module.attributes():
        if isinstance(value, PARTS):
            yield name, value
        elif name in module._buffers:
            if value is not None:
                yield name, checked_buffer(module, name, value)
        elif isinstance(value, CONTAINERS):
            yield from contained(module, name, value, ())


def contained(owner: Any, name: str, value: Any, above: tuple[Any, ...]) -> Iterator[Any]:
    """The entries inside a list, tuple or dictionary, as name.0 or name.key."""
    if isinstance(value, (set, frozenset)):
        if any(isinstance(part, PARTS) for part in value):
            raise TapeError(
                f"{type(owner).__name__}.{name} is a set, which has no order: use a list"
            )
        return
    if any(value is outer for outer in above):
        raise TapeError(f"{type(owner).__name__}.{name} is the {type(value).__name__} it is in")
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(part, PARTS):
            yield f"{name}.{key}", part
        elif isinstance(part, CONTAINERS):
            yield from contained(owner, f"{name}.{key}", part, (*above, value))


def checked_buffer(owner: Any, name: str, value: Any) -> Any:
    """The value itself, if it is what a buffer may be."""
    if not isinstance(value, Tensor):
        raise DTypeError(
            f"{type(owner).__name__}.{name} is a buffer: it takes tensors, not "
            f"{type(value).__name__}"
        )
    return value


def walk(root: Any, again: bool, paths: Any = object) -> Iterator[tuple[str, Any, Any, str]]:
    """What `Module.walk` gives; paths, which cost much in deep trees, of these types alone.

    Those of all entries are put together on the way down, those of some when one comes up.
    """
    yield "", root, root, ""
    seen: set[int] = set()
    above = {id(root)}
    stack = [("", root, root.entries())]
    trail: list[list[Any]] = []
    while stack:
        at, owner, entries = stack[-1]
        for name, entry in entries:
            is_module = isinstance(entry, Called)
            if is_module and id(entry) in above:
                path = below_path(at, name) if paths is object else joined(trail, name)
                raise TapeError(
                    f"{path} is the {type(entry).__name__} that contains it: a tree has "
                    "no cycles; keep a reference to a module above in a weakref, or pass it to "
                    "forward"
                )
            if not again:
                if id(entry) in seen:
                    continue
                seen.add(id(entry))
            if paths is object:
                path = below_path(at, name)
            else:
                path = joined(trail, name) if isinstance(entry, paths) else ""
            yield path, entry, owner, name
            if is_module:
                above.add(id(entry))
                stack.append((path, entry, entry.entries()))
                trail.append([name, None])
                break
        else:
            stack.pop()
            if trail:
                trail.pop()
            above.discard(id(owner))


def below_path(at: str, name: str) -> str:
    """The path of a name below the module at a path."""
    return f"{at}.{name}" if at else name


def joined(trail: list[list[Any]], name: str) -> str:
    """The path of a name below modules in each other.

    Args:
        trail: the name of each, from the top, and its path, or None; that of the last is set.
        name: below the last.
    """
    known = len(trail)
    while known and trail[known - 1][1] is None:
        known -= 1
    if known < len(trail):
        head = trail[known - 1][1:] if known else []
        trail[-1][1] = ".".join([*head, *[at for at, _ in trail[known:]]])
    return below_path(trail[-1][1] if trail else "", name)


def places(root: Any) -> Iterator[tuple[str, Any, Any, str | None]]:
    """(path, entry, owner, first) of all entries of the modules below, depth first.

    What is shared comes up once for each module that holds it, and `first` is the path it came up
    at before; None for what is new. The modules in it are not entered again.
    """
    seen: dict[int, str] = {id(root): ""}
    yield "", root, None, None
    stack = [("", root, root.entries())]
    while stack:
        at, owner, entries = stack[-1]
        for name, entry in entries:
            path, first = below_path(at, name), seen.get(id(entry))
            seen.setdefault(id(entry), path)
            yield path, entry, owner, first
            if first is None and isinstance(entry, Called):
                stack.append((path, entry, entry.entries()))
                break
        else:
            stack.pop()


def below(*roots: Any) -> list[Any]:
    """The modules and all below them, each once, depth first."""
    found: dict[int, Any] = {}
    todo = list(reversed(roots))
    while todo:
        module = todo.pop()
        if id(module) not in found:
            found[id(module)] = module
            parts = [part for _, part in module.entries() if isinstance(part, Called)]
            todo += reversed(parts)
    return list(found.values())


def resolve(root: Any, path: str) -> tuple[Any, Any, str] | None:
    """(entry, owner, name in it) of a path, whichever of an entry's paths, or None."""
    if not path:
        return root, root, ""
    todo = [(root, path)]
    while todo:
        owner, rest = todo.pop()
        for name, entry in [*owner.entries(), *owner.listed()]:
            if name == rest:
                return entry, owner, name
            if isinstance(entry, Called) and rest.startswith(f"{name}."):
                todo.append((entry, rest[len(name) + 1 :]))
    return None


def select(action: str, root: Any, where: str | Callable[[Any], Any]) -> list[Any]:
    """The modules of a tree that a path, pattern, predicate or class names, in order.

    Raises:
        TapeError: there is none.
        TypeError: `where` is something else.
    """
    if isinstance(where, Called) or not (isinstance(where, str) or callable(where)):
        raise TypeError(
            f"{action}: takes a path, a pattern such as 'features.*', a class or a function of a "
            f"module, got {kind(where)}"
        )
    if not isinstance(where, str):
        if isinstance(where, type):
            cls = where
            found = [module for module in below(root) if isinstance(module, cls)]
            missing = f"there is no {cls.__name__} in"
        else:
            found = [module for module in below(root) if where(module)]
            missing = "the predicate holds for no module of"
        if not found:
            raise TapeError(f"{action}: {missing} {kind(root)}")
        return found
    exact = resolve(root, where)
    if exact is not None and isinstance(exact[0], Called):
        return [exact[0]]
    matching = named(root, where)
    if not matching:
        raise unknown(action, root, where, exact)
    return matching


def named(root: Any, pattern: str) -> list[Any]:
    """The modules one of whose paths matches a pattern, as in a shell; * takes dots as well.

    A module has as many paths as there are ways to it, which may be very many. So none is put
    together: what counts is how far into the pattern any of them has come.
    """
    from fnmatch import fnmatchcase

    tokens = re.findall(r"\*|\[!?]?[^]]*]|.", pattern, re.DOTALL)
    if not any(token[0] in "*?[" for token in tokens):
        return []

    def closed(places: set[int]) -> frozenset[int]:
        """The places in the pattern, and those behind a * that may stand for nothing."""
        for place in range(len(tokens)):
            if place in places and tokens[place] == "*":
                places.add(place + 1)
        return frozenset(places)

    @cache
    def after(places: frozenset[int], sign: str) -> frozenset[int]:
        further = {place for place in places if tokens[place : place + 1] == ["*"]}
        for place in places - further - {len(tokens)}:
            if fnmatchcase(sign, tokens[place]):
                further.add(place + 1)
        return closed(further)

    reached: dict[int, frozenset[int]] = {id(root): closed({0})}
    found = []
    for module in reversed(inside_out(root, ())):
        at = reached[id(module)]
        if len(tokens) in at:
            found.append(module)
        for name, part in module.entries():
            if isinstance(part, Called):
                places = at if module is root else after(at, ".")
                for sign in name:
                    places = after(places, sign)
                reached[id(part)] = reached.get(id(part), frozenset()) | places
    return found


def inside_out(root: Any, without: Collection[int]) -> list[Any]:
    """The modules of a tree, each after all below it, but for some ids and what only these hold."""
    order, seen = [], set(without)
    todo: list[tuple[Any, bool]] = [(root, False)]
    while todo:
        module, is_done = todo.pop()
        if is_done:
            order.append(module)
        elif id(module) not in seen:
            seen.add(id(module))
            todo.append((module, True))
            parts = [part for _, part in module.entries() if isinstance(part, Called)]
            todo += [(part, False) for part in parts]
    return order


def unknown(action: str, root: Any, path: str, exact: Any = None) -> TapeError:
    """The error for a path that names no module of a tree."""
    if exact is not None:
        what = "parameter" if isinstance(exact[0], (Parameter, Uninferred)) else "buffer"
        what = what if isinstance(exact[0], (Tensor, Uninferred)) else "function"
        may_stay = what == "parameter" and action in SWITCHES
        hint = f"; requires_grad_({SWITCHES[action]}) is for one alone" if may_stay else ""
        return TapeError(f"{action}: {path} is a {what} of {kind(root)}, not a module{hint}")
    paths = [at for at, entry, _, _ in walk(root, again=False) if isinstance(entry, Called) and at]
    if any(at.startswith(f"{path}.") for at in paths):  # a list or dictionary of modules
        return TapeError(
            f"{action}: {path} of {kind(root)} is no module itself: '{path}.*' names those in it"
        )
    hint = nearest(path, paths, 3)
    if not hint:
        few = ", ".join(paths[:5]) + ", ..." * (len(paths) > 5)
        hint = f"; it has {few}" if paths else ", which has none"
    return TapeError(f"{action}: {path!r} names no module of {kind(root)}{hint}")


def kind(module: Any) -> str:
    """The name of a module's class, with an article."""
    name = type(module).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
