/* Signs by vcnt: a vector holds 4 filters of 32 bits, and counts by byte, which 31 words of at most
   8 each cannot overflow. */
#include <arm_neon.h>

#define BIT_BLOCK 16
#define BIT_UNIT 4
#define BIT_FILTER_BYTES 64 /* of a block and word */
#define BIT_PIXELS 4
#define BIT_TOGETHER 1
#define BIT_MOST_COUNTS (4 * 16)
#define KEEP(v) __asm__("" : "+w"(v))

enum { WORDS_A_BYTE = 31 };

static inline int bit_blocks(int pixels) { (void)pixels; return 1; }

INLINE void bit_tile_of(const int pixels, const bit_window *k, const char *x, const char *filters,
                        int32_t *m)
{
    uint8x16_t sums[BIT_PIXELS][4];
    int room = WORDS_A_BYTE;
    memset(m, 0, (size_t)pixels * 16 * sizeof *m);
#pragma GCC unroll 4
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++)
            sums[p][q] = vdupq_n_u8(0);
    for (ptrdiff_t run = 0; run < k->runs; run++) {
        const char *at = x + k->run_at[run] * BIT_UNIT;
        for (ptrdiff_t left = k->run_words; left > 0;) {
            const ptrdiff_t words = left < room ? left : room;
            left -= words, room -= (int)words;
            for (ptrdiff_t i = words; i > 0; i--, at += BIT_UNIT, filters += BIT_FILTER_BYTES) {
                uint8x16_t w[4];
#pragma GCC unroll 4
                for (int q = 0; q < 4; q++)
                    w[q] = vld1q_u8((const uint8_t *)filters + 16 * q);
#pragma GCC unroll 4
                for (int p = 0; p < pixels; p++) {
                    const uint8x16_t a = vreinterpretq_u8_u32(
                        vld1q_dup_u32((const uint32_t *)(at + p * k->x_step)));
#pragma GCC unroll 4
                    for (int q = 0; q < 4; q++) {
                        sums[p][q] = vaddq_u8(sums[p][q], vcntq_u8(veorq_u8(a, w[q])));
                        KEEP(sums[p][q]);
                    }
                }
            }
            if (room == 0 || (run + 1 == k->runs && left == 0)) {
                room = WORDS_A_BYTE;
#pragma GCC unroll 4
                for (int p = 0; p < pixels; p++)
#pragma GCC unroll 4
                    for (int q = 0; q < 4; q++) {
                        uint32_t *to = (uint32_t *)m + p * 16 + q * 4;
                        vst1q_u32(to, vpadalq_u16(vld1q_u32(to), vpaddlq_u8(sums[p][q])));
                        sums[p][q] = vdupq_n_u8(0);
                    }
            }
        }
    }
    for (int i = 0; i < pixels * 16; i += 4)
        vst1q_s32(m + i, vnegq_s32(vld1q_s32(m + i)));
}

static int bit_tile(int pixels, int blocks, const bit_window *k, const char *x,
                     const char *filters, int32_t *m, const bit_signs *signs)
{
    (void)signs;
    (void)blocks;
    if (pixels == 4)
        bit_tile_of(4, k, x, filters, m);
    else if (pixels == 3)
        bit_tile_of(3, k, x, filters, m);
    else if (pixels == 2)
        bit_tile_of(2, k, x, filters, m);
    else
        bit_tile_of(1, k, x, filters, m);
    return 0;
}

static void arrange_block(const uint32_t *filters, int n, ptrdiff_t runs, ptrdiff_t run_words,
                          char *to)
{
    const ptrdiff_t words = runs * run_words;
    uint32_t *lanes = (uint32_t *)to;
    for (ptrdiff_t i = 0; i < words; i++)
        for (int lane = 0; lane < BIT_BLOCK; lane++)
            *lanes++ = lane < n ? filters[lane * words + i] : 0;
}

static inline int ones_of(uint32_t word) { return __builtin_popcount(word); }

static inline uint32_t below_16(const int32_t *a, const int32_t *b)
{
    static const uint16_t place[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint16x8_t bits = vld1q_u16(place);
    uint32_t signs = 0;
    for (int i = 0; i < 16; i += 8) {
        const int32x4_t x = vaddq_s32(vld1q_s32(a + i), vld1q_s32(b + i));
        const int32x4_t y = vaddq_s32(vld1q_s32(a + i + 4), vld1q_s32(b + i + 4));
        const uint16x8_t below = vcombine_u16(vmovn_u32(vcltzq_s32(x)), vmovn_u32(vcltzq_s32(y)));
        signs |= (uint32_t)vaddvq_u16(vandq_u16(below, bits)) << i;
    }
    return signs;
}

static inline uint32_t signs_of_float(ints_float v)
{
    return (uint32_t)((v[0] & 1) | (v[1] & 2) | (v[2] & 4) | (v[3] & 8));
}

static inline uint32_t signs_of_double(ints_double v)
{
    return (uint32_t)((v[0] & 1) | (v[1] & 2));
}

static double popcount_peak(ptrdiff_t rounds)
{
    uint8x16_t sums[16], w = vdupq_n_u8((uint8_t)rounds);
    for (int i = 0; i < 16; i++)
        sums[i] = vdupq_n_u8(0);
    for (ptrdiff_t n = rounds; n > 0; n--)
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            sums[i] = vaddq_u8(sums[i], vcntq_u8(veorq_u8(sums[i], w)));
            KEEP(sums[i]);
        }
    for (int i = 0; i < 16; i++)
        __asm__ volatile("" : : "w"(sums[i]));
    return (double)rounds * 16 * 128;
}
