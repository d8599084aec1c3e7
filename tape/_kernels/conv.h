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
#define PIXELS 96 /* of the result at a time: summed in the first cache, then turned and written */

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

/* What remains to be done with n finished numbers of every channel, which are in the cache. */
static void FN(work_on)(const tape_convolution *g, REAL *y, ptrdiff_t n)
{
    for (ptrdiff_t o = 0; g->row_work && o < g->out_channels; o++)
        g->row_work(y + o * g->y_channel, n, g->row_context);
}

static void FN(pack_row)(void *images, ptrdiff_t row); /* of bit_pack.h */

/* The signs of `pixels` finished results from number p of a block on, which begins at row y0. */
static void FN(give_signs)(const tape_convolution *g, const REAL *y, ptrdiff_t y_channel, ptrdiff_t y_pixel,
                           ptrdiff_t image, ptrdiff_t y0, ptrdiff_t p, ptrdiff_t pixels)
{
    while (pixels > 0) {
        const ptrdiff_t col = p % g->out_width, left = g->out_width - col;
        tape_bit_images row = {
            .h = 1, .c = g->out_channels, .w = pixels < left ? pixels : left,
            .x = (void *)y, .x_c = y_channel, .x_w = y_pixel, .rule = g->rule, .bits_w = g->bits_col,
            .bits = g->bits + image * g->bits_image + (y0 + p / g->out_width) * g->bits_row + col * g->bits_col,
        };
        FN(pack_row)(&row, 0);
        p += row.w, pixels -= row.w, y += row.w * y_pixel;
    }
}

/* The signs of a block by strips: the sums of as many as a tile takes, channel after channel, then
   their bits. There are fewer sums than those of PIXELS pixels. */
static void FN(signs_of_strips)(const tape_convolution *g, FN(rows) t, FN(strip) *strips, ptrdiff_t n,
                                ptrdiff_t image, ptrdiff_t y0, REAL *sums)
{
    const ptrdiff_t wide = FN(broad)(g->out_channels);
    t.y = sums, t.y_channel = wide * LANES;
    for (ptrdiff_t some; n > 0; n -= some, strips += some) {
        ptrdiff_t pixel[VECTORS * 2];
        some = n < wide ? n : wide;
        for (ptrdiff_t i = 0; i < some; i++)
            pixel[i] = strips[i].to, strips[i].to = i * LANES;
        FN(correlate_rows)(&t, g->out_channels, strips, some);
        for (ptrdiff_t i = 0; i < some; i++)
            FN(give_signs)(g, sums + i * LANES, t.y_channel, 1, image, y0, pixel[i], strips[i].exist);
    }
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
    const size_t entries = s->along_rows ? (size_t)FN(strip_count)(g, rows) * sizeof(FN(strip))
                                         : (size_t)pixels * sizeof(int32_t);
    const size_t table_bytes = (entries + 63) / 64 * 64;
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
        if (g->bits) {
            FN(signs_of_strips)(g, t, (FN(strip) *)room, FN(strip_count)(g, rows), image, y0, sums);
            return;
        }
        FN(correlate_rows)(&t, g->out_channels, (FN(strip) *)room, FN(strip_count)(g, rows));
        FN(work_on)(g, y, pixels);
        return;
    }
    FN(pixel_offsets)(places, g, rows, s->wide);
    for (ptrdiff_t p = 0; p < pixels; p += PIXELS) {
        const ptrdiff_t some = pixels - p < PIXELS ? pixels - p : PIXELS;
        FN(gather_product)(slab, some, places + p, s->k, s->taps, s->b + group * s->k * lanes, s->vectors,
                           s->bias ? s->bias + group * lanes : NULL, &s->end, 0, sums);
        if (g->bits) {
            FN(give_signs)(g, sums, 1, lanes, image, y0, p, some);
            continue;
        }
        if (in_a_row) {
            FN(scatter)(sums, lanes, some, g->out_channels, y + p, g->y_channel);
            FN(work_on)(g, y + p, some);
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
    const ptrdiff_t panels = (vectors + VECTORS - 1) / VECTORS, k = g->channels * g->n_taps;
    int in_order = g->w_in == g->n_taps;
    for (ptrdiff_t t = 0; t < g->n_taps; t++)
        in_order &= g->tap_w[t] == t;
    for (ptrdiff_t j = 0; j < panels; j++) {
        const ptrdiff_t o0 = FN(cut)(vectors, j, panels) * LANES, o1 = FN(cut)(vectors, j + 1, panels) * LANES;
        const ptrdiff_t n = (o1 < g->out_channels ? o1 : g->out_channels) - o0, step = g->w_out;
        if (in_order) {
            FN(pack_b)(to, o1 - o0, w + o0 * step, 1, step, k, n);
            to += k * (o1 - o0);
            continue;
        }
        for (ptrdiff_t c = 0; c < g->channels; c++)
            for (ptrdiff_t t = 0; t < g->n_taps; t++, to += o1 - o0) {
                const REAL *from = w + o0 * step + c * g->w_in + g->tap_w[t];
                memset(to + n, 0, (size_t)(o1 - o0 - n) * sizeof *to);
                for (ptrdiff_t o = 0; o < n; o++)
                    to[o] = from[o * step];
            }
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
    if ((double)row_bytes * (double)s.wide > 1e15)
        return -2;
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

#undef SLAB_BYTES
#undef PIXELS
