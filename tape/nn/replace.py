"""`replace`: a new tree with other modules in it, which shares all that stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tape._core.op import Op
from tape.errors import TapeError
from tape.nn.call import Called
from tape.nn.clone import shallow
from tape.nn.freeze import mode_of
from tape.nn.module import Module
from tape.nn.state import settle
from tape.nn.tree import below, inside_out, resolve, select, walk

__all__ = ["outermost", "replace"]


def replace(
    model: Module, where: str | Callable[[Module], Any], new: Module | Callable[[Any], Any]
) -> Any:
    """A tree like `model` with `new` in place of what `where` names; `model` stays as it is.

    What is not replaced is shared: the same modules and parameters. The modules on the way to what
    is replaced are copied, without what is below them, in the mode and as frozen as they are; the
    new modules take on the mode, training or not, of what they replace, and are not frozen. A
    module that is shared is replaced at all its places, whichever of its paths names it. Of modules
    inside each other the outer one is replaced. Let an optimizer know by `Optimizer.follow`.

    Args:
        model: the tree.
        where: a path, a pattern of paths such as ``"features.*"``, in which * takes dots as well,
            a class, or a function that says so of a module. The path of a function among layers, as
            in `Sequential`, names that place alone.
        new: a module, or an op such as `tape.relu`, the same for all that is replaced; or a
            function that is called with each old module and gives the new one, which may contain
            the old.

    Raises:
        TapeError: `where` holds for nothing, and the nearest paths are listed; or `new` contains a
            module on the way to what it replaces.
        TypeError: `model` is no module, or `new` neither a layer nor a function that gives one.

    >>> import tape
    >>> from tape import nn
    >>> net = nn.Sequential(nn.Dense(4, 3), tape.tanh, nn.Dense(2, 4))
    >>> other = nn.replace(net, "2", nn.Dense(5, 4))
    >>> other[0] is net[0], other[2].n_out, net[2].n_out
    (True, 5, 2)
    >>> nn.replace(other, "1", tape.relu)[1].name
    'relu'
    """
    if not isinstance(model, Module):
        raise TypeError(f"replace: takes a module, got a {type(model).__name__}")
    if not callable(new) or isinstance(new, type):
        raise TypeError(f"replace: new is a module or a function of the old one, got {new!r}")
    refuse_loops(model)
    place = resolve(model, where) if isinstance(where, str) else None
    if place is not None and callable(place[0]) and not isinstance(place[0], Called):
        old, owner, name = place
        parts, modes = made([(old, owner)], new)
        number = [n for n, _ in owner.named_layers()].index(name)
        return rebuilt(model, {}, modes, (owner, number, parts[id(old)]))
    targets = outermost(model, select("replace", model, where))
    parts, modes = made([(old, old) for old in targets], new)
    if id(model) in parts and not isinstance(parts[id(model)], Module):
        raise TypeError(
            f"replace: the whole cannot become {parts[id(model)]!r}, which is no module"
        )
    return rebuilt(model, parts, modes, None)


def outermost(model: Module, chosen: list[Module]) -> list[Module]:
    """Those of the modules that can be reached without passing another one, in order."""
    wanted = {id(module) for module in chosen}
    found: dict[int, Module] = {}
    todo: list[Any] = [model]
    seen = set()
    while todo:
        module = todo.pop()
        if id(module) in wanted:
            found.setdefault(id(module), module)
        elif id(module) not in seen:
            seen.add(id(module))
            todo += [part for _, part in module.entries() if isinstance(part, Called)]
    return [module for module in chosen if id(module) in found]


def made(pairs: list[tuple[Any, Any]], new: Any) -> tuple[dict[int, Any], list[tuple[Any, bool]]]:
    """What takes the place of each old part, by its id, with the mode it takes on.

    Args:
        pairs: (old part, module whose mode it has).
        new: the new module, or the function that makes it.
    """
    parts, modes = {}, []
    for old, near in pairs:
        part = new if isinstance(new, (Called, Op)) else new(old)
        if not callable(part) or isinstance(part, type):
            raise TypeError(f"replace: new gave {part!r} for a {type(old).__name__}, not a module")
        parts[id(old)] = part
        modes.append((part, mode_of(near)))
    return parts, modes


def rebuilt(model: Any, parts: dict[int, Any], modes: list[tuple[Any, bool]], place: Any) -> Any:
    """Copies of all modules that contain a replaced part, in each other as the originals are.

    Args:
        model: the original.
        parts: what replaces what, by id of the old; the copies are added.
        modes: (new part, mode it takes on).
        place: (owner, number, layer) of a layer to set, or None.
    """
    known = {id(module) for module in below(model)}
    copied: dict[int, Any] = {}
    for module in inside_out(model, parts):
        is_owner = place is not None and module is place[0]
        held = [part for _, part in module.entries() if isinstance(part, Called)]
        if is_owner or any(id(part) in parts for part in held):
            twin = parts[id(module)] = shallow(module, parts)
            copied[id(module)] = module
            if is_owner:
                twin[place[1]] = place[2]
    changes = []
    for part, mode in modes:
        inside = below(part) if isinstance(part, Called) else []
        refuse_cycles(model, part, inside, copied)
        for module in inside:
            if id(module) not in known:
                name = "_thawed_mode" if module.is_frozen else "training"
                changes.append((vars(module), {name: mode}))
    settle(changes, [])
    return parts.get(id(model), model)


def refuse_loops(module: Any) -> None:
    """TapeError if a module contains itself, or one below does."""
    for _ in walk(module, again=False, paths=()):
        pass


def refuse_cycles(model: Any, part: Any, inside: list[Any], copied: dict[int, Any]) -> None:
    """TapeError if a new part contains itself, or a module on the way to what is replaced."""
    if inside:
        refuse_loops(part)
    for module in inside:
        if id(module) in copied:
            path = next(at for at, m in model.named_modules() if m is module) or "the whole"
            raise TapeError(
                f"replace: the new {type(part).__name__} contains {path}, which contains what it "
                "replaces: a tree has no cycles; give it a clone, or the parts below"
            )
