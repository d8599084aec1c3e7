from numpy cimport ndarray

from tape._kernels.dispatch cimport Kernel, Loop


cdef class Reduction(Kernel):
    cdef Loop loop

    cdef ndarray reduced(self, ndarray x, unsigned long axes, bint keepdims)
    cdef ndarray folded(self, ndarray x, unsigned long axes, bint keepdims)


cdef class Mean(Reduction):
    cdef Loop divide
