/* Sums of shifted multiples of signals: each result is a few numbers times what stands at its place
   and an offset, which is how lookups in maps of an image make a convolution. Included once for each
   type.

   A tile of results of one kind stays in registers while all its terms pass: one load, which need not
   be aligned, for each multiply-add of vectors. Kinds follow each other on the same piece of the
   signals, which is then in the cache. */

#ifndef TAPE_SHIFTS_H
#define TAPE_SHIFTS_H

#define SHIFTS_ABOVE 3e5 /* multiply-adds, some 10 us of one core: benchmarks "netopt lookup conv" */
enum { SHIFT_TILE = 8 }; /* vectors */

typedef struct {
    const tape_shifts *work;
    ptrdiff_t blocks, slices; /* of the places, of the kinds of results */
} shift_split;

#endif

/* Results [at, at + vectors * LANES) of a kind, the last vector of `last` numbers, to `to`. */
INLINE void FN(shift_tile)(REAL *to, const tape_shifts *g, const REAL *from, ptrdiff_t o, const int vectors,
                           const int last)
{
    const REAL *factors = g->factors;
    FN(vec) sum[SHIFT_TILE];
    const FN(vec) bias = FN(fill)(g->bias ? ((const REAL *)g->bias)[o] : 0);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
        sum[v] = bias;
    for (ptrdiff_t e = g->starts[o]; e < g->starts[o + 1]; e++) {
        const FN(vec) factor = FN(fill)(factors[e]);
        const REAL *term = from + g->offsets[e];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sum[v] += factor
                      * (v == vectors - 1 && last ? FN(load_first)(term + v * LANES, last) : FN(load)(term + v * LANES));
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
        FN(store)(to + v * LANES, g->relu ? FN(larger)((FN(vec)){0}, sum[v]) : sum[v]);
}

/* Rows of a result are `width` numbers of `pitch`; what stands between is dropped. */
static void FN(shift_crop)(REAL *y, const REAL *from, const tape_shifts *g, ptrdiff_t at, ptrdiff_t n)
{
    for (const ptrdiff_t end = at + n; at < end;) {
        const ptrdiff_t row = at / g->pitch, column = at % g->pitch, left = g->width - column;
        const ptrdiff_t rest = end - at, skipped = g->pitch - column;
        if (left > 0)
            memcpy(y + row * g->width + column, from, (size_t)(left < rest ? left : rest) * sizeof(REAL));
        at += skipped < rest ? skipped : rest;
        from += skipped;
    }
}

static void FN(shift_share)(void *context, ptrdiff_t i)
{
    const shift_split *s = context;
    const tape_shifts *g = s->work;
    const ptrdiff_t slice = i % s->slices, block = i / s->slices % s->blocks, image = i / s->slices / s->blocks;
    const ptrdiff_t places = (g->rows - 1) * g->pitch + g->width, at = block * SHIFT_TILE * LANES;
    const ptrdiff_t n = places - at < SHIFT_TILE * LANES ? places - at : SHIFT_TILE * LANES;
    const ptrdiff_t first = FN(cut)(g->kinds, slice, s->slices), end = FN(cut)(g->kinds, slice + 1, s->slices);
    const REAL *from = (const REAL *)g->x + image * g->x_image + at;
    REAL *y = (REAL *)g->y + image * g->kinds * g->rows * g->width;
    REAL tile[SHIFT_TILE * LANES];
    const int vectors = (int)((n + LANES - 1) / LANES), last = (int)(n - (ptrdiff_t)(vectors - 1) * LANES);
    for (ptrdiff_t o = first; o < end; o++) {
        if (n == SHIFT_TILE * LANES)
            FN(shift_tile)(tile, g, from, o, SHIFT_TILE, 0);
        else
            switch (vectors) {
#define TAIL(count)                                          \
    case count:                                              \
        FN(shift_tile)(tile, g, from, o, count, last);       \
        break;
                TAIL(1) TAIL(2) TAIL(3) TAIL(4) TAIL(5) TAIL(6) TAIL(7) TAIL(8)
#undef TAIL
            }
        FN(shift_crop)(y + o * g->rows * g->width, tile, g, at, n);
    }
}

static void FN(shift)(const tape_shifts *g)
{
    const ptrdiff_t places = (g->rows - 1) * g->pitch + g->width;
    shift_split s = {.work = g, .blocks = (places + SHIFT_TILE * LANES - 1) / (SHIFT_TILE * LANES), .slices = 1};
    const ptrdiff_t tasks = g->images * s.blocks;
    const double work = (double)g->starts[g->kinds] * (double)places * (double)g->images;
    const int threads = work > SHIFTS_ABOVE ? tape_threads() : 1;
    if (threads > 1 && tasks < 4 * threads)
        s.slices = 4 * threads < g->kinds ? 4 * threads : g->kinds;
    if (threads > 1)
        tape_parallel_for(FN(shift_share), &s, tasks * s.slices);
    else
        for (ptrdiff_t i = 0; i < tasks; i++)
            FN(shift_share)(&s, i);
}
