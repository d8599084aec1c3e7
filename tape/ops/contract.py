"""Contractions of two operands whose axes are named by letters, and diagonals: einsum's parts.

Note [Contraction]
Every einsum comes down to `contract`, of two operands that are clean: no letter twice in one
operand, each one in the other operand or in the result. Then the gradient of either operand is
again a clean contraction, of the cotangent with the other operand. What is not clean is made so
before: a repeated letter takes a diagonal, a letter found nowhere else is summed over. More than
two operands are contracted in pairs, so the backward pass shares the intermediate results.
"""

from __future__ import annotations

import functools

import numpy as np

from tape._kernels.product import MatrixProduct
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.reduce import broadcast_to

PRODUCT = MatrixProduct()


def unique(letters):
    """Each letter once, in order of first appearance."""
    return "".join(dict.fromkeys(letters))


def diagonal_shape(x, *, letters):
    """Shape rule of diagonals: axes of one letter have one length."""
    sizes = {}
    if len(letters) != len(x):
        raise ShapeError(f"{len(letters)} letters {letters!r} for the {len(x)} axes of {x}")
    for c, n in zip(letters, x, strict=True):
        if sizes.setdefault(c, n) != n:
            raise ShapeError(f"index {c!r} is {sizes[c]} and {n} in one operand {x}")
    return tuple(sizes.values())


@op(
    shape=diagonal_shape,
    saves="x.shape",
    linear=True,
    samples=[
        sample((3, 3), letters="ii"),
        sample((2, 3, 2, 3), letters="ijij"),
        sample((2, 2, 2), letters="iii"),
        sample((0, 0), letters="ii"),
    ],
    errors=[bad((2, 3), letters="ii", error=ShapeError, match="index 'i' is 2 and 3")],
)
def diagonals(x, /, letters):
    """The elements of x whose indices agree along axes of the same letter, as one axis each.

    Shapes: "ii": x (n, n) -> y (n);  "iji": x (n, m, n) -> y (n, m)
    """
    return np.einsum(f"{letters}->{unique(letters)}", x)


@diagonals.defvjp
def diagonals_vjp(g, x_shape, letters):
    return on_diagonals(g, letters, x_shape)


def undone(x, *, letters, shape):
    """Shape rule of on_diagonals."""
    if diagonal_shape(shape, letters=letters) != x:
        raise ShapeError(f"{x} are no diagonals {letters!r} of {shape}")
    return shape


@op(
    shape=undone,
    linear=True,
    samples=[sample((2, 3), letters="iji", shape=(2, 3, 2))],
    errors=[bad((2,), letters="ii", shape=(3, 3), error=ShapeError, match="no diagonals")],
)
def on_diagonals(x, /, letters, shape):
    """Zeros but for diagonals, which are x: the adjoint of `diagonals`.   Shapes: see there"""
    y = np.zeros(shape, x.dtype)
    np.einsum(f"{letters}->{unique(letters)}", y)[...] = x
    return y


@on_diagonals.defvjp
def on_diagonals_vjp(g, letters):
    return diagonals(g, letters)


@functools.lru_cache(maxsize=512)
def parts_of(subscripts):
    """The letters of a, of b and of the result of a contraction like "ij,jk->ik"."""
    terms, _, result = subscripts.partition("->")
    a, _, b = terms.partition(",")
    return a, b, result


def sizes_of(named, name):
    """Length of every letter of the operands, given as pairs (letters, shape); 1 broadcasts."""
    sizes, where = {}, {}
    for letters, shape in named:
        for c, n in zip(letters, shape, strict=True):
            known = sizes.setdefault(c, n)
            where.setdefault(c, shape)
            if n not in (known, 1):
                if known != 1:
                    raise ShapeError(
                        f"{name}index {c!r} is {known} in {where[c]} and {n} in {shape}"
                    )
                sizes[c], where[c] = n, shape
    return sizes


def contracted(a, b, *, subscripts):
    """Shape rule of contract."""
    in_a, in_b, result = parts_of(subscripts)
    if len(in_a) != len(a) or len(in_b) != len(b):
        raise ShapeError(f"{subscripts!r} does not name the axes of {a} and {b}")
    sizes = sizes_of([(in_a, a), (in_b, b)], "")
    return tuple([sizes[c] for c in result])


@functools.lru_cache(maxsize=512)
def plan(subscripts):
    """How a contraction becomes a matrix product.

    Returns:
        Whether a and b change places; the order of axes that makes a (*batch, *left, *summed) and
        b (*batch, *summed, *right); how many axes of each kind; the order of the result's axes.
    """
    a, b, result = parts_of(subscripts)
    batch = [c for c in result if c in a and c in b]
    kept = [c for c in result if c not in batch]
    swapped = bool(kept) and kept[0] in b
    if swapped:
        a, b = b, a
    left, right = [c for c in kept if c in a], [c for c in kept if c in b]
    summed = [c for c in a if c in b and c not in result]
    order_a = tuple([a.index(c) for c in batch + left + summed])
    order_b = tuple([b.index(c) for c in batch + summed + right])
    made = batch + left + right
    order = tuple([made.index(c) for c in result])
    return swapped, order_a, order_b, len(batch), len(left), len(summed), order


def aligned(x, letters, result):
    """An array with its axes in the order of the result's letters, length one where it has none."""
    x = x.transpose([letters.index(c) for c in result if c in letters])
    return x[tuple([slice(None) if c in letters else None for c in result])]


@op(
    shape=contracted,
    saves="a b a.shape b.shape",
    samples=[
        sample((2, 3), (3, 4), subscripts="ij,jk->ik"),
        sample((2, 3), (3, 4), subscripts="ij,jk->ki"),
        sample((2, 3, 4), (3, 2, 4), subscripts="ijk,jil->ilk"),
        sample((2, 3, 4), (4, 5, 3), subscripts="bjk,klj->lb"),
        sample((3, 4), (4, 3), subscripts="ij,ji->"),
        sample((3, 4), (4,), subscripts="ij,j->ji"),
        sample((2,), (3,), subscripts="i,j->ji"),
        sample((2, 1), (1, 3), subscripts="ij,ij->ij"),
        sample((2, 1), (4, 3), subscripts="ij,kj->ik"),
        sample((1, 2, 3), (4, 3, 2), subscripts="bij,bjk->bik"),
        sample((), (3,), subscripts=",i->i"),
        sample((0, 3), (3, 2), subscripts="ij,jk->ik"),
        sample((2, 0), (0, 3), subscripts="ij,jk->ik"),
    ],
    errors=[
        bad(
            (2, 3),
            (4, 2),
            subscripts="ij,jk->ik",
            error=ShapeError,
            match=r"index 'j' is 3 in \(2, 3\) and 4 in \(4, 2\)",
        ),
        bad((2,), (2,), subscripts="ij,j->i", error=ShapeError, match="does not name the axes"),
    ],
)
def contract(a, b, /, subscripts):
    """einsum of two operands, each letter of one being in the other or in the result.

    Shapes: "ij,jk->ik": a (i, j), b (j, k) -> y (i, k)
    """
    a, b = np.asarray(a), np.asarray(b)
    swapped, order_a, order_b, n_batch, n_left, n_summed, order = plan(subscripts)
    if not n_summed:
        in_a, in_b, result = parts_of(subscripts)
        return np.multiply(aligned(a, in_a, result), aligned(b, in_b, result))
    if swapped:
        a, b = b, a
    a, b = a.transpose(order_a), b.transpose(order_b)
    lead, rows = a.shape[:n_batch], a.shape[n_batch : n_batch + n_left]
    inner = np.broadcast_shapes(a.shape[n_batch + n_left :], b.shape[n_batch : n_batch + n_summed])
    columns = b.shape[n_batch + n_summed :]
    a = matrices(a, lead, rows, inner)
    b = matrices(b, b.shape[:n_batch], inner, columns)
    y = PRODUCT(a, b)
    return y.reshape(y.shape[:-2] + rows + columns).transpose(order)


def matrices(x, lead, rows, columns):
    """An array as a stack of matrices; a summed axis of length one is stretched first."""
    x = x if x.shape == lead + rows + columns else np.broadcast_to(x, lead + rows + columns)
    return x.reshape((*lead, int(np.prod(rows)), int(np.prod(columns))))


def stretched(d, shape):
    """A cotangent stretched along summed axes in which the other operand has length one."""
    full = tuple([n if m == 1 else m for m, n in zip(d.shape, shape, strict=True)])
    return d if full == d.shape else broadcast_to(d, full)


@contract.defvjp("a")
def contract_vjp_a(g, b, a_shape, subscripts):
    in_a, in_b, result = parts_of(subscripts)
    return stretched(contract(g, b, f"{result},{in_b}->{in_a}"), a_shape)


@contract.defvjp("b")
def contract_vjp_b(g, a, b_shape, subscripts):
    in_a, in_b, result = parts_of(subscripts)
    return stretched(contract(a, g, f"{in_a},{result}->{in_b}"), b_shape)


@contract.defjvp
def contract_jvp(da, db, a, b, subscripts):
    return contract(da, b, subscripts) + contract(a, db, subscripts)
