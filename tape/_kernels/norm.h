/* Normalisation of rows, its gradients, and the door to all functions of rows. Included once for
   each type, after softmax.h. */

#ifndef TAPE_NORM_H
#define TAPE_NORM_H

#define ROWS_ABOVE 3e4 /* numbers, some 10 us of one core: benchmarks "layer_norm", two threads */

#endif

/* What a row is normalised by: its mean in two parts, because the first one's rounding may be large
   against the deviation. */
typedef struct {
    FN(vec) mean, rest, rstd;
} FN(centre);

INLINE FN(vec) FN(normal)(const FN(centre) *c, FN(vec) x) { return ((x - c->mean) - c->rest) * c->rstd; }

/* Two passes: the mean, then distances from it. Their own mean, 0 but for the rounding of the first
   one, corrects both mean and variance. */
INLINE FN(centre) FN(centre_of)(const REAL *x, ptrdiff_t n, double *mean, double *variance)
{
    FN(running) sums = {0}, off = {0}, squares = {0};
    ALONG_FOUR(i, k, n, FN(fold)(&sums), { sums.part[k] += FN(read)(x + i, whole, some); });
    const REAL near = (REAL)(FN(sum_of)(&sums.whole) / (double)n);
    const FN(vec) nears = FN(fill)(near);
    ALONG_FOUR(i, k, n, (FN(fold)(&off), FN(fold)(&squares)), {
        FN(vec) d = FN(read)(x + i, whole, some) - nears;
        if (!whole)
            d = FN(only)(d, some, 0);
        off.part[k] += d;
        squares.part[k] += d * d;
    });
    const double rest = FN(sum_of)(&off.whole) / (double)n;
    *mean = near + rest;
    *variance = FN(sum_of)(&squares.whole) / (double)n - rest * rest;
    return (FN(centre)){nears, FN(fill)((REAL)rest), FN(fill)(1)};
}

INLINE FN(centre) FN(centre_of_row)(const tape_rows *t, const REAL *x, double *mean, double *rstd)
{
    FN(centre) c = FN(centre_of)(x, t->columns, mean, rstd);
    *rstd = 1 / __builtin_sqrt(*rstd + t->eps);
    c.rstd = FN(fill)((REAL)*rstd);
    return c;
}

static void FN(layer_norm_row)(const tape_rows *t, ptrdiff_t row)
{
    const ptrdiff_t n = t->columns;
    const REAL *x = (const REAL *)t->x + row * n, *weight = t->weight, *bias = t->bias;
    REAL *y = (REAL *)t->y + row * n;
    double mean, rstd;
    const FN(centre) c = FN(centre_of_row)(t, x, &mean, &rstd);
    ALONG(i, n, {
        FN(vec) v = FN(normal)(&c, FN(read)(x + i, whole, some));
        if (weight)
            v = v * FN(read)(weight + i, whole, some);
        if (bias)
            v = v + FN(read)(bias + i, whole, some);
        FN(write)(y + i, v, whole, some);
    });
}

/* rstd * (d - mean(d) - xhat * mean(d * xhat)), d = g * weight. */
static void FN(layer_norm_grad_row)(const tape_rows *t, ptrdiff_t row)
{
    const ptrdiff_t n = t->columns;
    const REAL *x = (const REAL *)t->x + row * n, *g = (const REAL *)t->g + row * n, *weight = t->weight;
    REAL *y = (REAL *)t->y + row * n;
    double mean, rstd;
    const FN(centre) c = FN(centre_of_row)(t, x, &mean, &rstd);
    FN(running) sums = {0}, along = {0};
    ALONG_FOUR(i, k, n, (FN(fold)(&sums), FN(fold)(&along)), {
        FN(vec) d = FN(read)(g + i, whole, some);
        if (weight)
            d = d * FN(read)(weight + i, whole, some);
        sums.part[k] += d;
        along.part[k] += d * FN(normal)(&c, FN(read)(x + i, whole, some));
    });
    const FN(vec) d_mean = FN(fill)((REAL)(FN(sum_of)(&sums.whole) / (double)n));
    const FN(vec) d_along = FN(fill)((REAL)(FN(sum_of)(&along.whole) / (double)n));
    ALONG(i, n, {
        FN(vec) d = FN(read)(g + i, whole, some);
        if (weight)
            d = d * FN(read)(weight + i, whole, some);
        const FN(vec) v = FN(normal)(&c, FN(read)(x + i, whole, some));
        FN(write)(y + i, ((d - d_mean) - v * d_along) * c.rstd, whole, some);
    });
}

/* Of a block of rows, the sums of g * xhat and those of g. */
static void FN(layer_norm_sums_block)(const tape_rows *t, ptrdiff_t block)
{
    const ptrdiff_t n = t->columns, first = block * TAPE_NORM_BLOCK;
    const ptrdiff_t end = first + TAPE_NORM_BLOCK < t->rows ? first + TAPE_NORM_BLOCK : t->rows;
    REAL *along = (REAL *)t->blocks + block * 2 * n, *sums = along + n;
    for (ptrdiff_t row = first; row < end; row++) {
        const REAL *x = (const REAL *)t->x + row * n, *g = (const REAL *)t->g + row * n;
        double mean, rstd;
        const FN(centre) c = FN(centre_of_row)(t, x, &mean, &rstd);
        ALONG(i, n, {
            FN(vec) d = FN(read)(g + i, whole, some);
            FN(vec) v = d * FN(normal)(&c, FN(read)(x + i, whole, some));
            if (row > first) {
                v += FN(read)(along + i, whole, some);
                d += FN(read)(sums + i, whole, some);
            }
            FN(write)(along + i, v, whole, some);
            FN(write)(sums + i, d, whole, some);
        });
    }
}

/* The sums of all blocks together. */
static void FN(layer_norm_sums)(const tape_rows *t)
{
    const ptrdiff_t n = 2 * t->columns, blocks = (t->rows + TAPE_NORM_BLOCK - 1) / TAPE_NORM_BLOCK;
    const REAL *parts = t->blocks;
    ALONG(i, n, {
        FN(sums) sums = {{0}, {0}};
        for (ptrdiff_t block = 0; block < blocks; block++)
            FN(add_to)(&sums, FN(read)(parts + block * n + i, whole, some));
        FN(write)((REAL *)t->y + i, FN(divided)(&sums, 1), whole, some);
    });
}

typedef struct {
    const tape_rows *rows;
    void (*work)(const tape_rows *, ptrdiff_t);
    ptrdiff_t n, parts;
} FN(row_split);

static void FN(row_share)(void *context, ptrdiff_t part)
{
    const FN(row_split) *s = context;
    const ptrdiff_t end = FN(cut)(s->n, part + 1, s->parts);
    for (ptrdiff_t i = FN(cut)(s->n, part, s->parts); i < end; i++)
        s->work(s->rows, i);
}

static void FN(run_rows)(const tape_rows *t)
{
    static void (*const works[TAPE_ROW_WORKS])(const tape_rows *, ptrdiff_t) = {
        [TAPE_SOFTMAX] = FN(softmax_row),
        [TAPE_LOG_SOFTMAX] = FN(log_softmax_row),
        [TAPE_LOGSUMEXP] = FN(logsumexp_row),
        [TAPE_CROSS_ENTROPY] = FN(cross_entropy_row),
        [TAPE_CROSS_ENTROPY_GRAD] = FN(cross_entropy_grad_row),
        [TAPE_SOFTMAX_GRAD] = FN(softmax_grad_row),
        [TAPE_LOG_SOFTMAX_GRAD] = FN(log_softmax_grad_row),
        [TAPE_LOGSUMEXP_GRAD] = FN(logsumexp_grad_row),
        [TAPE_LAYER_NORM] = FN(layer_norm_row),
        [TAPE_LAYER_NORM_GRAD] = FN(layer_norm_grad_row),
        [TAPE_LAYER_NORM_SUMS] = FN(layer_norm_sums_block),
    };
    FN(row_split) s = {t, works[t->work], t->rows, 1};
    if (t->work == TAPE_LAYER_NORM_SUMS)
        s.n = (t->rows + TAPE_NORM_BLOCK - 1) / TAPE_NORM_BLOCK;
    if ((double)t->rows * (double)t->columns > ROWS_ABOVE)
        s.parts = tape_threads();
    if (s.parts > s.n)
        s.parts = s.n;
    tape_parallel_for(FN(row_share), &s, s.parts);
    if (t->work == TAPE_LAYER_NORM_SUMS)
        FN(layer_norm_sums)(t);
}
