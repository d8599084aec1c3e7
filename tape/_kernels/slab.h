/* A part of an image with zeros around it, and the offsets of pixels and taps in it. Included once for
   each type. */

/* Copy rows y0 ... of an image's channels, with zeros where there is no pixel.

   Whole vectors are stored, which is several times as fast as parts of them: what one puts beyond
   the end of its row is written again by the next row, and beyond the slab there are LANES more. */
static void FN(fill_slab)(REAL *slab, const tape_convolution *g, const REAL *x, ptrdiff_t channels,
                          ptrdiff_t y0, ptrdiff_t high, ptrdiff_t wide)
{
    const ptrdiff_t first = g->left > 0 ? g->left : 0, from_x = first - g->left;
    const ptrdiff_t copied = g->width - from_x < wide - first ? g->width - from_x : wide - first;
    FN(vec) zeros = {0};
    PIN(zeros); /* or the compiler calls memset for each row */
    for (ptrdiff_t c = 0; c < channels; c++)
        for (ptrdiff_t y = 0; y < high; y++, slab += wide) {
            const ptrdiff_t from = y0 + y;
            const ptrdiff_t n = from < 0 || from >= g->height || copied < 0 ? 0 : copied;
            const REAL *row = n ? x + c * g->x_channel + from * g->x_row + from_x : NULL;
            ptrdiff_t i = 0;
            for (; i < (n ? first : wide); i += LANES)
                FN(store)(slab + i, zeros);
            if (n == 0)
                continue;
            for (i = 0; i + LANES <= n; i += LANES)
                FN(store)(slab + first + i, FN(load)(row + i));
            if (i < n)
                FN(store)(slab + first + i, FN(load_first)(row + i, (int)(n - i)));
            for (i = first + (n + LANES - 1) / LANES * LANES; i < wide; i += LANES)
                FN(store)(slab + i, zeros);
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
