"""What an open scope does: which place a name stands for, and what asking for one there gives.

Note [Levels]
An open scope is a level in a chain that belongs to one thread (or asyncio task). It ends by being
closed, not by being taken from the top: a generator may be closed late, or by another thread.
"""

from __future__ import annotations

import re
import weakref
from typing import Any, NamedTuple

from tape.errors import ScopeError
from tape.nn.alike import alike
from tape.nn.arguments import settings
from tape.nn.call import on_failure
from tape.nn.init import checked, glorot_uniform, zeros
from tape.nn.names import NUMBERED, Entry, Place, Tree, called, seen
from tape.nn.opener import Open
from tape.nn.parameter import Uninferred, Wanted, asked_init, fresh

__all__ = ["Level"]

GLOROT = glorot_uniform()


class Named(NamedTuple):
    """A layer, its place, and what takes both back."""

    layer: weakref.ref[Any]
    place: Place
    base: str
    numbers: tuple[int, int]  # how many had this base before and with it
    made: list[str]


class Level(Open):
    """A place that is open, and what holds for what is made there; see Note [Levels]."""

    __slots__ = ("counters", "dtype", "init", "layers", "reuse")

    def __init__(self, tree: Tree, place: Place, reuse: Any, init: Any, dtype: Any) -> None:
        super().__init__(tree, place)
        self.reuse, self.init, self.dtype = reuse, init, dtype
        # See Note [Kept by name].
        self.counters: dict[str, int] = tree.counters if place is tree.top else {}
        self.layers: dict[int, Named] = {}

    def opened(
        self, names: list[str] | None, base: str, reuse: Any, init: Any, dtype: Any
    ) -> Level:
        """A level below this one: at `names`, or at a name made from `base`; None inherits."""
        reuse = self.reuse if reuse is None else reuse
        init = self.init if init is None else init
        dtype = self.dtype if dtype is None else dtype
        made: list[tuple[Place, str]] = []
        with self.tree.lock:
            place = self.numbered(base) if names is None else self.descend(names, reuse, made)
            place.users += 1
        level = Level(self.tree, place, reuse, init, dtype)
        level.made = made
        return level

    def descend(self, names: list[str], reuse: Any, made: list[tuple[Place, str]]) -> Place:
        """The place at `names` below this one; those that it needs are made, and noted."""
        at = self.place
        self.check_own(names[0])
        at.below("/".join(names))  # refuses what is too long before anything is made
        for name in names:
            member = at.members.get(name)
            if isinstance(member, Entry):
                raise ScopeError(
                    f"scope {at.below(name)}: the name is that of a {member.seen()}: choose "
                    "another one"
                )
            if member is not None and member.generated and reuse is not True:
                raise self.not_own(at.below(name))
            if member is None:
                made.append((at, name))
                member = at.members[name] = Place(at.below(name), False)
            at = member
        return at

    def numbered(self, base: str) -> Place:
        """A place for something without a name."""
        name, count = self.next_name(base)
        member = self.place.members.get(name)
        if isinstance(member, Entry):
            raise ScopeError(
                f"scope {self.place.below(name)}: at this place there was a {member.seen()}: a "
                "program that shares makes the same things in the same order"
            )
        if member is None:
            member = Place(self.place.below(name), True)
            if self.place is not self.tree.top:
                self.place.members[name] = member
        self.counters[base] = count
        return member

    def next_name(self, base: str) -> tuple[str, int]:
        """base, base_1, ...: the next that nothing here was called, and how many then are."""
        count = self.counters.get(base, 0)
        while True:
            name = f"{base}_{count}" if count else base
            count += 1
            member = self.place.members.get(name)
            if not self.was_numbered(name) and (member is None or member.generated):
                return name, count

    def was_numbered(self, name: str) -> bool:
        """Whether this level gave the name to something without one."""
        parts = NUMBERED.fullmatch(name)
        return self.counters.get(name, 0) > 0 or (
            parts is not None and int(parts[2]) < self.counters.get(parts[1], 0)
        )

    def check_own(self, name: str) -> None:
        """Raise ScopeError if the name was given to something without one."""
        if name not in self.place.members and self.was_numbered(name):
            raise self.not_own(self.place.below(name))

    def not_own(self, path: str) -> ScopeError:
        """The error for a name that was given to something without one."""
        return ScopeError(
            f"{path} is what something without a name was called: choose another name, or demand "
            "this one with reuse=True"
        )

    def of_layer(self, layer: Any, name: str, wanted: Wanted) -> Any:
        """The parameter `name` of a layer; if it cannot be had, the layer leaves nothing behind."""
        owner = type(layer).__name__
        with self.tree.lock:
            known = self.layers.get(id(layer))
            if known is None or known.layer() is not layer:
                known = self.begun(layer, re.sub(r"[^\w.-]", "_", owner.lower()))
            is_new = name not in known.place.members
            try:
                value = self.asked(known.place, name, wanted, owner)
            except BaseException:
                self.forget(id(layer), known)
                raise
            if is_new:
                known.made.append(name)
            return value

    def begun(self, layer: Any, base: str) -> Named:
        """The place of a layer that has none yet."""
        key, before, level = id(layer), self.counters.get(base, 0), weakref.ref(self)

        def gone(dead: Any) -> None:
            here = level()
            if here is not None and key in here.layers and here.layers[key].layer is dead:
                del here.layers[key]

        place = self.numbered(base)
        numbers = before, self.counters[base]
        known = self.layers[key] = Named(weakref.ref(layer, gone), place, base, numbers, [])
        return known

    def forget(self, key: int, known: Named) -> None:
        """Take back what was made for a layer."""
        members = known.place.members
        for name in known.made:
            members.pop(name, None)
        if not members:
            own = known.place.path.rpartition("/")[2]
            if self.place.members.get(own) is known.place:
                del self.place.members[own]
        before, after = known.numbers
        if self.counters[known.base] == after:
            self.counters[known.base] = before
        del self.layers[key]

    def named(self, names: list[str] | None, wanted: Wanted) -> Any:
        """The parameter with a name below this place, or one without a name."""
        with self.tree.lock:
            if names is None:
                name, count = self.next_name("parameter")
                value = self.asked(self.place, name, wanted, "parameter", generated=True)
                self.counters["parameter"] = count
                return value
            if len(names) > 1:
                level = self.opened(names[:-1], "", None, None, None)
                failed = True
                try:
                    value = level.named(names[-1:], wanted)
                    failed = False
                finally:
                    level.end(failed)
                return value
            self.check_own(names[0])
            return self.asked(self.place, names[0], wanted, "parameter")

    def asked(
        self, place: Place, name: str, wanted: Wanted, owner: str, generated: bool = False
    ) -> Any:
        """What has the name in a place, or a new one, as `reuse` says."""
        path, member = place.below(name), place.members.get(name)
        init = asked_init(wanted.init, wanted.default, len(wanted.shape or ()))
        if wanted.dtype is None:
            wanted = wanted._replace(dtype=self.dtype)
        if isinstance(member, Place):
            raise ScopeError(f"{path} is a scope: choose another name for the {called(wanted)}")
        if member is None:
            if self.reuse is True:
                raise ScopeError(
                    f"{path} does not exist, and reuse=True makes nothing{self.tree.nearest(path)}"
                )
            return self.make(place, name, wanted._replace(init=init), owner, generated)
        if member.generated and not generated and self.reuse is not True:
            raise self.not_own(path)
        if self.reuse is False:
            raise ScopeError(
                f"{path} exists already: a {member.seen()}; asked for once more is {seen(wanted)}: "
                'reuse=True or reuse="auto" shares it, another name makes a new one'
            )
        check_same(path, member, wanted, init)
        return settled(member.current(), wanted.shape)

    def make(self, place: Place, name: str, wanted: Wanted, owner: str, generated: bool) -> Any:
        """A new entry's tensor or Uninferred; a module call that fails takes it back."""
        path, shape = place.below(name), wanted.shape
        if shape is None:
            raise ScopeError(f"{path} does not exist: to make it, give its shape")
        choices = wanted.init, wanted.default, GLOROT if len(shape) > 1 else zeros
        init = next(choice for choice in choices if choice is not None)
        value = fresh(shape, checked(owner, init), wanted.rng, wanted.dtype, wanted.kind, path)
        if generated and place is self.tree.top:
            return value  # see Note [Kept by name]
        if name in place.members:
            raise ScopeError(f"{path} was made by its own initialiser: there give it another name")
        entry = place.members[name] = Entry(value, init, generated)

        def take_back() -> None:
            if place.members.get(name) is entry:
                del place.members[name]

        on_failure(take_back)
        return value


def check_same(path: str, entry: Entry, wanted: Wanted, init: Any) -> None:
    """Raise ScopeError if what is wanted is not what there is."""
    value = entry.current()
    shape = value.shape if wanted.shape is None else wanted.shape
    pairs = zip(value.shape, shape, strict=False)
    fits = {
        "kind": called(value) == called(wanted),
        "dtype": wanted.dtype is None or value.dtype == wanted.dtype,
        "shape": len(shape) == len(value.shape) and all(None in (a, b) or a == b for a, b in pairs),
    }
    others = [what for what, same in fits.items() if not same]
    if others:
        raise ScopeError(
            f"{path} exists already with another {' and '.join(others)}: a {entry.seen()}; asked "
            f"for is {seen(wanted)}: ask for the same, or choose another name"
        )
    if init is not None and not alike(init, entry.init):
        raise ScopeError(
            f"{path} exists already with another initialiser: a {entry.seen()} by "
            f"{settings(entry.init)}; asked for is one by {settings(init)}: give the same, none, "
            "or another name"
        )


def settled(value: Any, shape: tuple[Any, ...] | None) -> Any:
    """The value itself, where it waits for sizes that `shape` has with these."""
    if shape is None or not isinstance(value, Uninferred):
        return value
    before = value.shape
    known = tuple([b if a is None else a for a, b in zip(before, shape, strict=True)])
    made = None if None in known else value.make(known)

    def wait_again() -> None:
        value.shape, value.value = before, None

    if known != before:
        on_failure(wait_again)
        value.shape, value.value = known, made
    return value if made is None else made
