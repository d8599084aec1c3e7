"""`circular_product`: convolutions and correlations modulo a length, by way of frequencies.

Note [Transforms as products]
A transform of a few dozen or hundred points is a product with a matrix of cosines and sines, which
the kernels for matrix products do faster than a fast transform takes one such signal after the
other. The matrix has columns only for the points where a signal stands and rows only for those that
are asked for, so that padding, steps, dilation and cropping cost nothing; and what comes out is in
the order in which the products at each frequency want it. Beyond `LONGEST` points NumPy's fast
transform takes over.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tape._kernels.product import MatrixProduct
from tape.errors import DTypeError, ShapeError
from tape.op import bad, op, sample
from tape.ops.shape import permute_dims

__all__ = ["Line", "Lines", "Spots", "circular_product", "inverse", "multiplied", "spectrum"]

LONGEST = 256  # points along an axis; benchmarks "netopt fft conv"
MULTIPLY = MatrixProduct()


class Line(NamedTuple):
    """Points first, first + step, ... along an axis, modulo its length."""

    first: int
    step: int
    count: int


Lines = tuple[Line, Line]  # of rows and columns


class Spots(NamedTuple):
    """Where a, b and y of a circular product stand."""

    a: Lines
    b: Lines
    y: Lines


Lengths = tuple[int, int]


@lru_cache(32)
def waves(line: Line, length: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """(cosines, sines) of all frequencies (rows) at points (columns), exact at whole turns."""
    turn = 2 * np.pi * np.arange(length) / length
    points = (line.first + line.step * np.arange(line.count)) % length
    at = np.outer(np.arange(length), points) % length
    return np.cos(turn)[at].astype(dtype), np.sin(turn)[at].astype(dtype)


@lru_cache(32)
def of_real(line: Line, length: int, dtype: Any) -> np.ndarray:
    """(frequencies up to half, 2; points): to the spectrum of real numbers."""
    cos, sin = (part[: length // 2 + 1] for part in waves(line, length, dtype))
    return np.stack([cos, -sin], 1).reshape(-1, line.count)


@lru_cache(32)
def of_complex(line: Line, length: int, dtype: Any) -> np.ndarray:
    """(frequencies, 2; 2, points): from pairs to the spectrum of complex numbers."""
    cos, sin = waves(line, length, dtype)
    blocks = np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], 1)
    return blocks.reshape(2 * length, 2 * line.count)


@lru_cache(32)
def to_complex(line: Line, length: int, dtype: Any) -> np.ndarray:
    """(2, points; frequencies, 2): back to complex numbers, as pairs."""
    return np.ascontiguousarray(of_complex(line, length, dtype).T / dtype.type(length))


@lru_cache(32)
def to_real(line: Line, length: int, dtype: Any) -> np.ndarray:
    """(frequencies up to half, 2; points): back to real numbers."""
    weight = np.full((length // 2 + 1, 1, 1), 2.0 / length)
    weight[0] = 1.0 / length
    if length % 2 == 0:
        weight[-1] = 1.0 / length
    matrix = of_real(line, length, dtype).reshape(-1, 2, line.count) * weight
    return matrix.reshape(-1, line.count).astype(dtype)


def frequencies(lengths: Lengths) -> int:
    """How many complex numbers stand for real ones."""
    return (lengths[1] // 2 + 1) * lengths[0]


def spectrum(x: np.ndarray, lines: Lines, lengths: Lengths) -> np.ndarray:
    """The spectra of signals that stand at those points, and are 0 elsewhere.

    Shapes: x (*s, rows, columns) -> y (frequencies, 2, *s), real parts first
    """
    rows, columns = lines
    s, n = x.shape[:-2], lengths[1] // 2 + 1
    flat, both = (math.prod(s) * rows.count, columns.count), frequencies(lengths)
    if max(lengths) > LONGEST:
        whole = np.zeros((*s, *lengths), x.dtype)
        whole[(..., *places(lines, lengths))] = x
        c = np.moveaxis(np.fft.rfft2(whole), (-1, -2), (0, 1))
        return np.stack([c.real, c.imag], 2, dtype=x.dtype).reshape(both, 2, *s)
    matrix = of_real(columns, lengths[1], x.dtype)
    if lengths[0] == 1:
        return MULTIPLY(matrix, x.reshape(flat).T).reshape(n, 2, *s)
    x = np.ascontiguousarray(np.moveaxis(x, -2, 0))
    y = MULTIPLY(matrix, x.reshape(flat).T).reshape(n, 2 * rows.count, math.prod(s))
    return MULTIPLY(of_complex(rows, lengths[0], x.dtype), y).reshape(both, 2, *s)


def inverse(z: np.ndarray, lines: Lines, lengths: Lengths) -> np.ndarray:
    """What signals of these spectra are at those points.

    Shapes: z (frequencies, 2, *s), in C order -> y (*s, rows, columns)
    """
    rows, columns = lines
    s, n = z.shape[2:], lengths[1] // 2 + 1
    size = math.prod(s)
    if max(lengths) > LONGEST:
        parts = np.moveaxis(z.reshape(n, lengths[0], 2, *s), (0, 1), (-1, -2))
        whole = np.fft.irfft2(parts[0] + 1j * parts[1], lengths)
        return whole[(..., *places(lines, lengths))].astype(z.dtype, copy=False)
    matrix = to_real(columns, lengths[1], z.dtype)
    if lengths[0] == 1:
        y = MULTIPLY(z.reshape(2 * n, size).T, matrix)
        return y.reshape(*s, 1, columns.count)
    y = MULTIPLY(to_complex(rows, lengths[0], z.dtype), z.reshape(n, 2 * lengths[0], size))
    y = MULTIPLY(y.reshape(2 * n, rows.count * size).T, matrix).reshape(
        rows.count, *s, columns.count
    )
    return np.ascontiguousarray(np.moveaxis(y, 0, -2))


def places(lines: Lines, lengths: Lengths) -> tuple[np.ndarray, np.ndarray]:
    """Indices of points in rows and columns of the whole."""
    at = [(n.first + n.step * np.arange(n.count)) % m for n, m in zip(lines, lengths, strict=True)]
    return at[0][:, None], at[1]


def multiplied(a: np.ndarray, b: np.ndarray, turned: bool) -> np.ndarray:
    """Matrix products at each frequency, in each group, of a and b or the conjugate of b.

    Shapes: a (frequencies, 2, groups, m, r), b (frequencies, 2, groups, n, r) ->
    y (frequencies, 2, groups, m, n)
    """
    n_all, _, groups, m, r = a.shape
    n = b.shape[3]
    y = np.empty((n_all, 2, groups, m, n), a.dtype)
    if r == 1:
        b = np.swapaxes(b, 3, 4)
        (ar, ai), (br, bi) = ((part[:, 0], part[:, 1]) for part in (a, b))
        parts = ar * br, ai * bi, ai * br, ar * bi
    else:
        a, b = (grouped(part) for part in (a, b))
        p = MULTIPLY(a, np.swapaxes(b, -1, -2)).reshape(n_all, groups, 2, m, 2, n)
        parts = (p[:, :, i, :, j] for i, j in ((0, 0), (1, 1), (1, 0), (0, 1)))
    rr, ii, ir, ri = parts
    (np.add if turned else np.subtract)(rr, ii, out=y[:, 0])
    (np.subtract if turned else np.add)(ir, ri, out=y[:, 1])
    return y


def grouped(z: np.ndarray) -> np.ndarray:
    """Spectra (frequencies, 2, groups, m, r) as matrices (frequencies, groups, 2 m, r)."""
    n_all, _, groups, m, r = z.shape
    return np.ascontiguousarray(np.swapaxes(z, 1, 2)).reshape(n_all, groups, 2 * m, r)


def work(m: int, n: int, r: int, groups: int, spots: Spots, lengths: Lengths) -> int:
    """Multiply-adds of a product whose b is a spectrum already, with transforms as products."""
    both, n_half = frequencies(lengths), lengths[1] // 2 + 1

    def of_transform(lines: Lines, signals: int) -> int:
        along = 2 * n_half * lines[0].count * lines[1].count
        down = 4 * both * lines[0].count if lengths[0] > 1 else 0
        return signals * (along + down)

    product = 4 * both * groups * m * n * r
    return of_transform(spots.a, groups * m * r) + product + of_transform(spots.y, groups * m * n)


def shape_of_product(a: Any, b: Any, *, spots: Any, lengths: Any, turned: Any) -> Any:
    """(groups, m, r, ...), (groups, n, r, ...) -> (groups, m, n, rows and columns of y)."""
    if len(a) != 5 or len(b) != 5 or a[0] != b[0] or a[2] != b[2]:
        raise ShapeError(f"a {a} and b {b} are not (groups, m, r, ...) and (groups, n, r, ...)")
    try:
        spots, (high, wide) = Spots(*spots), lengths
        counts = [tuple([Line(*line).count for line in lines]) for lines in spots]
        spans = [[1 + line[1] * (line[2] - 1) for line in lines] for lines in spots]
    except TypeError:
        raise ShapeError(f"spots are lines of whole numbers, got {spots!r:.80}") from None
    if counts[:2] != [a[3:], b[3:]]:
        raise ShapeError(f"a {a} and b {b} do not stand at {counts[0]} and {counts[1]} points")
    if any(span[0] > high or span[1] > wide for span in spans):
        raise ShapeError(f"points along {spans} are not apart modulo {lengths}")
    return (a[0], a[1], b[1], *counts[2])


def floats(*arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays of one type of floats; DTypeError for others."""
    dtype = np.result_type(*arrays)
    if dtype.kind != "f":
        raise DTypeError(f"a and b are {dtype}, expected float32 or float64")
    return [np.asarray(array, dtype) for array in arrays]


def directly(a: Any, b: Any, *, spots: Spots, lengths: Lengths, turned: bool) -> np.ndarray:
    """What circular_product gives, point by point."""
    at = [[(n.first + n.step * np.arange(n.count)) % m for n, m in zip(lines, lengths, strict=True)]
          for lines in spots]  # fmt: skip
    met = [
        (y[:, None, None] == (p[None, :, None] + (-q if turned else q)[None, None, :]) % m)
        for p, q, y, m in zip(*at, lengths, strict=True)
    ]
    return np.einsum("gmrhw,gnrij,yhi,xwj->gmnyx", a, b, *met)


ROW = (Line(0, 1, 1), Line(0, 1, 4))
WIDE = (
    (Line(0, 1, 3), Line(0, 1, 4)),
    (Line(0, 2, 2), Line(0, 1, 3)),
    (Line(-1, 2, 2), Line(0, 1, 2)),
)
FORMS = [
    ((1, 2, 3, 1, 4), (1, 2, 3, 1, 4), Spots(ROW, ROW, ROW), (1, 4), False),
    ((2, 2, 3, 3, 4), (2, 1, 3, 2, 3), Spots(*WIDE), (5, 6), True),
    ((2, 3, 1, 3, 4), (2, 1, 1, 2, 3), Spots(*WIDE), (4, 5), False),
    ((1, 0, 2, 1, 4), (1, 3, 2, 1, 4), Spots(ROW, ROW, ROW), (1, 4), True),
]


@op(
    shape=shape_of_product,
    saves="a b",
    ref=directly,
    samples=[
        sample(a, b, spots=spots, lengths=lengths, turned=turned)
        for a, b, spots, lengths, turned in FORMS
    ],
    errors=[
        bad(
            *((1, 2, 3, 1, 4), b),
            spots=Spots(ROW, ROW, ROW),
            lengths=lengths,
            turned=False,
            error=ShapeError,
            match=match,
        )
        for b, lengths, match in [
            ((1, 2, 2, 1, 4), (1, 4), "are not"),
            ((1, 2, 3, 1, 5), (1, 4), "do not stand at"),
            ((1, 2, 3, 1, 4), (1, 3), "not apart modulo"),
        ]
    ],
)
def circular_product(a, b, /, *, spots, lengths, turned):
    """Sums of convolutions modulo lengths, or of correlations if turned, where the points meet.

    y[g, m, n, p] = sum over r, q, and those s with p = s + q (turned: p = s - q) modulo lengths, of
                    a[g, m, r, s] * b[g, n, r, q]

    Shapes: a (groups, m, r, Ha, Wa), b (groups, n, r, Hb, Wb) -> y (groups, m, n, Hy, Wy)
    """
    a, b = floats(a, b)
    product = multiplied(spectrum(a, spots.a, lengths), spectrum(b, spots.b, lengths), turned)
    return inverse(product, spots.y, lengths)


@circular_product.defvjp("a")
def circular_product_vjp_a(g, b, spots, lengths, turned):
    """g with what the other operand was, turned the other way."""
    other = Spots(spots.y, spots.b, spots.a)
    b = permute_dims(b, (0, 2, 1, 3, 4))
    return circular_product(g, b, spots=other, lengths=lengths, turned=not turned)


@circular_product.defvjp("b")
def circular_product_vjp_b(g, a, spots, lengths, turned):
    """Correlations of what came back and what went in."""
    a, g = (permute_dims(part, (0, 2, 1, 3, 4)) for part in (a, g))
    if turned:
        there = Spots(spots.a, spots.y, spots.b)
        y = circular_product(a, g, spots=there, lengths=lengths, turned=True)
        return permute_dims(y, (0, 2, 1, 3, 4))
    there = Spots(spots.y, spots.a, spots.b)
    return circular_product(g, a, spots=there, lengths=lengths, turned=True)


@circular_product.defjvp
def circular_product_jvp(da, db, a, b, spots, lengths, turned):
    """Each operand's tangent with the other operand."""
    more = {"spots": spots, "lengths": lengths, "turned": turned}
    return circular_product(da, b, **more) + circular_product(a, db, **more)
