"""What bits.h declares."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint32_t

cdef extern from "bits.h" nogil:
    enum:
        TAPE_NEGATIVE, TAPE_NOT_POSITIVE, TAPE_OUTSIDE, TAPE_COUNTS, TAPE_SCALED, TAPE_SIGNS

    ctypedef struct tape_bit_images:
        ptrdiff_t n, c, h, w
        void* x
        ptrdiff_t x_n, x_c, x_h, x_w
        uint32_t* bits
        ptrdiff_t bits_n, bits_h, bits_w
        int rule
        double window, zero, one

    ctypedef struct tape_bit_windows:
        ptrdiff_t images, rows, columns, filters
        const uint32_t* x
        ptrdiff_t x_n, x_h, x_w, x_row, x_pixel, x_words, runs, run_words
        const ptrdiff_t* run_at
        const void* filter_bits
        int kind
        const int32_t* offsets
        const ptrdiff_t* row_class
        const ptrdiff_t* column_class
        void* y
        ptrdiff_t y_n, y_h, y_w, y_c
        int y_bit
        const float* scale
        const float* bias
        const float* residual
        const uint32_t* flip

    ctypedef void (*tape_pack_bits)(const tape_bit_images*) noexcept nogil
    ctypedef size_t (*tape_arranged)(ptrdiff_t filters, ptrdiff_t words) noexcept nogil
    ctypedef void (*tape_arrange)(const uint32_t* filters, ptrdiff_t n, ptrdiff_t runs,
                                  ptrdiff_t run_words, void* to) noexcept nogil
    ctypedef void (*tape_ones)(const uint32_t* filters, ptrdiff_t n, ptrdiff_t taps,
                               ptrdiff_t words, int32_t* to) noexcept nogil
    ctypedef int (*tape_correlate)(const tape_bit_windows*) noexcept nogil
    ctypedef double (*tape_popcount_peak)(ptrdiff_t rounds) noexcept nogil

    ctypedef struct tape_bit_kernels:
        tape_pack_bits pack[2]
        tape_pack_bits unpack[2]
        tape_arranged arranged
        tape_arrange arrange
        tape_ones ones
        tape_correlate correlate
        tape_popcount_peak popcount_peak

    ctypedef struct tape_bit_borders:
        ptrdiff_t filters, height, width, channels
        const int32_t* ones
        int pad_value
        ptrdiff_t row_classes, column_classes
        const ptrdiff_t* top
        const ptrdiff_t* bottom
        const ptrdiff_t* left
        const ptrdiff_t* right
        int32_t* offsets

    ctypedef struct tape_bit_pool:
        ptrdiff_t rows, columns, words, image_rows, image_columns
        ptrdiff_t height, width, stride_h, stride_w, dilation_h, dilation_w, top, left
        const uint32_t* x
        ptrdiff_t x_h, x_w
        uint32_t* y
        ptrdiff_t y_h, y_w
        int least
        uint32_t last

    int tape_bit_offsets(const tape_bit_borders*)
    void tape_bit_thresholds(int32_t* offsets, ptrdiff_t classes, ptrdiff_t filters,
                             const int32_t* least)
    void tape_bit_channels(const uint32_t* source, ptrdiff_t source_step, uint32_t* to,
                           ptrdiff_t to_step, ptrdiff_t pixels, ptrdiff_t first, ptrdiff_t n)
    int tape_bit_pool_image(const tape_bit_pool*)
