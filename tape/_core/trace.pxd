from tape._core.node cimport Node


cdef class Trace:
    cdef readonly dict steps
    cdef readonly list reads

    cdef int keep(self, Node node) except -1

cdef Trace DERIVED

cdef inline bint is_traced(object trace) noexcept:
    return trace is not None and trace is not DERIVED

cdef int note_read(Node node, str kind, value) except -1
cdef int mark(Node node, object sign) except -1
