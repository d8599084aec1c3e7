/* The gradient of a convolution for its weights; see conv.h. Included once for each type. */

#define TURNED 256 /* pixels of the result's gradient at a time, turned in the first cache */

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
    REAL *slab = tape_scratch(TAPE_SCRATCH_A, (size_t)(channels * high * wide + LANES) * sizeof(REAL));
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

#undef TURNED
