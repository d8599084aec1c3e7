"""What int8.h declares."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t, uint8_t

cdef extern from "int8.h" nogil:
    enum:
        TAPE_INT8_SUMS, TAPE_INT8_FLOATS, TAPE_INT8_CODES

    ctypedef struct tape_int8_images:
        ptrdiff_t n, c, h, w
        const float* x
        ptrdiff_t x_n, x_c, x_h, x_w
        uint8_t* y
        ptrdiff_t y_n, y_h, y_w
        float factor, zero

    ctypedef struct tape_int8_windows:
        ptrdiff_t images, rows, columns, filters
        const uint8_t* x
        ptrdiff_t x_n, x_h, x_w, x_bytes, runs, run_words
        const ptrdiff_t* run_at
        const void* weights
        int kind
        const int32_t* offsets
        const float* scale
        const float* bias
        float least
        void* y
        ptrdiff_t y_n, y_h, y_w, y_c

    ctypedef void (*tape_int8_pack)(const tape_int8_images*) noexcept nogil
    ctypedef void (*tape_int8_arrange)(const int8_t* filters, ptrdiff_t n, ptrdiff_t words,
                                       void* to) noexcept nogil
    ctypedef int (*tape_int8_correlate)(const tape_int8_windows*) noexcept nogil

    ctypedef struct tape_int8_kernels:
        tape_int8_pack pack
        tape_int8_arrange arrange
        tape_int8_correlate correlate
        int (*has_dot)() noexcept nogil
