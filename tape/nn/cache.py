"""`cache`: what a frozen module gives for each sample is computed once and kept across epochs.

Note [Cached rows]
A row is served only if it was computed by the module as it is now. That is seen from the modules
and functions in it and from the serial numbers of all parameters and buffers, which change with
every write. When they have changed, a digest of the values, of the repr, and of plain settings
tells whether anything else is computed now: thawing and freezing again, or loading what is there
already, change nothing. A file knows the digest; in memory the modules and functions must be the
same, too.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tape._core import recorded
from tape._core.memory import adopt
from tape._core.state import is_recording, no_grad
from tape._core.tensor import Tensor
from tape.errors import DTypeError, GradError, SettingError, ShapeError, TapeError
from tape.nn.arguments import settings
from tape.nn.module import Module
from tape.nn.parameter import Uninferred, is_parameter
from tape.nn.row_file import Layout, Signature
from tape.nn.rows import CacheReport, Rows
from tape.nn.tree import kind
from tape.ops.random import drawing

__all__ = ["Cache", "cache"]

MAX_ID = 2**63 - 2
MAX_LISTED = 5  # modules that one message lists
ADDRESS = re.compile("0x[0-9a-f]+")  # in the repr of a function, in another process another one


class Cache(Module):
    """What `cache` gives: a module whose only child, `module`, is the one that is cached."""

    def __init__(
        self, module: Module, key: Callable[..., Any] | None, path: str | None, budget: int | None
    ) -> None:
        self.module, self.key = module, key
        self._rows = Rows(budget, path)

    def forward(self, *args: Any, key: Any = None, **kwargs: Any) -> Any:
        """What the module gives, a row of it for each row of the arguments.

        Args:
            *args, **kwargs: tensors or arrays, all with the samples along the first axis.
            key: the samples' ids, integers >= 0; None has the key function make them.
        """
        named = [(str(i), x) for i, x in enumerate(args)] + list(kwargs.items())
        inputs, n = checked(named)
        if key is None:
            if self.key is None:
                raise TypeError("cache: give the ids of the samples, key=ids, or a key function")
            key = self.key(*args, **kwargs)
        wanted = ids_of(key, n)
        if any(isinstance(x, Tensor) and recorded.is_derived(x) for _, x in named):
            return self.module(*args, **kwargs)  # a named section must see what is computed
        state = State(self.module)
        if n == 0 or state.is_open:  # no row, or sizes are inferred, which draws first values
            with no_grad():
                return self.module(*args, **kwargs)
        outputs, missing, is_tuple = self._rows.look(state, self.digest, inputs, wanted)
        if missing:
            rows = list(missing.values())
            if len(rows) < n:
                args = tuple([taken(x, rows) for x in args])
                kwargs = {name: taken(x, rows) for name, x in kwargs.items()}
            made = without_graph(self.module, args, kwargs)
            layout, arrays = laid_out(self.module, made, len(rows), inputs)
            is_tuple = layout.is_tuple
            if State(self.module) != state:
                raise TapeError(
                    f"cache: {kind(self.module)} changes while it runs though it is frozen: a "
                    "parameter, buffer or module is another one afterwards"
                )
            self._rows.put(state, self.digest, layout, list(missing), arrays)
            outputs = outputs or Rows.blank(layout, n)
            place = {i: at for at, i in enumerate(missing)}
            into = [at for at, i in enumerate(wanted) if i in place]
            for whole, part in zip(outputs, arrays, strict=True):
                whole[into] = part[[place[wanted[at]] for at in into]]
        found = tuple([adopt(array) for array in outputs])
        return found if is_tuple else found[0]

    def digest(self, state: State) -> bytes:
        """A number of the module's structure, settings, parameters and buffers in this state.

        Raises:
            TapeError: another thread is changing it.
        """
        from hashlib import blake2b

        text = ADDRESS.sub("", repr(self.module))
        whole = blake2b(text.encode(errors="backslashreplace"), digest_size=32)
        for path, entry, _, _ in self.module.walk():
            if isinstance(entry, Tensor):
                whole.update(f"{path} {entry.dtype.str} {entry.shape}\n".encode())
                whole.update(memoryview(np.ascontiguousarray(entry.numpy())))
            elif isinstance(entry, Module):
                plain = [(name, x) for name, x in vars(entry).items() if is_plain(name, x)]
                whole.update(f"{path} {type(entry).__qualname__} {plain}\n".encode())
        if State(self.module) != state:
            raise TapeError(f"cache: {kind(self.module)} was changed by another thread meanwhile")
        return whole.digest()

    def clear(self) -> None:
        """Forget all rows, those of a file too, and start counting anew."""
        self._rows.clear()

    def report(self) -> CacheReport:
        """What was found and what was computed, and what is held.

        >>> import tape
        >>> from tape import nn
        >>> cached = nn.cache(nn.Flatten().freeze())
        >>> y = cached(tape.ones((2, 3)), key=[1, 2]), cached(tape.ones((2, 3)), key=[2, 3])
        >>> cached.report()[:4]
        (3, 96, 1, 3)
        """
        return self._rows.report()

    def describe(self) -> str:
        """The settings."""
        return settings(key=self.key, path=self._rows.path, bytes=self._rows.budget)


def cache(
    module: Module,
    key: Callable[..., Any] | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    bytes: int | None = None,
) -> Cache:
    """A module that gives what a frozen one does, and computes it once for each sample.

    A call says which sample each row is, ``cached(x, key=ids)``. Rows that are known are not
    computed again; all others of the call are computed in one batch. They are forgotten as soon as
    the value of a parameter or buffer changes. No gradient flows into the module. Its parameters
    stay where they are in the tree, below ``module.``. A call that infers sizes keeps nothing.

    An id stands for the same numbers each time: where inputs are augmented, at random, it does not,
    and what would be served is another augmentation's. The same goes for modules that look at more
    than their arguments, parameters and buffers; those that draw random numbers are refused. After
    changing a number that a layer has as an attribute, `clear`.

    Args:
        module: frozen, all of it; it gives a tensor, or a tuple of some, with a row for each row of
            its arguments, which depends on that row alone.
        key: function of the arguments that gives the ids of the rows, for calls without ``key=``.
        path: file to keep the rows in, mapped into memory, and found again by a later process if
            the parameters are equal then. One of other parameters, or damaged, is emptied, damaged
            rows are computed again, and `Cache.report` says so; no other file is touched.
        bytes: most bytes that rows may take, by which those go first that were not used for
            longest; None for no bound.

    Returns:
        The module, with `clear()` and `report()`. Copies of it start with no rows, in memory.

    Raises:
        TapeError: the module, or one below, is not frozen; also in a call, or if it draws random
            numbers there or changes itself.
        TypeError: it is no module; `key` is no function, or a call has no ids.
        SettingError: `bytes` is less than a row takes; an id is negative, or too large.
        DTypeError: ids are not whole numbers, or rows have another dtype than those that are known.
        ShapeError: there is not one id for each row, or rows have other shapes.
        GradError: an argument requires a gradient.
        DataError: the file is not one of cached rows, or another cache has it open.
        OSError: it cannot be written.

    >>> import tape
    >>> from tape import nn
    >>> trunk = nn.Dense(4, 3, activation=tape.tanh).freeze()
    >>> cached = nn.cache(trunk)
    >>> x = tape.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> first, again = cached(x, key=[17, 5]), cached(x[::-1], key=[5, 17])
    >>> (first[::-1] == again).all().item(), cached.report().misses
    (True, 2)
    """
    if not isinstance(module, Module):
        raise TypeError(f"cache: takes a module, got a {type(module).__name__}")
    if key is not None and not callable(key):
        raise TypeError(f"cache: key is a function of the arguments, got a {type(key).__name__}")
    budget = None
    if bytes is not None:
        try:
            budget = -1 if isinstance(bytes, bool) else operator.index(bytes)
        except TypeError:
            budget = -1
        if budget < 1:
            raise SettingError(f"cache: bytes is a whole number above 0, or None, got {bytes!r}")
    State(module)
    return Cache(module, key, None if path is None else os.path.abspath(os.fsdecode(path)), budget)


class State:
    """What a module gives depends on: all below it that is called, parameters and buffers.

    Raises:
        TapeError: it is not frozen.
    """

    def __init__(self, module: Module) -> None:
        self.called: list[Any] = []
        self.serials: list[int] = []
        self.is_open = False  # sizes are to be inferred yet
        is_loose = False
        todo, seen = [module], {id(module)}
        while todo:  # once over the tree: every call does this
            part = todo.pop()
            self.called.append(part)
            for value in vars(part).values():
                if isinstance(value, (list, tuple, dict)):
                    values = value.values() if isinstance(value, dict) else value
                    self.called += [x for x in values if callable(x)]
                elif callable(value):
                    self.called.append(value)
            is_loose |= part.training or not part.is_frozen
            for _, entry in part.entries():
                if isinstance(entry, Tensor):
                    self.serials.append(entry.serial)
                    is_loose |= entry.requires_grad
                elif isinstance(entry, Uninferred):
                    self.is_open = True
                elif id(entry) not in seen:
                    seen.add(id(entry))
                    todo.append(entry)
        if is_loose:
            refuse_loose(module)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.serials == other.serials and self.runs(other)

    def runs(self, other: State) -> bool:
        """Whether the same modules and functions are called."""
        return len(self.called) == len(other.called) and all(
            a is b for a, b in zip(self.called, other.called, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]


def is_plain(name: str, value: Any) -> bool:
    """Whether an attribute is a setting that can be written down, and no mode."""
    if isinstance(value, (tuple, list)):
        return all(is_plain(name, part) for part in value)
    simple = value is None or isinstance(value, (bool, int, float, str))
    return simple and name not in ("training", "_thawed_mode")


def refuse_loose(module: Module) -> None:
    """Raise TapeError with what is not frozen in a module."""
    found = [
        f"{path or 'the whole'} ({'training' if part.training else 'in eval mode'})"
        for path, part in module.named_modules()
        if part.training or not part.is_frozen
    ]
    found += [
        f"{path} (requires a gradient)"
        for path, entry, _, _ in module.walk()
        if is_parameter(entry) and not isinstance(entry, Uninferred) and entry.requires_grad
    ]
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    raise TapeError(
        f"cache: {kind(module)} must be frozen, which freeze() does; it is not: "
        f"{', '.join(found[:MAX_LISTED])}{more}"
    )


def checked(named: list[tuple[str, Any]]) -> tuple[Signature, int]:
    """(name, shape of a row, dtype) of each argument, and how many rows they have.

    Raises:
        DTypeError: one is neither a tensor nor an array.
        ShapeError: they differ in length.
        GradError: one requires a gradient.
    """
    if not named:
        raise TypeError("cache: takes tensors or arrays, got no argument")
    for name, x in named:
        if not isinstance(x, (Tensor, np.ndarray)):
            raise DTypeError(
                f"cache: argument {name} is a {type(x).__name__}: it takes tensors and arrays, of "
                "which each sample has a row"
            )
        if x.ndim == 0:
            raise ShapeError(f"cache: argument {name} is 0-d, it has no rows")
        if isinstance(x, Tensor) and x.requires_grad and is_recording():
            raise GradError(
                f"cache: argument {name} requires a gradient, which does not flow through what is "
                "cached: detach() it, or call the module itself"
            )
    lengths = {len(x) for _, x in named}
    if len(lengths) > 1:
        words = ", ".join(f"{name} {x.shape}" for name, x in named)
        raise ShapeError(f"cache: the arguments have different numbers of rows: {words}")
    return tuple([(name, x.shape[1:], x.dtype.str) for name, x in named]), lengths.pop()


def ids_of(key: Any, n: int) -> list[int]:
    """The ids as a list.

    Raises:
        DTypeError, ShapeError, SettingError: they are not n whole numbers from 0 on.
    """
    try:
        ids = np.asarray(key)
    except ValueError as error:  # lists that differ in length
        raise ShapeError(f"cache: key has no ids for {n} rows: {error}") from None
    if ids.shape != (n,):
        raise ShapeError(f"cache: key has ids {ids.shape} for {n} rows, expected ({n},)")
    if n == 0:
        return []
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"cache: key has ids {ids.dtype}, expected whole numbers")
    low, high = ids.min(), ids.max()
    if low < 0 or high > MAX_ID:
        wrong = low if low < 0 else high
        raise SettingError(f"cache: key has the id {wrong}, expected 0 to {MAX_ID}")
    return ids.tolist()


def taken(x: Any, rows: list[int]) -> Any:
    """Some rows of a tensor or an array, as the same."""
    return adopt(x.numpy()[rows]) if isinstance(x, Tensor) else x[rows]


def without_graph(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the module gives, recording nothing.

    Raises:
        TapeError: it draws random numbers.
    """
    with no_grad(), drawing() as log:
        made = module(*args, **kwargs)
    if log:
        raise TapeError(
            f"cache: {kind(module)} draws random numbers though it is frozen: what it gives "
            "differs from call to call and cannot be kept"
        )
    return made


def laid_out(
    module: Module, made: Any, n: int, inputs: Signature
) -> tuple[Layout, list[np.ndarray]]:
    """What a module gave for n rows, as arrays, and how they are laid out.

    Raises:
        TypeError: it is neither a tensor nor a tuple of tensors.
        ShapeError: it has not n rows.
    """
    parts = made if type(made) is tuple else (made,)
    if not parts or not all(isinstance(x, Tensor) for x in parts):
        raise TypeError(
            f"cache: {kind(module)} gives a {type(made).__name__}, expected a tensor or a "
            "tuple of tensors"
        )
    for x in parts:
        if x.ndim == 0 or len(x) != n:
            raise ShapeError(
                f"cache: {kind(module)} gives {x.shape} for {n} samples, expected a row for each"
            )
    arrays = [x.numpy() for x in parts]
    outputs = tuple([(str(i), a.shape[1:], a.dtype.str) for i, a in enumerate(arrays)])
    return Layout(inputs, outputs, type(made) is tuple), arrays
