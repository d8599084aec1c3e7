"""`check_numerics`: finds the op, or the gradient, that first makes NaN or infinity.

A forward is looked at when its value is made. A gradient rule is looked at as a whole: within it
infinities may come and go.
"""

cimport numpy as cnp
from numpy cimport ndarray

import math

import numpy as np

from tape._core.node cimport Node
from tape._core.op cimport Op
from tape._core.provenance cimport explain_gradient
from tape._core.state cimport State, current
from tape._core.tensor cimport Tensor
from tape.errors import NumericsError

cnp.import_array()


class check_numerics:
    """Under it the first op that turns finite numbers into NaN or infinity raises NumericsError.

    Forward and backward: the error names the op, how many numbers went wrong and where the first
    of them stands, the module's path and the line of the program; of a gradient, those where its op
    was called, the path if that was under check_numerics as well. An op that is given NaN or
    infinity, as a tensor, number or setting, may hand it on. A with-block, local to the thread. It
    costs a look at every number; outside of it, nothing.

    Raises:
        NumericsError: by an op, `backward`, `tape.grad` or `tape.jvp` under it.

    >>> import tape
    >>> x = tape.tensor([1.0, 0.0])
    >>> with tape.check_numerics():
    ...     y = tape.log(x)
    Traceback (most recent call last):
        ...
    tape.errors.NumericsError: log: 1 of 2 numbers is not finite, the first is -inf at (1,)...
    """

    def __init__(self):
        self._before = []

    def __enter__(self):
        cdef State state = current()
        self._before.append(bool(state.checking))
        state.checking = True
        return self

    def __exit__(self, *error):
        current().checking = self._before.pop()


cdef bint all_finite(x):
    """Whether an array or number, or all in a tuple, is finite; what is no number is."""
    if isinstance(x, ndarray):
        return not cnp.PyTypeNum_ISFLOAT(cnp.PyArray_TYPE(<ndarray>x)) or bool(np.isfinite(x).all())
    if isinstance(x, float):
        return math.isfinite(x)
    if isinstance(x, tuple):
        return all([all_finite(part) for part in x])
    return True


cdef bint operands_finite(tuple operands):
    """Whether all operands are finite, as far as their values are still known."""
    for x in operands or ():
        if not all_finite((<Node>x).array if isinstance(x, Node) else x):
            return False
    return True


cdef str found_in(y, str what):
    """How many numbers of an array are not finite, and where the first stands."""
    wrong = ~np.isfinite(y)
    n, at = int(wrong.sum()), np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    at = tuple(int(i) for i in at)
    return (
        f"{n} of {wrong.size} {what}{' is' if n == 1 else ' are'} not finite, the first is "
        f"{y[at]!s} at {at}"
    )


cdef int inspect(Op op, tuple operands, tuple settings, ndarray y) except -1:
    """NumericsError if an op has made something that is not finite of what is."""
    if all_finite(y) or not operands_finite(operands) or not all_finite(settings):
        return 0
    raise NumericsError(f"{op.name}: {found_in(y, 'numbers')}; its operands are finite")


cdef int inspect_cotangent(Node node, Py_ssize_t operand, Tensor g, Tensor part, known) except -1:
    """NumericsError if a vjp has made something that is not finite of what is.

    Or if its sum with what is known from other uses of the operand is the first that is not.
    """
    cdef Op op = <Op>node.op
    cdef ndarray found = part.node.array
    cdef str what = "", given = "what came back to it, and its operands, are finite"
    if all_finite(found):
        if not isinstance(known, Tensor) or not all_finite((<Tensor>known).node.array):
            return 0
        with np.errstate(all="ignore"):
            found = np.asarray(np.add((<Tensor>known).node.array, found))
        what, given = ", added up over its uses,", "what is added is finite"
        if all_finite(found):
            return 0
    elif not all_finite(g.node.array) or not operands_finite(node.operands):
        return 0
    name = op.operand_names[min(operand, len(op.operand_names) - 1)]
    blame(node, f"of the gradient for {name}{what} {found_in(found, 'numbers')}; {given}")


cdef int inspect_tangent(Node node, list parts, Tensor dy) except -1:
    """NumericsError if a jvp has made something that is not finite of what is."""
    if all_finite(dy.node.array) or not operands_finite(node.operands):
        return 0
    for part in parts:
        if not all_finite((<Tensor>part).node.array if isinstance(part, Tensor) else part):
            return 0
    blame(node, f"of its tangent {found_in(dy.node.array, 'numbers')}; those given are finite")


cdef int blame(Node node, str words) except -1:
    """Raise NumericsError in the name of the op that made a node."""
    error = NumericsError(f"{node.op.name}: {words}")
    error.op = node.op.name
    error.shapes = tuple([(<Node>x).shape() if isinstance(x, Node) else () for x in node.operands])
    explain_gradient(error, node)
    raise error
