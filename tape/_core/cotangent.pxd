from tape._core.node cimport Node
from tape._core.op cimport Op
from tape._core.tensor cimport Tensor

cdef bint is_fresh(Tensor t) noexcept
cdef Tensor fitted(Op op, Py_ssize_t operand, part, Node target)
cdef tuple split(Op op, parts, Py_ssize_t n)
cdef Tensor fitted_tangent(Op op, part, Node node)
