/* Signs by vpopcntd: 16 filters are a vector, the word of a window is broadcast from memory.

   Note [Pinned counts]
   Left alone, gcc counts a batch of words first and adds them up later, which takes more registers
   than there are, and if an empty asm statement that changes a sum makes it finish the sum in place,
   what stands after the loop decides whether it does so without moves. So the three instructions
   are one statement; a test looks for spills. */
#define BIT_BLOCK 16
#define BIT_UNIT 4
#define BIT_FILTER_BYTES 64 /* of a block and word */
#define BIT_PIXELS 14
#define BIT_TOGETHER 1
#define BIT_MOST_COUNTS (16 * 8 * 16) /* of 16 pixels, so that squares may be read whole */
#define KEEP(v) __asm__("" : "+v"(v))

/* sum -= the number of ones in a ^ w */
INLINE void subtract_mismatches(__m512i *sum, __m512i a, __m512i w)
{
    __m512i ones;
    __asm__("vpxord %[w], %[a], %[ones]\n\tvpopcntd %[ones], %[ones]\n\t"
            "vpsubd %[ones], %[sum], %[sum]"
            : [sum] "+v"(*sum), [ones] "=&v"(ones)
            : [a] "v"(a), [w] "v"(w));
}

/* How many blocks for so many pixels: what 32 registers hold, with a word of each block and two for
   the one in work. */
static inline int bit_blocks(int pixels) { return pixels > 6 ? 2 : pixels > 3 ? 4 : 8; }

/* Of 2 blocks, the signs can go to their 32 bits straight from the registers: a sum is minus the
   mismatches, so with its offset it is below 0 or not.

   Masks are slow (comparing 28 sums and moving 28 masks takes 56 cycles, an eighth of a tile of 18
   words), so the numbers of 2 pixels are narrowed to bytes first, 4 filters a lane, and put in
   order 4 by 4. */
INLINE __m512i shorts_of(const __m512i *sums, const int32_t *offsets)
{
    return _mm512_packs_epi32(_mm512_add_epi32(sums[0], _mm512_loadu_si512(offsets)),
                              _mm512_add_epi32(sums[1], _mm512_loadu_si512(offsets + 16)));
}

INLINE void bit_signs_of(const int pixels, const __m512i (*sums)[8], const bit_signs *s)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const ptrdiff_t step = s->y_step;
    const uint32_t flip = s->flip;
    uint32_t *y = s->y;
#pragma GCC unroll 7
    for (int p = 0; p < pixels; p += 2, y += 2 * step) {
        const int q = p + 1 < pixels ? p + 1 : p;
        const __m512i a = shorts_of(sums[p], s->offsets + s->class[p]);
        const __m512i b = shorts_of(sums[q], s->offsets + s->class[q]);
        const uint64_t signs = _mm512_movepi8_mask(
            _mm512_permutexvar_epi32(order, _mm512_packs_epi16(a, b)));
        y[0] = (uint32_t)signs ^ flip;
        if (p + 1 < pixels)
            y[step] = (uint32_t)(signs >> 32) ^ flip;
    }
}

INLINE void bit_tile_of(const int pixels, const int blocks, const bit_window *k, const char *x,
                        const char *filters, int32_t *m, const bit_signs *signs)
{
    const ptrdiff_t step = k->x_step, filter_step = k->filter_step;
    __m512i sums[BIT_PIXELS][8];
#pragma GCC unroll 16
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 8
        for (int b = 0; b < blocks; b++)
            sums[p][b] = _mm512_setzero_si512();
    for (ptrdiff_t run = 0; run < k->runs; run++) {
        const char *at[5], *of[3]; /* x86 adds 0, 1 or 2 steps for nothing */
#pragma GCC unroll 5
        for (int i = 0; i < (pixels + 2) / 3; i++)
            at[i] = x + k->run_at[run] * BIT_UNIT + 3 * i * step;
#pragma GCC unroll 3
        for (int i = 0; i < (blocks + 2) / 3; i++)
            of[i] = filters + 3 * i * filter_step;
        for (ptrdiff_t word = k->run_words; word > 0; word--) {
            __m512i w[8];
#pragma GCC unroll 8
            for (int b = 0; b < blocks; b++)
                w[b] = _mm512_loadu_si512(of[b / 3] + b % 3 * filter_step);
#pragma GCC unroll 16
            for (int p = 0; p < pixels; p++) {
                const __m512i a = _mm512_set1_epi32(*(const int *)(at[p / 3] + p % 3 * step));
#pragma GCC unroll 8
                for (int b = 0; b < blocks; b++)
                    subtract_mismatches(&sums[p][b], a, w[b]);
            }
#pragma GCC unroll 5
            for (int i = 0; i < (pixels + 2) / 3; i++)
                at[i] += BIT_UNIT;
#pragma GCC unroll 3
            for (int i = 0; i < (blocks + 2) / 3; i++)
                of[i] += BIT_FILTER_BYTES;
        }
        filters += k->run_words * BIT_FILTER_BYTES;
    }
    if (blocks == 2 && signs) {
        bit_signs_of(pixels, (const __m512i (*)[8])sums, signs);
        return;
    }
#pragma GCC unroll 16
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 8
        for (int b = 0; b < blocks; b++)
            _mm512_store_si512(m + (p * blocks + b) * 16, sums[p][b]);
}

#define BIT_TILE(pixels, blocks)                                                                  \
    static __attribute__((noinline)) void bit_tile_##pixels##_##blocks(                           \
        const bit_window *k, const char *x, const char *filters, int32_t *m,                      \
        const bit_signs *signs)                                                                   \
    {                                                                                             \
        bit_tile_of(pixels, blocks, k, x, filters, m, signs);                                     \
    }
#define BIT_TILES_2(pixels) BIT_TILE(pixels, 1) BIT_TILE(pixels, 2)
#define BIT_TILES_4(pixels) BIT_TILES_2(pixels) BIT_TILE(pixels, 4)
#define BIT_TILES_8(pixels) BIT_TILES_4(pixels) BIT_TILE(pixels, 8)
BIT_TILES_8(1) BIT_TILES_8(2) BIT_TILES_8(3)
BIT_TILES_4(4) BIT_TILES_4(5) BIT_TILES_4(6)
BIT_TILES_2(7) BIT_TILES_2(8) BIT_TILES_2(9) BIT_TILES_2(10) BIT_TILES_2(11)
BIT_TILES_2(12) BIT_TILES_2(13) BIT_TILES_2(14)

#define BIT_NAMES_2(pixels) bit_tile_##pixels##_1, bit_tile_##pixels##_2
#define BIT_NAMES_4(pixels) BIT_NAMES_2(pixels), 0, bit_tile_##pixels##_4
#define BIT_NAMES_8(pixels) BIT_NAMES_4(pixels), 0, 0, 0, bit_tile_##pixels##_8
static void (*const bit_tiles[BIT_PIXELS][8])(const bit_window *, const char *, const char *,
                                              int32_t *, const bit_signs *) = {
    {BIT_NAMES_8(1)}, {BIT_NAMES_8(2)}, {BIT_NAMES_8(3)}, {BIT_NAMES_4(4)}, {BIT_NAMES_4(5)},
    {BIT_NAMES_4(6)}, {BIT_NAMES_2(7)}, {BIT_NAMES_2(8)}, {BIT_NAMES_2(9)}, {BIT_NAMES_2(10)},
    {BIT_NAMES_2(11)}, {BIT_NAMES_2(12)}, {BIT_NAMES_2(13)}, {BIT_NAMES_2(14)},
};

/* The same with 16 windows in the lanes, whose words lie side by side at tap_at[...], and BIT_PLANES
   filters: m[(filter * vectors + vector) * 16 + window]. See bit_planes.h. */
#define BIT_PLANES 8
#define PLANE_VECTORS 3

INLINE void plane_tile_of(const int vectors, const uint32_t *planes, const ptrdiff_t *tap_at,
                          ptrdiff_t taps, const char *filters, int32_t *m)
{
    __m512i sums[BIT_PLANES][PLANE_VECTORS];
#pragma GCC unroll 8
    for (int f = 0; f < BIT_PLANES; f++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            sums[f][v] = _mm512_setzero_si512();
    for (; taps > 0; taps--, tap_at++, filters += BIT_FILTER_BYTES) {
        __m512i x[PLANE_VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            x[v] = _mm512_loadu_si512(planes + *tap_at + 16 * v);
#pragma GCC unroll 8
        for (int f = 0; f < BIT_PLANES; f++) {
            const __m512i w = _mm512_set1_epi32(((const int *)filters)[f]);
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                subtract_mismatches(&sums[f][v], w, x[v]);
        }
    }
#pragma GCC unroll 8
    for (int f = 0; f < BIT_PLANES; f++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            _mm512_store_si512(m + (f * vectors + v) * 16, sums[f][v]);
}

#define PLANE_TILE(vectors)                                                                       \
    static __attribute__((noinline)) void plane_tile_##vectors(                                   \
        const uint32_t *planes, const ptrdiff_t *tap_at, ptrdiff_t taps, const char *filters,     \
        int32_t *m)                                                                               \
    {                                                                                             \
        plane_tile_of(vectors, planes, tap_at, taps, filters, m);                                 \
    }
PLANE_TILE(1) PLANE_TILE(2) PLANE_TILE(3)
static void (*const plane_tiles[PLANE_VECTORS])(const uint32_t *, const ptrdiff_t *, ptrdiff_t,
                                                const char *, int32_t *)
    = {plane_tile_1, plane_tile_2, plane_tile_3};

/* Minus the mismatches to m, or else signs to where they say; whether that was done. */
static inline int bit_tile(int pixels, int blocks, const bit_window *k, const char *x,
                           const char *filters, int32_t *m, const bit_signs *signs)
{
    signs = blocks == 2 ? signs : NULL;
    bit_tiles[pixels - 1][blocks - 1](k, x, filters, m, signs);
    return signs != NULL;
}

/* A square of 16 x 16 numbers whose rows lie `step` apart, transposed: 4 x 4 numbers at a time, the
   4 rows of a register being loaded as such, which takes half of the shuffles. */
#define BIT_TRANSPOSES
INLINE void transposed_square(const float *from, ptrdiff_t step, vec_float *v)
{
#pragma GCC unroll 4
    for (int c = 0; c < 16; c += 4) {
        __m512 r[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float *at = from + i * step + c;
            __m512 rows = _mm512_castps128_ps512(_mm_loadu_ps(at));
            rows = _mm512_insertf32x4(rows, _mm_loadu_ps(at + 4 * step), 1);
            rows = _mm512_insertf32x4(rows, _mm_loadu_ps(at + 8 * step), 2);
            r[i] = _mm512_insertf32x4(rows, _mm_loadu_ps(at + 12 * step), 3);
        }
        const __m512d a = (__m512d)_mm512_unpacklo_ps(r[0], r[1]);
        const __m512d b = (__m512d)_mm512_unpacklo_ps(r[2], r[3]);
        const __m512d e = (__m512d)_mm512_unpackhi_ps(r[0], r[1]);
        const __m512d f = (__m512d)_mm512_unpackhi_ps(r[2], r[3]);
        v[c] = (__m512)_mm512_unpacklo_pd(a, b);
        v[c + 1] = (__m512)_mm512_unpackhi_pd(a, b);
        v[c + 2] = (__m512)_mm512_unpacklo_pd(e, f);
        v[c + 3] = (__m512)_mm512_unpackhi_pd(e, f);
    }
}

static void arrange_block(const uint32_t *filters, int n, ptrdiff_t runs, ptrdiff_t run_words,
                          char *to)
{
    const ptrdiff_t words = runs * run_words;
    uint32_t *lanes = (uint32_t *)to;
    ptrdiff_t i = 0;
    for (; i + 16 <= words; i += 16) {
        vec_float v[16];
        for (int lane = 0; lane < 16; lane++)
            v[lane] = lane < n ? load_float((const float *)(filters + lane * words + i))
                               : (vec_float){0};
        transpose_float(v);
        for (int word = 0; word < 16; word++, lanes += 16)
            store_float((float *)lanes, v[word]);
    }
    for (; i < words; i++)
        for (int lane = 0; lane < 16; lane++)
            *lanes++ = lane < n ? filters[lane * words + i] : 0;
}

static inline int ones_of(uint32_t word) { return __builtin_popcount(word); }

static inline uint32_t below_16(const int32_t *a, const int32_t *b)
{
    return _mm512_movepi32_mask(_mm512_add_epi32(_mm512_loadu_si512(a), _mm512_loadu_si512(b)));
}

static inline uint32_t signs_of_float(ints_float v)
{
    return _mm512_movepi32_mask((__m512i)v);
}

static inline uint32_t signs_of_double(ints_double v)
{
    return _mm512_movepi64_mask((__m512i)v);
}

static double popcount_peak(ptrdiff_t rounds)
{
    __m512i sums[24], w = _mm512_set1_epi32((int)rounds);
#pragma GCC unroll 24
    for (int i = 0; i < 24; i++)
        sums[i] = _mm512_setzero_si512();
    for (ptrdiff_t n = rounds; n > 0; n--)
#pragma GCC unroll 24
        for (int i = 0; i < 24; i++) {
            sums[i] = _mm512_add_epi32(sums[i], _mm512_popcnt_epi32(_mm512_xor_si512(sums[i], w)));
            KEEP(sums[i]);
        }
#pragma GCC unroll 24
    for (int i = 0; i < 24; i++)
        __asm__ volatile("" : : "v"(sums[i]));
    return (double)rounds * 24 * 512;
}
