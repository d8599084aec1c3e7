/* Sums, maxima and masked ends of rows of numbers. Included once for each type.

   A row is read vector by vector, the last one masked. Sums are taken lane by lane, in float64 or in
   the row's own type for 32 numbers and then in float64, and the lanes are added up in one order: a
   sum depends on the numbers and on how many they are. */

#ifndef TAPE_ROW_SUMS_H
#define TAPE_ROW_SUMS_H

/* The statement for each vector at i of n numbers, then for what is left of one. It may use
   `whole`, whether the vector is one, and `some`, how many of its numbers exist. */
#define ALONG(i, n, ...)                                          \
    do {                                                          \
        const ptrdiff_t end_ = (n) / LANES * LANES;               \
        ptrdiff_t i = 0;                                          \
        for (; i < end_; i += LANES) {                            \
            const int whole = 1, some = LANES;                    \
            (void)some, (void)whole;                              \
            __VA_ARGS__                                           \
        }                                                         \
        if (i < (n)) {                                            \
            const int whole = 0, some = (int)((n) - i);           \
            (void)some, (void)whole;                              \
            __VA_ARGS__                                           \
        }                                                         \
    } while (0)

/* The same by four vectors at a time, the k-th of which the statement adds to the k-th partial sum;
   `fold` adds these up in float64 before they have grown large against their numbers. */
#define ALONG_FOUR(i, k, n, fold, ...)                            \
    do {                                                          \
        const ptrdiff_t end_ = (n) / LANES * LANES;               \
        const ptrdiff_t fours_ = (n) / (4 * LANES) * (4 * LANES); \
        ptrdiff_t i = 0;                                          \
        for (int round_ = 1; i < fours_; round_++) {              \
            _Pragma("GCC unroll 4")                               \
            for (int k = 0; k < 4; k++, i += LANES) {             \
                const int whole = 1, some = LANES;                \
                (void)some, (void)whole;                          \
                __VA_ARGS__                                       \
            }                                                     \
            if (round_ % FOLD_AFTER == 0)                         \
                fold;                                             \
        }                                                         \
        for (; i < end_; i += LANES) {                            \
            const int k = 0, whole = 1, some = LANES;             \
            (void)some, (void)whole;                              \
            __VA_ARGS__                                           \
        }                                                         \
        if (i < (n)) {                                            \
            const int k = 0, whole = 0, some = (int)((n) - i);    \
            (void)some, (void)whole;                              \
            __VA_ARGS__                                           \
        }                                                         \
        fold;                                                     \
    } while (0)

#define FOLD_AFTER 8
#define DOUBLES ((int)(sizeof(vec_double) / sizeof(double)))

/* The lanes' numbers, in memory: gcc builds such a vector lane by lane, each time. */
#define COUNTED {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
static const int64_t lanes_of_double[16] = COUNTED;
static const int32_t lanes_of_float[16] = COUNTED;

/* The sum of a vector's lanes: halves, then halves of these. */
INLINE double across(vec_double v)
{
    ints_double lane;
    memcpy(&lane, lanes_of_double, sizeof lane);
#pragma GCC unroll 4
    for (int s = DOUBLES / 2; s > 0; s /= 2)
        v += __builtin_shuffle(v, lane ^ s);
    return v[0];
}

#endif

typedef struct {
    vec_double low, high; /* high: of floats, the second half of each vector */
} FN(sums);

INLINE void FN(add_to)(FN(sums) *sums, FN(vec) v)
{
    if (sizeof(REAL) == sizeof(float)) {
        vec_float halves;
        memcpy(&halves, &v, sizeof v);
        sums->low += low_double(halves), sums->high += high_double(halves);
    } else {
        vec_double all;
        memcpy(&all, &v, sizeof v);
        sums->low += all;
    }
}

/* A sum under way: four partial ones, and what was folded. */
typedef struct {
    FN(vec) part[4];
    FN(sums) whole;
} FN(running);

INLINE void FN(fold)(FN(running) *r)
{
    FN(add_to)(&r->whole, (r->part[0] + r->part[1]) + (r->part[2] + r->part[3]));
    r->part[0] = r->part[1] = r->part[2] = r->part[3] = (FN(vec)){0};
}

INLINE double FN(sum_of)(const FN(sums) *sums) { return across(sums->low + sums->high); }

/* The halves of a vector of sums, each divided by n, as numbers of this type. */
INLINE FN(vec) FN(divided)(const FN(sums) *sums, double n)
{
    double parts[2 * DOUBLES];
    FN(vec) v = {0};
    memcpy(parts, &sums->low, sizeof sums->low);
    memcpy(parts + DOUBLES, &sums->high, sizeof sums->high);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        v[i] = (REAL)(parts[i] / n);
    return v;
}

/* v, and `rest` in all lanes from n on. */
INLINE FN(vec) FN(only)(FN(vec) v, int n, REAL rest)
{
    static const REAL numbers[16] = COUNTED;
    return FN(choose)(FN(above)(FN(fill)((REAL)n), FN(load)(numbers)), v, FN(fill)(rest));
}

/* The largest number that is not NaN; -inf if there is none. */
INLINE REAL FN(top_of)(const REAL *x, ptrdiff_t n)
{
    const FN(vec) least = FN(fill)((REAL)-INFINITY);
    FN(vec) tops[4] = {least, least, least, least};
    ptrdiff_t at = 0;
    for (; at + 4 * LANES <= n; at += 4 * LANES)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            tops[k] = FN(larger)(FN(load)(x + at + k * LANES), tops[k]);
    ALONG(i, n - at, {
        FN(vec) v = FN(read)(x + at + i, whole, some);
        if (!whole)
            v = FN(only)(v, some, (REAL)-INFINITY);
        tops[0] = FN(larger)(v, tops[0]);
    });
    FN(vec) top = FN(larger)(FN(larger)(tops[0], tops[1]), FN(larger)(tops[2], tops[3]));
    FN(ints) lane;
    memcpy(&lane, sizeof(REAL) == sizeof(float) ? (const void *)lanes_of_float : lanes_of_double, sizeof lane);
#pragma GCC unroll 4
    for (int s = LANES / 2; s > 0; s /= 2)
        top = FN(larger)(__builtin_shuffle(top, lane ^ s), top);
    return top[0];
}
