/* AVX2 and FMA: vectors of 32 bytes, 16 registers. */
#include <immintrin.h>

#define ISA avx2
#define VECTORS 2 /* of a tile's width: 12 sums, 2 of b, 1 of a */
#define ROWS 6
#define TALL 12 /* rows of a tile of one vector's width */
#define BITS "bits_avx2.h"
#define CODES "int8_avx2.h"

typedef __m256 vec_float;
typedef __m256d vec_double;

static const int ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

static inline __m256i first_32(int n)
{
    return _mm256_loadu_si256((const __m256i *)(ones_then_zeros + 8 - n));
}

static inline __m256i first_64(int n)
{
    return _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(ones_then_zeros + 8 - n)));
}

static inline __m256 load_first_float(const float *from, int n)
{
    return _mm256_maskload_ps(from, first_32(n));
}

static inline void store_first_float(float *to, __m256 v, int n)
{
    _mm256_maskstore_ps(to, first_32(n), v);
}

static inline __m256d load_first_double(const double *from, int n)
{
    return _mm256_maskload_pd(from, first_64(n));
}

static inline void store_first_double(double *to, __m256d v, int n)
{
    _mm256_maskstore_pd(to, first_64(n), v);
}

/* What stands at `low`, then what stands at `high`. */
static inline __m256 load_halves_float(const float *low, const float *high)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

static inline __m256d load_halves_double(const double *low, const double *high)
{
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(low)), _mm_loadu_pd(high), 1);
}

/* Comparisons, for choices: NaN is not above anything, and the second operand of an extreme. */
typedef __m256 flags_float;
typedef __m256d flags_double;
#define CHOICES(type, suffix)                                                               \
    static inline flags_##type above_##type(vec_##type a, vec_##type b)                     \
    {                                                                                       \
        return _mm256_cmp_##suffix(a, b, _CMP_GT_OQ);                                       \
    }                                                                                       \
    static inline flags_##type at_most_##type(vec_##type a, vec_##type b)                   \
    {                                                                                       \
        return _mm256_cmp_##suffix(a, b, _CMP_LE_OQ);                                       \
    }                                                                                       \
    static inline vec_##type choose_##type(flags_##type is, vec_##type a, vec_##type b)     \
    {                                                                                       \
        return _mm256_blendv_##suffix(b, a, is);                                            \
    }                                                                                       \
    static inline vec_##type larger_##type(vec_##type a, vec_##type b)                      \
    {                                                                                       \
        return _mm256_max_##suffix(a, b);                                                   \
    }                                                                                       \
    static inline vec_##type smaller_##type(vec_##type a, vec_##type b)                     \
    {                                                                                       \
        return _mm256_min_##suffix(a, b);                                                   \
    }
CHOICES(float, ps)
CHOICES(double, pd)

static inline __m256d low_double(__m256 v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
static inline __m256d high_double(__m256 v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }

#include "table.h"
