from libc.stdint cimport uint64_t

from tape._core.node cimport Node
from tape._core.tensor cimport Tensor

cdef uint64_t hooks_version


cdef class Hooks:
    cdef list entries
    cdef object __weakref__


cdef Tensor hooked(Hooks hooks, Tensor g, bint create_graph)
