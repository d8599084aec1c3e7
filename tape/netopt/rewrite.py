"""`rewrite`: a copy of a model with other modules in it, the engine under every transform.

Note [Rewriting]
The whole is copied, then what stands for the replaced modules is put into the copy. What new
modules are made of is copied with the same memory: a parameter of the original that a new module
takes over is that parameter of the copy there, what two new modules share they share, and nothing
of the result is an object of the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tape.errors import TapeError
from tape.nn.call import Called
from tape.nn.clone import twins
from tape.nn.module import Module
from tape.nn.parameter import Parameter, is_parameter, scopes
from tape.nn.replace import outermost
from tape.nn.replace import replace as put_in
from tape.nn.tree import below, select

__all__ = ["broken_ties", "path_of", "rewrite", "rewritten", "unscoped"]

Parts = dict[int, tuple[Module, Module]]  # (old, new) by the id of the old


def rewrite(
    model: Module,
    match: str | Callable[[Module], Any],
    replace: Callable[[Any], Module | None],
    optimizer: Any = None,
) -> Any:
    """A copy of `model` in which what `match` names is what `replace` makes of it.

    The original stays as it is, and training the copy does not change it. Paths, shared modules,
    training mode, frozen state and what needs no gradient carry over. A module that is shared is
    replaced once, at all its places; of modules inside each other the outer one is replaced.

    Args:
        model: the tree.
        match: a path, a pattern such as ``"features.*"``, or a function that says so of a module
            of the original.
        replace: called with each of these modules; gives the new one, which may contain the old
            one or its parameters, or None to leave it as it is. An `activation` of the old module
            that is nowhere in the new one becomes the new one's `activation`.
        optimizer: goes on with the result instead of the original, see `Optimizer.follow`.

    Raises:
        TapeError: `match` holds for nothing; a new module has no place for the old activation; or
            a parameter would go that a module which stays shares.
        TypeError: `model` is no module, or `replace` gives something else than modules.

    >>> import tape
    >>> from tape import netopt, nn
    >>> net = nn.Sequential(nn.Dense(4, 3, activation=tape.tanh), nn.Dense(2, 4))
    >>> wider = netopt.rewrite(net, "0", lambda old: nn.Dense(4, 3, bias=False))
    >>> wider[0]
    Dense(4, activation=tanh, bias=False): weight (4, 3): 12 parameters
    >>> wider[1].weight is net[1].weight
    False
    """
    if not isinstance(model, Module):
        raise TypeError(f"rewrite: takes a module, got a {type(model).__name__}")
    if not callable(replace) or isinstance(replace, Called):
        raise TypeError(f"rewrite: replace is a function of the old module, got {replace!r}")
    parts: Parts = {}
    for old in outermost(model, select("rewrite", model, match)):
        new = replace(old)
        if new is not None and not isinstance(new, Module):
            raise TypeError(
                f"rewrite: replace gave {new!r} for {path_of(model, old)}, not a module or None"
            )
        if new is not None and new is not old:
            parts[id(old)] = old, new
    return rewritten(model, parts, optimizer)


def rewritten(model: Module, parts: Parts, optimizer: Any = None) -> Any:
    """A copy of a model with these new modules for old ones; see `rewrite`."""
    for path, also in broken_ties(model, parts).values():
        raise TapeError(
            f"rewrite: {path} would go, but is also {also}, which stays: replace both, or neither"
        )
    memo: dict[int, Any] = {}
    whole = twins(model, memo, share=False)
    made: dict[int, Any] = {}
    for old, new in parts.values():
        twin = twins(new, memo, share=False)
        keep_activation(path_of(model, old), old, memo[id(old)], twin)
        keep_learning(old, twin)
        if old.is_frozen:
            twin.freeze()
        made[id(memo[id(old)])] = twin
    if made:
        whole = put_in(whole, lambda m: id(m) in made, lambda m: made[id(m)])
    if optimizer is not None:
        optimizer.follow(model, whole)
    return whole


def broken_ties(model: Module, parts: Parts) -> dict[int, tuple[str, str]]:
    """(path that would go, path that would stay) of tied parameters, by the id of the old module.

    A parameter of an old module may go only if all modules that hold it are replaced, or are only
    in replaced ones.
    """
    going: dict[int, tuple[int, str]] = {}
    for old, new in parts.values():
        kept = {id(entry) for module in below(new) for _, entry in module.entries()}
        at = path_of(model, old)
        for path, entry, _, _ in old.walk():
            if is_parameter(entry) and id(entry) not in kept:
                going.setdefault(id(entry), (id(old), f"{at}.{path}" if at else path))
    found: dict[int, tuple[str, str]] = {}
    if not going:
        return found
    holders = [(module, module) for module in reached(model, set(parts))]
    # A replaced module that takes the parameter over holds on to it as well.
    holders += [(module, old) for old, new in parts.values() for module in below(new)]
    for module, place in holders:
        for name, entry in module.entries():
            if id(entry) in going:
                old_id, gone = going[id(entry)]
                found.setdefault(old_id, (gone, f"{path_of(model, place)}.{name}".lstrip(".")))
    return found


def reached(model: Module, without: set[int]) -> list[Module]:
    """The modules of a tree that one comes to without passing some."""
    found: dict[int, Module] = {}
    todo: list[Any] = [model]
    while todo:
        module = todo.pop()
        if id(module) not in found and id(module) not in without:
            found[id(module)] = module
            todo += [part for _, part in module.entries() if isinstance(part, Called)]
    return list(found.values())


def keep_activation(path: str, old: Module, old_twin: Module, new: Any) -> None:
    """Give the new module the activation of the old one if it has none.

    Args:
        path: of the old module.
        old: with the activation.
        old_twin: its copy, whose activation is the copy of it if that is a module.
        new: what replaces it; one that contains the old one, or says what its own activation is,
            is left as it is.

    Raises:
        TapeError: there is no place for one.
    """
    activation = vars(old_twin).get("activation")
    if activation is None:
        return
    for module in below(new):
        if module is old_twin or vars(module).get("activation") is not None:
            return
        listed = vars(module).get("layers")
        if any(value is activation for value in [*vars(module).values(), *(listed or ())]):
            return
    if "activation" not in vars(new):
        raise TapeError(
            f"rewrite: {type(new).__name__} for {path or 'the whole'} has no activation, the "
            f"{type(old).__name__} has {getattr(activation, '__name__', activation)}: give it an "
            "attribute `activation`, None to have it set"
        )
    new.activation = activation


def keep_learning(old: Module, new: Module) -> None:
    """Let parameters of the new module learn only if those of the old one do.

    The one of the same path decides; for others, whether any of the old one learns.
    """
    if old.is_frozen:  # which settles what learns once it thaws
        return
    before = {path: entry for path, entry, _, _ in old.walk() if isinstance(entry, Parameter)}
    learns = not before or any(entry.requires_grad for entry in before.values())
    for path, entry, _, _ in new.walk():
        if isinstance(entry, Parameter):
            ancestor = before.get(path)
            if not (learns if ancestor is None else ancestor.requires_grad):
                entry.requires_grad_(False)


@contextmanager
def unscoped() -> Iterator[None]:
    """New layers get parameters of their own, also where a `nn.scope` is open."""
    token = scopes.set(None)
    try:
        yield
    finally:
        scopes.reset(token)


def path_of(model: Module, module: Module) -> str:
    """The first path of a module in a tree, "" for the whole."""
    return next(path for path, entry in model.named_modules() if entry is module)
