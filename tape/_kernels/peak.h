/* What a core can do at most: multiply-adds that wait for nothing. Included once for each type. */

static double FN(fma_peak)(ptrdiff_t rounds)
{
    enum { CHAINS = 12 }; /* more than latency times units, and few enough for 16 registers */
    FN(vec) sums[CHAINS];
    FN(vec) x = FN(fill)((REAL)0.5), y = FN(fill)((REAL)0.25);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++)
        sums[i] = FN(fill)((REAL)i);
    for (ptrdiff_t round = 0; round < rounds; round++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            sums[i] = sums[i] * x + y;
            PIN(sums[i]); /* or the compiler would see where this leads */
        }
    FN(vec) total = sums[0];
#pragma GCC unroll 16
    for (int i = 1; i < CHAINS; i++)
        total += sums[i];
    PIN(total);
    return 2.0 * CHAINS * LANES * (double)rounds;
}
