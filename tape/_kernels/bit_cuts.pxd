from numpy cimport ndarray


cdef tuple checked_pair(str name, object pair, Py_ssize_t least)


cdef class Cuts:
    cdef Py_ssize_t n           # how many ways there are
    cdef ndarray first, last    # taps [first, last) of each way are inside
    cdef ndarray of_window      # which way each window is cut

    cdef void scale(self, Py_ssize_t by) noexcept


cdef ndarray integers(Py_ssize_t n, int kind)
