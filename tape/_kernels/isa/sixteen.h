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
