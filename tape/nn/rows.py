"""`Rows`: arrays by id, in memory or in a file, of which the least recently used make room."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from tape.errors import DTypeError, SettingError, ShapeError
from tape.nn.forks import give_lock
from tape.nn.row_file import Layout, RowFile, Signature, check_of

__all__ = ["CacheReport", "Rows"]

FIRST = 64  # slots that are made at first; then they double


class CacheReport(NamedTuple):
    """What a cache has done since it was made or cleared; see `Cache.report`.

    It prints as a few lines.

    Attributes:
        rows: that it holds now.
        bytes: that these take, with 16 or so of each for its id.
        hits: rows that were asked for and not computed.
        misses: rows that were computed.
        evicted: rows that made room for others.
        path: of the file, None in memory.
        emptied: why rows that were there had to go, "" if none had.
    """

    rows: int
    bytes: int
    hits: int
    misses: int
    evicted: int
    path: str | None
    emptied: str

    def __repr__(self) -> str:
        lines = [
            f"{self.rows:,} rows, {self.bytes:,} bytes, in {self.path or 'memory'}",
            f"{self.hits:,} found, {self.misses:,} computed, {self.evicted:,} made room for others",
        ]
        return "\n".join([*lines, f"emptied: {self.emptied}"] if self.emptied else lines)


class Rows:
    """Rows of one state of a module, by id.

    A copy is an empty one in memory, with the same budget.

    Args:
        budget: most bytes that rows may take, None for no bound.
        path: of a file to keep them in, None for memory.
    """

    lock: Any

    def __init__(self, budget: int | None, path: str | None) -> None:
        self.budget, self.path = budget, path
        give_lock(self)
        self.file: RowFile | None = None
        self.state: Any = None  # of the module that the rows are of
        self.digest = b""
        self.forget()
        self.hits = self.misses = self.evicted = 0
        self.emptied = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Rows:
        return Rows(self.budget, None)

    def forget(self) -> None:
        """Hold nothing, of no layout; the file is as it was."""
        self.index: OrderedDict[int, int] = OrderedDict()
        self.layout: Layout | None = None
        self.slots: Any = None
        self.free: list[int] = []
        self.is_checked = np.zeros(0, bool)

    def empty(self, why: str) -> None:
        """Forget all rows, also those in the file."""
        if self.index:
            self.emptied = why
        self.forget()
        if self.file is not None:
            self.file.empty()

    def clear(self) -> None:
        """Forget all rows and counts."""
        with self.lock:
            if self.path is not None and self.file is None:
                self.file = RowFile(self.path)
            if self.file is not None:
                self.file.is_whole()
            self.empty("")
            self.hits = self.misses = self.evicted = 0
            self.emptied = ""

    def report(self) -> CacheReport:
        """The counts."""
        with self.lock:
            size = 0 if self.slots is None else self.slots.dtype.itemsize
            n = len(self.index)
            counts = self.hits, self.misses, self.evicted
            return CacheReport(n, n * size, *counts, self.path, self.emptied)

    def turn_to(self, state: Any, digest: Callable[[Any], bytes]) -> None:
        """Hold rows of this state of the module only."""
        if self.file is not None and not self.file.is_whole():
            self.empty("the file was cut off while it was in use")
        if state == self.state:
            return
        number = digest(state)
        if self.path is not None:
            self.turn_file_to(number)
        elif number != self.digest or not state.runs(self.state):
            self.empty("the module has changed")
        self.digest, self.state = number, state

    def turn_file_to(self, digest: bytes) -> None:
        """Hold the file's rows if they are of these parameters, else none."""
        if self.file is not None and digest == self.digest:
            return
        if self.file is None:
            assert self.path is not None
            self.file = RowFile(self.path)
            found = self.file.read_header()
            if found is not None and found[0] == digest:
                self.digest = digest
                self.adopt(found[1])
                return
            if os.fstat(self.file.number).st_size:
                self.emptied = (
                    "the file was damaged" if found is None else "the file's parameters were others"
                )
        self.empty("the module has changed")
        self.digest = digest

    def adopt(self, layout: Layout) -> None:
        """Take over the rows that the file has."""
        assert self.file is not None
        record = layout.record()
        self.slots = self.file.slots(record, 0, self.capacity(record))
        ids = self.slots["id"]
        used = np.flatnonzero((ids != 0) & (ids <= 2**63) & (self.slots["check"] != 0))
        self.index = OrderedDict(
            zip((ids[used] - np.uint64(1)).tolist(), used.tolist(), strict=True)
        )
        self.is_checked = np.zeros(len(self.slots), bool)
        self.count_free()
        self.layout = layout

    def count_free(self) -> None:
        """Note which slots hold no row."""
        self.free = sorted(set(range(len(self.slots))) - set(self.index.values()), reverse=True)

    def capacity(self, record: np.dtype[Any]) -> int:
        """How many rows there may be.

        Raises:
            SettingError: not even one.
        """
        if self.budget is None:
            return sys.maxsize // record.itemsize
        if self.budget < record.itemsize:
            raise SettingError(f"cache: a row takes {record.itemsize} bytes, bytes={self.budget}")
        return self.budget // record.itemsize

    def look(
        self, state: Any, digest: Callable[[Any], bytes], inputs: Signature, wanted: list[int]
    ) -> tuple[list[np.ndarray], dict[int, int], bool]:
        """Outputs with the rows that are known, and where in `wanted` the others stand first.

        And whether the outputs are a tuple. Without any row known, there are none.

        Raises:
            ShapeError, DTypeError: the rows are of other inputs.
        """
        with self.lock:
            self.turn_to(state, digest)
            missing: dict[int, int] = {}
            if self.layout is None:
                for at, i in enumerate(wanted):
                    missing.setdefault(i, at)
                self.hits += len(wanted) - len(missing)
                return [], missing, False
            compare("were made from", "argument", self.layout.inputs, inputs, self.path)
            have, slots = [], []
            for at, i in enumerate(wanted):
                slot = self.index.get(i)
                if slot is not None and self.is_good(i, slot):
                    self.index.move_to_end(i)
                    have.append(at)
                    slots.append(slot)
                else:
                    missing.setdefault(i, at)
            self.hits += len(wanted) - len(missing)
            names, is_tuple = [name for name, _, _ in self.layout.outputs], self.layout.is_tuple
            if not missing:
                return [self.slots[name][slots] for name in names], missing, is_tuple
            found = self.blank(self.layout, len(wanted))
            for array, name in zip(found, names, strict=True):
                array[have] = self.slots[name][slots]
            return found, missing, is_tuple

    def is_good(self, i: int, slot: int) -> bool:
        """Whether a slot holds what was written, which is asked of rows from a file once."""
        if self.file is None or self.is_checked[slot]:
            return True
        if int(self.slots["check"][slot]) == check_of(self.slots, slot, self.digest):
            self.is_checked[slot] = True
            return True
        del self.index[i]
        self.free.append(slot)
        self.emptied = "a row of the file was damaged"
        return False

    @staticmethod
    def blank(layout: Layout, n: int) -> list[np.ndarray]:
        """Arrays for n rows."""
        return [np.empty((n, *shape), dtype) for _, shape, dtype in layout.outputs]

    def put(
        self,
        state: Any,
        digest: Callable[[Any], bytes],
        layout: Layout,
        ids: list[int],
        arrays: Any,
    ) -> None:
        """Keep rows, as many as there is room for, the last ones first.

        Raises:
            ShapeError, DTypeError: the rows known are other ones.
            OSError: the disk is full.
        """
        with self.lock:
            self.turn_to(state, digest)
            self.misses += len(ids)
            if self.layout is not None:
                compare("are", "output", self.layout.outputs, layout.outputs, self.path)
            record = layout.record()
            most = self.capacity(record)
            if self.layout is None:
                if self.file is not None:
                    self.file.start(self.digest, layout)
                self.slots, self.layout = np.zeros(0, record), layout
            first = max(0, len(ids) - most)
            fresh = [(n, i) for n, i in enumerate(ids) if n >= first and i not in self.index]
            try:
                self.write(fresh, self.room_for(len(fresh), most), arrays)
            except BaseException:
                self.count_free()
                raise

    def room_for(self, n: int, most: int) -> list[int]:
        """n slots that are free, or are freed for it."""
        size = len(self.slots)
        if n > len(self.free) and size < most:
            wanted = min(most, max(2 * size, size + n - len(self.free), FIRST))
            checked = np.zeros(wanted, bool)
            checked[:size] = self.is_checked[:size]
            self.is_checked = checked  # first: it may be too long, but not too short
            if self.file is None:
                grown = np.zeros(wanted, self.slots.dtype)
                grown[:size] = self.slots
                self.slots = grown
            else:
                self.slots = self.file.slots(self.slots.dtype, wanted, most)
            self.free = [*range(len(self.slots) - 1, size - 1, -1), *self.free]
        for i in list(islice(self.index, max(0, n - len(self.free)))):
            self.free.append(self.index.pop(i))
            self.evicted += 1
        taken, self.free = self.free[len(self.free) - n :], self.free[: len(self.free) - n]
        return taken

    def write(self, rows: list[tuple[int, int]], slots: list[int], arrays: Any) -> None:
        """Fill slots with rows (number in the arrays, id); see Note [Row files]."""
        assert self.layout is not None
        numbers, ids = [n for n, _ in rows], [i for _, i in rows]
        self.slots["check"][slots] = 0
        self.slots["id"][slots] = np.array(ids, np.uint64) + np.uint64(1)
        for (name, _, _), array in zip(self.layout.outputs, arrays, strict=True):
            self.slots[name][slots] = array[numbers]
        if self.file is not None:
            self.slots["check"][slots] = [check_of(self.slots, s, self.digest) for s in slots]
            self.is_checked[slots] = True
        for i, slot in zip(ids, slots, strict=True):
            self.index[i] = slot


def compare(what: str, part: str, known: Signature, given: Signature, path: str | None) -> None:
    """An error unless rows have the names, shapes and dtypes of those that are known.

    Args:
        what: rows do with what `known` describes.
        part: what a part of these is called.
        known, given: what is compared.
        path: of the file, or None.
    """
    if known == given:
        return
    words = [
        " and ".join(f"{part} {name}, {np.dtype(dtype)} {shape}" for name, shape, dtype in side)
        for side in (known, given)
    ]
    same = [[entry[:2] for entry in side] for side in (known, given)]
    kind = DTypeError if same[0] == same[1] else ShapeError
    rows = "the rows known" if path is None else f"the rows in {path}"
    raise kind(
        f"cache: {rows} {what} {words[0]} a row; now it is {words[1]}: clear() forgets the others"
    )
