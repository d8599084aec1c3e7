/* Average pooling, and its adjoint. Included once for each type.

   A window's rows are summed first, then its taps along the row: an output row costs R * W + S * Wo
   additions instead of R * S * Wo. Vectors run along the row; from one window to the next lie one
   pixel or two, which a shuffle of two vectors undoes, or any number, where each window goes alone.
   Whichever way, the order of a sum is that of its rows and then its taps, and starts from 0. */

#ifndef TAPE_AVG_POOL_H
#define TAPE_AVG_POOL_H

/* The part of an axis that a window lies on, and as how many pixels it counts. */
static ptrdiff_t counted(ptrdiff_t start, ptrdiff_t taps, ptrdiff_t size, ptrdiff_t after, const tape_pooling *g,
                         ptrdiff_t *first, ptrdiff_t *last)
{
    const ptrdiff_t end = start + taps, beyond = size + after;
    *first = start > 0 ? start : 0;
    *last = end < size ? end : size;
    if (g->divisor)
        return 1;
    return g->counts_padding ? (end < beyond ? end : beyond) - start : *last - *first;
}

#endif

/* One thread's memory, and how a row is taken. */
typedef struct {
    ptrdiff_t taps, left;  /* those along the row that meet a pixel; zeros before the first pixel */
    ptrdiff_t apart, back; /* 1 or 2 from window to window, else 0; windows that a pixel is in, less 1 */
    ptrdiff_t wide, means; /* numbers of a row with its zeros, of a row of windows with theirs */
    REAL *total, *mean, *widths;
} FN(averaging);

/* Find the memory; -1 if there is none. */
static int FN(lay_averaging)(FN(averaging) *a, const tape_pooling *g)
{
    const ptrdiff_t reached = g->left - (g->out_width - 1) * g->stride_x, skipped = reached > 0 ? reached : 0;
    const ptrdiff_t most = g->width + g->left;
    a->apart = g->stride_x <= 2 ? g->stride_x : 0;
    a->taps = (g->columns < most ? g->columns : most) - skipped;
    a->taps = a->taps > 0 ? a->taps : 0;
    a->left = a->apart ? g->left - skipped : 0;
    a->back = a->apart && a->taps ? (a->taps - 1) / a->apart : 0;
    a->wide = a->left + g->width;
    if (a->apart && a->wide < (g->out_width - 1) * a->apart + a->taps)
        a->wide = (g->out_width - 1) * a->apart + a->taps;
    a->wide += 4 * LANES;
    a->means = a->back + (a->apart && a->wide > g->out_width ? a->wide : g->out_width) + 2 * LANES;
    const ptrdiff_t numbers = a->wide + a->means + g->out_width + LANES;
    a->total = tape_scratch(TAPE_SCRATCH_A, (size_t)numbers * sizeof(REAL));
    if (!a->total)
        return -1;
    a->mean = a->total + a->wide, a->widths = a->mean + a->means;
    memset(a->total, 0, (size_t)(a->wide + a->means) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < g->out_width + LANES; i++) {
        ptrdiff_t first, last;
        const ptrdiff_t count = counted(i * g->stride_x - g->left, g->columns, g->width, g->right, g, &first, &last);
        a->widths[i] = i < g->out_width && count > 1 ? (REAL)count : 1;
    }
    return 0;
}

/* Sums of some rows of n numbers, with zeros up to a whole vector. */
INLINE void FN(sum_rows)(REAL *to, const REAL *from, ptrdiff_t rows, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        FN(vec) sum = {0};
        for (ptrdiff_t r = 0; r < rows; r++)
            sum += FN(load)(from + r * n + i);
        FN(store)(to + i, sum);
    }
    if (i < n) {
        FN(vec) sum = {0};
        for (ptrdiff_t r = 0; r < rows; r++)
            sum += FN(load_first)(from + r * n + i, (int)(n - i));
        FN(store)(to + i, sum);
    }
}

/* The means of a row of windows whose rows are summed. */
INLINE void FN(mean_row)(const int apart, REAL *y, const FN(averaging) *a, const tape_pooling *g, REAL height)
{
    FN(mask) even, odd;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        even[i] = 2 * i, odd[i] = 2 * i + 1;
    for (ptrdiff_t i = 0; i < g->out_width; i += LANES) {
        const REAL *from = a->total + apart * i;
        FN(vec) sum = {0};
        for (ptrdiff_t s = 0; s < a->taps; s += apart) {
            const FN(vec) v = FN(load)(from + s);
            if (apart == 1) {
                sum += v;
                continue;
            }
            const FN(vec) w = FN(load)(from + s + LANES);
            sum += __builtin_shuffle(v, w, even);
            if (s + 1 < a->taps)
                sum += __builtin_shuffle(v, w, odd);
        }
        sum /= FN(fill)(height) * FN(load)(a->widths + i);
        if (g->out_width - i >= LANES)
            FN(store)(y + i, sum);
        else
            FN(store_first)(y + i, sum, (int)(g->out_width - i));
    }
}

/* The same where windows are far from each other. */
static void FN(mean_alone)(REAL *y, const FN(averaging) *a, const tape_pooling *g, REAL height)
{
    for (ptrdiff_t i = 0; i < g->out_width; i++) {
        ptrdiff_t first, last;
        REAL sum = 0;
        counted(i * g->stride_x - g->left, g->columns, g->width, g->right, g, &first, &last);
        for (; first < last; first++)
            sum += a->total[first];
        y[i] = sum / (height * a->widths[i]);
    }
}

static int FN(average_planes)(const tape_pooling *g, ptrdiff_t from, ptrdiff_t to)
{
    FN(averaging) a;
    if (FN(lay_averaging)(&a, g))
        return -1;
    REAL *y = (REAL *)g->y + from * g->out_height * g->out_width;
    for (ptrdiff_t p = from; p < to; p++) {
        const REAL *x = (const REAL *)g->x + p * g->height * g->width;
        for (ptrdiff_t o = 0; o < g->out_height; o++, y += g->out_width) {
            ptrdiff_t top, bottom;
            const ptrdiff_t high = counted(o * g->stride_y - g->top, g->rows, g->height, g->bottom, g, &top, &bottom);
            const REAL height = (REAL)(g->divisor ? g->divisor : high);
            if (top >= bottom) {
                memset(y, 0, (size_t)g->out_width * sizeof *y);
                continue;
            }
            FN(sum_rows)(a.total + a.left, x + top * g->width, bottom - top, g->width);
            if (a.apart == 2)
                FN(mean_row)(2, y, &a, g, height);
            else if (a.apart == 1)
                FN(mean_row)(1, y, &a, g, height);
            else
                FN(mean_alone)(y, &a, g, height);
        }
    }
    return 0;
}

/* A row of the image's gradient from a row of means: each pixel's sum over the windows it is in. */
INLINE void FN(spread_row)(const int apart, const FN(averaging) *a, const tape_pooling *g)
{
    FN(mask) low, high;
    const ptrdiff_t of_even = (a->taps + apart - 1) / apart, of_odd = a->taps / 2;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        low[i] = i / 2 + (i & 1) * LANES;
        high[i] = low[i] + LANES / 2;
    }
    for (ptrdiff_t i = 0; i < a->left + g->width; i += apart * LANES) {
        const REAL *mean = a->mean + a->back + i / apart;
        FN(vec) even = {0}, odd = {0};
        for (ptrdiff_t t = 0; t < of_even; t++) {
            const FN(vec) v = FN(load)(mean - t);
            even += v;
            if (apart == 2 && t < of_odd)
                odd += v;
        }
        if (apart == 1) {
            FN(store)(a->total + i, even);
            continue;
        }
        FN(store)(a->total + i, __builtin_shuffle(even, odd, low));
        FN(store)(a->total + i + LANES, __builtin_shuffle(even, odd, high));
    }
}

static void FN(spread_alone)(const FN(averaging) *a, const tape_pooling *g)
{
    memset(a->total, 0, (size_t)g->width * sizeof *a->total);
    for (ptrdiff_t i = g->out_width - 1; i >= 0; i--) {
        ptrdiff_t first, last;
        counted(i * g->stride_x - g->left, g->columns, g->width, g->right, g, &first, &last);
        for (; first < last; first++)
            a->total[first] += a->mean[i];
    }
}

/* n numbers, added to what is there or not; `from` holds whole vectors. */
INLINE void FN(put_row)(REAL *to, const REAL *from, ptrdiff_t n, const int onto)
{
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        FN(vec) v = FN(load)(from + i);
        if (n - i >= LANES) {
            if (onto)
                v = FN(load)(to + i) + v;
            FN(store)(to + i, v);
            continue;
        }
        if (onto)
            v = FN(load_first)(to + i, (int)(n - i)) + v;
        FN(store_first)(to + i, v, (int)(n - i));
    }
}

static int FN(spread_planes)(const tape_pooling *g, ptrdiff_t from, ptrdiff_t to)
{
    FN(averaging) a;
    if (FN(lay_averaging)(&a, g))
        return -1;
    const ptrdiff_t width = g->width;
    const REAL *x = (const REAL *)g->x + from * g->out_height * g->out_width;
    for (ptrdiff_t p = from; p < to; p++) {
        REAL *y = (REAL *)g->y + p * g->height * width;
        ptrdiff_t written = 0; /* rows */
        for (ptrdiff_t o = 0; o < g->out_height; o++, x += g->out_width) {
            ptrdiff_t top, bottom;
            const ptrdiff_t high = counted(o * g->stride_y - g->top, g->rows, g->height, g->bottom, g, &top, &bottom);
            const FN(vec) height = FN(fill)((REAL)(g->divisor ? g->divisor : high));
            if (top >= bottom)
                continue;
            for (ptrdiff_t i = 0; i < g->out_width; i += LANES) {
                const ptrdiff_t left = g->out_width - i;
                const FN(vec) v = left < LANES ? FN(load_first)(x + i, (int)left) : FN(load)(x + i);
                FN(store)(a.mean + a.back + i, v / (height * FN(load)(a.widths + i)));
            }
            if (a.apart == 2)
                FN(spread_row)(2, &a, g);
            else if (a.apart == 1)
                FN(spread_row)(1, &a, g);
            else
                FN(spread_alone)(&a, g);
            if (written < top) {
                memset(y + written * width, 0, (size_t)((top - written) * width) * sizeof *y);
                written = top;
            }
            for (; top < written && top < bottom; top++)
                FN(put_row)(y + top * width, a.total + a.left, width, 1);
            for (; written < bottom; written++)
                FN(put_row)(y + written * width, a.total + a.left, width, 0);
        }
        memset(y + written * width, 0, (size_t)((g->height - written) * width) * sizeof *y);
    }
    return 0;
}

static void FN(average_share)(void *context, ptrdiff_t i)
{
    pool_split *s = context;
    if (FN(average_planes)(s->work, FN(cut)(s->planes, i, s->parts), FN(cut)(s->planes, i + 1, s->parts)))
        s->failed = -1;
}

static void FN(spread_share)(void *context, ptrdiff_t i)
{
    pool_split *s = context;
    if (FN(spread_planes)(s->work, FN(cut)(s->planes, i, s->parts), FN(cut)(s->planes, i + 1, s->parts)))
        s->failed = -1;
}

static int FN(averaged)(const tape_pooling *g, tape_task share)
{
    const double taps = (double)g->out_height * ((double)g->out_width * (double)g->columns
                                                 + (double)g->width * (double)(g->rows < g->height ? g->rows : g->height));
    pool_split s = {.work = g, .planes = g->planes, .parts = pool_parts(taps * (double)g->planes, g->planes)};
    if (g->planes)
        tape_parallel_for(share, &s, s.parts);
    return s.failed;
}

static int FN(avg_pool)(const tape_pooling *g) { return FN(averaged)(g, FN(average_share)); }
static int FN(avg_spread)(const tape_pooling *g) { return FN(averaged)(g, FN(spread_share)); }
