"""Binary matrix product, of the signs of its operands, and what it shares with convolution.

A correlation of K signs is K - 2 m, with m the number of places where they differ, and exact. The
gradients are those of `conv2d` and `matmul` of the signs, as if every sign were the identity inside
of its window; see Note [Straight through] in signs.py. An op takes x and w only to know where its
gradients go, and reads the words of their signs, one bit an element, which its rules save.
"""

from __future__ import annotations

import math

import numpy as np

from tape._kernels.bit_filters import BitFilters
from tape._kernels.bits import PackedBits, words_as, words_shape
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.linalg import matmul, outer_sum
from tape.ops.shape import matrix_transpose
from tape.ops.signs import (
    NO_BORDER,
    bit_values,
    checked_window,
    floats,
    gate_of,
    gated,
    guarded,
    sign_bits,
)

LONGEST = 1 << 29  # terms of a sum, so that it fits 32 bits at any padding


def words_of(x, axis, op_name, name):
    """(x or 0, words, border) of an operand: floats are packed, packed signs have no gradient."""
    if not isinstance(x, PackedBits):
        words = sign_bits(
            signed(x, op_name, name), axis=axis, rule="negative", window=0.0, border=NO_BORDER
        )
        return x, words, NO_BORDER
    if x.axis != axis % len(x.shape):
        raise ShapeError(
            f"{op_name}: {name} is packed along axis {x.axis}, expected {axis % len(x.shape)} "
            f"({name} {x.shape})"
        )
    return 0.0, x.words, x.border


def signed(x, op_name, name):
    """x if it is packed or holds floats, else DTypeError."""
    expected = "float32, float64 or PackedBits"
    return x if isinstance(x, PackedBits) else floats(x, op_name, name, expected)


def result_type(*operands):
    """The dtype of a result: float64 if an operand is, and else float32."""
    return (
        np.float64 if any(getattr(x, "dtype", None) == np.float64 for x in operands) else np.float32
    )


def numbers(filters, bits, dtype, channels_last=False):
    """The correlation in a dtype that holds it exactly as far as one can."""
    if dtype == np.float32:
        return filters.scaled(bits, channels_last=channels_last)
    return filters.counts(bits, channels_last=channels_last).astype(dtype)


def filters_of(w, make, *settings):
    """The BitFilters of packed signs, made once and kept with them, or None if w holds floats.

    Packed signs never change, so what was made of them for the same settings is what would be made
    again.
    """
    if not isinstance(w, PackedBits):
        return None
    kept = w.kept
    if kept is None or kept[0] != settings:
        kept = w.kept = settings, make(w, *settings)
    return kept[1]


def check_lineage(given, gate, expected, name):
    """An operand that only stands for its gradient must have the shape that was packed."""
    if given not in ((), expected):
        raise ShapeError(f"{name} has shape {given}, its signs {expected}")
    guarded(expected, gate)


def drawn_words(shape, axis, seed):
    """Words for a sample of that shape."""
    x = np.sin(1 + seed + 7 * np.arange(math.prod(shape)) ** 1.1).reshape(
        shape
    )  # signs as if drawn
    return sign_bits(x, axis=axis, rule="negative", window=0.0, border=NO_BORDER).numpy()


def drawn_gate(shape, seed):
    """A gate for a sample of that shape."""
    return drawn_words((math.prod(shape),), 0, seed)


def wrong(call, match):
    """A sample that must be refused."""
    return bad(*call.shapes, **call.settings, error=ShapeError, match=match)


def unpacked(words, shape, axis, border, dtype):
    """The signs that words hold."""
    name = "float32" if dtype == np.float32 else "float64"
    return bit_values(
        words, shape=tuple(shape), axis=axis, border=border, dtype=name, zero=1.0, one=-1.0
    )


def moves(tangent, shape):
    """Whether an operand of that shape has a tangent; packed ones have the number 0."""
    return tuple(getattr(tangent, "shape", ())) == shape


def binary_matmul(x, w, window=1.0):
    """Matrix product of the signs of x with the signs of w, exact.

    Only x < 0 has the sign -1. The gradients are those of matmul of the signs, where |x| <= window
    and |w| <= window, and 0 elsewhere.

    Shapes: x (..., k), w (k, n) -> y (..., n)

    Args:
        x, w: floats, or what `pack_bits` makes of them, x along its last axis and w along axis 0;
            packed signs have no gradient.
        window: beyond which gradients are 0; None lets everything through.

    Raises:
        ShapeError: the inner dimensions differ, or w has other than two axes.
        DTypeError: x or w holds no floats.

    >>> import tape
    >>> x, w = tape.tensor([[0.5, -2.0, 3.0]]), tape.tensor([[-1.0], [-0.1], [2.0]])
    >>> tape.binary_matmul(x, w).tolist()
    [[1.0]]
    """
    shape, columns = [
        tuple(signed(a, "binary_matmul", name).shape) for a, name in ((x, "x"), (w, "w"))
    ]
    if not shape or len(columns) != 2 or shape[-1] != columns[0]:
        raise ShapeError(f"binary_matmul: takes x (..., k) and w (k, n), got {shape} and {columns}")
    window = checked_window(window, "binary_matmul")
    rows, x_words, _ = words_of(x, -1 % len(shape), "binary_matmul", "x")
    matrix, w_words, _ = words_of(w, 0, "binary_matmul", "w")
    return multiply_signs(
        rows,
        matrix,
        x_words,
        w_words,
        gate_of(rows, window),
        gate_of(matrix, window),
        rows=shape,
        columns=columns,
        filters=filters_of(w, lambda w: matrix_filters(w.words, columns)) if all(columns) else None,
    )


def matrix_filters(words, columns):
    """The columns of a matrix as filters of one pixel."""
    k, n = columns
    return BitFilters(words_as(np.reshape(words, (n, 1, 1, -1)), (n, k, 1, 1), 1))


def multiplied_signs(x, w, x_words, w_words, x_gate, w_gate, *, rows, columns, filters=None):
    """Shape rule: (..., k), (k, n) -> (..., n)."""
    check_lineage(x, x_gate, rows, "x")
    check_lineage(w, w_gate, columns, "w")
    if not rows or len(columns) != 2 or rows[-1] != columns[0]:
        raise ShapeError(f"takes x (..., k) and w (k, n), got {rows} and {columns}")
    if columns[0] > LONGEST:
        raise ShapeError(f"w {columns} has columns of more than {LONGEST} signs")
    if x_words != words_shape(rows, len(rows) - 1, NO_BORDER) or w_words != words_shape(
        columns, 0, NO_BORDER
    ):
        raise ShapeError(f"words {x_words} and {w_words} do not hold x {rows} and w {columns}")
    return (*rows[:-1], columns[1])


def product(rows, columns, packed=False, of=None):
    """A sample of multiply_signs; the signs of w are said to be those of shape `of`."""
    return sample(
        0.0 if packed else rows,
        columns,
        drawn_words(rows, len(rows) - 1, 0),
        drawn_words(columns, 0, 1),
        0 if packed else drawn_gate(rows, 2),
        drawn_gate(columns, 3),
        rows=rows,
        columns=of or columns,
    )


def slow_product(x, w, x_words, w_words, x_gate, w_gate, *, rows, columns, filters=None):
    """multiply_signs by np.matmul of floats."""
    x_signs = unpacked(x_words, rows, len(rows) - 1, NO_BORDER, "float64").numpy()
    w_signs = unpacked(w_words, columns, 0, NO_BORDER, "float64").numpy()
    return np.matmul(x_signs, w_signs).astype(result_type(x, w))


@op(
    name="binary_matmul",
    shape=multiplied_signs,
    saves="x_words w_words x_gate w_gate",
    smooth=False,
    ref=slow_product,
    samples=[
        product((3, 40), (40, 5)),
        product((2, 3, 7), (7, 4)),
        product((9,), (9, 2)),
        product((3, 33), (33, 2), packed=True),
        product((0, 4), (4, 2)),
        product((3, 0), (0, 2)),
    ],
    errors=[
        wrong(product((3, 40), (40, 5), of=(41, 5)), r"w has shape \(40, 5\), its signs \(41, 5\)")
    ],
)
def multiply_signs(x, w, x_words, w_words, x_gate, w_gate, /, *, rows, columns, filters=None):
    """binary_matmul, given the words of the signs and the bits of where gradients end.

    `filters` are those of w_words, if somebody has them.

    Shapes: x (..., k), w (k, n) -> y (..., n)
    """
    k, n = columns
    m, dtype = math.prod(rows[:-1]), result_type(x, w)
    if not m * k * n:
        return np.zeros((*rows[:-1], n), dtype)
    if filters is None:
        filters = matrix_filters(w_words, columns)
    images = words_as(np.reshape(x_words, (1, 1, m, -1)), (1, k, 1, m), 1)
    y = numbers(filters, images, dtype, channels_last=True)
    return y.transpose(0, 2, 3, 1).reshape(*rows[:-1], n)


@multiply_signs.defvjp("x")
def multiply_signs_vjp_x(g, w_words, x_gate, rows, columns):
    w = unpacked(w_words, columns, 0, NO_BORDER, g.dtype)
    return gated(matmul(g, matrix_transpose(w)), x_gate, rows)


@multiply_signs.defvjp("w")
def multiply_signs_vjp_w(g, x_words, w_gate, rows, columns):
    x = unpacked(x_words, rows, len(rows) - 1, NO_BORDER, g.dtype)
    return gated(outer_sum(x, g), w_gate, columns)


@multiply_signs.defjvp
def multiply_signs_jvp(dx, dw, x_words, w_words, x_gate, w_gate, rows, columns):
    y = 0
    if moves(dx, rows):
        w = unpacked(w_words, columns, 0, NO_BORDER, dx.dtype)
        y = matmul(gated(dx, x_gate, rows), w)
    if moves(dw, columns):
        x = unpacked(x_words, rows, len(rows) - 1, NO_BORDER, dw.dtype)
        y = y + matmul(x, gated(dw, w_gate, columns))
    return y
