"""Several results of one op, packed into one array; and errors that name one matrix of a stack.

Note [Several results]
A node has one value. An op with several results (eigenvalues and eigenvectors) gives them as one
array, each one flattened behind the axes of the stack; the function that users call cuts them out
again as views. So what is computed together is computed once, is recorded as one node, and the
rules get all cotangents together: zeros for a result that nothing depends on.
"""

from __future__ import annotations

import math

import numpy as np

from tape.errors import LinAlgError, ShapeError
from tape.ops.create import matrices
from tape.ops.join import concat
from tape.ops.shape import reshape


def flattened(n_lead, part):
    """The shape of one result when it is packed behind n_lead axes."""
    return (*part.shape[:n_lead], math.prod(part.shape[n_lead:]))


def packed(n_lead, *parts):
    """Arrays, the first n_lead axes of which agree, in one. See Note [Several results]."""
    return np.concatenate([x.reshape(flattened(n_lead, x)) for x in parts], -1)


def packed_tensors(n_lead, *parts):
    """The same of tensors."""
    return concat([reshape(x, flattened(n_lead, x)) for x in parts], axis=-1)


def total(*shapes):
    """How many numbers of each matrix are packed."""
    return sum([math.prod(shape) for shape in shapes])


def cut(y, *shapes):
    """What was packed, given the shapes of each result without the axes of the stack."""
    parts, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        part = y[..., start:stop]
        parts.append(part if len(shape) == 1 else reshape(part, y.shape[:-1] + shape))
        start = stop
    return parts


def square(x):
    """Shape rule: stacked square matrices, of their own shape."""
    matrices(x)
    if x[-1] != x[-2]:
        raise ShapeError(f"needs square matrices, got {x}")
    return x


def attempted(function, x, words, *rest, name="x"):
    """function(x, *rest); where NumPy gives up, an error says at which matrix of x and why."""
    try:
        return function(x, *rest)
    except np.linalg.LinAlgError:
        raise LinAlgError(f"{culprit(function, x, rest, name)} {words}") from None


def converged(function, x, *rest):
    """function(x, *rest), an iteration; NaN and inf, on which it may never end, are refused."""
    finite = np.isfinite(x)
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0, :-2].tolist())
        raise LinAlgError(f"{located(x, place)} holds NaN or inf")
    return attempted(function, x, "lets the iteration not converge", *rest)


def culprit(function, x, rest, name):
    """The first matrix that a function gives up on, in words."""
    for place in np.ndindex(x.shape[:-2]):
        if gives_up(function, x[place], rest):
            holds = "" if np.isfinite(x[place]).all() else " holds NaN or inf and"
            return located(x, place, name) + holds
    return f"a matrix of {name} {x.shape}"


def located(x, place, name="x"):
    """One matrix of a stack in words."""
    at = f"the matrix at {list(place)} of " if place else ""
    return f"{at}{name} {x.shape}"


def gives_up(function, x, rest):
    """Whether NumPy raises LinAlgError for one matrix."""
    try:
        function(x, *rest)
    except np.linalg.LinAlgError:
        return True
    return False
