/* Vectors of REAL, whatever their width: load, store, fill, turn. Included once for each type.
 */
#define LANES ((int)(sizeof(FN(vec)) / sizeof(REAL)))
#define SIXTEEN ((int)(16 / sizeof(REAL))) /* elements of the widest group that x86 shuffles freely */

/* The same vector where memory is aligned to elements only, and may be of another type. */
typedef FN(vec) FN(loose) __attribute__((aligned(sizeof(REAL)), may_alias));
typedef __typeof__((FN(vec)){0} > (FN(vec)){0}) FN(mask);

INLINE FN(vec) FN(load)(const REAL *from) { return *(const FN(loose) *)from; }
INLINE void FN(store)(REAL *to, FN(vec) v) { *(FN(loose) *)to = v; }
INLINE FN(vec) FN(fill)(REAL x) { return x - (FN(vec)){0}; }

/* Runs of `run` elements of a and b in turn, from the lower or the upper half of every 16 bytes. */
INLINE FN(vec) FN(interleave)(FN(vec) a, FN(vec) b, const int run, const int upper)
{
    FN(mask) from;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        const int at = i % SIXTEEN / run;
        from[i] = i - i % SIXTEEN + at / 2 * run + i % run + upper * SIXTEEN / 2 + at % 2 * LANES;
    }
    return __builtin_shuffle(a, b, from);
}

/* The even or the odd sixteen bytes of a, then those of b. */
INLINE FN(vec) FN(every_second)(FN(vec) a, FN(vec) b, const int odd)
{
    FN(mask) from;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        from[i] = (i / SIXTEEN * 2 + odd) * SIXTEEN + i % SIXTEEN;
    return __builtin_shuffle(a, b, from);
}

/* Exchange rows and columns of SIXTEEN vectors within every 16 bytes. */
INLINE void FN(turn_sixteen)(FN(vec) *v)
{
#pragma GCC unroll 2
    for (int i = 0; i < SIXTEEN; i += 2) {
        const FN(vec) a = v[i], b = v[i + 1];
        v[i] = FN(interleave)(a, b, 1, 0);
        v[i + 1] = FN(interleave)(a, b, 1, 1);
    }
#pragma GCC unroll 2
    for (int i = 0; i < SIXTEEN / 4 * 2; i++) {
        const FN(vec) a = v[i], b = v[i + 2];
        v[i] = FN(interleave)(a, b, SIXTEEN / 2, 0);
        v[i + 2] = FN(interleave)(a, b, SIXTEEN / 2, 1);
    }
    if (SIXTEEN == 4) {
        const FN(vec) second = v[1];
        v[1] = v[2];
        v[2] = second;
    }
}

/* The columns of LANES rows of LANES elements, `step` apart.

   Loads put halves of two rows side by side, and what is left to do is shuffled within sixteen bytes
   wherever that will do: such shuffles need no register that says where to. */
INLINE void FN(load_turned)(FN(vec) *v, const REAL *from, ptrdiff_t step)
{
    const int lanes = LANES / SIXTEEN, sides = lanes > 1 ? 2 : 1;
    FN(vec) part[2][2][4];
#pragma GCC unroll 2
    for (int h = 0; h < (lanes > 2 ? 2 : 1); h++)
#pragma GCC unroll 2
        for (int s = 0; s < sides; s++) {
#pragma GCC unroll 4
            for (int i = 0; i < SIXTEEN; i++) {
                const REAL *row = from + (h * 2 * SIXTEEN + i) * step + s * (LANES / 2);
                part[h][s][i] = lanes > 1 ? FN(load_halves)(row, row + SIXTEEN * step) : FN(load)(row);
            }
            FN(turn_sixteen)(part[h][s]);
        }
#pragma GCC unroll 2
    for (int s = 0; s < sides; s++)
#pragma GCC unroll 4
        for (int i = 0; i < SIXTEEN; i++)
            if (lanes > 2) {
                v[2 * s * SIXTEEN + i] = FN(every_second)(part[0][s][i], part[1][s][i], 0);
                v[(2 * s + 1) * SIXTEEN + i] = FN(every_second)(part[0][s][i], part[1][s][i], 1);
            } else {
                v[s * SIXTEEN + i] = part[0][s][i];
            }
}

/* The same where only `rows` rows and `some` columns exist; zeros elsewhere. */
static __attribute__((noinline)) void FN(load_turned_first)(FN(vec) *v, const REAL *from, ptrdiff_t step,
                                                            int rows, int some)
{
    REAL block[LANES * LANES];
    for (int i = 0; i < LANES; i++, from += step)
        FN(store)(block + i * LANES, i < rows ? FN(load_first)(from, some) : (FN(vec)){0});
    FN(load_turned)(v, block, LANES);
}

/* Exchange rows and columns of LANES vectors: after the stage of distance s, element i of vector j
   has swapped bit s of i and j. */
INLINE void FN(transpose)(FN(vec) *v)
{
#pragma GCC unroll 8
    for (int s = 1; s < LANES; s *= 2) {
        FN(mask) low, high;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            low[i] = i & s ? LANES + i - s : i;
            high[i] = i & s ? LANES + i : i + s;
        }
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++)
            if (!(j & s)) {
                const FN(vec) a = v[j], b = v[j + s];
                v[j] = __builtin_shuffle(a, b, low);
                v[j + s] = __builtin_shuffle(a, b, high);
            }
    }
}
