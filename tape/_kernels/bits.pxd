from numpy cimport ndarray, npy_intp

from tape._kernels.arrays cimport product


cdef class PackedBits:
    cdef readonly ndarray words
    cdef readonly tuple shape
    cdef readonly int axis
    cdef readonly tuple border
    cdef public object kept  # what others have made of these signs, to be freed with them


cdef PackedBits packed(ndarray words, tuple shape, int axis, tuple border)


cdef tuple checked_border(str op, object border, int ndim, int axis)


cdef inline Py_ssize_t volume(const npy_intp *dims, int ndim, str op) except -1:
    """How many numbers an array has, or ValueError if their bytes cannot be counted."""
    cdef Py_ssize_t count = 8
    cdef int i
    for i in range(ndim):
        count = product(dims[i], count, op)
    return count // 8
