/* Convolution over images and the gradient for its weights. Included once for each type.

   Both are matrix products in which one operand is the image, read where it lies:

       correlate   y[p, o]  = sum over t of  x[pixel(p) + tap(t)] w[t, o]
       weigh       dw[t, o] = sum over p of  x[tap(t) + pixel(p)] g[p, o]

   with p an output pixel, o an output channel, t a channel and a tap of the window. An address is
   the sum of two offsets, so a tile is that of gemm.h with a table of one of them along k and six
   base pointers from the other: nothing is copied per tap, and any stride, dilation and window is
   the same code. Vectors run along o. What lies around the image is zeros, so its pixels are
   copied once into a slab with a border; y comes out with o innermost and is transposed.

   The gradient for the image is `correlate` as well: y and x change places, the taps are mirrored,
   and a stride s makes s * s phases of pixels, each of which sees some of the taps.

   Note [Slabs]
   An image is done in blocks of rows whose slab stays in the second cache next to the weights. */

#define SLAB_BYTES (256 << 10)
#define CONV_DEPTH 1024
#define PIXELS 96  /* of the result at a time: summed in the first cache, then turned and written */
#define TURNED 256 /* pixels of the result's gradient, likewise */

typedef struct {
    ptrdiff_t k, b_row, c_row;
    const int32_t *offsets;
    const REAL *b;
    int onto;
    const tape_product *end;
    const REAL *column_bias;
} FN(gather);

INLINE void FN(gather_tile)(const int rows, const int vectors, const FN(gather) *t,
                            const REAL *x, const int32_t *starts, REAL *c)
{
    FN(vec) sums[ROWS][VECTORS];
    const REAL *b = t->b;
    const ptrdiff_t b_row = t->b_row;
    const int32_t *offsets = t->offsets;
    const REAL *from[ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        from[i] = x + starts[i];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sums[i][v] = (FN(vec)){0};
    }
    for (ptrdiff_t p = 0; p < t->k; p++) {
        const ptrdiff_t at = offsets[p];
        FN(vec) of_b[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            of_b[v] = FN(load)(b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const FN(vec) of_x = FN(fill)(from[i][at]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                sums[i][v] += of_x * of_b[v];
        }
        b += b_row;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            REAL *to = c + i * t->c_row + v * LANES;
            FN(vec) y = sums[i][v];
            if (t->onto)
                y = FN(load)(to) + y;
            if (t->end) {
                if (t->column_bias)
                    y += FN(load)(t->column_bias + v * LANES);
                y = FN(finish)(t->end, y);
            }
            FN(store)(to, y);
        }
}

typedef void (*FN(gather_function))(const FN(gather) *, const REAL *, const int32_t *, REAL *);

#define TILE(rows, vectors)                                                                     \
    static void FN(gather_##rows##_##vectors)(const FN(gather) *t, const REAL *x,               \
                                              const int32_t *starts, REAL *c)                   \
    {                                                                                           \
        FN(gather_tile)(rows, vectors, t, x, starts, c);                                        \
    }
#define TILES(vectors)                                                             \
    TILE(1, vectors) TILE(2, vectors) TILE(3, vectors)                             \
    TILE(4, vectors) TILE(5, vectors) TILE(6, vectors)
#define NAMES(vectors)                                                             \
    {FN(gather_1_##vectors), FN(gather_2_##vectors), FN(gather_3_##vectors),       \
     FN(gather_4_##vectors), FN(gather_5_##vectors), FN(gather_6_##vectors)}
TILES(1) TILES(2)
#if VECTORS == 4
TILES(3) TILES(4)
#endif
static const FN(gather_function) FN(gathers)[VECTORS][ROWS] = {
#if VECTORS == 4
    NAMES(1), NAMES(2), NAMES(3), NAMES(4),
#else
    NAMES(1), NAMES(2),
#endif
};
#undef TILE
#undef TILES
#undef NAMES

/* rows of c, each at its start in x, times a packed b of `vectors` vectors and k rows, in panels:
   panel after panel, each of k rows of its own width. */
static void FN(gather_product)(const REAL *x, ptrdiff_t rows, const int32_t *starts, ptrdiff_t k,
                               const int32_t *offsets, const REAL *b, ptrdiff_t vectors,
                               const REAL *column_bias, const tape_product *end, int onto, REAL *c)
{
    const ptrdiff_t panels = (vectors + VECTORS - 1) / VECTORS, tiles = (rows + ROWS - 1) / ROWS;
    for (ptrdiff_t j = 0; j < panels; j++) {
        const ptrdiff_t v0 = FN(cut)(vectors, j, panels), v1 = FN(cut)(vectors, j + 1, panels);
        const ptrdiff_t wide = (v1 - v0) * LANES;
        ptrdiff_t p0 = 0;
        do {
            const FN(gather) t = {
                .k = k - p0 < CONV_DEPTH ? k - p0 : CONV_DEPTH, .b_row = wide, .c_row = vectors * LANES,
                .offsets = offsets + p0, .b = b + v0 * LANES * k + p0 * wide, .onto = onto || p0 > 0,
                .end = k - p0 <= CONV_DEPTH ? end : NULL,
                .column_bias = column_bias ? column_bias + v0 * LANES : NULL,
            };
            for (ptrdiff_t i = 0; i < tiles; i++) {
                const ptrdiff_t r0 = FN(cut)(rows, i, tiles), r1 = FN(cut)(rows, i + 1, tiles);
                FN(gathers)[v1 - v0 - 1][r1 - r0 - 1](&t, x, starts + r0, c + r0 * t.c_row + v0 * LANES);
            }
            p0 += t.k;
        } while (p0 < k);
    }
}

/* n numbers, or n zeros: rows are too short for a call of memcpy. */
INLINE void FN(copy_row)(REAL *to, const REAL *from, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES)
        FN(store)(to + i, from ? FN(load)(from + i) : (FN(vec)){0});
    if (i < n)
        FN(store_first)(to + i, from ? FN(load_first)(from + i, (int)(n - i)) : (FN(vec)){0}, (int)(n - i));
}

/* Copy rows y0 ... of an image's channels, with zeros where there is no pixel. */
static void FN(fill_slab)(REAL *slab, const tape_convolution *g, const REAL *x, ptrdiff_t channels,
                          ptrdiff_t y0, ptrdiff_t high, ptrdiff_t wide)
{
    const ptrdiff_t first = g->left > 0 ? g->left : 0, from_x = first - g->left;
    ptrdiff_t copied = g->width - from_x < wide - first ? g->width - from_x : wide - first;
    for (ptrdiff_t c = 0; c < channels; c++)
        for (ptrdiff_t y = 0; y < high; y++, slab += wide) {
            const ptrdiff_t from = y0 + y;
            if (from < 0 || from >= g->height || copied <= 0) {
                FN(copy_row)(slab, NULL, wide);
                continue;
            }
            FN(copy_row)(slab, NULL, first);
            FN(copy_row)(slab + first, x + c * g->x_channel + from * g->x_row + from_x, copied);
            FN(copy_row)(slab + first + copied, NULL, wide - first - copied);
        }
}

/* A table (rows, lanes) to rows of `to`, one for each lane: to[lane * to_lane + place(row)]. */
static void FN(scatter)(const REAL *from, ptrdiff_t from_row, ptrdiff_t rows, ptrdiff_t lanes, REAL *to,
                        ptrdiff_t to_lane)
{
    for (ptrdiff_t p = 0; p < rows; p += LANES) {
        const int some = rows - p < LANES ? (int)(rows - p) : LANES;
        for (ptrdiff_t o = 0; o < lanes; o += LANES) {
            FN(vec) v[LANES];
            const ptrdiff_t exist = lanes - o < LANES ? lanes - o : LANES;
            for (int i = 0; i < LANES; i++)
                v[i] = FN(load)(from + (p + (i < some ? i : 0)) * from_row + o);
            FN(transpose)(v);
            for (ptrdiff_t i = 0; i < exist; i++) {
                REAL *out = to + (o + i) * to_lane + p;
                if (some == LANES)
                    FN(store)(out, v[i]);
                else
                    FN(store_first)(out, v[i], some);
            }
        }
    }
}

#include "conv_rows.h"

typedef struct {
    const tape_convolution *g;
    tape_product end; /* activation only */
    int along_rows;
    ptrdiff_t k, vectors, wide, block, blocks;
    ptrdiff_t high; /* of the slab of a whole block */
    REAL *b, *bias; /* packed weights and biases, group after group */
    int32_t *taps;  /* offsets of (channel, tap) in the slab */
    int failed;
} FN(correlation);

/* Offsets in a slab of every tap of every channel. */
static void FN(tap_offsets)(int32_t *offsets, const tape_convolution *g, ptrdiff_t channels, ptrdiff_t high,
                            ptrdiff_t wide)
{
    for (ptrdiff_t c = 0; c < channels; c++)
        for (ptrdiff_t t = 0; t < g->n_taps; t++)
            *offsets++ = (int32_t)((c * high + g->tap_y[t] + g->top) * wide + g->tap_x[t] + g->left);
}

/* Offsets in a slab of the first tap's place, for every pixel of `rows` rows of the result. */
static void FN(pixel_offsets)(int32_t *offsets, const tape_convolution *g, ptrdiff_t rows, ptrdiff_t wide)
{
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < g->out_width; x++)
            *offsets++ = (int32_t)(y * g->stride_y * wide + x * g->stride_x);
}

/* One block of rows of one group of one image. */
static void FN(correlate_block)(void *context, ptrdiff_t unit)
{
    FN(correlation) *s = context;
    const tape_convolution *g = s->g;
    const ptrdiff_t block = unit % s->blocks, group = unit / s->blocks % g->groups;
    const ptrdiff_t image = unit / s->blocks / g->groups;
    const ptrdiff_t y0 = FN(cut)(g->out_height, block, s->blocks);
    const ptrdiff_t rows = FN(cut)(g->out_height, block + 1, s->blocks) - y0, pixels = rows * g->out_width;
    const ptrdiff_t lanes = s->vectors * LANES;
    const size_t table_bytes = s->along_rows ? (size_t)FN(strip_count)(g, rows) * sizeof(FN(strip))
                                             : ((size_t)pixels * sizeof(int32_t) + 63) / 64 * 64;
    REAL *slab = tape_scratch(TAPE_SCRATCH_A,
                              (size_t)(g->channels * s->high * s->wide + LANES) * sizeof(REAL));
    char *room = tape_scratch(TAPE_SCRATCH_B, table_bytes + (size_t)(PIXELS * lanes) * sizeof(REAL));
    if (!slab || !room) {
        s->failed = -1;
        return;
    }
    int32_t *places = (int32_t *)room;
    REAL *sums = (REAL *)(room + table_bytes);
    const REAL *x = (const REAL *)g->x + image * g->x_image + group * g->channels * g->x_channel;
    REAL *y = (REAL *)g->y + image * g->y_image + group * g->out_channels * g->y_channel + y0 * g->y_row;
    const int in_a_row = g->y_col == 1 && (g->y_row == g->out_width || rows == 1);
    FN(fill_slab)(slab, g, x, g->channels, y0 * g->stride_y - g->top, s->high, s->wide);
    if (s->along_rows) {
        const FN(rows) t = {
            .k = s->k, .w_row = s->k, .y_channel = g->y_channel, .taps = s->taps, .slab = slab,
            .w = s->b + group * g->out_channels * s->k, .bias = s->bias ? s->bias + group * lanes : NULL,
            .end = &s->end, .y = y,
        };
        FN(lay_strips)((FN(strip) *)room, g, rows, s->wide);
        FN(correlate_rows)(&t, g->out_channels, (FN(strip) *)room, FN(strip_count)(g, rows));
        return;
    }
    FN(pixel_offsets)(places, g, rows, s->wide);
    for (ptrdiff_t p = 0; p < pixels; p += PIXELS) {
        const ptrdiff_t some = pixels - p < PIXELS ? pixels - p : PIXELS;
        FN(gather_product)(slab, some, places + p, s->k, s->taps, s->b + group * s->k * lanes, s->vectors,
                           s->bias ? s->bias + group * lanes : NULL, &s->end, 0, sums);
        if (in_a_row) {
            FN(scatter)(sums, lanes, some, g->out_channels, y + p, g->y_channel);
            continue;
        }
        for (ptrdiff_t i = 0; i < some; i++) {
            REAL *to = y + (p + i) / g->out_width * g->y_row + (p + i) % g->out_width * g->y_col;
            for (ptrdiff_t o = 0; o < g->out_channels; o++)
                to[o * g->y_channel] = sums[i * lanes + o];
        }
    }
}

/* Weights (out channel, k). */
static void FN(gather_weights)(REAL *to, const tape_convolution *g, const REAL *w)
{
    for (ptrdiff_t o = 0; o < g->out_channels; o++)
        for (ptrdiff_t c = 0; c < g->channels; c++)
            for (ptrdiff_t t = 0; t < g->n_taps; t++)
                *to++ = w[o * g->w_out + c * g->w_in + g->tap_w[t]];
}

/* Weights as panels (k, vectors), o innermost, what is missing of the last vector as 0. */
static void FN(pack_weights)(REAL *to, const tape_convolution *g, const REAL *w, ptrdiff_t vectors)
{
    const ptrdiff_t panels = (vectors + VECTORS - 1) / VECTORS;
    for (ptrdiff_t j = 0; j < panels; j++) {
        const ptrdiff_t o0 = FN(cut)(vectors, j, panels) * LANES, o1 = FN(cut)(vectors, j + 1, panels) * LANES;
        for (ptrdiff_t c = 0; c < g->channels; c++)
            for (ptrdiff_t t = 0; t < g->n_taps; t++)
                for (ptrdiff_t o = o0; o < o1; o++)
                    *to++ = o < g->out_channels ? w[o * g->w_out + c * g->w_in + g->tap_w[t]] : 0;
    }
}

static int FN(correlate)(const tape_convolution *g)
{
    FN(correlation) s = {.g = g, .k = g->channels * g->n_taps, .vectors = (g->out_channels + LANES - 1) / LANES};
    const ptrdiff_t lanes = s.vectors * LANES, reach = g->reach_y;
    const ptrdiff_t row_bytes = (g->channels > 0 ? g->channels : 1) * (ptrdiff_t)sizeof(REAL);
    if (g->batch * g->groups * g->out_height * g->out_width * g->out_channels == 0)
        return 0;
    s.wide = (g->out_width - 1) * g->stride_x + g->reach_x;
    s.block = (SLAB_BYTES / (row_bytes * s.wide) - reach) / g->stride_y + 1;
    s.block = s.block < 1 ? 1 : s.block < g->out_height ? s.block : g->out_height;
    s.blocks = (g->out_height + s.block - 1) / s.block;
    s.high = ((g->out_height + s.blocks - 1) / s.blocks - 1) * g->stride_y + reach;
    s.end.activation = g->activation, s.end.slope = g->slope;
    if ((double)g->channels * (double)s.high * (double)s.wide > INT32_MAX)
        return -2;
    const size_t table_bytes = ((size_t)s.k * sizeof(int32_t) + 63) / 64 * 64;
    char *room = tape_scratch(TAPE_SCRATCH_C, table_bytes
                              + (size_t)(g->groups * lanes * (s.k + 1)) * sizeof(REAL));
    if (!room)
        return -1;
    s.taps = (int32_t *)room, s.b = (REAL *)(room + table_bytes);
    FN(tap_offsets)(s.taps, g, g->channels, s.high, s.wide);
    s.along_rows = FN(along_rows)(g, s.k);
    for (ptrdiff_t group = 0; group < g->groups; group++) {
        const REAL *w = (const REAL *)g->w + group * g->w_group;
        if (s.along_rows)
            FN(gather_weights)(s.b + group * g->out_channels * s.k, g, w);
        else
            FN(pack_weights)(s.b + group * s.k * lanes, g, w, s.vectors);
    }
    if (g->bias) {
        s.bias = s.b + g->groups * s.k * lanes;
        memset(s.bias, 0, (size_t)(g->groups * lanes) * sizeof(REAL));
        for (ptrdiff_t group = 0; group < g->groups; group++)
            memcpy(s.bias + group * lanes, (const REAL *)g->bias + group * g->out_channels,
                   (size_t)g->out_channels * sizeof(REAL));
    }
    const ptrdiff_t units = g->batch * g->groups * s.blocks;
    if ((double)units * (double)s.block * (double)(g->out_width * lanes) * (double)s.k > PARALLEL_ABOVE)
        tape_parallel_for(FN(correlate_block), &s, units);
    else
        for (ptrdiff_t unit = 0; unit < units; unit++)
            FN(correlate_block)(&s, unit);
    return s.failed;
}

typedef struct {
    const tape_convolution *g;
    ptrdiff_t parts;
    int by_channel, failed;
} FN(weighing);

/* The gradient for the weights of some channels, or of some output channels, of every group. */
static void FN(weigh_part)(void *context, ptrdiff_t part)
{
    FN(weighing) *s = context;
    const tape_convolution *g = s->g;
    const ptrdiff_t c0 = s->by_channel ? FN(cut)(g->channels, part, s->parts) : 0;
    const ptrdiff_t c1 = s->by_channel ? FN(cut)(g->channels, part + 1, s->parts) : g->channels;
    const ptrdiff_t all = (g->out_channels + LANES - 1) / LANES;
    const ptrdiff_t o0 = s->by_channel ? 0 : FN(cut)(all, part, s->parts) * LANES;
    ptrdiff_t o1 = s->by_channel ? g->out_channels : FN(cut)(all, part + 1, s->parts) * LANES;
    o1 = o1 < g->out_channels ? o1 : g->out_channels;
    const ptrdiff_t channels = c1 - c0, outs = o1 - o0, vectors = (outs + LANES - 1) / LANES;
    const ptrdiff_t lanes = vectors * LANES, taps = channels * g->n_taps, pixels = g->out_height * g->out_width;
    const ptrdiff_t high = (g->out_height - 1) * g->stride_y + g->reach_y;
    const ptrdiff_t wide = (g->out_width - 1) * g->stride_x + g->reach_x;
    if (channels == 0 || outs == 0)
        return;
    const size_t places_bytes = ((size_t)pixels * sizeof(int32_t) + 63) / 64 * 64;
    const size_t taps_bytes = ((size_t)taps * sizeof(int32_t) + 63) / 64 * 64;
    REAL *slab = tape_scratch(TAPE_SCRATCH_A, (size_t)(channels * high * wide) * sizeof(REAL));
    REAL *turned = tape_scratch(TAPE_SCRATCH_B, (size_t)(TURNED * lanes) * sizeof(REAL));
    char *room = tape_scratch(TAPE_SCRATCH_C, places_bytes + taps_bytes + (size_t)(taps * lanes) * sizeof(REAL));
    if (!slab || !turned || !room) {
        s->failed = -1;
        return;
    }
    int32_t *places = (int32_t *)room, *offsets = (int32_t *)(room + places_bytes);
    REAL *sums = (REAL *)(room + places_bytes + taps_bytes);
    const ptrdiff_t panels = (vectors + VECTORS - 1) / VECTORS;
    FN(pixel_offsets)(places, g, g->out_height, wide);
    FN(tap_offsets)(offsets, g, channels, high, wide);
    for (ptrdiff_t group = 0; group < g->groups; group++) {
        for (ptrdiff_t image = 0; image < g->batch; image++) {
            const ptrdiff_t channel = group * g->channels + c0;
            const REAL *x = (const REAL *)g->x + image * g->x_image + channel * g->x_channel;
            const REAL *y = (const REAL *)g->y + image * g->y_image
                + (group * g->out_channels + o0) * g->y_channel;
            FN(fill_slab)(slab, g, x, channels, -g->top, high, wide);
            for (ptrdiff_t p = 0; p < pixels; p += TURNED) {
                const ptrdiff_t some = pixels - p < TURNED ? pixels - p : TURNED;
                for (ptrdiff_t j = 0; j < panels; j++) {
                    const ptrdiff_t from = FN(cut)(vectors, j, panels) * LANES;
                    const ptrdiff_t to = FN(cut)(vectors, j + 1, panels) * LANES;
                    FN(pack_b)(turned + from * some, to - from, y + from * g->y_channel + p, 1, g->y_channel,
                               some, (to < outs ? to : outs) - from);
                }
                FN(gather_product)(slab, taps, offsets, some, places + p, turned, vectors, NULL, NULL,
                                   image > 0 || p > 0, sums);
            }
        }
        REAL *w = (REAL *)g->w + group * g->w_group + o0 * g->w_out + c0 * g->w_in;
        FN(scatter)(sums, lanes, taps, outs, w, g->w_out);
    }
}

/* dw: like `correlate` with y given and w (out, channel, tap) wanted, contiguous along the last two. */
static int FN(weigh)(const tape_convolution *g)
{
    FN(weighing) s = {.g = g, .parts = 1};
    const double work = (double)g->batch * (double)g->groups * (double)g->out_height * (double)g->out_width
        * (double)g->out_channels * (double)g->channels * (double)g->n_taps;
    const ptrdiff_t high = (g->out_height - 1) * g->stride_y + g->reach_y;
    const ptrdiff_t wide = (g->out_width - 1) * g->stride_x + g->reach_x;
    if ((double)g->channels * (double)high * (double)wide > INT32_MAX)
        return -2;
    s.by_channel = g->channels >= tape_threads();
    if (work > PARALLEL_ABOVE)
        s.parts = tape_threads();
    if (s.parts == 1)
        FN(weigh_part)(&s, 0);
    else
        tape_parallel_for(FN(weigh_part), &s, s.parts);
    return s.failed;
}

#undef SLAB_BYTES
#undef CONV_DEPTH
#undef PIXELS
#undef TURNED
