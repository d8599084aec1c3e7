/* What a set of kernels offers: one table for each instruction set, filled by isa/<name>.c. */
#ifndef TAPE_KERNELS_H
#define TAPE_KERNELS_H

#include "bits.h"
#include "int8.h"

#include <stddef.h>
#include <stdint.h>

enum { TAPE_FLOAT, TAPE_DOUBLE, TAPE_REALS };

/* What happens in registers to a result before it is stored. */
enum { TAPE_NOTHING, TAPE_RELU, TAPE_LEAKY_RELU };

/* Work on n finished numbers of a row while they are in the cache. */
typedef void (*tape_row_work)(void *row, ptrdiff_t n, const void *context);

/* c (m, n) = finish(a (m, k) @ b (k, n) + biases + residual), or added to c.

   Strides count elements, may be negative or 0; the columns of c and of the residual are
   contiguous. c overlaps with nothing else. */
typedef struct {
    ptrdiff_t m, n, k;
    const void *a, *b;
    ptrdiff_t a_row, a_col, b_row, b_col;
    void *c;
    ptrdiff_t c_row;
    int onto;                /* add to c what it holds */
    const void *row_bias;    /* m numbers, or NULL */
    const void *column_bias; /* n numbers, or NULL */
    const void *residual;    /* like c, or NULL */
    ptrdiff_t residual_row;
    int activation;          /* TAPE_NOTHING, ... */
    double slope;            /* of TAPE_LEAKY_RELU */
    tape_row_work row_work;  /* or NULL */
    const void *row_context;
} tape_product;

/* Correlation of images with windows, in the terms in which all three convolutions are one:

       y[n, o, i, j] = finish(sum over c and t of
                              x[n, c, i * stride_y + tap_y[t], j * stride_x + tap_x[t]]
                              * w[o * w_out + c * w_in + tap_w[t]] + bias[o])

   for each group of channels, with zeros where x has no pixel. The smallest tap_y is -top, the
   difference to the largest reach_y - 1; left and reach_x likewise. Rows of x are contiguous.

   Of one group, y may be signs only, bits as in bits.h: `bits` is then where they begin. */
typedef struct {
    ptrdiff_t batch, groups, channels, out_channels; /* channels of one group */
    ptrdiff_t height, width, out_height, out_width;
    const void *x;
    ptrdiff_t x_image, x_channel, x_row;
    void *y;
    ptrdiff_t y_image, y_channel, y_row, y_col;
    void *w;
    ptrdiff_t w_group, w_out, w_in;
    ptrdiff_t n_taps;
    const ptrdiff_t *tap_y, *tap_x, *tap_w;
    ptrdiff_t stride_y, stride_x, top, left, reach_y, reach_x;
    const void *bias; /* groups * out_channels numbers, or NULL */
    int activation;
    double slope;
    tape_row_work row_work; /* or NULL; wants a y in C order */
    const void *row_context;
    uint32_t *bits; /* or NULL; the words of a pixel are neighbours */
    ptrdiff_t bits_image, bits_row, bits_col;
    int rule; /* TAPE_NEGATIVE, ... */
} tape_convolution;

/* Windows of (rows, columns) over planes of an image; see window.pyx. */
typedef struct {
    ptrdiff_t planes, height, width, out_height, out_width, rows, columns;
    ptrdiff_t stride_y, stride_x, top, bottom, left, right, dilation_y, dilation_x;
    const void *x;
    void *y;
    int32_t *index;     /* where each maximum stands in its plane */
    ptrdiff_t divisor;  /* of a sum, or 0 for the window's pixels */
    int counts_padding; /* or only those of the image */
} tape_pooling;

/* `positions` indices into `pixels` for every plane; -1 is none. */
typedef struct {
    ptrdiff_t planes, positions, pixels;
    const int32_t *index;
    const void *from;
    void *to;
} tape_picking;

/* Optimizer updates: what each does stands in update.pyx; each reads its own settings. */
enum { TAPE_SGD, TAPE_ADAM, TAPE_RMSPROP, TAPE_SCALE, TAPE_STEPS };

typedef struct {
    double lr, weight_decay, momentum, dampening, eps, beta1, beta2, correction1, correction2, alpha;
    double factor;
    int nesterov, first, decoupled;
} tape_settings;

/* A parameter, its gradient and at most three arrays of state, of `size` numbers each. */
enum { TAPE_SLOTS = 5 };

typedef struct {
    int kind; /* TAPE_FLOAT or TAPE_DOUBLE */
    ptrdiff_t size;
    void *data[TAPE_SLOTS]; /* or NULL */
} tape_arrays;

/* Functions of one number, and gradients: y from a cotangent g and what the function had or gave. */
enum {
    TAPE_PASS_RELU, TAPE_PASS_LEAKY_RELU, TAPE_PASS_SIGMOID, TAPE_PASS_SILU, TAPE_PASS_SOFTPLUS,
    TAPE_PASS_GELU, TAPE_PASS_GELU_TANH, TAPE_PASS_CLAMP, TAPE_PASS_HARDSIGMOID,
    TAPE_PASS_HARDSWISH, TAPE_PASS_ELU, TAPE_PASS_SOFTSHRINK, TAPE_PASS_MISH,
    TAPE_PASS_RELU_GATE, TAPE_PASS_LEAKY_RELU_GATE, TAPE_PASS_OUTSIDE, TAPE_PASS_INSIDE,
    TAPE_PASS_SIGMOID_SLOPE, TAPE_PASS_TANH_SLOPE, TAPE_PASS_SILU_SLOPE, TAPE_PASS_SOFTPLUS_SLOPE,
    TAPE_PASS_GELU_SLOPE, TAPE_PASS_GELU_TANH_SLOPE, TAPE_PASS_HARDSWISH_SLOPE,
    TAPE_PASS_ELU_SLOPE, TAPE_PASS_MISH_SLOPE, TAPE_PASSES
};

typedef struct {
    int which;
    ptrdiff_t n;
    const void *x, *g;
    void *y;             /* may be x or g */
    double a, b, c;      /* settings, in the op's order */
} tape_pass;

/* Functions of the rows of a matrix: softmax and what is made of it, normalisation. */
enum {
    TAPE_SOFTMAX, TAPE_LOG_SOFTMAX, TAPE_LOGSUMEXP, TAPE_CROSS_ENTROPY, TAPE_CROSS_ENTROPY_GRAD,
    TAPE_SOFTMAX_GRAD, TAPE_LOG_SOFTMAX_GRAD, TAPE_LOGSUMEXP_GRAD, TAPE_LAYER_NORM,
    TAPE_LAYER_NORM_GRAD, TAPE_LAYER_NORM_SUMS, TAPE_ROW_WORKS
};

typedef struct {
    int work;
    ptrdiff_t rows, columns;
    const void *x, *g;         /* of one shape, in C order; x is the result where that was saved */
    void *y;
    const int64_t *labels;     /* of TAPE_CROSS_ENTROPY... */
    const void *scale;         /* a factor for each row, or for all if scale_step is 0 */
    ptrdiff_t scale_step;
    const void *sums;          /* TAPE_LOGSUMEXP_GRAD: what logsumexp gave for each row */
    const void *weight, *bias; /* a number for each column, or NULL */
    double eps;
    void *blocks;              /* of TAPE_LAYER_NORM_SUMS: room for the sums of each block of rows */
} tape_rows;

enum { TAPE_NORM_BLOCK = 32 }; /* rows in a block */

/* x (n, channels, size) in C order, by channels: mean and biased variance of each (y, mean first);
   sums of g * (x - mean), or of x where g is NULL; (x - mean) * scale + bias. */
enum { TAPE_CHANNEL_MOMENTS, TAPE_CHANNEL_SUMS, TAPE_CHANNEL_AFFINE, TAPE_CHANNEL_WORKS };

typedef struct {
    int work;
    ptrdiff_t n, channels, size; /* none of them 0 */
    const void *x, *g, *mean, *scale, *bias; /* bias may be NULL */
    void *y;
} tape_channels;

/* A sparse matrix, by rows, and vectors in C order; y[i, r] is bias[r] plus the sum of values[k] *
   x[i, places[k]] over k from starts[r] to starts[r + 1]. */
typedef struct {
    ptrdiff_t rows, columns, batch;
    const int32_t *starts, *places;
    const void *values, *bias; /* bias may be NULL */
    const void *x;             /* (batch, columns) */
    void *y;                   /* (batch, rows) */
} tape_sparse;

/* y[n, o, i, j] = bias[o] + sum over the terms e of o of
   factors[e] * x[n, offsets[e] + i * pitch + j], those of o being [starts[o], starts[o + 1]). */
typedef struct {
    ptrdiff_t images, kinds, rows, width, pitch; /* kinds of results; none of these is 0 */
    const void *x;
    ptrdiff_t x_image;
    const ptrdiff_t *starts, *offsets;
    const void *factors, *bias; /* bias may be NULL */
    void *y;
    int relu;
} tape_shifts;

typedef struct {
    const char *name;
    /* Matrix products, one for each type of real numbers; -1 if there is no memory, c then holds
       anything. `batch` of them lie a_step, b_step, c_step elements apart. */
    int (*multiply[TAPE_REALS])(const tape_product *p, ptrdiff_t batch, ptrdiff_t a_step,
                                ptrdiff_t b_step, ptrdiff_t c_step);
    /* y from x and w; w from x and y, whose rows are contiguous. -1 if there is no memory, -2 if a
       block is too large for 32-bit offsets. */
    int (*correlate[TAPE_REALS])(const tape_convolution *p);
    int (*weigh[TAPE_REALS])(const tape_convolution *p);
    /* Maxima and their places; -1 if there is no memory. */
    int (*max_pool[TAPE_REALS])(const tape_pooling *p);
    /* Means of windows; each mean's share for its pixels, from x like the means to y like the image.
       -1 if there is no memory. */
    int (*avg_pool[TAPE_REALS])(const tape_pooling *p);
    int (*avg_spread[TAPE_REALS])(const tape_pooling *p);
    /* Take what the indices name; add to it. The place of a bad index, or -1. */
    ptrdiff_t (*pick[TAPE_REALS])(const tape_picking *p);
    ptrdiff_t (*put[TAPE_REALS])(const tape_picking *p);
    /* One step for all parameters, which hold so many numbers together. */
    void (*update)(int step, const tape_settings *s, const tape_arrays *items, ptrdiff_t count,
                   ptrdiff_t numbers);
    /* Multiply and add in registers only, `rounds` times; how many operations (two each) that was. */
    double (*fma_peak[TAPE_REALS])(ptrdiff_t rounds);
    tape_bit_kernels bits;
    tape_int8_kernels int8;
    void (*run_pass[TAPE_REALS])(const tape_pass *p);
    void (*run_rows[TAPE_REALS])(const tape_rows *p);
    void (*run_channels[TAPE_REALS])(const tape_channels *p);
    int (*sparse[TAPE_REALS])(const tape_sparse *p); /* -1 if there is no memory */
    void (*shift[TAPE_REALS])(const tape_shifts *p);
} tape_kernels;

/* The table in use; the best one that this machine can run, until another is chosen. */
const tape_kernels *tape_table(void);

/* Use the table of this name. -1: it was not built; -2: this machine cannot run it. */
int tape_choose(const char *name);

/* The i-th table that was built, best first, and whether this machine can run it; NULL after the
   last one. */
const tape_kernels *tape_built(int i, int *runs_here);

#endif
