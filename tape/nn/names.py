"""The tree of names behind `tape.nn.scope`: places, what they hold, and what errors say of it.

Note [Kept by name]
A place hangs in the tree of its root, and so do the parameters in it, for as long as the root
lives: who comes back with the name finds them. What has no name is numbered, and the numbers begin
again whenever a scope is opened, so that the same program finds the same names. Only at the root
they never do: nobody can come back there, so nothing of it hangs in the tree, and its parameters
live as long as somebody uses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tape.errors import ScopeError, nearest, provenance, users_line
from tape.nn.forks import give_lock
from tape.nn.parameter import Parameter, Uninferred, Wanted, written

__all__ = ["NUMBERED", "Entry", "Place", "Tree", "called", "seen", "split"]

NAME = re.compile(r"\w[\w.-]*")
NUMBERED = re.compile(r"(.+)_([1-9][0-9]{0,15})")
MAX_PATH = 10_000  # places know their paths, so a chain of them takes the square of this


def split(what: str, path: Any) -> list[str]:
    """The names in a path such as "a/b".

    Raises:
        TypeError: it is no string.
        ScopeError: it is empty, or one of its names is or has characters that do not belong.
    """
    if not isinstance(path, str):
        raise TypeError(f"{what}: a name is a string or None, got {type(path).__name__}")
    names = path.split("/")
    for name in names:
        if not NAME.fullmatch(name):
            raise ScopeError(
                f"{what}: {path!r} is no name: letters, digits and _, then - and . as well, and / "
                "between names"
            )
    return names


class Entry:
    """A parameter or buffer that has a name."""

    __slots__ = ("generated", "init", "value", "where")

    def __init__(self, value: Any, init: Any, generated: bool) -> None:
        self.value, self.init, self.generated = value, init, generated
        self.where = users_line() if provenance.on else ""

    def current(self) -> Any:
        """The tensor, or the Uninferred that waits for its size."""
        value = self.value
        return value.value if isinstance(value, Uninferred) and value.value is not None else value

    def seen(self) -> str:
        """What it is and where it was made, as errors say it."""
        value = self.current()
        made = f", made at {self.where}" if self.where else ""
        return f"{called(value)} {value.dtype} {written(value.shape)}{made}"


class Place:
    """What a scope's names stand for: entries, and places below."""

    __slots__ = ("generated", "members", "path", "users")

    def __init__(self, path: str, generated: bool) -> None:
        self.path, self.generated, self.users = path, generated, 0  # users: scopes open here
        self.members: dict[str, Place | Entry] = {}

    def below(self, name: str) -> str:
        """The path of a member.

        Raises:
            ScopeError: it has more characters than a program can mean.
        """
        path = f"{self.path}/{name}" if self.path else name
        if len(path) > MAX_PATH:
            raise ScopeError(f"a path has at most {MAX_PATH} characters: {path[:60]}...")
        return path


class Tree:
    """All places of a root, see `tape.nn.scope.Root`."""

    lock: Any

    def __init__(self) -> None:
        give_lock(self)
        self.top = Place("", False)
        self.counters: dict[str, int] = {}

    def clear(self) -> None:
        """Forget all names; who uses parameters keeps them, and open scopes go on apart."""
        with self.lock:
            self.top.members.clear()
            self.counters.clear()

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """(path, entry) of everything, depth first."""
        todo: list[tuple[str, Place | Entry]] = [("", self.top)]
        while todo:
            path, member = todo.pop()
            if isinstance(member, Entry):
                yield path, member
            else:
                below = [(member.below(name), m) for name, m in member.members.items()]
                todo.extend(reversed(below))

    def find(self, path: object) -> Entry | None:
        """The entry with this path, or None."""
        member: Place | Entry | None = self.top
        for name in path.split("/") if isinstance(path, str) else [""]:
            member = member.members.get(name) if isinstance(member, Place) else None
        return member if isinstance(member, Entry) else None

    def nearest(self, path: str) -> str:
        """A hint at paths that look like this one, or at those that exist, or nothing."""
        paths = [known for known, _ in self.entries()]
        few = f"; there are {', '.join(paths[:3])}{', ...' * (len(paths) > 3)}" if paths else ""
        return nearest(path, paths, 3) or few


def called(entry: Any) -> str:
    """What a tensor, a type of one, or what is wanted is called in errors."""
    kind = getattr(entry, "kind", entry)
    kind = kind if isinstance(kind, type) else type(kind)
    return "parameter" if issubclass(kind, Parameter) else "buffer"


def seen(wanted: Wanted) -> str:
    """What is wanted, as errors say it."""
    shape = "any shape" if wanted.shape is None else written(wanted.shape)
    dtype = "" if wanted.dtype is None else f" {np.dtype(wanted.dtype)}"
    return f"a {called(wanted)}{dtype} {shape}"
