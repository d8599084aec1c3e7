"""Opening a scope and leaving it again, which nothing may interrupt halfway.

Note [Open and closed at once]
A scope that Ctrl-C left open would name and share all that is made afterwards. This file is
compiled, and Python looks for Ctrl-C only where it interprets: a scope is open when its with-block
knows that it must be closed, and closing it does not end before it is closed.
"""

from __future__ import annotations

from _thread import get_ident
from typing import Any

from tape.nn.names import Place
from tape.nn.parameter import scopes

__all__ = ["Open", "Opener"]


class Open:
    """A level of the chain of open scopes, see Note [Levels]; a with-block is what runs in it."""

    __slots__ = ("__weakref__", "closed", "made", "outer", "place", "thread", "tree")

    def __init__(self, tree: Any, place: Place) -> None:
        self.tree, self.place = tree, place
        self.made: list[tuple[Place, str]] = []  # places that came into being when it was opened
        self.outer: Open | None = None
        self.closed, self.thread = True, 0

    def __enter__(self) -> None:
        """Be the innermost level of this thread."""
        level = scopes.get()
        self.outer = None if level is None else level.here()
        self.closed, self.thread = False, get_ident()
        scopes.set(self)

    def __exit__(self, *error: object) -> None:
        """Be open no more."""
        self.closed = True
        level = scopes.get()
        scopes.set(None if level is None else level.here())

    def here(self) -> Any:
        """This level, or the next one around it that this thread has open."""
        level: Any = self
        while level is not None and (level.closed or level.thread != get_ident()):
            level = level.outer
        return level

    def end(self, failed: bool) -> None:
        """Be done; after a failure forget the places that were made for it and nothing is in."""
        with self.tree.lock:
            self.place.users -= 1
            for parent, name in reversed(self.made) if failed else ():
                place = parent.members.get(name)
                if isinstance(place, Place) and not place.members and not place.users:
                    del parent.members[name]


class Opener:
    """What opens a level in a with-block, once or several times at a time, by several threads."""

    def __init__(self) -> None:
        self._levels: list[Any] = []

    def _open(self) -> tuple[Any, Any]:
        """A new level, and what the with-block's variable is."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        level, variable = self._open()
        self._levels.append(level)
        level.__enter__()
        return variable

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        thread, levels = get_ident(), list(self._levels)  # a copy: others change it meanwhile
        mine = [level for level in levels if level.thread == thread]
        level = (mine or levels)[-1]  # a generator may be closed by another thread
        self._levels.remove(level)
        level.__exit__()
        level.end(kind is not None)
