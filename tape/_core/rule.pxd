from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from tape._core.node cimport Node

cdef enum:
    MAX_ARGS = 24

# Where an argument of a rule comes from.
cdef enum Source:
    COTANGENT
    OPERAND
    RESULT
    SHAPE
    SETTING
    TANGENT
    TOTAL


cdef class Rule:
    cdef readonly object function
    cdef tuple kwnames
    cdef int n_args
    cdef int kinds[MAX_ARGS]
    cdef int indices[MAX_ARGS]
    cdef uint64_t values
    cdef bint reads_result, passes_on

    cdef object call(self, Node node, g, tangents)
    cdef object call_with(self, Node node, g, tangents, PyObject** args, int* n_owned)
