/* AVX-512 (F, BW, VL, DQ, VPOPCNTDQ): vectors of 64 bytes, 32 registers. */
#include <immintrin.h>

#define ISA avx512
#define VECTORS 4 /* of a tile's width: 24 sums, 4 of b, the rest for a */
#define ROWS 6
#define TALL 16 /* rows of a tile of one vector's width */
#define BITS "bits_avx512.h"
#define CODES "int8_avx512.h"

typedef __m512 vec_float;
typedef __m512d vec_double;

static inline __m512 load_first_float(const float *from, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), from);
}

static inline void store_first_float(float *to, __m512 v, int n)
{
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), v);
}

static inline __m512d load_first_double(const double *from, int n)
{
    return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), from);
}

static inline void store_first_double(double *to, __m512d v, int n)
{
    _mm512_mask_storeu_pd(to, (__mmask8)((1u << n) - 1), v);
}

/* What stands at `low`, then what stands at `high`. */
static inline __m512 load_halves_float(const float *low, const float *high)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low)), _mm256_loadu_ps(high), 1);
}

static inline __m512d load_halves_double(const double *low, const double *high)
{
    return _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(low)), _mm256_loadu_pd(high), 1);
}

/* Comparisons, for choices: NaN is not above anything, and the second operand of an extreme. */
typedef __mmask16 flags_float;
typedef __mmask8 flags_double;
#define CHOICES(type, suffix)                                                               \
    static inline flags_##type above_##type(vec_##type a, vec_##type b)                     \
    {                                                                                       \
        return _mm512_cmp_##suffix##_mask(a, b, _CMP_GT_OQ);                                \
    }                                                                                       \
    static inline flags_##type at_most_##type(vec_##type a, vec_##type b)                   \
    {                                                                                       \
        return _mm512_cmp_##suffix##_mask(a, b, _CMP_LE_OQ);                                \
    }                                                                                       \
    static inline vec_##type choose_##type(flags_##type is, vec_##type a, vec_##type b)     \
    {                                                                                       \
        return _mm512_mask_blend_##suffix(is, b, a);                                        \
    }                                                                                       \
    static inline vec_##type larger_##type(vec_##type a, vec_##type b)                      \
    {                                                                                       \
        return _mm512_max_##suffix(a, b);                                                   \
    }                                                                                       \
    static inline vec_##type smaller_##type(vec_##type a, vec_##type b)                     \
    {                                                                                       \
        return _mm512_min_##suffix(a, b);                                                   \
    }                                                                                       \
    static inline vec_##type times_power_##type(vec_##type x, vec_##type n)                 \
    {                                                                                       \
        return _mm512_scalef_##suffix(x, n);                                                \
    }
CHOICES(float, ps)
CHOICES(double, pd)
#define HAS_POWER

static inline __m512d low_double(__m512 v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
static inline __m512d high_double(__m512 v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }

#include "table.h"
