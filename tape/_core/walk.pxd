from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from tape._core.node cimport Node
from tape._core.op cimport Op
from tape._core.tensor cimport Tensor


cdef class Walk:
    cdef PyObject** nodes
    cdef Py_ssize_t* first
    cdef Py_ssize_t* target
    cdef char* wanted
    cdef char* complete
    cdef list adjoints
    cdef readonly Py_ssize_t n
    cdef object seed
    cdef bint checks
    cdef uint64_t hooks_version, oldest

    cdef int build(self, Node root) except -1
    cdef bint allocate(self, Py_ssize_t n, Py_ssize_t n_edges) noexcept
    cdef void link(self) noexcept
    cdef void mark_paths(self) noexcept
    cdef int find(self, Tensor x) except -1
    cdef object adjoint_of(self, Tensor x)
    cdef int sweep(self, bint create_graph, bint keep) except -1
    cdef int visit(self, Py_ssize_t i, Node node, bint create_graph) except -1
    cdef bint added(self, Op op, Py_ssize_t j, Node node, g, Py_ssize_t t) except -1
    cdef int add(self, Py_ssize_t t, Tensor part, bint create_graph) except -1
