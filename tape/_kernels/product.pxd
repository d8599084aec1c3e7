from numpy cimport ndarray, npy_intp

from tape._kernels.dispatch cimport Kernel, Loop
from tape._kernels.strides cimport Strides


cdef class MatrixProduct(Kernel):
    cdef Loop loop

    cdef bint takes(self, ndarray x, ndarray y) noexcept
    cdef int into(self, ndarray out, Strides* w, ndarray x, ndarray y) except -1
    cdef ndarray tall(self, ndarray x, ndarray y, npy_intp down, npy_intp right, npy_intp n)


cdef class Linear(MatrixProduct):
    cdef Loop add


cdef class OuterSum(MatrixProduct):
    pass
