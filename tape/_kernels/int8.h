/* Kernels on codes of 8 bits: x stands for (x - zero) * scale.

   The codes of an image lie pixel by pixel, those of a pixel side by side, each group of channels
   filled up to a multiple of 4. Around the image there may be a border of pixels that hold `zero`,
   so a window that reaches over the edge needs no case of its own. */
#ifndef TAPE_INT8_H
#define TAPE_INT8_H

#include <stddef.h>
#include <stdint.h>

/* Codes from numbers: round(x * factor) + zero, ties to even, cut to 0 ... 255; NaN becomes 0.
   Strides count elements of x and bytes of y; where c is no multiple of 4, zeros fill it up. */
typedef struct {
    ptrdiff_t n, c, h, w;
    const float *x;
    ptrdiff_t x_n, x_c, x_h, x_w;
    uint8_t *y;
    ptrdiff_t y_n, y_h, y_w;
    float factor, zero;
} tape_int8_images;

/* What happens to the sum of a window and a filter before it is stored. */
enum {
    TAPE_INT8_SUMS,   /* int32: sum + offset */
    TAPE_INT8_FLOATS, /* float: (sum + offset) * scale + bias, no less than `least` */
    TAPE_INT8_CODES,  /* uint8: that, rounded, ties to even, and cut to `least` ... 255 */
};

/* Every window of images of codes against every one of `filters` filters of int8.

   y[n, i, j, o] is made of the sum of products of filter o with the codes at
   x + n * x_n + i * x_h + j * x_w + run_at[...], `runs` runs of 4 * run_words codes. */
typedef struct {
    ptrdiff_t images, rows, columns, filters;
    const uint8_t *x;
    ptrdiff_t x_n, x_h, x_w;   /* bytes from one window to the next */
    ptrdiff_t x_bytes;         /* how many there are at x, for kernels that rewrite them */
    ptrdiff_t runs, run_words;
    const ptrdiff_t *run_at;   /* bytes */
    const void *weights;       /* as `arrange` left them */
    int kind;                  /* TAPE_INT8_SUMS, ... */
    const int32_t *offsets;    /* 16 * ceil(filters / 16) of each of the three */
    const float *scale, *bias; /* nothing to TAPE_INT8_SUMS */
    float least;
    void *y;
    ptrdiff_t y_n, y_h, y_w, y_c; /* elements; y_c is 1 for codes, y_w or y_c for others */
} tape_int8_windows;

typedef struct {
    void (*pack)(const tape_int8_images *);
    /* Write as many bytes as 16 * ceil(n / 16) filters have, each a row of 4 * runs * run_words. */
    void (*arrange)(const int8_t *filters, ptrdiff_t n, ptrdiff_t words, void *to);
    int (*correlate)(const tape_int8_windows *); /* -1 if there is no memory */
    int (*has_dot)(void); /* whether one instruction multiplies and adds 4 codes a lane */
} tape_int8_kernels;

#endif
