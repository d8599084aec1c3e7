/* AVX-512 (F, BW, VL, DQ, VPOPCNTDQ): vectors of 64 bytes, 32 registers. */
#include <immintrin.h>

#define ISA avx512
#define VECTORS 4 /* of a tile's width: 24 sums, 4 of b, the rest for a */
#define ROWS 6
#define TALL 16 /* rows of a tile of one vector's width */
#define BITS "bits_avx512.h"

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

#include "table.h"
