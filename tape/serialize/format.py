"""The safetensors format: arrays by name in one file, written and read strictly.

Layout: 8 bytes, the length n of the header, little-endian; n bytes of JSON, `{name: {"dtype": ...,
"shape": [...], "data_offsets": [begin, end]}}` and texts by name under `"__metadata__"`; values,
little-endian in C order, one array after the other from the first byte to the last.
Source: the description of the format by the safetensors project, version 0.8.

Note [Trust nothing]
A header is a stranger's: its length is compared with the file before memory is asked for, sizes
are multiplied as Python's integers, and arrays must cover the file without gaps or overlaps, so
that no more memory is ever asked for than the file has bytes.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tape.errors import CheckpointError, DTypeError

__all__ = ["Entry", "Header", "header_of", "parsed", "read_arrays", "read_header", "write"]

DTYPES = {
    code: np.dtype(name)
    for code, name in {
        "F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
        "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
    }.items()
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
NARROW = {"F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}  # read as float32 on request
FOREIGN = {  # what a file that starts like this probably is
    b"PK": "a zip archive, as torch.save and np.savez write it",
    b"\x80": "a pickle",
    b"\x93NUMPY": "an array of np.save",
    b"\x89HDF": "an HDF5 file",
}
METADATA = "__metadata__"
MAX_HEADER = 100_000_000  # bytes, as the format says
MAX_AXES = 64  # of a NumPy 2 array
ALIGNMENT = 64  # of the values in the file


class Entry(NamedTuple):
    """Where the values of an array stand, from the end of the header on."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """What a file holds, and where its values start."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    start: int


def header_of(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The first bytes of a file with these arrays, in the order of `in_file`.

    Raises:
        DTypeError: the format, or tape, has no such dtype.
        CheckpointError: a name is not valid Unicode or taken, or names take more than 100 MB.
    """
    entries, end = {}, 0
    for name in in_file(arrays):
        array = arrays[name]
        code = CODES.get(array.dtype.newbyteorder("<"))
        if code is None:
            raise DTypeError(
                f"save: {name} is {array.dtype}: take one of {', '.join(map(str, CODES))}"
            )
        begin, end = end, end + array.nbytes
        entries[name] = {"dtype": code, "shape": array.shape, "data_offsets": (begin, end)}
    if METADATA in entries:
        raise CheckpointError(f"save: {METADATA} cannot be the name of an array")
    whole: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    whole |= {name: entries[name] for name in arrays}
    try:
        content = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(f"save: a name or text is not valid Unicode: {error}") from None
    content += b" " * (-(8 + len(content)) % ALIGNMENT)
    if len(content) > MAX_HEADER:
        raise CheckpointError(f"save: names and texts take {len(content)} bytes of {MAX_HEADER}")
    return len(content).to_bytes(8, "little") + content


def in_file(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names in the order of their values: wide dtypes first, so that each is aligned."""
    return sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)


def write(file: BinaryIO, header: bytes, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a header and the arrays that it was made of."""
    file.write(header)
    for name in in_file(arrays):
        array = arrays[name]
        array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        file.write(as_bytes(array))


def as_bytes(array: np.ndarray) -> memoryview:
    """The memory of a C-contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def read_header(file: BinaryIO, size: int, path: str) -> Header:
    """Read and check the header of a file that has `size` bytes; see Note [Trust nothing].

    Raises:
        CheckpointError: it is no safetensors file, or one that is damaged or truncated.
    """

    def refused(why: str) -> CheckpointError:
        return CheckpointError(f"load: {path}: {why}")

    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > min(MAX_HEADER, size - 8):
        claim = f"its header would have {length} bytes" if len(first) == 8 else "it has no header"
        known = (f"it is {what}" for start, what in FOREIGN.items() if first.startswith(start))
        raise refused(
            f"no safetensors file, or a truncated one: of {size} bytes, {next(known, claim)}"
        )
    content = file.read(length)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise refused(f"its header is no text: {error}") from None
    if len(content) < length or not text.startswith("{") or not text.rstrip(" ").endswith("}"):
        raise refused("its header is no JSON object")
    whole = parsed(text, f"load: {path}: its header", dict)
    metadata = whole.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise refused(f"{METADATA} must hold texts by name")
    entries = {}
    for name, value in whole.items():
        found = entry_of(value)
        if isinstance(found, str):
            raise refused(f"{name}: {found}")
        entries[name] = found
    at, room = 0, size - 8 - length
    for name in by_place(entries):
        begin, end = entries[name].begin, entries[name].end
        if begin != at:
            gap = "overlap with what is before" if begin < at else f"leave a gap after {at}"
            raise refused(f"{name}: its bytes {begin} to {end} {gap}")
        at = end
    if at != room:
        what = "truncated" if at > room else "bytes after the last array"
        raise refused(f"{what}: its arrays have {at} bytes, the file has {room} for them")
    return Header(entries, metadata, 8 + length)


def parsed(text: str, what: str, kind: type, constants: bool = False) -> Any:
    """JSON as a value of this kind; `constants` allows NaN and Infinity, which are none of JSON's.

    Raises:
        CheckpointError: it is none, has a key twice, or is nested too deeply.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"one of its {len(pairs)} names is there twice")
        for name in found:
            name.encode()  # half of a surrogate pair is a ValueError
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no number")

    try:
        value = json.loads(
            text, object_pairs_hook=once, parse_constant=None if constants else refuse
        )
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is damaged: {error}") from None
    if type(value) is not kind:
        raise CheckpointError(f"{what} is damaged: a {kind.__name__} is expected")
    return value


def entry_of(value: Any) -> Entry | str:
    """An entry of the header, or what is wrong with it."""
    keys = "dtype", "shape", "data_offsets"
    if not isinstance(value, dict) or value.keys() != set(keys):
        return f"an array is described by {', '.join(keys)}, got {shown(value)}"
    code, shape, offsets = (value[key] for key in keys)
    dtype = None if not isinstance(code, str) else DTYPES.get(code) or NARROW.get(code)
    if dtype is None:
        return f"dtype {shown(code)} is none that tape reads: {', '.join([*DTYPES, *NARROW])}"
    if not is_sizes(shape) or len(shape) > MAX_AXES:
        return f"shape {shown(shape)} is no list of at most {MAX_AXES} sizes"
    if not is_sizes(offsets) or len(offsets) != 2:
        return f"data_offsets {shown(offsets)} are no two offsets"
    begin, end = offsets
    n = math.prod(shape) * dtype.itemsize
    if n != end - begin:
        return f"{code} {shown(shape)} take {n} bytes, its data_offsets {shown(offsets)} do not"
    # NumPy counts the strides of an empty array too, so that its other lengths must fit as well.
    if math.prod(size for size in shape if size) * dtype.itemsize > sys.maxsize:
        return f"shape {shown(shape)} fits into no memory"
    return Entry(code, tuple(shape), begin, end)


def is_sizes(value: Any) -> bool:
    """Whether it is a list of integers that memory could have, >= 0."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= sys.maxsize for n in value)


def shown(value: Any) -> str:
    """What was found, cut short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def by_place(entries: Mapping[str, Entry]) -> list[str]:
    """Names in the order of their values in the file."""
    return sorted(entries, key=lambda name: entries[name][2:])


def read_arrays(
    file: BinaryIO, header: Header, names: Iterable[str], path: str, widen: bool
) -> dict[str, np.ndarray]:
    """Read these arrays into memory of their own.

    Args:
        file: whose header was read.
        header: what it gave.
        names: of the arrays, in the order of the result.
        path: for errors.
        widen: whether 16-bit floating point is read as float32.

    Raises:
        CheckpointError: the file shrank meanwhile, a bool is neither 0 nor 1, or an array has a
            dtype that tape does not have.
    """
    wanted = dict.fromkeys(names)
    found = {}
    for name in by_place({name: header.entries[name] for name in wanted}):
        code, shape, begin, _ = header.entries[name]
        if code in NARROW and not widen:
            raise CheckpointError(
                f"load: {path}: {name} is {code}, which tape does not have: widen=True reads it as "
                "float32, which has all its values"
            )
        array = np.empty(shape, DTYPES.get(code) or NARROW[code])
        file.seek(header.start + begin)
        fill(file, as_bytes(array), f"load: {path}: truncated while {name} was read")
        if code == "BOOL" and array.size and array.view(np.uint8).max() > 1:
            raise CheckpointError(f"load: {path}: {name} is BOOL, and has bytes beside 0 and 1")
        found[name] = native(array, code)
    return {name: found[name] for name in wanted}


def fill(file: BinaryIO, memory: memoryview, error: str) -> None:
    """Read until the memory is full; CheckpointError if the file ends before."""
    n = 0
    while n < len(memory):
        n_more = file.readinto(memory[n:])  # type: ignore[attr-defined]
        if not n_more:
            raise CheckpointError(f"{error}: {n} of its {len(memory)} bytes are there")
        n += n_more


def native(array: np.ndarray, code: str) -> np.ndarray:
    """The array in the machine's byte order, 16-bit floating point as float32."""
    if code == "BF16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    if code == "F16":
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
