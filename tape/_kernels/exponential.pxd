from cython cimport floating


cdef void take_exp(floating *x, Py_ssize_t n) noexcept nogil
