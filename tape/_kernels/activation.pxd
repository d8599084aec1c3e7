from cython cimport floating

cdef void sigmoid(const floating* x, floating* y, Py_ssize_t n) noexcept nogil
cdef void error_rest(const floating* x, floating* y, Py_ssize_t n) noexcept nogil
