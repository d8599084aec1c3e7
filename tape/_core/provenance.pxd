from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from tape._core.node cimport Node

cdef extern from "frames.h":
    ctypedef struct TapeFolder:
        const char* text
        Py_ssize_t length
    PyObject* tape_caller(const TapeFolder*, int*) noexcept
    bint tape_called_by_user(const TapeFolder*) noexcept


ctypedef list (*Running)()

cdef bint enabled
cdef TapeFolder folder

cdef void tell_running(Running function) noexcept
cdef str module_path()
cdef int stamp_with_module(Node node) except -1
cdef str place_of(object code, int lasti)
cdef str made_at(Node node)
cdef int explain(error, op, list operands) except -1
cdef int explain_other(error, op, list operands) except -1
cdef int explain_gradient(error, Node node) except -1


cdef inline void stamp(Node node) noexcept:
    """Note on a new node where in the user's program it is made; see Note [Provenance]."""
    cdef PyObject* code
    if enabled:
        code = tape_caller(&folder, &node.lasti)
        if code is not NULL:
            Py_INCREF(<object>code)
            node.origin = code
cdef tuple shapes_of(list operands)
