/* A part of an image with zeros around it, and the offsets of pixels and taps in it. Included once for
   each type. */

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
