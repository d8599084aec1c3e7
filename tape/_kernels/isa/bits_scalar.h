/* Signs by the count of 64 bits: the popcnt instruction where the machine has it, which x86-64 does
   not promise, arithmetic elsewhere.

   2 windows are compared with 4 filters at a time, 8 sums in 16 registers. Of each run, pairs of
   words come first, then the one that may be left over: 4 filters of a pair are neighbours. */
#define BIT_BLOCK 32
#define BIT_UNIT 4
#define BIT_FILTER_BYTES (BIT_BLOCK * 4) /* of a block and word */
#define BIT_PIXELS 8
#define BIT_TOGETHER 1
#define BIT_MOST_COUNTS (BIT_PIXELS * BIT_BLOCK)

#ifdef __x86_64__
#include <emmintrin.h>
#define KEEP(v) __asm__("" : "+x"(v))
#else
#define KEEP(v) __asm__("" : "+w"(v))
#endif

static inline int bit_blocks(int pixels) { (void)pixels; return 1; }

INLINE int64_t ones_of_64(const int has_popcnt, uint64_t x)
{
#ifdef __x86_64__
    if (has_popcnt) { /* in place: some machines wait for what the result's register held */
        __asm__("popcntq %0, %0" : "+r"(x) : : "cc");
        return (int64_t)x;
    }
#else
    if (has_popcnt)
        return __builtin_popcountll(x);
#endif
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (int64_t)((x * 0x0101010101010101u) >> 56);
}

INLINE uint64_t pair_at(const char *from)
{
    uint64_t pair;
    memcpy(&pair, from, 8);
    return pair;
}

INLINE uint64_t word_at(const char *from)
{
    uint32_t word;
    memcpy(&word, from, 4);
    return word;
}

/* `pixels` (1 or 2) windows and 4 filters, whose sums go to m and m + BIT_BLOCK. */
INLINE const char *bit_square(const int has_popcnt, const int pixels, const bit_window *k,
                              const char *x, const char *w, int32_t *m)
{
    int64_t sums[2][4] = {{0}};
    for (ptrdiff_t run = 0; run < k->runs; run++) {
        const char *at = x + k->run_at[run] * 4;
        for (ptrdiff_t pair = k->run_words / 2; pair > 0; pair--, at += 8, w += 32)
#pragma GCC unroll 4
            for (int f = 0; f < 4; f++)
#pragma GCC unroll 2
                for (int p = 0; p < pixels; p++)
                    sums[p][f] += ones_of_64(
                        has_popcnt, pair_at(at + p * k->x_step) ^ pair_at(w + 8 * f));
        if (k->run_words % 2) {
#pragma GCC unroll 4
            for (int f = 0; f < 4; f++)
#pragma GCC unroll 2
                for (int p = 0; p < pixels; p++)
                    sums[p][f] += ones_of_64(
                        has_popcnt, word_at(at + p * k->x_step) ^ word_at(w + 4 * f));
            w += 16;
        }
    }
    for (int p = 0; p < pixels; p++)
        for (int f = 0; f < 4; f++)
            m[p * BIT_BLOCK + f] = -(int32_t)sums[p][f];
    return w;
}

INLINE void bit_tile_by(const int has_popcnt, int pixels, const bit_window *k, const char *x,
                        const char *filters, int32_t *m)
{
    int p = 0;
    for (; p + 2 <= pixels; p += 2) {
        const char *w = filters;
        for (int f = 0; f < BIT_BLOCK; f += 4)
            w = bit_square(has_popcnt, 2, k, x + p * k->x_step, w, m + p * BIT_BLOCK + f);
    }
    if (p < pixels)
        for (int f = 0; f < BIT_BLOCK; f += 4)
            filters = bit_square(has_popcnt, 1, k, x + p * k->x_step, filters,
                                 m + p * BIT_BLOCK + f);
}

#ifdef __x86_64__
static __attribute__((target("popcnt"))) void bit_tile_popcnt(
    int pixels, const bit_window *k, const char *x, const char *filters, int32_t *m)
{
    bit_tile_by(1, pixels, k, x, filters, m);
}

/* TAPE_WITHOUT_POPCNT lets a test see the way of a machine that lacks it. */
static int has_popcnt(void)
{
    return __builtin_cpu_supports("popcnt") && !getenv("TAPE_WITHOUT_POPCNT");
}
#endif

static int bit_tile(int pixels, int blocks, const bit_window *k, const char *x,
                     const char *filters, int32_t *m, const bit_signs *signs)
{
    (void)signs;
    (void)blocks;
#ifdef __x86_64__
    static int known = 0;
    if (!known)
        known = has_popcnt() ? 1 : -1;
    if (known > 0)
        bit_tile_popcnt(pixels, k, x, filters, m);
    else
        bit_tile_by(0, pixels, k, x, filters, m);
#else
    bit_tile_by(1, pixels, k, x, filters, m);
#endif
    return 0;
}

static void arrange_block(const uint32_t *filters, int n, ptrdiff_t runs, ptrdiff_t run_words,
                          char *to)
{
    const ptrdiff_t words = runs * run_words;
    uint32_t *lanes = (uint32_t *)to;
    for (int quad = 0; quad < BIT_BLOCK; quad += 4)
        for (ptrdiff_t run = 0; run < runs; run++)
            for (ptrdiff_t i = 0; i < run_words;) {
                const int together = i + 2 <= run_words ? 2 : 1;
                for (int f = quad; f < quad + 4; f++)
                    for (int j = 0; j < together; j++)
                        *lanes++ = f < n ? filters[f * words + run * run_words + i + j] : 0;
                i += together;
            }
}

static inline int ones_of(uint32_t word) { return (int)ones_of_64(0, word); }

static inline uint32_t below_16(const int32_t *a, const int32_t *b)
{
    uint32_t signs = 0;
#ifdef __x86_64__
    for (int i = 0; i < 16; i += 4) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(a + i));
        const __m128i y = _mm_loadu_si128((const __m128i *)(b + i));
        signs |= (uint32_t)_mm_movemask_ps((__m128)_mm_add_epi32(x, y)) << i;
    }
#else
    for (int i = 0; i < 16; i++)
        signs |= (uint32_t)(a[i] + b[i] < 0) << i;
#endif
    return signs;
}

static inline uint32_t signs_of_float(ints_float v)
{
#ifdef __x86_64__
    return (uint32_t)_mm_movemask_ps((__m128)v);
#else
    return (v[0] & 1) | (v[1] & 2) | (v[2] & 4) | (v[3] & 8);
#endif
}

static inline uint32_t signs_of_double(ints_double v)
{
    return (uint32_t)((v[0] & 1) | (v[1] & 2));
}

static double popcount_peak(ptrdiff_t rounds)
{
    int32_t m[BIT_MOST_COUNTS];
    static const char zeros[64 * 32 * 2];
    static const ptrdiff_t at = 0;
    const bit_window window = {.runs = 1, .run_words = 16, .run_at = &at};
    for (ptrdiff_t n = rounds; n > 0; n--) {
        bit_tile(2, 1, &window, zeros, zeros, m, NULL);
        __asm__ volatile("" : : "r"(m) : "memory");
    }
    return (double)rounds * 2 * BIT_BLOCK * 16 * 32;
}
