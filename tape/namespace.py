"""What the Array API standard asks of a namespace beside functions: dtypes, constants, inquiries.

https://data-apis.org/array-api/2024.12; what tape leaves out stands in ARRAY_API.md.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tape._core.convert import known_dtype
from tape._core.exchange import check_device
from tape._core.tensor import Tensor
from tape.errors import DTypeError

__all__ = [
    *["__array_api_version__", "__array_namespace_info__"],
    *["bool", "float32", "float64", "int8", "int16", "int32", "int64"],
    *["uint8", "uint16", "uint32", "uint64"],
    *["e", "inf", "nan", "newaxis", "pi"],
    *["can_cast", "finfo", "iinfo", "isdtype", "result_type"],
]

__array_api_version__ = "2024.12"

_bool = bool
bool = np.dtype("bool")
float32 = np.dtype("float32")
float64 = np.dtype("float64")
int8 = np.dtype("int8")
int16 = np.dtype("int16")
int32 = np.dtype("int32")
int64 = np.dtype("int64")
uint8 = np.dtype("uint8")
uint16 = np.dtype("uint16")
uint32 = np.dtype("uint32")
uint64 = np.dtype("uint64")

e, inf, nan, newaxis, pi = math.e, math.inf, math.nan, None, math.pi

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
FLOATING = (float32, float64)
KINDS = {
    "bool": (bool,),
    "signed integer": SIGNED,
    "unsigned integer": UNSIGNED,
    "integral": SIGNED + UNSIGNED,
    "real floating": FLOATING,
    "complex floating": (),
    "numeric": SIGNED + UNSIGNED + FLOATING,
}


def dtype_in(x: Any, name: str) -> np.dtype:
    """The dtype that something has or is; a number as a tensor of it alone would have."""
    if isinstance(x, (Tensor, np.ndarray, np.generic)):
        return known_dtype(x.dtype, name)
    if isinstance(x, (int, float)):
        return float32 if isinstance(x, float) else np.asarray(x).dtype
    return known_dtype(x, name)


class FloatInfo(NamedTuple):
    """Limits of a floating-point dtype, as Python's numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype


class IntegerInfo(NamedTuple):
    """Limits of an integer dtype, as Python's numbers."""

    bits: int
    max: int
    min: int
    dtype: np.dtype


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating-point dtype, or of that of a tensor.

    Raises:
        DTypeError: it is not floating point.

    >>> import tape
    >>> tape.finfo(tape.float64).eps
    2.220446049250313e-16
    """
    dtype = dtype_in(type, "finfo")
    if dtype.kind != "f":
        raise DTypeError(f"finfo: takes a floating-point dtype, got {dtype}")
    info = np.finfo(dtype)
    eps, smallest = float(info.eps), float(info.smallest_normal)
    return FloatInfo(info.bits, eps, float(info.max), float(info.min), smallest, dtype)


def iinfo(type: Any, /) -> IntegerInfo:
    """Limits of an integer dtype, or of that of a tensor.

    Raises:
        DTypeError: it is no integer dtype.

    >>> import tape
    >>> tape.iinfo(tape.int8).max
    127
    """
    dtype = dtype_in(type, "iinfo")
    if dtype.kind not in "iu":
        raise DTypeError(f"iinfo: takes an integer dtype, got {dtype}")
    info = np.iinfo(dtype)
    return IntegerInfo(int(info.bits), int(info.max), int(info.min), dtype)


def isdtype(dtype: Any, kind: Any) -> _bool:
    """Whether a dtype is of a kind: another dtype, the name of a kind, or one of a tuple of these.

    Args:
        dtype: the dtype.
        kind: a dtype; "bool", "signed integer", "unsigned integer", "integral", "real floating",
            "complex floating", "numeric"; a tuple of them.

    Raises:
        ValueError: there is no kind of that name.
        DTypeError: tape has no such dtype.

    >>> import tape
    >>> tape.isdtype(tape.float32, ("integral", tape.float32))
    True
    """
    dtype = known_dtype(dtype, "isdtype")
    kinds = kind if isinstance(kind, tuple) else (kind,)
    for one in kinds:
        if isinstance(one, str) and one not in KINDS:
            raise ValueError(f"isdtype: {one!r} is none of the kinds {', '.join(KINDS)}")
        members = KINDS[one] if isinstance(one, str) else (known_dtype(one, "isdtype"),)
        if dtype in members:
            return True
    return False


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """The dtype of what is computed from tensors, dtypes and Python numbers.

    A Python number raises the kind at most: bool, integer, floating point. Integers beside floating
    point give float64, as in NumPy; numbers alone float32, int64 or bool.

    Raises:
        DTypeError: tape has no such dtype.
        ValueError: there is nothing to compute from.

    >>> import tape
    >>> tape.result_type(tape.int8, tape.uint8, 3)
    dtype('int16')
    """
    if not arrays_and_dtypes:
        raise ValueError("result_type: takes one tensor, dtype or number at least")
    numbers = [x for x in arrays_and_dtypes if isinstance(x, (int, float))]
    dtypes = [x for x in arrays_and_dtypes if not isinstance(x, (int, float))]
    if not dtypes:
        kinds = [dtype_in(x, "result_type") for x in numbers]
        return float32 if float32 in kinds else np.result_type(*kinds)
    known = [dtype_in(x, "result_type") for x in dtypes]
    return known_dtype(np.result_type(*known, *numbers), "result_type")


def can_cast(from_: Any, to: Any, /) -> _bool:
    """Whether every value of a dtype, or of that of a tensor, has its like in another.

    Raises:
        DTypeError: tape has no such dtype.

    >>> import tape
    >>> tape.can_cast(tape.int64, tape.int32)
    False
    """
    return np.can_cast(dtype_in(from_, "can_cast"), known_dtype(to, "can_cast"), "safe")


class Info:
    """What tape can do, as `__array_namespace_info__()` gives it."""

    def capabilities(self) -> dict[str, Any]:
        """Whether masks are indices, whether shapes may depend on values, how many axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """The device of a new tensor: "cpu"."""
        return "cpu"

    def devices(self) -> list[str]:
        """All devices: the CPU."""
        return ["cpu"]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, np.dtype]:
        """The dtypes that follow from Python's numbers, and that of indices."""
        check_device(device, "default_dtypes")
        return {"real floating": float32, "integral": int64, "indexing": int64}

    def dtypes(
        self, *, device: str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, np.dtype]:
        """All dtypes by name, or those of a kind, or of several.

        Raises:
            ValueError: there is no kind of that name, or no such device.
        """
        check_device(device, "dtypes")
        every = KINDS["bool"] + KINDS["numeric"]
        return {x.name: x for x in every if kind is None or isdtype(x, kind)}


def __array_namespace_info__() -> Info:
    """What tape can do: its dtypes, devices and capabilities, by the Array API standard.

    >>> import tape
    >>> tape.__array_namespace_info__().devices()
    ['cpu']
    """
    return Info()
