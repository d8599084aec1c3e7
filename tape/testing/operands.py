"""Operands for the calls that an op's samples describe, in every layout memory can have."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.op import Op, Sample

__all__ = ["LAYOUTS", "Call", "draw"]


def draw(sample: Sample, rng: np.random.Generator, dtype: str = "float64") -> list[Any]:
    """Operands for a sample: an array for every shape, numbers and arrays as they are.

    Floating-point arrays are uniform in [low, high) and of `dtype` where the sample names no other,
    integers uniform in [low, high), bools even.

    >>> import numpy as np
    >>> from tape.op import sample
    >>> a, b = draw(sample((2, 3), 1.5, low=0, high=1), np.random.default_rng(0))
    >>> a.shape, a.dtype.name, b
    ((2, 3), 'float64', 1.5)
    """
    return [
        _drawn(shape, own or dtype, sample, rng)
        if isinstance(shape, tuple)
        else _given(shape, own or dtype)
        for shape, own in zip(sample.shapes, sample.dtypes, strict=True)
    ]


def _drawn(shape: Any, dtype: str, sample: Sample, rng: np.random.Generator) -> Any:
    kind = np.dtype(dtype).kind
    if kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if kind in "iu":
        low = max(math.ceil(sample.low), 0) if kind == "u" else math.ceil(sample.low)
        return rng.integers(low, math.ceil(sample.high), shape, dtype=dtype)
    return rng.uniform(sample.low, sample.high, shape).astype(dtype)


def _given(value: Any, dtype: str) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(dtype)
    return value


class Call:
    """One op with operands drawn for one of its samples; equal arguments draw equal operands.

    Attributes:
        operands: arrays and Python numbers.
        floats: positions of the operands that a gradient can be asked for.
    """

    def __init__(self, op: Op, sample: Sample, dtype: str = "float64") -> None:
        self.op, self.sample = op, sample
        self.rng = np.random.default_rng(zlib.crc32(f"{op.name} {sample!r}".encode()))
        self.operands = draw(sample, self.rng, dtype)
        self.floats = [
            i
            for i, x in enumerate(self.operands)
            if isinstance(x, np.ndarray) and x.dtype.kind == "f"
        ]

    def __call__(self, *operands: Any) -> Tensor:
        """The op's result; a generator among the settings starts afresh each time."""
        return self.op(*operands, **self.settings())

    def settings(self) -> dict[str, Any]:
        """The sample's settings."""
        settings = self.sample.settings.items()
        is_generator = np.random.Generator
        return {k: copy.deepcopy(v) if isinstance(v, is_generator) else v for k, v in settings}

    def reference(self, *operands: Any) -> np.ndarray:
        """The slow truth, as NumPy computes it."""
        defaults = zip(self.op.setting_names, self.op.defaults, strict=True)
        with np.errstate(all="ignore"):
            return np.asarray(self.op.ref(*operands, **{**dict(defaults), **self.settings()}))

    def tensors(self, wanted: Any = None) -> list[Any]:
        """The operands as leaves; those in `wanted` (by default all that can) want a gradient."""
        wanted = self.floats if wanted is None else wanted
        return [
            Tensor(x, requires_grad=i in wanted) if isinstance(x, np.ndarray) else x
            for i, x in enumerate(self.operands)
        ]

    def like(self, array: Any) -> np.ndarray:
        """Numbers of the shape and dtype of `array`, normally distributed."""
        return self.rng.standard_normal(np.shape(array)).astype(np.asarray(array).dtype)

    @property
    def is_differentiable(self) -> bool:
        """Whether there is anything to differentiate."""
        return bool(self.op.differentiable and self.floats)


def _strided(x: np.ndarray) -> np.ndarray:
    wide = np.full((*x.shape, 2), 77, x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


def _reversed(x: np.ndarray) -> np.ndarray:
    back = (slice(None, None, -1),) * x.ndim
    return x[back].copy()[back]


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def _at_byte(x: np.ndarray, offset: int) -> np.ndarray:
    memory = np.zeros(x.nbytes + offset, np.uint8)
    moved = memory[offset:].view(x.dtype).reshape(x.shape)
    moved[...] = x
    return moved


def _broadcast(x: np.ndarray) -> np.ndarray:
    if 0 in x.shape:
        return x.copy()
    return np.broadcast_to(x[(slice(0, 1),) * x.ndim], x.shape)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": lambda x: np.array(x, order="C"),
    "F": lambda x: np.array(x, order="F"),
    "strided": _strided,
    "negative strides": _reversed,
    "read-only": _read_only,
    "offset": lambda x: _at_byte(x, x.itemsize),
    "misaligned": lambda x: _at_byte(x, 1),
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "broadcast": _broadcast,
}
"""Makes an array of each layout from any array. All but "broadcast", which repeats the first
element, keep the values."""
