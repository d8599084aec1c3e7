"""Operators on the bits of integers and bools."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._kernels.dispatch import Loop
from tape.errors import DTypeError
from tape.op import bad, op, sample
from tape.ops.cases import MISFIT, UNFIT

INTEGERS = [sample((3, 4), (4,), dtypes=["int64", "int64"], low=0, high=7)]
FRACTIONS = [
    *MISFIT,
    bad((2,), (2,), error=DTypeError, match=r"integers or bools, got float64 \(2,\) and float64"),
]


def whole(*operands):
    """The operands, which hold no fractions."""
    if any(np.asarray(x).dtype.kind == "f" for x in operands):
        given = [f"{np.asarray(x).dtype} {np.shape(x)}" for x in operands]
        raise DTypeError(f"takes integers or bools, got {' and '.join(given)}")
    return operands


def of_bits(loop):
    """`op` for what NumPy's inner loop makes of the bits of each pair of elements."""
    return op(
        shape=shapes.broadcast,
        kernel=Loop(loop),
        differentiable=False,
        samples=INTEGERS,
        errors=FRACTIONS,
    )


@of_bits(np.bitwise_and)
def bitwise_and(a, b, /):
    """a & b of integers or bools, elementwise.   Shapes: a, b broadcast -> y"""
    return np.bitwise_and(*whole(a, b))


@of_bits(np.bitwise_or)
def bitwise_or(a, b, /):
    """a | b of integers or bools, elementwise.   Shapes: a, b broadcast -> y"""
    return np.bitwise_or(*whole(a, b))


@of_bits(np.bitwise_xor)
def bitwise_xor(a, b, /):
    """a ^ b of integers or bools, elementwise.   Shapes: a, b broadcast -> y"""
    return np.bitwise_xor(*whole(a, b))


@of_bits(np.left_shift)
def bitwise_left_shift(a, b, /):
    """a << b of integers, elementwise.   Shapes: a, b broadcast -> y"""
    return np.left_shift(*whole(a, b))


@of_bits(np.right_shift)
def bitwise_right_shift(a, b, /):
    """a >> b of integers, elementwise.   Shapes: a, b broadcast -> y"""
    return np.right_shift(*whole(a, b))


@op(
    shape=shapes.same,
    kernel=Loop(np.invert),
    differentiable=False,
    samples=[sample((3, 4), dtypes=["int64"]), sample((3,), dtypes=["bool"])],
    errors=[*UNFIT, bad((2,), error=DTypeError, match=r"integers or bools, got float64 \(2,\)")],
)
def bitwise_invert(x, /):
    """~x of integers or bools, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.invert(*whole(x))
