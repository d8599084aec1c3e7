from numpy cimport ndarray, npy_intp

from tape._kernels.dispatch cimport Kernel, Loop
from tape._kernels.strides cimport Strides
from tape._kernels.ending cimport Ending
from tape._kernels.table cimport tape_product

cdef struct Fused:
    # A product of floats, and what to do with the result.
    tape_product product
    Ending ending
    int kind
    int failed


cdef class MatrixProduct(Kernel):
    cdef Loop loop

    cdef bint takes(self, ndarray x, ndarray y) noexcept
    cdef int into(self, ndarray out, Strides* w, ndarray x, ndarray y, ndarray b,
                  ndarray r, activation) except -1
    cdef ndarray tall(self, ndarray x, ndarray y, npy_intp down, npy_intp right, npy_intp n,
                      ndarray b, ndarray r, activation)
    cdef ndarray with_vector(self, ndarray x, ndarray y)


cdef class Linear(MatrixProduct):
    pass


cdef class OuterSum(MatrixProduct):
    pass
