/* Maximum pooling, and the two maps of its derivatives; see streams.h. Included once for each type. */

#ifndef TAPE_POOL_H
#define TAPE_POOL_H

#define POOL_ABOVE 3e5       /* pixels and taps, some 30 us of one core: benchmarks "max_pool2d" */

typedef uint32_t word_float;
typedef uint64_t word_double;

/* For every window of the band the first pixel inside of the image and the place of tap 0, less and
   more than which index values are counted. */
static void lay_places(uint32_t *start, uint32_t *place, const pool_layout *l, const tape_pooling *g,
                       ptrdiff_t from, ptrdiff_t to)
{
    memset(start, 0, (size_t)l->run * sizeof *start);
    memset(place, 0, (size_t)l->run * sizeof *place);
    for (ptrdiff_t o = from; o < to; o++, start += l->pitch, place += l->pitch) {
        const ptrdiff_t y = o * g->stride_y - g->top;
        const ptrdiff_t row = first_pixel(y, g->rows, g->dilation_y, g->height);
        for (ptrdiff_t i = 0; i < g->out_width; i++) {
            const ptrdiff_t x = i * g->stride_x - g->left;
            const ptrdiff_t column = first_pixel(x, g->columns, g->dilation_x, g->width);
            place[i] = (uint32_t)y * (uint32_t)g->width + (uint32_t)x;
            start[i] = (row < 0 || column < 0 ? -1u : (uint32_t)(row * g->width + column)) - place[i];
        }
    }
}

/* Which planes a thread does. */
typedef struct {
    const void *work;
    ptrdiff_t planes, parts;
    ptrdiff_t *found; /* of every part */
    int failed;
} pool_split;

/* A part of the planes for each thread, if there is much to do. */
static int pool_parts(double work, ptrdiff_t planes)
{
    const int parts = work > POOL_ABOVE ? tape_threads() : 1;
    return planes < parts ? (int)planes : parts;
}

#endif

typedef FN(word) FN(words) __attribute__((vector_size(sizeof(FN(vec)))));
typedef uint32_t FN(places) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Copy n numbers of 4 bytes; up to `room` may be overwritten. */
INLINE void FN(copy_words)(void *to, const void *from, ptrdiff_t n, ptrdiff_t room)
{
    const ptrdiff_t lanes = sizeof(vec_float) / 4;
    for (ptrdiff_t i = 0; i < n; i += lanes) {
        if (i + lanes <= room)
            store_float((float *)to + i, load_float((const float *)from + i));
        else
            memcpy((float *)to + i, (const float *)from + i, (size_t)(n - i < lanes ? n - i : lanes) * 4);
    }
}

/* Maxima of some vectors of windows and the taps' places in the plane, less the windows' own. */
INLINE void FN(max_vectors)(const int vectors, REAL *best, uint32_t *where, const REAL *streams, const pool_tap *taps,
                            ptrdiff_t n_taps, const uint32_t *start, const uint32_t *place)
{
    FN(vec) top[4];
    FN(words) at[4];
#pragma GCC unroll 4
    for (int k = 0; k < vectors; k++) {
        top[k] = FN(fill)(-(REAL)INFINITY);
        at[k] = __builtin_convertvector(*(const FN(places) *)(start + k * LANES), FN(words));
    }
    for (const pool_tap *t = taps; t < taps + n_taps; t++) {
        const REAL *x = streams + t->from;
        const FN(words) here = (FN(word))t->at - (FN(words)){0};
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) {
            const FN(vec) v = FN(load)(x + k * LANES);
            const FN(words) larger = (FN(words))((v > top[k]) | (v != v));
            top[k] = (FN(vec))(((FN(words))v & larger) | ((FN(words))top[k] & ~larger));
            at[k] = (here & larger) | (at[k] & ~larger);
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < vectors; k++) {
        at[k] += __builtin_convertvector(*(const FN(places) *)(place + k * LANES), FN(words));
        FN(store)(best + k * LANES, top[k]);
        *(FN(places) *)(where + k * LANES) = __builtin_convertvector(at[k], FN(places));
    }
}

static void FN(max_run)(REAL *best, uint32_t *where, const REAL *streams, const pool_tap *taps, ptrdiff_t n_taps,
                        const uint32_t *start, const uint32_t *place, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    for (; i + 3 * LANES < n; i += 4 * LANES)
        FN(max_vectors)(4, best + i, where + i, streams + i, taps, n_taps, start + i, place + i);
    for (; i + LANES < n; i += 2 * LANES)
        FN(max_vectors)(2, best + i, where + i, streams + i, taps, n_taps, start + i, place + i);
    if (i < n)
        FN(max_vectors)(1, best + i, where + i, streams + i, taps, n_taps, start + i, place + i);
}

static int FN(max_pool_planes)(const tape_pooling *g, ptrdiff_t from, ptrdiff_t to)
{
    const ptrdiff_t positions = g->out_height * g->out_width, n_taps = g->rows * g->columns;
    pool_layout l;
    if (lay_streams(&l, g, LANES, sizeof(REAL)))
        return -1;
    const size_t of_taps = (size_t)n_taps * sizeof(pool_tap);
    pool_tap *taps = tape_scratch(TAPE_SCRATCH_A, of_taps);
    REAL *streams = tape_scratch(TAPE_SCRATCH_B, (size_t)(l.numbers + l.run) * sizeof(REAL));
    uint32_t *where = tape_scratch(TAPE_SCRATCH_C, (size_t)(3 * l.run) * sizeof *where);
    if (!taps || !streams || !where)
        return -1;
    REAL *best = streams + l.numbers;
    uint32_t *start = where + l.run, *place = start + l.run;
    lay_taps(taps, &l, g);
    for (ptrdiff_t first = 0; first < g->out_height; first += l.band) {
        const ptrdiff_t last = first + l.band < g->out_height ? first + l.band : g->out_height;
        for (ptrdiff_t i = 0; i < l.numbers; i++)
            streams[i] = -(REAL)INFINITY;
        lay_places(start, place, &l, g, first, last);
        for (ptrdiff_t p = from; p < to; p++) {
            const ptrdiff_t pixels = g->height * g->width;
            FN(deal)(streams, (const REAL *)g->x + p * pixels, &l, g, first, (g->planes - p) * pixels,
                     -(REAL)INFINITY);
            FN(max_run)(best, where, streams, taps, n_taps, start, place, (last - first) * l.pitch);
            /* What a copied row overwrites beyond its end is copied later, in a band or plane. */
            const ptrdiff_t end = (l.bands > 1 ? p * positions + last * g->out_width : to * positions);
            for (ptrdiff_t o = first; o < last; o++) {
                const ptrdiff_t at = p * positions + o * g->out_width, in_run = (o - first) * l.pitch;
                const ptrdiff_t bytes = sizeof(REAL) / 4;
                FN(copy_words)((REAL *)g->y + at, best + in_run, g->out_width * bytes, (end - at) * bytes);
                FN(copy_words)(g->index + at, where + in_run, g->out_width, end - at);
            }
        }
    }
    return 0;
}

static void FN(max_pool_share)(void *context, ptrdiff_t i)
{
    pool_split *s = context;
    if (FN(max_pool_planes)(s->work, FN(cut)(s->planes, i, s->parts), FN(cut)(s->planes, i + 1, s->parts)))
        s->failed = -1;
}

static int FN(max_pool)(const tape_pooling *g)
{
    const double work = (double)g->height * (double)g->width
        + (double)g->out_height * (double)g->out_width * (double)g->rows * (double)g->columns;
    pool_split s = {.work = g, .planes = g->planes, .parts = pool_parts(work * (double)g->planes, g->planes)};
    if (g->planes)
        tape_parallel_for(FN(max_pool_share), &s, s.parts);
    return s.failed;
}

/* The pixels that an index names, 0 for -1: the first place of a bad index, or -1. */
static ptrdiff_t FN(pick_planes)(const tape_picking *g, ptrdiff_t from, ptrdiff_t to)
{
    const size_t pixels = (size_t)g->pixels;
    for (ptrdiff_t p = from; p < to; p++) {
        const REAL *x = (const REAL *)g->from + p * g->pixels;
        const int32_t *index = g->index + p * g->positions;
        REAL *y = (REAL *)g->to + p * g->positions;
        for (ptrdiff_t i = 0; i < g->positions; i++) {
            if ((size_t)index[i] < pixels)
                y[i] = x[index[i]];
            else if (index[i] == -1)
                y[i] = 0;
            else
                return p * g->positions + i;
        }
    }
    return -1;
}

/* Planes of zeros, with each number added to the pixel that the index names. */
static ptrdiff_t FN(put_planes)(const tape_picking *g, ptrdiff_t from, ptrdiff_t to)
{
    const size_t pixels = (size_t)g->pixels;
    for (ptrdiff_t p = from; p < to; p++) {
        const REAL *x = (const REAL *)g->from + p * g->positions;
        const int32_t *index = g->index + p * g->positions;
        REAL *y = (REAL *)g->to + p * g->pixels;
        memset(y, 0, pixels * sizeof *y);
        for (ptrdiff_t i = 0; i < g->positions; i++) {
            if ((size_t)index[i] < pixels)
                y[index[i]] += x[i];
            else if (index[i] != -1)
                return p * g->positions + i;
        }
    }
    return -1;
}

static void FN(pick_share)(void *context, ptrdiff_t i)
{
    pool_split *s = context;
    s->found[i] = FN(pick_planes)(s->work, FN(cut)(s->planes, i, s->parts), FN(cut)(s->planes, i + 1, s->parts));
}

static void FN(put_share)(void *context, ptrdiff_t i)
{
    pool_split *s = context;
    s->found[i] = FN(put_planes)(s->work, FN(cut)(s->planes, i, s->parts), FN(cut)(s->planes, i + 1, s->parts));
}

static ptrdiff_t FN(by_index)(const tape_picking *g, tape_task task)
{
    ptrdiff_t found[TAPE_MOST_THREADS];
    const double work = (double)g->planes * ((double)g->pixels + (double)g->positions);
    pool_split s = {.work = g, .planes = g->planes, .parts = pool_parts(work, g->planes), .found = found};
    if (g->planes)
        tape_parallel_for(task, &s, s.parts);
    for (ptrdiff_t i = 0; g->planes && i < s.parts; i++)
        if (found[i] >= 0)
            return found[i];
    return -1;
}

static ptrdiff_t FN(pick)(const tape_picking *g) { return FN(by_index)(g, FN(pick_share)); }
static ptrdiff_t FN(put)(const tape_picking *g) { return FN(by_index)(g, FN(put_share)); }
