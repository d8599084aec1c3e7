from numpy cimport ndarray

from tape._core.node cimport Node
from tape._core.op cimport Op
from tape._core.tensor cimport Tensor

cdef int inspect(Op op, tuple operands, tuple settings, ndarray y) except -1
cdef int inspect_cotangent(Node node, Py_ssize_t operand, Tensor g, Tensor part, known) except -1
cdef int inspect_tangent(Node node, list parts, Tensor dy) except -1
