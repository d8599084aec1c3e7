from tape._core.node cimport Table


cdef class Tally:
    cdef readonly Py_ssize_t hits, evaluations
    cdef readonly double seconds, saved


cdef class Ledger:
    cdef Table table
    cdef readonly Py_ssize_t hits
    cdef readonly Py_ssize_t evaluations
    cdef bint lists_all
    cdef dict tallies

    cdef Tally tally(self, op)


cdef class State:
    cdef Ledger ledger
    cdef list kept
    cdef object module  # a weak reference to the module that runs
    cdef object quiet
    cdef bint recording, reusing, saving_all, is_quiet, checking, recomputing


cdef State current()
