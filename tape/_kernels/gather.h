/* Matrix products whose first operand lies scattered in an image. Included once for each type.

   An address is the sum of two offsets: a tile is that of gemm.h with a table of one of them along k
   and six base pointers from the other. */

#ifndef GATHER_DEPTH
#define GATHER_DEPTH 2048 /* numbers added up in one go: conv_rows.h has to do the same */
#endif

typedef struct {
    ptrdiff_t k, b_row, c_row;
    const int32_t *offsets;
    const REAL *b;
    int onto;
    const tape_product *end;
    const REAL *column_bias;
} FN(gather);

INLINE void FN(gather_tile)(const int rows, const int vectors, const FN(gather) *t,
                            const REAL *x, const int32_t *starts, REAL *c)
{
    FN(vec) sums[ROWS][VECTORS];
    const REAL *b = t->b;
    const ptrdiff_t b_row = t->b_row;
    const int32_t *offsets = t->offsets;
    const REAL *from[ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        from[i] = x + starts[i];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sums[i][v] = (FN(vec)){0};
    }
    for (ptrdiff_t p = 0; p < t->k; p++) {
        const ptrdiff_t at = offsets[p];
        FN(vec) of_b[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            of_b[v] = FN(load)(b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const FN(vec) of_x = FN(fill)(from[i][at]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                sums[i][v] += of_x * of_b[v];
        }
        b += b_row;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            REAL *to = c + i * t->c_row + v * LANES;
            FN(vec) y = sums[i][v];
            if (t->onto)
                y = FN(load)(to) + y;
            if (t->end) {
                if (t->column_bias)
                    y += FN(load)(t->column_bias + v * LANES);
                y = FN(finish)(t->end, y);
            }
            FN(store)(to, y);
        }
}

typedef void (*FN(gather_function))(const FN(gather) *, const REAL *, const int32_t *, REAL *);

#define TILE(rows, vectors)                                                                     \
    static void FN(gather_##rows##_##vectors)(const FN(gather) *t, const REAL *x,               \
                                              const int32_t *starts, REAL *c)                   \
    {                                                                                           \
        FN(gather_tile)(rows, vectors, t, x, starts, c);                                        \
    }
#define TILES(vectors)                                                             \
    TILE(1, vectors) TILE(2, vectors) TILE(3, vectors)                             \
    TILE(4, vectors) TILE(5, vectors) TILE(6, vectors)
#define NAMES(vectors)                                                             \
    {FN(gather_1_##vectors), FN(gather_2_##vectors), FN(gather_3_##vectors),       \
     FN(gather_4_##vectors), FN(gather_5_##vectors), FN(gather_6_##vectors)}
TILES(1) TILES(2)
#if VECTORS == 4
TILES(3) TILES(4)
#endif
static const FN(gather_function) FN(gathers)[VECTORS][ROWS] = {
#if VECTORS == 4
    NAMES(1), NAMES(2), NAMES(3), NAMES(4),
#else
    NAMES(1), NAMES(2),
#endif
};
#undef TILE
#undef TILES
#undef NAMES

/* rows of c, each at its start in x, times a packed b of `vectors` vectors and k rows, in panels:
   panel after panel, each of k rows of its own width. */
static void FN(gather_product)(const REAL *x, ptrdiff_t rows, const int32_t *starts, ptrdiff_t k,
                               const int32_t *offsets, const REAL *b, ptrdiff_t vectors,
                               const REAL *column_bias, const tape_product *end, int onto, REAL *c)
{
    const ptrdiff_t panels = (vectors + VECTORS - 1) / VECTORS, tiles = (rows + ROWS - 1) / ROWS;
    for (ptrdiff_t j = 0; j < panels; j++) {
        const ptrdiff_t v0 = FN(cut)(vectors, j, panels), v1 = FN(cut)(vectors, j + 1, panels);
        const ptrdiff_t wide = (v1 - v0) * LANES;
        ptrdiff_t p0 = 0;
        do {
            const FN(gather) t = {
                .k = k - p0 < GATHER_DEPTH ? k - p0 : GATHER_DEPTH, .b_row = wide, .c_row = vectors * LANES,
                .offsets = offsets + p0, .b = b + v0 * LANES * k + p0 * wide, .onto = onto || p0 > 0,
                .end = k - p0 <= GATHER_DEPTH ? end : NULL,
                .column_bias = column_bias ? column_bias + v0 * LANES : NULL,
            };
            for (ptrdiff_t i = 0; i < tiles; i++) {
                const ptrdiff_t r0 = FN(cut)(rows, i, tiles), r1 = FN(cut)(rows, i + 1, tiles);
                FN(gathers)[v1 - v0 - 1][r1 - r0 - 1](&t, x, starts + r0, c + r0 * t.c_row + v0 * LANES);
            }
            p0 += t.k;
        } while (p0 < k);
    }
}

/* A table (rows, lanes) to rows of `to`, one for each lane: to[lane * to_lane + place(row)]. */
static void FN(scatter)(const REAL *from, ptrdiff_t from_row, ptrdiff_t rows, ptrdiff_t lanes, REAL *to,
                        ptrdiff_t to_lane)
{
    for (ptrdiff_t p = 0; p < rows; p += LANES) {
        const int some = rows - p < LANES ? (int)(rows - p) : LANES;
        for (ptrdiff_t o = 0; o < lanes; o += LANES) {
            FN(vec) v[LANES];
            const ptrdiff_t exist = lanes - o < LANES ? lanes - o : LANES;
            for (int i = 0; i < LANES; i++)
                v[i] = FN(load)(from + (p + (i < some ? i : 0)) * from_row + o);
            FN(transpose)(v);
            for (ptrdiff_t i = 0; i < exist; i++) {
                REAL *out = to + (o + i) * to_lane + p;
                if (some == LANES)
                    FN(store)(out, v[i]);
                else
                    FN(store_first)(out, v[i], some);
            }
        }
    }
}
