"""IDX, the file format of MNIST and its relatives: read, write, and find a folder's four files.

Layout: two zero bytes, a dtype code, the number of axes n; n big-endian uint32 lengths; the values,
big-endian in C order. Source: the format note of the MNIST database (LeCun, Cortes, Burges).
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import sys
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tape.errors import DataError, DTypeError

__all__ = ["IdxFolder", "load_idx_folder", "read_idx", "write_idx"]

DTYPES = {
    code: np.dtype(name)
    for code, name in {
        0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8",
    }.items()
}  # fmt: skip
CHUNK = 1 << 20
MAX_AXES = 64  # of a NumPy 2 array
# Deflate spends at least 2 bits on 258 bytes (RFC 1951): no stream grows by more than this.
MAX_INFLATION = 1032


class IdxFolder(NamedTuple):
    """The four arrays of a folder of IDX files, in the order one unpacks them."""

    train_x: NDArray[Any]
    train_y: NDArray[Any]
    test_x: NDArray[Any]
    test_y: NDArray[Any]


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, gzipped or not, into an array of native byte order.

    Whether it is gzipped is told from its first bytes, not from its name. The header is checked
    against the file before memory for the values is asked for, and no more than the header
    promises is ever unpacked.

    Raises:
        DataError: the file is no IDX file, is truncated or damaged, or goes on after its values.
    """
    with open(path, "rb") as file:
        n_stored = os.fstat(file.fileno()).st_size
        if file.peek(2)[:2] != b"\x1f\x8b":
            return read_values(file, path, room=n_stored)
        with gzip.open(file) as unpacked:
            return read_values(unpacked, path, room=n_stored * MAX_INFLATION)


def read_values(
    file: BufferedReader | gzip.GzipFile, path: str | os.PathLike[str], room: int
) -> NDArray[Any]:
    """Read header and values from a stream that can hold at most `room` bytes."""
    codes = " ".join(f"{code:02x}" for code in DTYPES)
    expected = f"4 bytes 00 00, a dtype code of {codes}, at most {MAX_AXES} axes"
    magic = read_up_to(4, file, path, expected).tobytes()
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] > MAX_AXES:
        found = magic.hex(" ") or "nothing"
        raise DataError(f"read_idx: {path}: no IDX file: expected {expected}; found {found}")
    dtype, n_axes = DTYPES[magic[2]], magic[3]

    expected = f"{4 * n_axes} bytes for the lengths of {n_axes} axes"
    lengths = read_up_to(4 * n_axes, file, path, expected)
    if len(lengths) < 4 * n_axes:
        found = f"found {len(lengths)}"
        raise DataError(f"read_idx: {path}: truncated: expected {expected}, {found}")
    dims = struct.unpack(f">{n_axes}I", lengths.tobytes())

    n_values = math.prod(dims) * dtype.itemsize
    expected = f"{n_values} bytes of {dtype.newbyteorder('=')} values of shape {dims}"
    # NumPy counts the strides of an empty array too, so that its other lengths must fit as well.
    if math.prod(d for d in dims if d) * dtype.itemsize > sys.maxsize:
        raise DataError(f"read_idx: {path}: {expected} fit into no memory")
    n_header = 4 + 4 * n_axes
    if n_values > room - n_header:
        found = f"found {max(room - n_header, 0)} at most"
        raise DataError(f"read_idx: {path}: truncated: expected {expected}, {found}")
    # One byte more than wanted: it shows trailing bytes, and makes gzip check its sum.
    content = read_up_to(n_values + 1, file, path, expected)
    if len(content) < n_values:
        found = f"found {len(content)}"
        raise DataError(f"read_idx: {path}: truncated: expected {expected}, {found}")
    if len(content) > n_values:
        raise DataError(f"read_idx: {path}: trailing bytes: expected {expected}, found more")
    values = content.view(dtype)
    if not dtype.isnative:
        values = values.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return values.reshape(dims)


def read_up_to(
    n: int,
    file: BufferedReader | gzip.GzipFile,
    path: str | os.PathLike[str],
    expected: str,
) -> NDArray[np.uint8]:
    """Read `n` bytes, or fewer where the file ends."""
    buffer = np.empty(n, np.uint8)
    n_read = 0
    try:
        while n_read < n and (chunk := file.read1(min(CHUNK, n - n_read))):
            buffer[n_read : n_read + len(chunk)] = np.frombuffer(chunk, np.uint8)
            n_read += len(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"read_idx: {path}: damaged gzip stream: expected {expected}, found {n_read}: {error}"
        ) from error
    return buffer[:n_read]


def write_idx(path: str | os.PathLike[str], array: ArrayLike) -> None:
    """Write `array` as an IDX file, gzipped if `path` ends in ``.gz``.

    Equal arrays give equal files. Nothing is written if the array does not fit the format.

    Raises:
        DTypeError: the format has no code for the dtype.
        DataError: an axis is longer than 2**32 - 1.
    """
    array = np.asarray(array)
    codes = {dtype: code for code, dtype in DTYPES.items()}
    big_endian = array.dtype.newbyteorder(">")
    if big_endian not in codes:
        names = ", ".join(str(dtype.newbyteorder("=")) for dtype in codes)
        raise DTypeError(f"write_idx: {path}: no code for {array.dtype}; convert to one of {names}")
    if max(array.shape, default=0) >= 1 << 32:
        raise DataError(f"write_idx: {path}: shape {array.shape} has an axis beyond 2**32 - 1")
    header = bytes([0, 0, codes[big_endian], array.ndim])
    header += struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(big_endian).tobytes()
    if os.fspath(path).endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    Path(path).write_bytes(content)


def load_idx_folder(folder: str | os.PathLike[str]) -> IdxFolder:
    """Read the four IDX files of MNIST, Fashion-MNIST or the like: images and labels, both parts.

    Finds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with ``t10k``, with
    ``.idx3`` and ``.idx1`` as well, each plain or with ``.gz`` (plain is taken if both are there).

    Shapes: train_x (n, h, w), train_y (n,), test_x (m, h, w), test_y (m,)

    Raises:
        DataError: a file is missing or unreadable, or labels and images differ in number.
    """
    folder = Path(folder)
    parts = {}
    for part in ("train", "t10k"):
        images = read_idx(find_file(folder, f"{part}-images", "idx3-ubyte"))
        labels = read_idx(find_file(folder, f"{part}-labels", "idx1-ubyte"))
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(
                f"load_idx_folder: {folder}: {part} has images {images.shape} and labels "
                f"{labels.shape}, expected (n, h, w) and (n,)"
            )
        parts[part] = images, labels
    return IdxFolder(*parts["train"], *parts["t10k"])


def find_file(folder: Path, stem: str, suffix: str) -> Path:
    """Find the one of the usual spellings of a file name that is in `folder`."""
    names = [f"{stem}{dot}{suffix}{gz}" for gz in ("", ".gz") for dot in "-."]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"load_idx_folder: {folder}: found none of {', '.join(names)}")
