from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint32_t

from tape._kernels.bits_table cimport tape_bit_kernels
from tape._kernels.int8_table cimport tape_int8_kernels

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

    ctypedef struct tape_convolution:
        ptrdiff_t batch, groups, channels, out_channels
        ptrdiff_t height, width, out_height, out_width
        const void* x
        ptrdiff_t x_image, x_channel, x_row
        void* y
        ptrdiff_t y_image, y_channel, y_row, y_col
        void* w
        ptrdiff_t w_group, w_out, w_in
        ptrdiff_t n_taps
        const ptrdiff_t* tap_y
        const ptrdiff_t* tap_x
        const ptrdiff_t* tap_w
        ptrdiff_t stride_y, stride_x, top, left, reach_y, reach_x
        const void* bias
        int activation
        double slope
        tape_row_work row_work
        const void* row_context
        uint32_t* bits
        ptrdiff_t bits_image, bits_row, bits_col
        int rule

    ctypedef int (*tape_convolve)(const tape_convolution* p) noexcept nogil

    ctypedef struct tape_pooling:
        ptrdiff_t planes, height, width, out_height, out_width, rows, columns
        ptrdiff_t stride_y, stride_x, top, bottom, left, right, dilation_y, dilation_x
        const void* x
        void* y
        int32_t* index
        ptrdiff_t divisor
        int counts_padding

    ctypedef struct tape_picking:
        ptrdiff_t planes, positions, pixels
        const int32_t* index
        const void* from_ "from"
        void* to

    enum:
        TAPE_SGD, TAPE_ADAM, TAPE_RMSPROP, TAPE_SCALE

    ctypedef struct tape_settings:
        double lr, weight_decay, momentum, dampening, eps, beta1, beta2, correction1, correction2
        double alpha, factor
        int nesterov, first, decoupled

    ctypedef struct tape_arrays:
        int kind
        ptrdiff_t size
        void* data[5]

    enum:
        TAPE_PASS_RELU, TAPE_PASS_LEAKY_RELU, TAPE_PASS_SIGMOID, TAPE_PASS_SILU, TAPE_PASS_SOFTPLUS
        TAPE_PASS_GELU, TAPE_PASS_GELU_TANH, TAPE_PASS_CLAMP, TAPE_PASS_HARDSIGMOID
        TAPE_PASS_HARDSWISH, TAPE_PASS_ELU, TAPE_PASS_SOFTSHRINK, TAPE_PASS_MISH
        TAPE_PASS_RELU_GATE, TAPE_PASS_LEAKY_RELU_GATE, TAPE_PASS_OUTSIDE, TAPE_PASS_INSIDE
        TAPE_PASS_SIGMOID_SLOPE, TAPE_PASS_TANH_SLOPE, TAPE_PASS_SILU_SLOPE
        TAPE_PASS_SOFTPLUS_SLOPE, TAPE_PASS_GELU_SLOPE, TAPE_PASS_GELU_TANH_SLOPE
        TAPE_PASS_HARDSWISH_SLOPE, TAPE_PASS_ELU_SLOPE, TAPE_PASS_MISH_SLOPE

    ctypedef struct tape_pass:
        int which
        ptrdiff_t n
        const void* x
        const void* g
        void* y
        double a, b, c

    enum:
        TAPE_SOFTMAX, TAPE_LOG_SOFTMAX, TAPE_LOGSUMEXP, TAPE_CROSS_ENTROPY, TAPE_CROSS_ENTROPY_GRAD
        TAPE_SOFTMAX_GRAD, TAPE_LOG_SOFTMAX_GRAD, TAPE_LOGSUMEXP_GRAD, TAPE_LAYER_NORM
        TAPE_LAYER_NORM_GRAD, TAPE_LAYER_NORM_SUMS, TAPE_NORM_BLOCK

    ctypedef struct tape_rows:
        int work
        ptrdiff_t rows, columns
        const void* x
        const void* g
        void* y
        const int64_t* labels
        const void* scale
        ptrdiff_t scale_step
        const void* sums
        const void* weight
        const void* bias
        double eps
        void* blocks

    enum:
        TAPE_CHANNEL_MOMENTS, TAPE_CHANNEL_SUMS, TAPE_CHANNEL_AFFINE

    ctypedef struct tape_channels:
        int work
        ptrdiff_t n, channels, size
        const void* x
        const void* g
        const void* mean
        const void* scale
        const void* bias
        void* y

    ctypedef struct tape_sparse:
        ptrdiff_t rows, columns, batch
        const int32_t* starts
        const int32_t* places
        const void* values
        const void* bias
        const void* x
        void* y

    ctypedef struct tape_shifts:
        ptrdiff_t images, kinds, rows, width, pitch
        const void* x
        ptrdiff_t x_image
        const ptrdiff_t* starts
        const ptrdiff_t* offsets
        const void* factors
        const void* bias
        void* y
        int relu

    ctypedef struct tape_kernels:
        const char* name
        tape_multiply multiply[2]
        tape_convolve correlate[2]
        tape_convolve weigh[2]
        int (*max_pool[2])(const tape_pooling* p) noexcept nogil
        int (*avg_pool[2])(const tape_pooling* p) noexcept nogil
        int (*avg_spread[2])(const tape_pooling* p) noexcept nogil
        ptrdiff_t (*pick[2])(const tape_picking* p) noexcept nogil
        ptrdiff_t (*put[2])(const tape_picking* p) noexcept nogil
        void (*update)(int step, const tape_settings* s, const tape_arrays* items,
                       ptrdiff_t count, ptrdiff_t numbers) noexcept nogil
        double (*fma_peak[2])(ptrdiff_t rounds) noexcept nogil
        tape_bit_kernels bits
        tape_int8_kernels int8
        void (*run_pass[2])(const tape_pass* p) noexcept nogil
        void (*run_rows[2])(const tape_rows* p) noexcept nogil
        void (*run_channels[2])(const tape_channels* p) noexcept nogil
        int (*sparse[2])(const tape_sparse* p) noexcept nogil
        void (*shift[2])(const tape_shifts* p) noexcept nogil


cdef const tape_kernels* kernels() noexcept nogil
