from tape._core.node cimport Node


cdef class Trace:
    cdef readonly dict steps
    cdef readonly list reads
    cdef readonly object forgotten
    cdef dict met  # weak references to other traces that the steps come from, by serial
    cdef Py_ssize_t n_bytes
    cdef object serial
    cdef object __weakref__

    cdef int keep(self, Node node) except -1
    cdef int note(self, Node node, tuple read) except -1
    cdef int let_go(self) except -1

cdef Trace DERIVED

cdef inline bint is_traced(object trace) noexcept:
    return trace is not None and trace is not DERIVED

cdef void follow(Node node, Node source)
cdef int note_read(Node node, str kind, value) except -1
cdef int note_size(Node node, str kind, bint is_value) except -1
cdef str origin(Node node)
cdef int note_length(Node node, str kind) except -1
cdef int note_failure(Node node, bint of_sizes) except -1
cdef int note_choice(Node node) except -1
cdef Py_ssize_t length(Node node, str what) except -1
cdef int mark(Node node, object sign) except -1
