/* Whatever every machine of the architecture has: vectors of 16 bytes that the compiler makes. */

#include <stdlib.h>
#include <string.h>

#define ISA scalar
#define VECTORS 2 /* of a tile's width: 12 sums and 2 of b fit 16 registers */
#define ROWS 6
#define TALL 12 /* rows of a tile of one vector's width */
#define BITS "bits_scalar.h"

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
    }
PARTIAL(float)
PARTIAL(double)

#include "table.h"
