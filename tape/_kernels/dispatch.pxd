from numpy cimport ndarray, npy_intp

from tape._kernels.strides cimport InnerLoop, Strides


cdef class Kernel:
    cdef ndarray unary(self, ndarray x)
    cdef ndarray binary(self, a, b)
    cdef ndarray settled(self, list operands, tuple settings)


cdef class Loop(Kernel):
    cdef readonly object ufunc
    cdef readonly int nin
    cdef int identity  # what a fold starts from, -1: the first element
    cdef bint on_integers
    cdef InnerLoop inner[24]
    cdef void* data[24]
    cdef int out_type[24]

    cdef int usable(self, int typenum) noexcept
    cdef int weak(self, scalar, ndarray x) except -2
    cdef ndarray flat(self, int typenum, ndarray like, char* a, npy_intp step_a, char* b,
                      npy_intp step_b)
    cdef ndarray reduce(self, ndarray x, unsigned long axes, bint keepdims)
    cdef int copy_first(self, const Strides* w, const npy_intp* full, int typenum) except -1
    cdef int accumulate(self, ndarray into, ndarray x) except -1


cdef bint side_by_side(ndarray x, ndarray y) noexcept
cdef bint is_float(int typenum) noexcept
cdef ndarray cast(ndarray x, int typenum)
cdef bint is_float(int typenum) noexcept
