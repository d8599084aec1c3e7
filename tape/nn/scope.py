"""Scopes: parameters that have names, and are shared by them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tape.errors import DTypeError, ScopeError
from tape.nn.arguments import count
from tape.nn.init import Initialiser, checked
from tape.nn.level import Level
from tape.nn.names import Tree, split
from tape.nn.opener import Opener
from tape.nn.parameter import Wanted, innermost

__all__ = ["Root", "parameter", "root", "scope"]

GENERATOR, ASYNCHRONOUS = 0x20, 0x80 | 0x200  # flags of code, as in inspect, slow to import

F = TypeVar("F", bound=Callable[..., Any])


class Root(Tree, Opener, Mapping[str, Any]):
    """Names that begin anew: a mapping of paths to what scopes made in it, kept while it lives.

    In a with-block, scopes of this thread are opened in it; without one they are in a root that is
    there from the beginning, see `tape.nn.root`. What has no name at the outermost level is not in
    it, and lives as long as it is used.

    >>> from tape import nn
    >>> names = nn.Root()
    >>> with names, nn.scope("fc"):
    ...     layer = nn.Dense(3, 2)
    >>> list(names)
    ['fc/dense/weight', 'fc/dense/bias']
    >>> names["fc/dense/bias"] is layer.bias
    True
    """

    def __init__(self) -> None:
        Tree.__init__(self)
        Opener.__init__(self)

    def outermost(self) -> Level:
        """A level at the top, where everything begins."""
        return Level(self, self.top, False, None, None)

    def _open(self) -> tuple[Level, Root]:
        return self.outermost(), self

    def __getitem__(self, path: str) -> Any:
        """The parameter or buffer, or the `Uninferred` that waits for its size.

        Raises:
            KeyError: there is none; the message has the nearest paths.
        """
        with self.lock:
            entry = self.find(path)
            if entry is None:
                raise KeyError(f"nothing is called {path!r}{self.nearest(str(path))}")
            return entry.current()

    def __contains__(self, path: object) -> bool:
        with self.lock:
            return self.find(path) is not None

    def get(self, path: str, default: Any = None) -> Any:
        """What has the path, or `default`."""
        with self.lock:
            entry = self.find(path)
            return default if entry is None else entry.current()

    def __iter__(self) -> Iterator[str]:
        with self.lock:
            return iter([path for path, _ in self.entries()])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"Root({', '.join(self)})"


FIRST = Root()


def root() -> Root:
    """The root of the scope that is open on this thread; outside of any, that from the beginning.

    >>> from tape import nn
    >>> with nn.Root() as mine:
    ...     nn.root() is mine
    True
    >>> nn.root().clear()  # in a notebook: all names of the scopes so far may be given again
    """
    return _level().tree  # type: ignore[return-value]


class scope(Opener):
    """A with-block, or decorator, in which parameters have names, and are shared by them.

    Names are joined by "/". A layer made inside is called after its type, and its parameters after
    their attributes: ``fc0/dense/weight``; further ones ``fc0/dense_1/weight``, and so on. The
    numbers begin again when a scope is opened again: the same program finds the same parameters.

    ========  ===========================  =========================
    `reuse`   the name exists              the name does not exist
    ========  ===========================  =========================
    False     ScopeError                   made
    True      shared, if it is the same    ScopeError
    "auto"    shared, if it is the same    made
    ========  ===========================  =========================

    The same are shape and dtype, as far as they are given, kind, and initialiser, if one is given.
    What has a name lives as long as its `Root`; what is in an outermost scope without one, as long
    as it is used. Outside of scopes, layers have parameters of their own without names.

    Args:
        name: letters, digits and "_", then "-" and "." as well; "a/b" is b in a. None is a new name
            each time, `default_name` with a number.
        reuse: False, True or "auto" as above; None is as in the scope around, outermost False.
        init: initialiser of what is made inside without one, by `nn.parameter`, and as weights, of
            two axes or more, by layers that take `init`; None is as in the scope around.
        dtype: of what is made inside without one; None is as in the scope around.
        default_name: begin of the name where there is none.

    The block's variable is the scope's path. A decorated function opens the scope in every call.

    Raises:
        ScopeError: `name` or `reuse` is none that is allowed, or the name is that of a parameter,
            or was given to something that had none.

    >>> from tape import nn
    >>> def fc(x, n, name=None):
    ...     with nn.scope(name, reuse="auto", default_name="fc"):
    ...         return nn.Dense(n, activation=tape.sigmoid)(x)
    >>> import tape
    >>> x = tape.ones((1, 2))
    >>> with nn.Root() as names:
    ...     a, b, c = fc(x, 3, "FC"), fc(x, 3, "FC"), fc(x, 3)
    >>> bool(tape.all(a == b)), bool(tape.all(a == c)), list(names)
    (True, False, ['FC/dense/weight', 'FC/dense/bias'])
    """

    def __init__(
        self,
        name: str | None = None,
        reuse: bool | str | None = None,
        init: Initialiser | None = None,
        dtype: Any = None,
        default_name: str = "scope",
    ) -> None:
        super().__init__()
        if not (
            reuse is None or isinstance(reuse, bool) or (isinstance(reuse, str) and reuse == "auto")
        ):
            raise ScopeError(f'scope: reuse is False, True, "auto" or None, got {reuse!r}')
        names = None if name is None else split("scope", name)
        base = "/".join(split("scope", default_name))
        if "/" in base:
            raise ScopeError(f"scope: default_name is one name, got {base!r}")
        init = None if init is None else checked("scope", init)
        self._settings = names, base, reuse, init, _floating("scope", dtype)

    def _open(self) -> tuple[Level, str]:
        level = _level().opened(*self._settings)
        return level, level.place.path

    def __call__(self, function: F) -> F:
        """The function, run in this scope."""
        if not callable(function):
            raise TypeError(f"scope: decorates functions, got {function!r}")
        flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
        if flags & ASYNCHRONOUS:
            raise TypeError("scope: open it inside of the asynchronous function, with `with`")

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        @functools.wraps(function)
        def stepwise(*args: Any, **kwargs: Any) -> Any:
            return _stepwise(self._open, function(*args, **kwargs))

        return stepwise if flags & GENERATOR else inside  # type: ignore[return-value]


def parameter(
    name: str | None = None,
    shape: int | Sequence[int | None] | None = None,
    init: Initialiser | None = None,
    dtype: Any = None,
    rng: np.random.Generator | None = None,
) -> Any:
    """The parameter of this name in the scope that is open: made, or shared, as `scope` says.

    Args:
        name: as that of a scope; None is a new one, ``parameter`` with a number.
        shape: whole numbers >= 0, None where a size is not known yet, which gives an `Uninferred`;
            None altogether for one that exists.
        init: first value, see `tape.nn.init`; by default that of the scope, or `glorot_uniform`
            for two axes or more and `zeros` for fewer.
        dtype: by default that of the scope, or float32.
        rng: generator that `init` draws from, by default that of `tape.random`.

    Raises:
        ScopeError: the name exists and is not to be shared, or is another one than asked for; or it
            does not exist, and nothing is to be made or there is no shape.

    >>> from tape import nn
    >>> with nn.Root(), nn.scope("fc", reuse="auto"):
    ...     w = nn.parameter("weight", (3, 2))
    ...     nn.parameter("weight") is w, w.name
    (True, 'fc/weight')
    """
    names = None if name is None else split("parameter", name)
    if shape is not None:
        shape = shape if isinstance(shape, Sequence) else (shape,)
        shape = tuple([None if n is None else count("parameter", "a size", n) for n in shape])
    init = None if init is None else checked("parameter", init)
    return _level().named(names, Wanted(shape, init, rng, _floating("parameter", dtype)))


def _level() -> Level:
    """The level that is open on this thread, or the outermost one of the first root."""
    return innermost() or FIRST.outermost()


def _stepwise(
    opened: Callable[[], tuple[Level, str]], generator: Generator[Any, Any, Any]
) -> Generator[Any, Any, Any]:
    """The generator, with the level open while it runs."""
    level, _ = opened()
    resume: Callable[[Any], Any] = generator.send
    sent: Any = None
    failed = True
    try:
        while True:
            try:
                with level:
                    value = resume(sent)
            except StopIteration as stop:
                failed = False
                return stop.value
            try:
                resume, sent = generator.send, (yield value)
            except BaseException as error:
                resume, sent = generator.throw, error
    finally:
        level.end(failed)


def _floating(what: str, dtype: Any) -> Any:
    """The dtype itself, or None.

    Raises:
        DTypeError: it is no floating-point one.
    """
    try:
        known = None if dtype is None else np.dtype(dtype)
    except TypeError:
        known = np.dtype(object)
    if known is not None and known.kind != "f":
        raise DTypeError(
            f"{what}: dtype is that of parameters, a floating-point one, got {dtype!r}"
        )
    return known
