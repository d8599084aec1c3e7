"""What a cached row looks like, and files of such rows that are mapped into memory.

Note [Row files]
A header says of which parameters and inputs the rows are; slots of equal size follow. A slot is
overwritten in this order: its checksum becomes 0, then come id and numbers, then the checksum,
which is keyed by the parameters. So a row that was half written, was damaged, or belongs to other
parameters has no valid checksum. It is looked at before a row is served for the first time.
A file that begins otherwise than ours is somebody else's and is left alone; what is wrong with one
of ours costs no more than computing its rows again, so it is emptied.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import stat
from typing import Any, NamedTuple

import numpy as np

from tape.errors import DataError

__all__ = ["Layout", "RowFile", "Signature"]

MAGIC = b"tape rows 1\n"
HEADER = 4096  # bytes, of which the text takes what is left by magic, checksum and length
CHECK = 16  # bytes of the header's checksum
OFFSET = 16  # of the numbers in a slot, after id and checksum
MAX_DIMS = 64

Signature = tuple[tuple[str, tuple[int, ...], str], ...]  # (name, shape of a row, dtype) of each


class Layout(NamedTuple):
    """What rows are made of, and of what they were computed."""

    inputs: Signature
    outputs: Signature
    is_tuple: bool

    def record(self) -> np.dtype[Any]:
        """A slot: id + 1, 0 in an empty one; the checksum; the numbers of each output."""
        fields: list[Any] = [("id", "<u8"), ("check", "<u8")]
        fields += [(name, dtype, shape) for name, shape, dtype in self.outputs]
        return np.dtype(fields, align=True)


class RowFile:
    """A file of rows, open and locked until it is gone; see Note [Row files].

    Args:
        path: of the file, which is made if it is not there.

    Raises:
        DataError: there is something else, or another cache has it open.
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path, self.process = path, os.getpid()
        self.number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not stat.S_ISREG(os.fstat(self.number).st_mode):
            raise DataError(f"cache: {path} is no regular file")
        lock(self.number, path)
        begin = os.pread(self.number, len(MAGIC), 0)
        if not MAGIC.startswith(begin):
            raise DataError(
                f"cache: {path} is not a file of cached rows, and is left as it is: give another "
                "path, or delete it"
            )
        self.size = 0  # bytes that are mapped

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)

    def is_whole(self) -> bool:
        """Whether all that is mapped is still there: reading beyond the end ends the process.

        Raises:
            DataError: this process is a fork of the one that opened it.
        """
        if self.process != os.getpid():
            raise DataError(
                f"cache: {self.path} was opened by process {self.process}, this is its fork "
                f"{os.getpid()}: give each process a cache of its own"
            )
        return os.fstat(self.number).st_size >= self.size

    def read_header(self) -> tuple[bytes, Layout] | None:
        """(digest of the parameters, layout), None of a file that is new or damaged."""
        raw = os.pread(self.number, HEADER, 0)
        if len(raw) < HEADER:
            return None
        at = len(MAGIC) + CHECK
        length = int.from_bytes(raw[at : at + 4], "little")
        text = raw[at + 4 : at + 4 + length]
        if len(text) < length or checksum(text, b"", CHECK) != raw[len(MAGIC) : at]:
            return None
        try:
            said = json.loads(text)
            inputs, outputs = (signature(said[name]) for name in ("inputs", "outputs"))
            layout = Layout(inputs, outputs, bool(said["tuple"]))
            layout.record()
            return bytes.fromhex(said["digest"]), layout
        except (KeyError, TypeError, ValueError):
            return None

    def start(self, digest: bytes, layout: Layout) -> None:
        """Empty the file and write a header.

        Raises:
            DataError: the layout does not fit the header.
        """
        said = {"digest": digest.hex(), "inputs": layout.inputs, "outputs": layout.outputs}
        text = json.dumps(said | {"tuple": layout.is_tuple}).encode()
        raw = MAGIC + checksum(text, b"", CHECK) + len(text).to_bytes(4, "little") + text
        if len(raw) > HEADER:
            raise DataError(
                f"cache: {self.path}: the layout of a row takes more than {HEADER} bytes"
            )
        self.empty()
        os.pwrite(self.number, raw.ljust(HEADER, b"\0"), 0)

    def empty(self) -> None:
        """Forget all rows and the header."""
        os.ftruncate(self.number, 0)
        self.size = 0

    def slots(self, record: np.dtype[Any], least: int, most: int) -> np.ndarray:
        """The slots that are there, mapped; made to be at least so many, cut off at `most`.

        Raises:
            OSError: the disk is full.
        """
        n = (os.fstat(self.number).st_size - HEADER) // record.itemsize
        if n > most:
            n = most
            os.ftruncate(self.number, HEADER + n * record.itemsize)
        elif n < least:
            n = least
            reserve(self.number, HEADER + n * record.itemsize)
        if n == 0:
            return np.zeros(0, record)
        size = HEADER + n * record.itemsize
        mapped = mmap.mmap(self.number, size)
        self.size = size
        return np.frombuffer(mapped, record, n, HEADER)


def reserve(number: int, size: int) -> None:
    """Make a file longer, with room on the disk: writing to a map without any ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(number, 0, size)
    else:
        os.ftruncate(number, size)


def lock(number: int, path: str) -> None:
    """Let no other cache open the file while this one has it."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # Windows
        return
    try:
        flock(number, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        raise DataError(f"cache: {path} is in use by another cache: give each its own") from None


def signature(said: Any) -> Signature:
    """What a header says of inputs or outputs.

    Raises:
        TypeError, ValueError: it is none.
    """
    found = []
    for name, shape, dtype in said:
        kind = np.dtype(dtype)
        sizes = tuple([int(n) for n in shape])
        fits = len(sizes) < MAX_DIMS and min(sizes, default=0) >= 0
        if kind.kind not in "biuf" or not fits or math.prod(sizes) * kind.itemsize >= 2**31:
            raise ValueError("no layout of rows")
        found.append((str(name), sizes, kind.str))
    return tuple(found)


def checksum(data: Any, key: bytes, size: int = 8) -> bytes:
    """`size` bytes that another content, or another key, does not have."""
    from hashlib import blake2b

    return blake2b(data, key=key, digest_size=size).digest()


def check_of(slots: np.ndarray, slot: int, key: bytes) -> int:
    """The checksum of a slot's id and numbers, never 0."""
    raw = slots[slot : slot + 1].view(np.uint8)
    data = raw[OFFSET:].tobytes() + raw[:8].tobytes()
    return int.from_bytes(checksum(data, key), "little") or 1
