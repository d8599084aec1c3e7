"""Rows about codes of 8 bits: layers of int8 against our own of floats, and against each other.

Weights are packed beforehand, which is done once. "Floats" go in and come out, so making codes of
them is part of the time; "codes" are what one int8 layer hands to the next.
"""

from __future__ import annotations

import numpy as np

from .isa import using
from .row import Contender, TimedRow, faster_than

DENSE = [(1, 784, 512), (64, 784, 512), (1, 1024, 1024), (256, 1024, 1024)]
CONVOLUTIONS = [(64, 28), (128, 28), (256, 14)]
STEP = 1 / 30  # of weights and activations, which are normal


def whole(w: np.ndarray) -> np.ndarray:
    """Weights in steps, int8."""
    return np.clip(np.rint(w / STEP), -127, 127).astype(np.int8)


def operands(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Normal numbers of these shapes."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def scope_of(isa: str) -> dict:
    """The option of a Contender to use an instruction set."""
    return {"scope": using(isa)} if isa else {}


def made(w: np.ndarray, b: np.ndarray, padding: int = 0):
    """Filters of a layer."""
    from tape._kernels.int8_filters import Int8Filters

    scale = np.full(len(w), STEP * STEP)
    pads = ((padding, padding),) * 2
    return Int8Filters(whole(w), padding=pads, zero=128, factor=1 / STEP, scale=scale, bias=b)


def int8_dense(m: int, k: int, n: int, isa: str = "") -> Contender:
    """A dense layer, floats to floats."""
    x, w, b = operands((m, k), (n, k), (n,))
    names = {"filters": made(w[:, :, None, None], b), "x": x}
    return Contender(
        "filters.floats(x.T[None, :, None], channels_last=True)",
        names,
        comparable=False,
        **scope_of(isa),
    )


def float_dense(m: int, k: int, n: int, isa: str = "") -> Contender:
    """The same of floats."""
    import tape

    names = dict(zip("xwb", map(tape.tensor, operands((m, k), (n, k), (n,))), strict=True))
    return Contender(
        "linear(x, w, b)", {"linear": tape.linear, **names}, comparable=False, **scope_of(isa)
    )


def int8_convolution(channels: int, size: int, what: str = "floats", isa: str = "") -> Contender:
    """A convolution 3 x 3 with padding 1 of one image; `what` goes in and comes out."""
    shape = (channels, channels, 3, 3)
    x, w, b = operands((1, channels, size, size), shape, (channels,))
    names = {"filters": made(w, b, 1), "x": x}
    if what == "codes":
        from tape._kernels.int8_filters import Int8Filters, codes_of

        pads, ones = ((1, 1), (1, 1)), np.full(channels, 1e-3)
        names["filters"] = Int8Filters(whole(w), padding=pads, zero=128, scale=ones, least=0)
        codes = codes_of(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), 1 / STEP, 128)
        names["x"] = codes.transpose(0, 3, 1, 2)
    return Contender(f"filters.{what}(x)", names, comparable=False, **scope_of(isa))


def float_convolution(channels: int, size: int, isa: str = "") -> Contender:
    """The same of floats."""
    import tape

    shape = (channels, channels, 3, 3)
    arrays = operands((1, channels, size, size), shape, (channels,))
    names = dict(zip("xwb", map(tape.tensor, arrays), strict=True))
    return Contender(
        "conv2d(x, w, b, padding=1)",
        {"conv2d": tape.conv2d, **names},
        comparable=False,
        **scope_of(isa),
    )


FLOATS = "our floats"


def dense_row(m: int, k: int, n: int, isa: str = "", limit: float = 1.8) -> TimedRow:
    """A dense layer against that of floats."""
    return TimedRow(
        f"int8 dense {m}x{k} to {n}{isa and ', ' + isa}",
        {
            "int8": lambda: int8_dense(m, k, n, isa),
            FLOATS: lambda: float_dense(m, k, n, isa),
        },
        [faster_than(FLOATS, limit)],
    )


def convolution_row(
    channels: int, size: int, what: str, isa: str = "", limit: float = 1.8
) -> TimedRow:
    """A convolution against that of floats."""
    return TimedRow(
        f"int8 conv 3x3, C={channels} at {size}, {what} to {what}{isa and ', ' + isa}",
        {
            "int8": lambda: int8_convolution(channels, size, what, isa),
            FLOATS: lambda: float_convolution(channels, size, isa),
        },
        [faster_than(FLOATS, limit)],
    )


ROWS = [
    *(dense_row(*shape) for shape in DENSE),
    *(convolution_row(*shape, what) for shape in CONVOLUTIONS for what in ("floats", "codes")),
    dense_row(64, 784, 512, "avx2", 1.4),
    convolution_row(64, 28, "floats", "avx2", 1.4),
]
