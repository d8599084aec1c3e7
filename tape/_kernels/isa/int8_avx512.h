/* Codes by vpdpbusd where the machine has it: 16 filters are a vector, each lane takes 4 codes. On
   others they are widened, and vpmaddwd takes 2. */
#define INT8_PARTS 1 /* vectors of a block of 16 filters */
#define INT8_PIXELS 6
#define INT8_BLOCKS 4 /* 24 sums, 4 of weights, one or two of codes */
#define INT8_DOT __attribute__((target("avx512vnni")))

typedef __m512i int8_sums;

/* TAPE_WITHOUT_VNNI lets a test see the way of a machine that lacks it. */
static int int8_has_dot(void)
{
    static int known = 0;
    if (!known)
        known = __builtin_cpu_supports("avx512vnni") && !getenv("TAPE_WITHOUT_VNNI") ? 1 : -1;
    return known > 0;
}

INLINE int8_sums int8_none(void) { return _mm512_setzero_si512(); }

INLINE __m512i int8_weights(const int dot, const char *from)
{
    return dot ? _mm512_loadu_si512(from)
               : _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)from));
}

INLINE __m512i int8_codes(const char *from)
{
    int32_t four;
    memcpy(&four, from, 4);
    return _mm512_set1_epi32(four);
}

INLINE void int8_add(const int dot, int8_sums *sum, __m512i a, __m512i w)
{
    __m512i both;
    if (dot)
        __asm__("vpdpbusd %[w], %[a], %[sum]" : [sum] "+v"(*sum) : [a] "v"(a), [w] "v"(w));
    else
        __asm__("vpmaddwd %[w], %[a], %[both]\n\tvpaddd %[both], %[sum], %[sum]"
                : [sum] "+v"(*sum), [both] "=&v"(both)
                : [a] "v"(a), [w] "v"(w));
}

INLINE void int8_keep(int32_t *to, int8_sums sum) { _mm512_store_si512(to, sum); }
