/* Signs by table, 4 channels at a time: vpshufb looks up for 32 filters at once how many of their 4
   bits differ from the window's. The window chooses the table (there are 16 of 32 bytes), the
   filters are the indices. That is 2 instructions for 128 bits, where counting the bits of an
   exclusive or takes 9 for 256.

   Words of windows are spread to 8 bytes, each 4 times 4 bits, so that address = table + 8 * byte.
   Sums are bytes: a step adds at most 4, so after 63 steps they go to 16 bits, and after 255 times
   that (64260 <= 65535) to 32.

   Note [Order of filters]
   Unpacking bytes to 32 bits leaves filter 8 q + i (i < 4) from byte 4 q + i of the lower half of a
   register, and 8 q + 4 + i from the upper half; `arrange_block` puts filters where that is right.
   See Note [Pinned counts] in bits_avx512.h. */
#define BIT_BLOCK 32
#define BIT_UNIT 8
#define BIT_FILTER_BYTES 256 /* of a block and word */
#define BIT_PIXELS 6
#define BIT_MOST_COUNTS (12 * 32)
#define KEEP(v) __asm__("" : "+x"(v))

enum { STEPS_A_BYTE = 63, BYTES_A_SHORT = 255 };

#define COUNT4(x) (((x) & 1) + ((x) >> 1 & 1) + ((x) >> 2 & 1) + ((x) >> 3 & 1))
#define ENTRY2(x, i) COUNT4((x) ^ (i)), COUNT4((x) ^ (i + 1))
#define ENTRY4(x, i) ENTRY2(x, i), ENTRY2(x, i + 2)
#define ENTRY16(x) ENTRY4(x, 0), ENTRY4(x, 4), ENTRY4(x, 8), ENTRY4(x, 12)
#define TABLE(x) {ENTRY16(x), ENTRY16(x)}
static const uint8_t differing[16][32] __attribute__((aligned(64))) = {
    TABLE(0), TABLE(1), TABLE(2), TABLE(3), TABLE(4), TABLE(5), TABLE(6), TABLE(7),
    TABLE(8), TABLE(9), TABLE(10), TABLE(11), TABLE(12), TABLE(13), TABLE(14), TABLE(15),
};

static void spread_bits(const uint32_t *from, ptrdiff_t words, char *to)
{
    const __m128i low = _mm_set1_epi8(0x3c), two = _mm_cvtsi32_si128(2);
    for (ptrdiff_t i = 0; i < words; i++) {
        const __m128i w = _mm_cvtsi32_si128((int)from[i]);
        const __m128i even = _mm_and_si128(_mm_sll_epi16(w, two), low);
        const __m128i odd = _mm_and_si128(_mm_srl_epi16(w, two), low);
        _mm_storel_epi64((__m128i *)(to + 8 * i), _mm_unpacklo_epi8(even, odd));
    }
}

static inline int bit_blocks(int pixels) { return pixels > 3 ? 2 : 4; }

/* 8 bits to 16. */
INLINE void widen_bytes(__m256i sum, __m256i *shorts)
{
    const __m256i zero = _mm256_setzero_si256();
    shorts[0] = _mm256_add_epi16(shorts[0], _mm256_unpacklo_epi8(sum, zero));
    shorts[1] = _mm256_add_epi16(shorts[1], _mm256_unpackhi_epi8(sum, zero));
}

/* 16 bits to 32, which count downwards. */
INLINE void widen_shorts(__m256i *shorts, __m256i *m)
{
    const __m256i zero = _mm256_setzero_si256();
    for (int i = 0; i < 2; i++) {
        m[2 * i] = _mm256_sub_epi32(m[2 * i], _mm256_unpacklo_epi16(shorts[i], zero));
        m[2 * i + 1]
            = _mm256_sub_epi32(m[2 * i + 1], _mm256_unpackhi_epi16(shorts[i], zero));
        shorts[i] = zero;
    }
}

INLINE void bit_tile_of(const int pixels, const int blocks, const bit_window *k, const char *x,
                        const char *filters, int32_t *m)
{
    const ptrdiff_t step = k->x_step, filter_step = k->filter_step;
    __m256i sums[BIT_PIXELS][4], shorts[12][2];
    int room = STEPS_A_BYTE, rooms = BYTES_A_SHORT;
    memset(m, 0, (size_t)(pixels * blocks) * 32 * sizeof *m);
    memset(shorts, 0, sizeof shorts);
#pragma GCC unroll 6
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
            sums[p][b] = _mm256_setzero_si256();
    for (ptrdiff_t run = 0; run < k->runs; run++) {
        const uint8_t *at = (const uint8_t *)x + k->run_at[run] * BIT_UNIT;
        for (ptrdiff_t left = k->run_words * 8; left > 0;) {
            const ptrdiff_t steps = left < room ? left : room;
            left -= steps, room -= (int)steps;
            const uint8_t *at3 = at + 3 * step;
            for (ptrdiff_t i = steps; i > 0; i--, at++, at3++, filters += 32) {
                __m256i w[4];
#pragma GCC unroll 4
                for (int b = 0; b < blocks; b++)
                    w[b] = _mm256_loadu_si256((const __m256i *)(filters + b * filter_step));
#pragma GCC unroll 6
                for (int p = 0; p < pixels; p++) {
                    const ptrdiff_t chosen = p < 3 ? at[p * step] : at3[(p - 3) * step];
                    const __m256i table = _mm256_load_si256(
                        (const __m256i *)((const char *)differing + 8 * chosen));
#pragma GCC unroll 4
                    for (int b = 0; b < blocks; b++) {
                        sums[p][b] = _mm256_add_epi8(sums[p][b], _mm256_shuffle_epi8(table, w[b]));
                        KEEP(sums[p][b]);
                    }
                }
            }
            if (room == 0 || (run + 1 == k->runs && left == 0)) {
                room = STEPS_A_BYTE;
#pragma GCC unroll 6
                for (int p = 0; p < pixels; p++)
#pragma GCC unroll 4
                    for (int b = 0; b < blocks; b++) {
                        widen_bytes(sums[p][b], shorts[p * blocks + b]);
                        sums[p][b] = _mm256_setzero_si256();
                    }
                if (--rooms == 0) {
                    rooms = BYTES_A_SHORT;
                    for (int i = 0; i < pixels * blocks; i++)
                        widen_shorts(shorts[i], (__m256i *)(m + 32 * i));
                }
            }
        }
    }
    for (int i = 0; i < pixels * blocks; i++)
        widen_shorts(shorts[i], (__m256i *)(m + 32 * i));
}

#define BIT_TILE(pixels, blocks)                                                                  \
    static __attribute__((noinline)) void bit_tile_##pixels##_##blocks(                           \
        const bit_window *k, const char *x, const char *filters, int32_t *m)                      \
    {                                                                                             \
        bit_tile_of(pixels, blocks, k, x, filters, m);                                            \
    }
#define BIT_TILES_2(pixels) BIT_TILE(pixels, 1) BIT_TILE(pixels, 2)
#define BIT_TILES_4(pixels) BIT_TILES_2(pixels) BIT_TILE(pixels, 4)
BIT_TILES_4(1) BIT_TILES_4(2) BIT_TILES_4(3) BIT_TILES_2(4) BIT_TILES_2(5) BIT_TILES_2(6)

#define BIT_NAMES_2(pixels) bit_tile_##pixels##_1, bit_tile_##pixels##_2
#define BIT_NAMES_4(pixels) BIT_NAMES_2(pixels), 0, bit_tile_##pixels##_4
static void (*const bit_tiles[BIT_PIXELS][4])(const bit_window *, const char *, const char *,
                                              int32_t *) = {
    {BIT_NAMES_4(1)}, {BIT_NAMES_4(2)}, {BIT_NAMES_4(3)},
    {BIT_NAMES_2(4)}, {BIT_NAMES_2(5)}, {BIT_NAMES_2(6)},
};

static int bit_tile(int pixels, int blocks, const bit_window *k, const char *x,
                     const char *filters, int32_t *m, const bit_signs *signs)
{
    (void)signs;
    bit_tiles[pixels - 1][blocks - 1](k, x, filters, m);
    return 0;
}

static void arrange_block(const uint32_t *filters, int n, ptrdiff_t runs, ptrdiff_t run_words,
                          char *to)
{
    const ptrdiff_t words = runs * run_words;
    memset(to, 0, (size_t)words * BIT_FILTER_BYTES);
    for (int f = 0; f < n; f++) {
        char *lane = to + f / 8 * 4 + f % 4 + f % 8 / 4 * 16;
        for (ptrdiff_t i = 0; i < words; i++)
            for (int bit = 0; bit < 32; bit += 4, lane += 32)
                *lane = filters[f * words + i] >> bit & 15;
    }
}

static inline int ones_of(uint32_t word) { return __builtin_popcount(word); }

static inline uint32_t below_16(const int32_t *a, const int32_t *b)
{
    uint32_t signs = 0;
    for (int i = 0; i < 16; i += 8) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(a + i));
        const __m256i y = _mm256_loadu_si256((const __m256i *)(b + i));
        signs |= (uint32_t)_mm256_movemask_ps((__m256)_mm256_add_epi32(x, y)) << i;
    }
    return signs;
}

static inline uint32_t signs_of_float(ints_float v)
{
    return (uint32_t)_mm256_movemask_ps((__m256)v);
}

static inline uint32_t signs_of_double(ints_double v)
{
    return (uint32_t)_mm256_movemask_pd((__m256d)v);
}

static double popcount_peak(ptrdiff_t rounds)
{
    const __m256i w = _mm256_set1_epi8((char)rounds);
    __m256i sums[12];
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++)
        sums[i] = _mm256_setzero_si256();
    for (ptrdiff_t n = rounds; n > 0; n--)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) {
            sums[i] = _mm256_add_epi8(sums[i], _mm256_shuffle_epi8(sums[i], w));
            KEEP(sums[i]);
        }
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++)
        __asm__ volatile("" : : "x"(sums[i]));
    return (double)rounds * 12 * 128;
}
