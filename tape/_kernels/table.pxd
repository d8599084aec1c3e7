from libc.stddef cimport ptrdiff_t

from tape._kernels.bits_table cimport tape_bit_kernels

cdef extern from "kernels.h" nogil:
    enum:
        TAPE_FLOAT, TAPE_DOUBLE, TAPE_NOTHING, TAPE_RELU, TAPE_LEAKY_RELU

    ctypedef void (*tape_row_work)(void* row, ptrdiff_t n, const void* context) noexcept nogil

    ctypedef struct tape_product:
        ptrdiff_t m, n, k
        const void* a
        const void* b
        ptrdiff_t a_row, a_col, b_row, b_col
        void* c
        ptrdiff_t c_row
        int onto
        const void* row_bias
        const void* column_bias
        const void* residual
        ptrdiff_t residual_row
        int activation
        double slope
        tape_row_work row_work
        const void* row_context

    ctypedef int (*tape_multiply)(const tape_product* p, ptrdiff_t batch, ptrdiff_t a_step,
                                  ptrdiff_t b_step, ptrdiff_t c_step) noexcept nogil

    ctypedef struct tape_kernels:
        const char* name
        tape_multiply multiply[2]
        tape_bit_kernels bits


cdef const tape_kernels* kernels() noexcept nogil
