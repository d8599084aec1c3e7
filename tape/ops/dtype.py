"""Conversion between dtypes."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.memory import asarray
from tape.errors import DTypeError
from tape.op import op, sample

FLOATS = ["float32", "float64"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES = {np.dtype(name): np.dtype(name) for name in ["bool", *INTEGERS, *FLOATS]}


def known_dtype(dtype, name):
    """What the user calls a dtype, as one that tape has; DTypeError in the name of an op."""
    found = DTYPES.get(dtype) if isinstance(dtype, np.dtype) else None
    if found is None:
        try:
            found = DTYPES.get(np.dtype("object" if dtype is None else dtype).newbyteorder("="))
        except TypeError:
            found = None
    if found is None:
        known = ", ".join(sorted([known.name for known in DTYPES]))
        raise DTypeError(f"{name}: dtype {dtype!r} is not supported; take one of {known}")
    return found


@op(
    shape=shapes.same,
    linear=True,
    samples=[
        sample((2, 3), dtype=np.dtype("float64")),
        sample((), dtype=np.dtype("float32"), smooth=False),
        sample((0, 3), dtype=np.dtype("float32"), smooth=False),
    ],
)
def cast(x, /, dtype):
    """x converted to another dtype; its cotangent is converted back.   Shapes: x (*s) -> y (*s)"""
    return np.asarray(x).astype(dtype)


@cast.defvjp
def cast_vjp(g):
    return g  # the engine hands on a cotangent in the operand's dtype


def astype(x, dtype, /, *, copy=True):
    """x converted to another dtype; with ``copy=False`` x itself if it has that dtype.

    Floats become integers by dropping the fraction, and no gradient passes.

    Shapes: x (*s) -> y (*s)

    Raises:
        DTypeError: tape has no such dtype.

    >>> import tape
    >>> tape.tensor([1.7, -1.7]).astype("int64").tolist()
    [1, -1]
    """
    dtype = known_dtype(dtype, "astype")
    x = asarray(x)
    return x if not copy and x.dtype == dtype else cast(x, dtype)
