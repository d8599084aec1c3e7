/* Codes in vectors of 16 bytes: widened to 16 bits, in which a product just fits (255 * 128). */
#define INT8_PARTS 4 /* vectors of a block of 16 filters */
#define INT8_PIXELS 2
#define INT8_BLOCKS 1 /* 8 sums, 4 of weights, one or two of codes, one of products */

typedef int32_t int8_sums __attribute__((vector_size(16)));
typedef int16_t int8_shorts __attribute__((vector_size(16)));
typedef int8_t int8_eight __attribute__((vector_size(8)));

static int int8_has_dot(void) { return 0; }

INLINE int8_sums int8_none(void) { return (int8_sums){0}; }

INLINE int8_shorts int8_weights(const int dot, const char *from)
{
    int8_eight w;
    (void)dot;
    memcpy(&w, from, 8);
    return __builtin_convertvector(w, int8_shorts);
}

INLINE int8_shorts int8_codes(const char *from)
{
    int32_t two;
    memcpy(&two, from, 4);
    return (int8_shorts)(int8_sums){two, two, two, two};
}

INLINE void int8_add(const int dot, int8_sums *sum, int8_shorts a, int8_shorts w)
{
    (void)dot;
#ifdef __x86_64__
    *sum += (int8_sums)_mm_madd_epi16((__m128i)a, (__m128i)w);
#else
    const int8_sums both = (int8_sums)(a * w);
    *sum += (both >> 16) + ((both << 16) >> 16);
#endif
}

INLINE void int8_keep(int32_t *to, int8_sums sum) { memcpy(to, &sum, 16); }
