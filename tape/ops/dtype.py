"""Conversion between dtypes."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._core.convert import known_dtype
from tape._core.exchange import check_device
from tape._core.memory import asarray
from tape.errors import DTypeError
from tape.op import bad, op, sample
from tape.ops.logic import weak


def floating(x):
    """An array or number in floating point: integers as float64."""
    if not isinstance(x, np.ndarray):
        x = np.asarray(x, weak(x))
    return x if x.dtype.kind == "f" else x.astype(np.float64)


@op(
    name="astype",
    shape=shapes.same,
    linear=True,
    samples=[
        sample((2, 3), dtype=np.dtype("float64")),
        sample((), dtype=np.dtype("float32"), smooth=False),
        sample((0, 3), dtype=np.dtype("float32"), smooth=False),
    ],
    errors=[bad((3,), dtype="text", error=DTypeError, match="dtype='text'")],
)
def cast(x, /, dtype):
    """x converted to another dtype; its cotangent is converted back.   Shapes: x (*s) -> y (*s)"""
    return np.asarray(x).astype(dtype)


@cast.defvjp
def cast_vjp(g):
    return g  # the engine hands on a cotangent in the operand's dtype


def real(x):
    """x as a tensor of floats: integers become float64."""
    x = asarray(x)
    return x if x.dtype.kind == "f" else cast(x, np.dtype(np.float64))


def astype(x, dtype, /, *, copy=True, device=None):
    """x converted to another dtype; with ``copy=False`` x itself if it has that dtype.

    Floats become integers by dropping the fraction, and no gradient passes.

    Shapes: x (*s) -> y (*s)

    Raises:
        DTypeError: tape has no such dtype.
        ValueError: device is neither None nor "cpu".

    >>> import tape
    >>> tape.tensor([1.7, -1.7]).astype("int64").tolist()
    [1, -1]
    """
    dtype = known_dtype(dtype, "astype")
    check_device(device, "astype")
    x = asarray(x)
    return x if not copy and x.dtype == dtype else cast(x, dtype)
