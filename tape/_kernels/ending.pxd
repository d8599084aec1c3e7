from libc.stddef cimport ptrdiff_t

from tape._kernels.strides cimport InnerLoop
from tape._kernels.table cimport tape_row_work


cdef struct Ending:
    # The activation in which a product ends: in registers, or on rows that are in the cache.
    int activation
    double slope
    tape_row_work row_work
    InnerLoop inner
    void* data
    ptrdiff_t size
    int which


cdef int end_in(str name, int kind, Ending* ending) except -1
