/* Vectors of 16 bytes as the compiler makes them, for an instruction set without masks. */
#include <string.h>

typedef float vec_float __attribute__((vector_size(16)));
typedef double vec_double __attribute__((vector_size(16)));

#define PARTIAL(type)                                                    \
    static inline vec_##type load_first_##type(const type *from, int n)  \
    {                                                                    \
        vec_##type v = {0};                                              \
        memcpy(&v, from, (size_t)n * sizeof(type));                      \
        return v;                                                        \
    }                                                                    \
    static inline void store_first_##type(type *to, vec_##type v, int n) \
    {                                                                    \
        memcpy(to, &v, (size_t)n * sizeof(type));                        \
    }                                                                    \
    static inline vec_##type load_halves_##type(const type *low, const type *high) \
    {                                                                    \
        vec_##type v;                                                    \
        memcpy(&v, low, 8);                                              \
        memcpy((char *)&v + 8, high, 8);                                 \
        return v;                                                        \
    }
PARTIAL(float)
PARTIAL(double)

/* Comparisons, for choices: NaN is not above anything, and the second operand of an extreme. */
typedef __typeof__((vec_float){0} > (vec_float){0}) flags_float;
typedef __typeof__((vec_double){0} > (vec_double){0}) flags_double;
#define CHOICES(type)                                                                       \
    static inline flags_##type above_##type(vec_##type a, vec_##type b) { return a > b; }   \
    static inline flags_##type at_most_##type(vec_##type a, vec_##type b) { return a <= b; }\
    static inline vec_##type choose_##type(flags_##type is, vec_##type a, vec_##type b)     \
    {                                                                                       \
        return (vec_##type)(((flags_##type)a & is) | ((flags_##type)b & ~is));              \
    }                                                                                       \
    static inline vec_##type larger_##type(vec_##type a, vec_##type b)                      \
    {                                                                                       \
        return choose_##type(a > b, a, b);                                                  \
    }                                                                                       \
    static inline vec_##type smaller_##type(vec_##type a, vec_##type b)                     \
    {                                                                                       \
        return choose_##type(a < b, a, b);                                                  \
    }
CHOICES(float)
CHOICES(double)

static inline vec_double low_double(vec_float v) { return (vec_double){v[0], v[1]}; }
static inline vec_double high_double(vec_float v) { return (vec_double){v[2], v[3]}; }
