/* Signs by table, 4 channels of 2 windows at a time: vpshufb looks up for 32 filters at once how many
   of their 4 bits differ from those of either window, one number in each half of a byte. The windows
   choose the table (there are 256 of 16 bytes, 4 KB), the filters are the indices. Three such bytes
   are added up before they are shifted so that the other half can be added, too: 8 instructions for
   768 bits, where one window at a time takes 12 and counting the bits of an exclusive or 27.

   Words of windows are spread to 16 bytes: for each 4 channels where the table is for this window
   and the next one, 16 * (4 bits of this + 16 * 4 bits of the next).
   Sums are bytes: a group of steps adds at most 12, so after 21 they go to 16 bits, and after 260
   times that (65520) to 32.

   Note [Order of filters]
   Unpacking bytes to 32 bits leaves filter 8 q + i (i < 4) from byte 4 q + i of the lower half of a
   register, and 8 q + 4 + i from the upper half; `arrange_block` puts filters where that is right.
   See Note [Pinned counts] in bits_avx512.h.

   Note [Halves without masks]
   Let a byte of even place hold a0 + 16 b0, the one above it a1 + 16 b1, each half at most 12.
   Added up as they are, and once more where 16 bits were shifted right by 4, they give modulo 256
       y0 = a0 + 16 b0, y1 = a1 + 16 b1    and    x0 = b0 + 16 a1, x1 = b1
   where a0, ... stand for the sums. As long as these are below 256, x1 gives b1, so y1 gives a1, so
   x0 gives b0, so y0 gives a0. */
#define BIT_BLOCK 32
#define BIT_UNIT 16
#define BIT_FILTER_BYTES 256 /* of a block and word */
#define BIT_PIXELS 4
#define BIT_TOGETHER 2
#define BIT_MOST_COUNTS (BIT_PIXELS * 64)
#define KEEP(v) __asm__("" : "+x"(v))

enum { PAIRS = BIT_PIXELS / 2, GROUPS_A_BYTE = 21, BYTES_A_SHORT = 260 };

#define COUNT4(x) (((x) & 1) + ((x) >> 1 & 1) + ((x) >> 2 & 1) + ((x) >> 3 & 1))
#define ENTRY(x, i) (COUNT4((x) ^ (i)) + 16 * COUNT4((x) >> 4 ^ (i)))
#define ENTRY4(x, i) ENTRY(x, i), ENTRY(x, i + 1), ENTRY(x, i + 2), ENTRY(x, i + 3)
#define TABLE(x) {ENTRY4(x, 0), ENTRY4(x, 4), ENTRY4(x, 8), ENTRY4(x, 12)}
#define TABLES4(x) TABLE(x), TABLE(x + 1), TABLE(x + 2), TABLE(x + 3)
#define TABLES16(x) TABLES4(x), TABLES4(x + 4), TABLES4(x + 8), TABLES4(x + 12)
#define TABLES64(x) TABLES16(x), TABLES16(x + 16), TABLES16(x + 32), TABLES16(x + 48)
static const uint8_t differing[256][16] __attribute__((aligned(64))) = {
    TABLES64(0), TABLES64(64), TABLES64(128), TABLES64(192),
};

/* The words of windows that are `step` words apart, two by two. */
static void spread_bits(const uint32_t *from, ptrdiff_t words, ptrdiff_t step, char *to)
{
    const __m128i fours = _mm_set1_epi8(15);
    for (ptrdiff_t i = 0; i < words; i++) {
        const __m128i both = _mm_unpacklo_epi8(
            _mm_cvtsi32_si128((int)from[i]),
            _mm_cvtsi32_si128(i + step < words ? (int)from[i + step] : 0));
        /* bytes of 8 bits of this, of the next one, ...: to 4 of this and 4 of the next */
        const __m128i low = _mm_and_si128(both, fours);
        const __m128i high = _mm_and_si128(_mm_srli_epi16(both, 4), fours);
        const __m128i even = _mm_or_si128(low, _mm_srli_epi16(low, 4));
        const __m128i odd = _mm_or_si128(high, _mm_srli_epi16(high, 4));
        const __m128i bytes = _mm_set1_epi16(255);
        const __m128i tables = _mm_unpacklo_epi16(_mm_and_si128(even, bytes),
                                                  _mm_and_si128(odd, bytes));
        _mm_storeu_si128((__m128i *)(to + BIT_UNIT * i), _mm_slli_epi16(tables, 4));
    }
}

static inline int bit_blocks(int pixels) { (void)pixels; return 2; }

/* 8 bits to 16. */
INLINE void widen_bytes(__m256i sum, __m256i *shorts)
{
    const __m256i zero = _mm256_setzero_si256();
    shorts[0] = _mm256_add_epi16(shorts[0], _mm256_unpacklo_epi8(sum, zero));
    shorts[1] = _mm256_add_epi16(shorts[1], _mm256_unpackhi_epi8(sum, zero));
}

/* Sums of either window; see Note [Halves without masks]. */
INLINE void part_halves(__m256i *sums)
{
    const __m256i upper = _mm256_set1_epi16((short)0xff00);
    __m256i y = sums[0], x = sums[1];
    y = _mm256_sub_epi8(y, _mm256_slli_epi16(_mm256_and_si256(x, upper), 4));
    x = _mm256_sub_epi8(x, _mm256_srli_epi16(_mm256_slli_epi16(_mm256_srli_epi16(y, 8), 12), 8));
    y = _mm256_sub_epi8(y, _mm256_srli_epi16(_mm256_slli_epi16(x, 12), 8));
    sums[0] = y, sums[1] = x;
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

INLINE void add_bytes(__m256i *sum, __m256i v)
{
    __asm__ volatile("vpaddb %1, %0, %0" : "+x"(*sum) : "x"(v));
}

/* `groups` of `steps` times 4 channels, of windows at `at` and filters at `w`. */
INLINE void count_pairs(const int steps, const int pairs, const int blocks, ptrdiff_t groups,
                        const char *at, ptrdiff_t step, const char *w, ptrdiff_t filter_step,
                        __m256i (*sums)[2][2])
{
    const char *of[2] = {w, w + filter_step};
    for (; groups > 0; groups--, at += 2 * steps) {
#pragma GCC unroll 3
        for (int p = 0; p < pairs; p++) {
            const uint16_t *tables = (const uint16_t *)(at + p * step);
            __m256i both[2];
#pragma GCC unroll 3
            for (int i = 0; i < steps; i++) {
                const __m256i table = _mm256_broadcastsi128_si256(
                    _mm_load_si128((const __m128i *)((const char *)differing + tables[i])));
#pragma GCC unroll 2
                for (int b = 0; b < blocks; b++) {
                    __m256i found; /* kept in registers, the filters would push sums out of them */
                    __asm__ volatile("vpshufb %1, %2, %0"
                                     : "=x"(found)
                                     : "m"(((const __m256i *)of[b])[i]), "x"(table));
                    both[b] = i ? _mm256_add_epi8(both[b], found) : found;
                }
            }
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                add_bytes(&sums[p][b][0], both[b]);
                add_bytes(&sums[p][b][1], _mm256_srli_epi16(both[b], 4));
            }
        }
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++)
            of[b] += 32 * steps;
    }
}

INLINE void bit_tile_of(const int pairs, const int blocks, const bit_window *k, const char *x,
                        const char *filters, int32_t *m)
{
    const ptrdiff_t step = 2 * k->x_step, filter_step = k->filter_step;
    __m256i sums[PAIRS][2][2], shorts[4 * PAIRS][2];
    ptrdiff_t room = GROUPS_A_BYTE, rooms = BYTES_A_SHORT;
    __m256i zero = _mm256_setzero_si256();
    KEEP(zero); /* or else the compiler makes it rep stos, which takes long to begin */
    for (int i = 0; i < 2 * pairs * blocks; i++)
        shorts[i][0] = shorts[i][1] = zero;
    for (int i = 0; i < 8 * pairs * blocks; i++)
        _mm256_store_si256((__m256i *)m + i, zero);
#pragma GCC unroll 3
    for (int p = 0; p < pairs; p++)
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++)
            sums[p][b][0] = sums[p][b][1] = _mm256_setzero_si256();
    for (ptrdiff_t run = 0; run < k->runs; run++) {
        const char *at = x + k->run_at[run] * BIT_UNIT;
        for (ptrdiff_t left = k->run_words * 8; left > 0;) {
            const int steps = left < 3 ? 1 : 3;
            const ptrdiff_t groups = left / steps < room ? left / steps : room;
            if (steps == 3)
                count_pairs(3, pairs, blocks, groups, at, step, filters, filter_step, sums);
            else
                count_pairs(1, pairs, blocks, groups, at, step, filters, filter_step, sums);
            at += 2 * steps * groups, filters += 32 * steps * groups;
            left -= steps * groups, room -= groups;
            if (room == 0 || (run + 1 == k->runs && left == 0)) {
                room = GROUPS_A_BYTE;
#pragma GCC unroll 3
                for (int p = 0; p < pairs; p++)
#pragma GCC unroll 2
                    for (int b = 0; b < blocks; b++) {
                        part_halves(sums[p][b]);
#pragma GCC unroll 2
                        for (int i = 0; i < 2; i++) {
                            widen_bytes(sums[p][b][i], shorts[(2 * p + i) * blocks + b]);
                            sums[p][b][i] = _mm256_setzero_si256();
                        }
                    }
                if (--rooms == 0) {
                    rooms = BYTES_A_SHORT;
                    for (int i = 0; i < 2 * pairs * blocks; i++)
                        widen_shorts(shorts[i], (__m256i *)(m + 32 * i));
                }
            }
        }
    }
    for (int i = 0; i < 2 * pairs * blocks; i++)
        widen_shorts(shorts[i], (__m256i *)(m + 32 * i));
}

#define BIT_TILE(pairs, blocks)                                                                   \
    static __attribute__((noinline)) void bit_tile_##pairs##_##blocks(                            \
        const bit_window *k, const char *x, const char *filters, int32_t *m)                      \
    {                                                                                             \
        bit_tile_of(pairs, blocks, k, x, filters, m);                                             \
    }
BIT_TILE(1, 1) BIT_TILE(2, 1) BIT_TILE(1, 2) BIT_TILE(2, 2)
static void (*const bit_tiles[PAIRS][2])(const bit_window *, const char *, const char *, int32_t *)
    = {{bit_tile_1_1, bit_tile_1_2}, {bit_tile_2_1, bit_tile_2_2}};

static int bit_tile(int pixels, int blocks, const bit_window *k, const char *x,
                     const char *filters, int32_t *m, const bit_signs *signs)
{
    (void)signs;
    bit_tiles[(pixels - 1) / 2][blocks - 1](k, x, filters, m);
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
