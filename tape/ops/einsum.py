"""einsum, and tensordot and vecdot in its terms; see Note [Contraction] in `contract`."""

from __future__ import annotations

import functools
import string

import numpy as np

from tape import shapes
from tape._core.memory import asarray, lengths
from tape.errors import AxisError, ShapeError
from tape.ops.contract import contract, diagonals, sizes_of, unique
from tape.ops.naming import named
from tape.ops.reduce import sum as sum_over
from tape.ops.shape import permute_dims


def letters_of(term, text, allowed):
    """The letters before and behind the ellipsis of a term, and whether there is one."""
    before, dots, behind = term.partition("...")
    for c in before + behind:
        if c not in allowed:
            raise ShapeError(f"einsum: {c!r} in {text!r} is not one of {allowed!r}")
    return before, bool(dots), behind


@functools.lru_cache(maxsize=512)
def spelled(text, ranks):
    """Letters of every operand and of the result, an ellipsis spelled out.

    Args:
        text: subscripts as the user gives them.
        ranks: number of axes of every operand.
    """
    inputs, arrow, output = text.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ranks):
        raise ShapeError(f"einsum: {text!r} names {len(terms)} operands, got {len(ranks)}")
    free = [c for c in string.ascii_letters if c not in text]
    split, hidden = [], 0
    for i, (term, rank) in enumerate(zip(terms, ranks, strict=True)):
        before, dots, behind = letters_of(term, text, string.ascii_letters)
        rest = rank - len(before + behind)
        if rest < 0 or (rest and not dots):
            raise ShapeError(
                f"einsum: {term!r} in {text!r} names {len(before + behind)} axes, "
                f"operand {i} has {rank}"
            )
        split.append((before, rest, behind))
        hidden = max(hidden, rest)
    if hidden > len(free):
        raise ShapeError(f"einsum: {text!r} needs more than {len(string.ascii_letters)} letters")
    dotted = "".join(free[:hidden])
    spelled_out = tuple([a + dotted[hidden - rest :] + b for a, rest, b in split])
    if not arrow:
        once = [c for c in sorted(set(inputs)) if c.isalpha() and inputs.count(c) == 1]
        return spelled_out, dotted + "".join(once)
    before, dots, behind = letters_of(output, text, inputs)
    if len(unique(before + behind)) < len(before + behind):
        raise ShapeError(f"einsum: the result of {text!r} names an index twice")
    return spelled_out, before + (dotted if dots else "") + behind


@functools.lru_cache(maxsize=512)
def pairs_to_contract(terms, result, dims):
    """Which operands to contract in turn, as NumPy's greedy search orders them."""
    dummies = [np.broadcast_to(np.float32(0), shape) for shape in dims]
    steps = np.einsum_path(",".join(terms) + "->" + result, *dummies, optimize="greedy")[0][1:]
    return [tuple(sorted(step)) for step in steps]


def cleaned(x, letters, needed):
    """An operand and its letters without repeated ones and those that nothing else needs."""
    if len(unique(letters)) < len(letters):
        x, letters = diagonals(x, letters), unique(letters)
    lone = tuple([i for i, c in enumerate(letters) if c not in needed])
    if lone:
        dtype = None if x.dtype.kind == "f" else x.dtype  # as NumPy: small integers stay small
        x, letters = sum_over(x, lone, dtype=dtype), "".join([c for c in letters if c in needed])
    return x, letters


def einsum(subscripts, /, *operands):
    """Sum of products over indices named by letters (Einstein's convention).

    Every operand's axes are named by letters; what is not in the result is summed over. A letter
    twice in one operand takes the diagonal. "..." stands for any axes, which broadcast, as axes of
    length one do; a result without it sums over them, as in PyTorch. Without "->" the result has
    the axes of "..." and then, in alphabetical order, the letters that occur once.

    Args:
        subscripts: such as "ij,jk->ik", "...ij,...jk->...ik", "ii" or "bi,bj,bk->ijk".

    Shapes: as the letters say

    Raises:
        ShapeError: the subscripts do not fit the operands, or a letter has two lengths.

    >>> import tape
    >>> a, b = tape.tensor([[1.0, 2.0], [3.0, 4.0]]), tape.tensor([1.0, 10.0])
    >>> tape.einsum("ij,j->i", a, b).tolist(), tape.einsum("ii", a).item()
    ([21.0, 43.0], 5.0)
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts are a string, got {type(subscripts).__name__}")
    xs = [asarray(x) for x in operands]
    terms, result = spelled(subscripts, tuple([x.ndim for x in xs]))
    sizes_of([(letters, lengths(x)) for letters, x in zip(terms, xs, strict=True)], "einsum: ")
    terms = list(terms)
    for i, letters in enumerate(terms):
        others = result + "".join([t for j, t in enumerate(terms) if j != i])
        xs[i], terms[i] = cleaned(xs[i], letters, others)
    if len(xs) > 2:
        steps = pairs_to_contract(tuple(terms), result, tuple([lengths(x) for x in xs]))
    else:
        steps = [(0, 1)] if len(xs) == 2 else []
    for step in steps:
        chosen = [(xs[i], terms[i]) for i in step]
        for i in reversed(step):
            del xs[i], terms[i]
        x, letters = chosen[0]
        for k, (other, name) in enumerate(chosen[1:], 2):
            rest = result + "".join(terms) + "".join([t for _, t in chosen[k:]])
            made = result if not xs and k == len(chosen) else kept_letters(letters + name, rest)
            x, letters = contract(x, other, f"{letters},{name}->{made}"), made
        xs.append(x)
        terms.append(letters)
    return permute_dims(xs[0], tuple([terms[0].index(c) for c in result])) if not steps else xs[0]


def kept_letters(letters, needed):
    """Letters of a pair that something still needs, each once."""
    return "".join([c for c in unique(letters) if c in needed])


def axes_in_order(x, given):
    """One axis or several, counted from the front, each named once."""
    several = isinstance(given, (list, tuple))
    axes = [shapes.axis_of(x.ndim, i) for i in (given if several else [given])]
    if len(set(axes)) < len(axes):
        raise AxisError(f"tensordot: {given} names an axis twice")
    return axes


@named
def tensordot(a, b, /, axes=2):
    """Products summed over pairs of axes, one of a and one of b.

    Args:
        axes: how many of a's last axes go with b's first ones; or a pair of equally many axes of a
            and of b.

    Shapes: a (*s, *k), b (*k, *t) -> y (*s, *t)

    Raises:
        ShapeError: axes that go together differ in length or number.
        AxisError: there is no such axis, or it is given twice.

    >>> import numpy as np, tape
    >>> tape.tensordot(np.ones((2, 3, 4)), np.ones((4, 3, 5)), axes=((1, 2), (1, 0))).shape
    (2, 5)
    """
    a, b = asarray(a), asarray(b)
    if not isinstance(axes, (list, tuple)):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: a {a.shape} and b {b.shape} do not share {axes} axes")
        axes = (tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes)))
    of_a, of_b = [axes_in_order(x, given) for x, given in zip((a, b), axes, strict=True)]
    if len(of_a) != len(of_b):
        raise ShapeError(f"tensordot: {len(of_a)} axes of a go with {len(of_b)} of b: {axes}")
    in_a = [chr(ord("a") + i) for i in range(a.ndim)]
    in_b = [chr(ord("a") + a.ndim + i) for i in range(b.ndim)]
    for i, j in zip(of_a, of_b, strict=True):
        if a.shape[i] != b.shape[j]:
            raise ShapeError(
                f"tensordot: axis {i} of a {a.shape} is {a.shape[i]}, "
                f"axis {j} of b {b.shape} is {b.shape[j]}"
            )
        in_b[j] = in_a[i]
    result = [c for c in in_a if c not in in_b] + [c for c in in_b if c not in in_a]
    return contract(a, b, f"{''.join(in_a)},{''.join(in_b)}->{''.join(result)}")


@named
def vecdot(a, b, /, *, axis=-1):
    """Dot products of the vectors along an axis, the others broadcast.

    Args:
        axis: counted in each operand by itself.

    Shapes: a (..., n), b (..., n) -> y (...)

    Raises:
        ShapeError: the vectors differ in length, or the other axes do not broadcast.
        AxisError: an operand has no such axis.

    >>> import tape
    >>> tape.vecdot(tape.tensor([[1.0, 2.0], [3.0, 4.0]]), tape.tensor([1.0, 10.0])).tolist()
    [21.0, 43.0]
    """
    a, b = asarray(a), asarray(b)
    try:
        i, j = shapes.axis_of(a.ndim, axis), shapes.axis_of(b.ndim, axis)
    except AxisError as error:
        error.op = "vecdot"
        raise
    if a.shape[i] != b.shape[j]:
        raise ShapeError(
            f"vecdot: a {a.shape} has {a.shape[i]} along axis {axis}, b {b.shape} has {b.shape[j]}"
        )
    letters = [chr(ord("b") + k) for k in range(max(a.ndim, b.ndim) - 1)]
    in_a, in_b = letters[len(letters) + 1 - a.ndim :], letters[len(letters) + 1 - b.ndim :]
    in_a.insert(i, "a")
    in_b.insert(j, "a")
    try:
        return contract(a, b, f"{''.join(in_a)},{''.join(in_b)}->{''.join(letters)}")
    except ShapeError:
        text = f"vecdot: a {a.shape} and b {b.shape} do not broadcast beside axis {axis}"
        raise ShapeError(text) from None
