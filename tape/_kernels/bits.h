/* Kernels on signs, one bit each: +1 is 0, -1 is 1.

   The signs of an image lie pixel by pixel, 32 channels a word, channel c in bit c % 32 of word
   c / 32; what is left of a pixel's last word is 0. Around the image there may be a border of
   pixels that hold 0. */
#ifndef TAPE_BITS_H
#define TAPE_BITS_H

#include <stddef.h>
#include <stdint.h>

/* Which numbers give the bit 1. */
enum {
    TAPE_NEGATIVE,     /* x < 0: -0.0 and NaN count as +1 */
    TAPE_NOT_POSITIVE, /* not x > 0: CNTK's rule, 0 and NaN count as -1 */
    TAPE_OUTSIDE,      /* not |x| <= window: where a straight-through gradient ends */
};

/* Images of numbers and of bits: x[n, c, h, w] <-> bit c of the pixel (n, h, w). Strides count
   elements of x and words of the bits; the words of a pixel are neighbours. */
typedef struct {
    ptrdiff_t n, c, h, w;
    void *x;
    ptrdiff_t x_n, x_c, x_h, x_w;
    uint32_t *bits;
    ptrdiff_t bits_n, bits_h, bits_w;
    int rule;         /* packing: TAPE_NEGATIVE, ... */
    double window;    /* of TAPE_OUTSIDE */
    double zero, one; /* unpacking: what the bits become */
} tape_bit_images;

/* What happens to the mismatches m of a window and a filter before they are stored. */
enum {
    TAPE_COUNTS, /* int32: offset - 2 m */
    TAPE_SCALED, /* float: (offset - 2 m) * scale + bias + residual */
    TAPE_SIGNS,  /* bits: m > offset, exclusive or flip */
};

/* Every window of images of signs against every one of `filters` filters.

   y[n, i, j, o] is made of the mismatches between filter o and the words at
   x + n * x_n + i * x_h + j * x_w + run_at[...], `runs` runs of `run_words` words, and of
   offsets[row_class[i] + column_class[j] + o]: at the borders a filter is cut, and each way to be
   cut is a class with offsets of its own. */
typedef struct {
    ptrdiff_t images, rows, columns, filters;
    const uint32_t *x;
    ptrdiff_t x_n, x_h, x_w; /* words from one window to the next */
    ptrdiff_t x_row, x_pixel; /* words of a row and of a pixel of the image */
    ptrdiff_t x_words;       /* how many words there are at x, for kernels that rewrite them */
    ptrdiff_t runs, run_words;
    const ptrdiff_t *run_at;
    const void *filter_bits; /* as `arrange` left them */
    int kind;                /* TAPE_COUNTS, ... */
    const int32_t *offsets;  /* of each class, 32 * ceil(filters / 32) of them */
    const ptrdiff_t *row_class, *column_class;
    void *y;                       /* int32, float or words */
    ptrdiff_t y_n, y_h, y_w, y_c;  /* y_w or y_c is 1; y_c is nothing to TAPE_SIGNS */
    int y_bit;                     /* TAPE_SIGNS: in which bit of y filter 0 stands */
    const float *scale, *bias;     /* 16 * ceil(filters / 16) of each, or NULL */
    const float *residual;         /* like y, or NULL */
    const uint32_t *flip;          /* words for all filters, or NULL */
} tape_bit_windows;

typedef struct {
    void (*pack[2])(const tape_bit_images *); /* by type of real numbers */
    void (*unpack[2])(const tape_bit_images *);
    /* How many bytes `arrange` writes, and write them: filters are rows of runs * run_words words.
     */
    size_t (*arranged)(ptrdiff_t filters, ptrdiff_t words);
    void (*arrange)(const uint32_t *filters, ptrdiff_t n, ptrdiff_t runs, ptrdiff_t run_words,
                    void *to);
    /* The number of ones in each tap of each filter, as tape_bit_borders takes it. */
    void (*ones)(const uint32_t *filters, ptrdiff_t n, ptrdiff_t taps, ptrdiff_t words,
                 int32_t *to);
    int (*correlate)(const tape_bit_windows *); /* -1 if there is no memory */
    /* The loop that bounds correlate, without memory: how many bits it compared and counted. */
    double (*popcount_peak)(ptrdiff_t rounds);
} tape_bit_kernels;

/* Where the filters of a convolution are cut, and what that does to the result.

   The border of an image counts as +1. A tap of a filter that lies there adds the sum of its
   weights, t(o, r, s) = channels - 2 popcount, where it should add pad_value times that. So the
   result is offset - 2 m with
       offset = K - (1 - pad_value) * (sum of t over the taps outside the image),
   and the taps outside are all but a rectangle of rows [top, bottom) and columns [left, right). */
typedef struct {
    ptrdiff_t filters, height, width; /* of the filters, in taps */
    ptrdiff_t channels;
    const int32_t *ones; /* of each filter at each tap: (height, width, 32 * ceil(filters / 32)) */
    int pad_value;
    ptrdiff_t row_classes, column_classes;
    const ptrdiff_t *top, *bottom, *left, *right; /* of each class */
    int32_t *offsets; /* (row_classes, column_classes, 32 * ceil(filters / 32)) */
} tape_bit_borders;

/* Fill in offsets; -1 if there is no memory. */
int tape_bit_offsets(const tape_bit_borders *);

/* From a result's offsets and, per filter, the least value whose sign is +1, the greatest number
   of mismatches that still gives +1. */
void tape_bit_thresholds(int32_t *offsets, ptrdiff_t classes, ptrdiff_t filters,
                         const int32_t *least);

/* Copy bits [first, first + n) of each of `pixels` pixels to bit 0 of others, and zeros behind. */
void tape_bit_channels(const uint32_t *from, ptrdiff_t from_step, uint32_t *to, ptrdiff_t to_step,
                       ptrdiff_t pixels, ptrdiff_t first, ptrdiff_t n);

/* For each pixel of `rows` x `columns` results of one image of `words` words a pixel, the words of
   its window put together: by `and`, the greatest sign, or by `or`, the least. Taps outside count
   for nothing. The rows of a window are put together first, whole rows of the image at once. */
typedef struct {
    ptrdiff_t rows, columns, words, image_rows, image_columns;
    ptrdiff_t height, width, stride_h, stride_w, dilation_h, dilation_w, top, left;
    const uint32_t *x;
    ptrdiff_t x_h, x_w;
    uint32_t *y;
    ptrdiff_t y_h, y_w;
    int least;
    uint32_t last; /* which bits of a pixel's last word are channels */
} tape_bit_pool;

int tape_bit_pool_image(const tape_bit_pool *); /* -1 if there is no memory */

#endif
