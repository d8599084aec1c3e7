/* Codes by vpmaddwd, widened to 16 bits: vpmaddubsw would cut sums of two products. */
#define INT8_PARTS 2 /* vectors of a block of 16 filters */
#define INT8_PIXELS 6
#define INT8_BLOCKS 1 /* 12 sums, 2 of weights, one of codes, one of products */

typedef __m256i int8_sums;

static int int8_has_dot(void) { return 0; }

INLINE int8_sums int8_none(void) { return _mm256_setzero_si256(); }

INLINE __m256i int8_weights(const int dot, const char *from)
{
    (void)dot;
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from));
}

INLINE __m256i int8_codes(const char *from)
{
    int32_t two;
    memcpy(&two, from, 4);
    return _mm256_set1_epi32(two);
}

INLINE void int8_add(const int dot, int8_sums *sum, __m256i a, __m256i w)
{
    __m256i both;
    (void)dot;
    __asm__("vpmaddwd %[w], %[a], %[both]\n\tvpaddd %[both], %[sum], %[sum]"
            : [sum] "+x"(*sum), [both] "=&x"(both)
            : [a] "x"(a), [w] "x"(w));
}

INLINE void int8_keep(int32_t *to, int8_sums sum) { _mm256_store_si256((__m256i *)to, sum); }
