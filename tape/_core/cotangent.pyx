"""What gradient rules give, held to what they must give: as many, in shape, in dtype."""

cimport numpy as cnp
from cpython.object cimport PyObject

import numpy as np

from tape._core.node cimport Node, same_shape
from tape._core.op cimport Op
from tape._core.slots cimport CAST, SUM_TO, slot
from tape._core.tensor cimport Tensor
from tape.errors import GradError

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)


cdef bint is_fresh(Tensor t) noexcept:
    """Whether nobody but this handle knows its value, and the buffer is a plain one of its own."""
    cdef PyObject* node = <PyObject*>t.node
    cdef PyObject* array = <PyObject*>t.node.array
    return (t.node.array is not None and Py_REFCNT(node) == 1 and t.node.holders == 1
            and not t.node.requires_grad
            and Py_REFCNT(array) == 1 and cnp.PyArray_BASE(t.node.array) is NULL
            and cnp.PyArray_CHKFLAGS(t.node.array, cnp.NPY_ARRAY_OWNDATA)
            and cnp.PyArray_IS_C_CONTIGUOUS(t.node.array) and not t.node.borrowed)


cdef tuple split(Op op, parts, Py_ssize_t n):
    """The n cotangents that a rule for all operands gave."""
    if type(parts) is tuple and len(<tuple>parts) == n:
        return <tuple>parts
    if n == 1 and not isinstance(parts, (tuple, list)):
        return (parts,)
    if not isinstance(parts, (tuple, list)) or len(parts) != n:
        got = f"{len(parts)}" if isinstance(parts, (tuple, list)) else type(parts).__name__
        raise GradError(
            f"{op.name}: its vjp must return {n} cotangents, one an operand, got {got}"
        )
    return tuple(parts)


cdef Tensor fitted(Op op, Py_ssize_t operand, part, Node target):
    """A cotangent summed over what the op broadcast and cast to the operand's dtype."""
    cdef Tensor c
    if not isinstance(part, Tensor):
        raise GradError(f"{op.name}: its vjp must return tensors, got a {type(part).__name__}")
    c = <Tensor>part
    if not same_shape(c.node, target):
        shape = target.shape()
        try:
            fits = np.broadcast_shapes(shape, c.shape) == c.shape
        except ValueError:
            fits = False
        if not fits:
            raise GradError(
                f"{op.name}: its vjp gave operand {operand} a cotangent {c.shape}, "
                f"the operand is {shape}"
            )
        c = slot(SUM_TO)(c, shape)
    if c.node.typenum != target.typenum:
        if not cnp.PyTypeNum_ISFLOAT(c.node.typenum):
            raise GradError(
                f"{op.name}: its vjp gave operand {operand} a cotangent of {c.dtype}, "
                f"the operand is {cnp.PyArray_DescrFromType(target.typenum)}"
            )
        c = slot(CAST)(c, cnp.PyArray_DescrFromType(target.typenum))
    return c


cdef Tensor fitted_tangent(Op op, part, Node node):
    """The tangent of a result, cast to the result's dtype."""
    cdef Tensor dy
    if not isinstance(part, Tensor):
        raise GradError(f"{op.name}: its jvp must return a tensor, got a {type(part).__name__}")
    dy = <Tensor>part
    if not same_shape(dy.node, node):
        raise GradError(
            f"{op.name}: its jvp gave a tangent {dy.shape}, the result is {node.shape()}"
        )
    if dy.node.typenum == node.typenum:
        return dy
    if not cnp.PyTypeNum_ISFLOAT(dy.node.typenum):
        raise GradError(
            f"{op.name}: its jvp gave a tangent of {dy.dtype}, the result is "
            f"{cnp.PyArray_DescrFromType(node.typenum)}"
        )
    return slot(CAST)(dy, cnp.PyArray_DescrFromType(node.typenum))
