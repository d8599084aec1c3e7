/* Vectors of REAL, whatever their width: load, store, fill, transpose. Included once for each type.
 */
#define LANES ((int)(sizeof(FN(vec)) / sizeof(REAL)))

/* The same vector where memory is aligned to elements only, and may be of another type. */
typedef FN(vec) FN(loose) __attribute__((aligned(sizeof(REAL)), may_alias));
typedef __typeof__((FN(vec)){0} > (FN(vec)){0}) FN(mask);

INLINE FN(vec) FN(load)(const REAL *from) { return *(const FN(loose) *)from; }
INLINE void FN(store)(REAL *to, FN(vec) v) { *(FN(loose) *)to = v; }
INLINE FN(vec) FN(fill)(REAL x) { return x - (FN(vec)){0}; }

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
