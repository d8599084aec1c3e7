/* Statistics of the channels of a batch, and what normalises by them. Included once for each type.

   x (n, channels, size) is read run by run: a run is one channel of one image. Where size is 1 the
   channels themselves are neighbours, and a vector holds some of them. */

#ifndef FOLD_ROWS
#define FOLD_ROWS 16 /* rows that are added up before float64 takes their sum over */
#endif

/* One channel of all images. Source: Chan, Golub and LeVeque 1979, how two parts' moments join. */
static void FN(channel_moments)(const tape_channels *t, ptrdiff_t channel)
{
    double mean = 0, squares = 0, count = 0;
    for (ptrdiff_t i = 0; i < t->n; i++) {
        double of_run, variance;
        FN(centre_of)((const REAL *)t->x + (i * t->channels + channel) * t->size, t->size, &of_run, &variance);
        const double distance = of_run - mean, size = (double)t->size, both = count + size;
        mean += distance * (size / both);
        squares += variance * size + distance * distance * (count * (size / both));
        count = both;
    }
    REAL *y = (REAL *)t->y + channel;
    y[0] = (REAL)mean, y[t->channels] = (REAL)(squares / count);
}

/* Without g the sums are those of x. */
static void FN(channel_sums)(const tape_channels *t, ptrdiff_t channel)
{
    FN(running) sums = {0};
    const FN(vec) mean = FN(fill)(t->g ? ((const REAL *)t->mean)[channel] : 0);
    for (ptrdiff_t image = 0; image < t->n; image++) {
        const ptrdiff_t at = (image * t->channels + channel) * t->size;
        const REAL *x = (const REAL *)t->x + at, *g = t->g ? (const REAL *)t->g + at : NULL;
        if (!g) {
            ALONG_FOUR(i, k, t->size, FN(fold)(&sums), { sums.part[k] += FN(read)(x + i, whole, some); });
            continue;
        }
        ALONG_FOUR(i, k, t->size, FN(fold)(&sums), {
            sums.part[k] += FN(read)(g + i, whole, some) * (FN(read)(x + i, whole, some) - mean);
        });
    }
    ((REAL *)t->y)[channel] = (REAL)FN(sum_of)(&sums.whole);
}

static void FN(channel_affine)(const tape_channels *t, ptrdiff_t run)
{
    const ptrdiff_t channel = run % t->channels;
    const REAL *x = (const REAL *)t->x + run * t->size, *bias = t->bias;
    REAL *y = (REAL *)t->y + run * t->size;
    const FN(vec) mean = FN(fill)(((const REAL *)t->mean)[channel]);
    const FN(vec) scale = FN(fill)(((const REAL *)t->scale)[channel]), shift = FN(fill)(bias ? bias[channel] : 0);
    ALONG(i, t->size, {
        FN(write)(y + i, (FN(read)(x + i, whole, some) - mean) * scale + shift, whole, some);
    });
}

/* Channels whose runs are single numbers: `wide` vectors of them, down all images. */
INLINE void FN(column_moments_of)(const tape_channels *t, ptrdiff_t at, const int wide, int some)
{
    const int whole = some == LANES;
    const REAL *x = (const REAL *)t->x + at;
    REAL *y = (REAL *)t->y + at;
    const double n = (double)t->n;
    FN(vec) sums[4] = {0}, squares[4] = {0}, near[4];
    FN(sums) totals[4] = {0}, off[4] = {0}, spread[4] = {0};
    for (ptrdiff_t i = 0; i < t->n; i++) {
        for (int k = 0; k < wide; k++)
            sums[k] += FN(read)(x + i * t->channels + k * LANES, whole, some);
        if ((i + 1) % FOLD_ROWS == 0 || i + 1 == t->n)
            for (int k = 0; k < wide; k++)
                FN(add_to)(&totals[k], sums[k]), sums[k] = (FN(vec)){0};
    }
    for (int k = 0; k < wide; k++)
        near[k] = FN(divided)(&totals[k], n);
    for (ptrdiff_t i = 0; i < t->n; i++) {
        for (int k = 0; k < wide; k++) {
            const FN(vec) d = FN(read)(x + i * t->channels + k * LANES, whole, some) - near[k];
            sums[k] += d, squares[k] += d * d;
        }
        if ((i + 1) % FOLD_ROWS == 0 || i + 1 == t->n)
            for (int k = 0; k < wide; k++) {
                FN(add_to)(&off[k], sums[k]), sums[k] = (FN(vec)){0};
                FN(add_to)(&spread[k], squares[k]), squares[k] = (FN(vec)){0};
            }
    }
    for (int k = 0; k < wide; k++) {
        const FN(vec) rest = FN(divided)(&off[k], n);
        FN(write)(y + k * LANES, near[k] + rest, whole, some);
        FN(write)(y + t->channels + k * LANES, FN(divided)(&spread[k], n) - rest * rest, whole, some);
    }
}

INLINE void FN(column_sums_of)(const tape_channels *t, ptrdiff_t at, const int wide, int some)
{
    const int whole = some == LANES;
    const REAL *x = (const REAL *)t->x + at, *g = t->g ? (const REAL *)t->g + at : NULL;
    const REAL *mean = t->g ? (const REAL *)t->mean + at : NULL;
    FN(vec) sums[4] = {0};
    FN(sums) totals[4] = {0};
    for (ptrdiff_t i = 0; i < t->n; i++) {
        for (int k = 0; k < wide; k++) {
            const ptrdiff_t j = i * t->channels + k * LANES;
            FN(vec) v = FN(read)(x + j, whole, some);
            if (g)
                v = FN(read)(g + j, whole, some) * (v - FN(read)(mean + k * LANES, whole, some));
            sums[k] += v;
        }
        if ((i + 1) % FOLD_ROWS == 0 || i + 1 == t->n)
            for (int k = 0; k < wide; k++)
                FN(add_to)(&totals[k], sums[k]), sums[k] = (FN(vec)){0};
    }
    for (int k = 0; k < wide; k++)
        FN(write)((REAL *)t->y + at + k * LANES, FN(divided)(&totals[k], 1), whole, some);
}

/* Block by block of four vectors, of which the last may have to be taken one by one. */
#define COLUMNS(name)                                                              \
    static void FN(name)(const tape_channels *t, ptrdiff_t block)                   \
    {                                                                              \
        ptrdiff_t at = block * 4 * LANES, end = at + 4 * LANES;                     \
        if (end <= t->channels) {                                                  \
            FN(name##_of)(t, at, 4, LANES);                                        \
            return;                                                                \
        }                                                                          \
        for (; at < t->channels; at += LANES) {                                    \
            const ptrdiff_t left = t->channels - at;                               \
            FN(name##_of)(t, at, 1, left < LANES ? (int)left : LANES);             \
        }                                                                          \
    }
COLUMNS(column_moments)
COLUMNS(column_sums)
#undef COLUMNS

static void FN(column_affine)(const tape_channels *t, ptrdiff_t image)
{
    const REAL *x = (const REAL *)t->x + image * t->channels;
    const REAL *mean = t->mean, *scale = t->scale, *bias = t->bias;
    REAL *y = (REAL *)t->y + image * t->channels;
    ALONG(i, t->channels, {
        FN(vec) v = FN(read)(x + i, whole, some) - FN(read)(mean + i, whole, some);
        const FN(vec) factor = FN(read)(scale + i, whole, some);
        FN(write)(y + i, bias ? v * factor + FN(read)(bias + i, whole, some) : v * factor, whole, some);
    });
}

typedef struct {
    const tape_channels *channels;
    void (*work)(const tape_channels *, ptrdiff_t);
    ptrdiff_t n, parts;
} FN(channel_split);

static void FN(channel_share)(void *context, ptrdiff_t part)
{
    const FN(channel_split) *s = context;
    const ptrdiff_t end = FN(cut)(s->n, part + 1, s->parts);
    for (ptrdiff_t i = FN(cut)(s->n, part, s->parts); i < end; i++)
        s->work(s->channels, i);
}

static void FN(run_channels)(const tape_channels *t)
{
    static void (*const works[2][TAPE_CHANNEL_WORKS])(const tape_channels *, ptrdiff_t) = {
        {FN(channel_moments), FN(channel_sums), FN(channel_affine)},
        {FN(column_moments), FN(column_sums), FN(column_affine)},
    };
    const int columns = t->size == 1;
    FN(channel_split) s = {t, works[columns][t->work], t->channels, 1};
    if (t->work == TAPE_CHANNEL_AFFINE)
        s.n = columns ? t->n : t->n * t->channels;
    else if (columns)
        s.n = (t->channels + 4 * LANES - 1) / (4 * LANES);
    if ((double)t->n * (double)t->channels * (double)t->size > ROWS_ABOVE)
        s.parts = tape_threads() < s.n ? tape_threads() : s.n;
    tape_parallel_for(FN(channel_share), &s, s.parts);
}
