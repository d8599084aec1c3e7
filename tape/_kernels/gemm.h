/* Matrix products. Included once for each type.

   A tile is ROWS x (VECTORS vectors) of c in registers: for each k, one row of b is loaded and each
   element of a column of a multiplied with all of it. What is not a multiple of the tile is split
   evenly (64 rows are 11 tiles of 5 or 6), so no thin remainder is left, and the last vector of a
   row is masked.

   Note [Order of summation]
   Every element of c is summed in the same order, whatever the sizes m and n, the place in c, the
   number of threads and the way through this file: one multiply-add after another along k within
   blocks of DEPTH, then the sums of the blocks. So a result never depends on the rest of the batch.

   Note [Packing]
   b is read ROWS times fewer than it is multiplied, but row by row: if its rows are far apart every
   row is another page of memory, and if its columns are not contiguous it cannot be loaded at all.
   Then a panel of DEPTH x one tile's width is copied first. a is read element by element and needs
   copying only if the elements of a column or row are not neighbours. */

#define DEPTH 512
#define AHEAD 128 /* steps along k from which a tile is long enough to fetch c meanwhile */
#define WIDTH ((ptrdiff_t)VECTORS * LANES)
#define BLOCK_ROWS 240   /* of a, to stay in the second cache while b's panels pass by */
#define BLOCK_COLUMNS 4096 /* of packed b, to stay in the third */

/* One panel of b, and where its tiles go. */
typedef struct {
    ptrdiff_t k, a_row, a_col, b_row, c_row, residual_row;
    const REAL *b;
    int last;                /* columns of the last vector that exist */
    int onto;
    const tape_product *end; /* what to do with finished sums; NULL if more follow */
    const REAL *column_bias; /* of this panel */
} FN(panel);

INLINE int FN(has_end)(const tape_product *g)
{
    return g->row_bias || g->column_bias || g->residual || g->activation != TAPE_NOTHING;
}

INLINE FN(vec) FN(finish)(const tape_product *end, FN(vec) y)
{
    if (end->activation == TAPE_NOTHING)
        return y;
    const FN(mask) below = y <= 0; /* NaN is not: it stays */
    FN(mask) kept = (FN(mask))y & ~below;
    if (end->activation == TAPE_LEAKY_RELU)
        kept |= (FN(mask))(y * FN(fill)((REAL)end->slope)) & below;
    return (FN(vec))kept;
}

INLINE void FN(tile)(const int rows, const int vectors, const int whole, const FN(panel) *t,
                     const REAL *a, REAL *c, const REAL *row_bias, const REAL *residual)
{
    FN(vec) sums[TALL][VECTORS];
    const REAL *b = t->b;
    const ptrdiff_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row;
    const REAL *of_rows[(TALL + 2) / 3]; /* one of three: x86 adds 0, 1 or 2 strides for nothing */
#pragma GCC unroll 8
    for (int i = 0; i < rows; i += 3)
        of_rows[i / 3] = a + i * a_row;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sums[i][v] = (FN(vec)){0};
    if (t->k >= AHEAD) /* c may be far away: let it come while the sums are made */
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                __builtin_prefetch(c + i * t->c_row + v * LANES, 1);
#pragma GCC unroll 2
    for (ptrdiff_t p = t->k; p > 0; p--) {
        FN(vec) of_b[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            of_b[v] = whole || v < vectors - 1 ? FN(load)(b + v * LANES)
                                               : FN(load_first)(b + v * LANES, t->last);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const FN(vec) of_a = FN(fill)(of_rows[i / 3][i % 3 * a_row]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                sums[i][v] += of_a * of_b[v];
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i += 3)
            of_rows[i / 3] += a_col;
        b += b_row;
    }
    if (!t->onto && !t->end) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++, c += t->c_row)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                if (whole || v < vectors - 1)
                    FN(store)(c + v * LANES, sums[i][v]);
                else
                    FN(store_first)(c + v * LANES, sums[i][v], t->last);
        return;
    }
#define PART(from) (cut ? FN(load_first)(from, t->last) : FN(load)(from))
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            const int cut = !whole && v == vectors - 1;
            const ptrdiff_t at = i * t->c_row + v * LANES;
            FN(vec) y = sums[i][v];
            if (t->onto)
                y = PART(c + at) + y;
            if (t->end) {
                if (row_bias)
                    y += FN(fill)(row_bias[i]);
                if (t->column_bias)
                    y += PART(t->column_bias + v * LANES);
                if (residual)
                    y += PART(residual + i * t->residual_row + v * LANES);
                y = FN(finish)(t->end, y);
            }
            if (cut)
                FN(store_first)(c + at, y, t->last);
            else
                FN(store)(c + at, y);
        }
    }
#undef PART
}

typedef void (*FN(tile_function))(const FN(panel) *, const REAL *, REAL *, const REAL *, const REAL *);

#define TILE(rows, vectors, whole)                                                            \
    static void PASTE(FN(tile_##rows##_##vectors), whole)(                                    \
        const FN(panel) *t, const REAL *a, REAL *c, const REAL *row_bias, const REAL *residual) \
    {                                                                                         \
        FN(tile)(rows, vectors, whole, t, a, c, row_bias, residual);                          \
    }
#define TILES(vectors, whole)                                                         \
    TILE(1, vectors, whole) TILE(2, vectors, whole) TILE(3, vectors, whole)           \
    TILE(4, vectors, whole) TILE(5, vectors, whole) TILE(6, vectors, whole)
#define NAMES(vectors, whole)                                                                \
    {PASTE(FN(tile_1_##vectors), whole), PASTE(FN(tile_2_##vectors), whole),                 \
     PASTE(FN(tile_3_##vectors), whole), PASTE(FN(tile_4_##vectors), whole),                 \
     PASTE(FN(tile_5_##vectors), whole), PASTE(FN(tile_6_##vectors), whole)}

TILES(1, 0) TILES(1, 1) TILES(2, 0) TILES(2, 1)
#if VECTORS == 4
TILES(3, 0) TILES(3, 1) TILES(4, 0) TILES(4, 1)
#endif

static const FN(tile_function) FN(tiles)[2][VECTORS][ROWS] = {
#if VECTORS == 4
    {NAMES(1, 0), NAMES(2, 0), NAMES(3, 0), NAMES(4, 0)},
    {NAMES(1, 1), NAMES(2, 1), NAMES(3, 1), NAMES(4, 1)},
#else
    {NAMES(1, 0), NAMES(2, 0)},
    {NAMES(1, 1), NAMES(2, 1)},
#endif
};

/* Of one vector's width, tiles are taller: six sums would wait for each other. */
#define TALLER(whole)                                                                       \
    TILE(7, 1, whole) TILE(8, 1, whole) TILE(9, 1, whole) TILE(10, 1, whole)                \
    TILE(11, 1, whole) TILE(12, 1, whole)
#define TALLEST(whole) TILE(13, 1, whole) TILE(14, 1, whole) TILE(15, 1, whole) TILE(16, 1, whole)
#define NAMES_TALLER(whole)                                                                 \
    PASTE(FN(tile_7_1), whole), PASTE(FN(tile_8_1), whole), PASTE(FN(tile_9_1), whole),     \
    PASTE(FN(tile_10_1), whole), PASTE(FN(tile_11_1), whole), PASTE(FN(tile_12_1), whole)
#define NAMES_TALLEST(whole)                                                                \
    PASTE(FN(tile_13_1), whole), PASTE(FN(tile_14_1), whole), PASTE(FN(tile_15_1), whole),  \
    PASTE(FN(tile_16_1), whole)
TALLER(0) TALLER(1)
#if TALL == 16
TALLEST(0) TALLEST(1)
#endif
static const FN(tile_function) FN(tall_tiles)[2][TALL - ROWS] = {
#if TALL == 16
    {NAMES_TALLER(0), NAMES_TALLEST(0)},
    {NAMES_TALLER(1), NAMES_TALLEST(1)},
#else
    {NAMES_TALLER(0)},
    {NAMES_TALLER(1)},
#endif
};
#undef TILE
#undef TILES
#undef TALLER
#undef TALLEST
#undef NAMES
#undef NAMES_TALLER
#undef NAMES_TALLEST

INLINE FN(tile_function) FN(tile_of)(ptrdiff_t rows, ptrdiff_t vectors, int whole)
{
    return rows > ROWS ? FN(tall_tiles)[whole][rows - ROWS - 1] : FN(tiles)[whole][vectors - 1][rows - 1];
}

/* The part-th of `parts` even cuts through n. */
INLINE ptrdiff_t FN(cut)(ptrdiff_t n, ptrdiff_t part, ptrdiff_t parts) { return n * part / parts; }

#include "thin.h"

#include "panels.h"

/* What one thread does: rows [m0, m1) and columns [n0, n1) of c. */
static int FN(multiply_part)(const tape_product *g, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t n0, ptrdiff_t n1)
{
    const ptrdiff_t m = m1 - m0, k = g->k, deepest = k < DEPTH ? k : DEPTH;
    const REAL *a = (const REAL *)g->a + m0 * g->a_row, *b = g->b;
    REAL *c = (REAL *)g->c + m0 * g->c_row;
    const REAL *row_bias = g->row_bias ? (const REAL *)g->row_bias + m0 : NULL;
    const REAL *residual = g->residual ? (const REAL *)g->residual + m0 * g->residual_row : NULL;
    const ptrdiff_t blocks = (m + BLOCK_ROWS - 1) / BLOCK_ROWS;
    if (m == 1 && n1 - n0 == 1 && g->a_col == 1 && g->b_row == 1 && k > DEPTH) {
        FN(multiply_dot)(g, m0, n0);
        return 0;
    }
    if (g->b_row == 1 && g->b_col != 1 && m <= THIN) {
        FN(multiply_thin)(g, m0, m, n0, n1);
        return 0;
    }
    if (g->b_col == 1 && m == 1) {
        FN(multiply_row)(g, m0, n0, n1);
        return 0;
    }
    const int packs_b = g->b_col != 1
        || (m >= 4 * ROWS && k * g->b_row * (ptrdiff_t)sizeof(REAL) > (1 << 20));
    const int packs_a = g->a_col != 1 && (g->a_row != 1 || n1 - n0 > 2 * WIDTH);
    REAL *packed_a = NULL, *packed_b = NULL;
    if (packs_b) {
        const ptrdiff_t widest = n1 - n0 < BLOCK_COLUMNS ? n1 - n0 + LANES : BLOCK_COLUMNS;
        packed_b = tape_scratch(TAPE_SCRATCH_B, (size_t)(deepest * widest) * sizeof(REAL));
        if (!packed_b)
            return -1;
    }
    if (packs_a) {
        packed_a = tape_scratch(TAPE_SCRATCH_A, (size_t)(deepest * (BLOCK_ROWS + TALL)) * sizeof(REAL));
        if (!packed_a)
            return -1;
    }
    for (ptrdiff_t left = n0; left < n1; left += BLOCK_COLUMNS) {
        const ptrdiff_t n = n1 - left < BLOCK_COLUMNS ? n1 - left : BLOCK_COLUMNS;
        const ptrdiff_t vectors = (n + LANES - 1) / LANES, panels = (vectors + VECTORS - 1) / VECTORS;
        const ptrdiff_t highest = vectors == 1 ? TALL : ROWS, tiles = (m + highest - 1) / highest;
        ptrdiff_t p0 = 0;
        do {
            FN(panel) t = {.k = k - p0 < DEPTH ? k - p0 : DEPTH, .c_row = g->c_row, .residual_row = g->residual_row};
            const int ends = p0 + t.k == k;
            t.onto = g->onto || p0 > 0;
            t.end = ends && FN(has_end)(g) ? g : NULL;
            for (ptrdiff_t block = 0; block < blocks; block++) {
                const ptrdiff_t t0 = FN(cut)(tiles, block, blocks), t1 = FN(cut)(tiles, block + 1, blocks);
                const ptrdiff_t first = FN(cut)(m, t0, tiles);
                for (ptrdiff_t i = t0; packs_a && i < t1; i++) {
                    const ptrdiff_t r0 = FN(cut)(m, i, tiles), r1 = FN(cut)(m, i + 1, tiles);
                    FN(pack_a)(packed_a + (r0 - first) * t.k, a + r0 * g->a_row + p0 * g->a_col, g->a_row,
                               g->a_col, t.k, (int)(r1 - r0));
                }
                for (ptrdiff_t j = 0; j < panels; j++) {
                    const ptrdiff_t v0 = FN(cut)(vectors, j, panels), v1 = FN(cut)(vectors, j + 1, panels);
                    const ptrdiff_t column = v0 * LANES, wide = (v1 - v0) * LANES;
                    const ptrdiff_t exist = column + wide <= n ? wide : n - column;
                    const REAL *from = b + p0 * g->b_row + (left + column) * g->b_col;
                    t.last = (int)(exist - (wide - LANES));
                    t.b = from, t.b_row = g->b_row;
                    if (packs_b) {
                        t.b = packed_b + column * t.k, t.b_row = wide;
                        if (block == 0)
                            FN(pack_b)(packed_b + column * t.k, wide, from, g->b_row, g->b_col, t.k, exist);
                    }
                    t.column_bias = g->column_bias ? (const REAL *)g->column_bias + left + column : NULL;
                    for (ptrdiff_t i = t0; i < t1; i++) {
                        const ptrdiff_t r0 = FN(cut)(m, i, tiles), rows = FN(cut)(m, i + 1, tiles) - r0;
                        const REAL *of_a = a + r0 * g->a_row + p0 * g->a_col;
                        t.a_row = g->a_row, t.a_col = g->a_col;
                        if (packs_a)
                            of_a = packed_a + (r0 - first) * t.k, t.a_row = 1, t.a_col = rows;
                        FN(tile_of)(rows, v1 - v0, t.last == LANES)(&t, of_a, c + r0 * g->c_row + left + column,
                                          row_bias ? row_bias + r0 : NULL,
                                          residual ? residual + r0 * g->residual_row + left + column : NULL);
                    }
                }
                if (ends && g->row_work)
                    for (ptrdiff_t r = first; r < FN(cut)(m, t1, tiles); r++)
                        g->row_work(c + r * g->c_row + left, n, g->row_context);
            }
            p0 += t.k;
        } while (p0 < k);
    }
    return 0;
}

/* Products that are one tile each, [from, to) of a batch. */
static void FN(multiply_tiny)(const tape_product *g, ptrdiff_t from, ptrdiff_t to, ptrdiff_t a_step,
                              ptrdiff_t b_step, ptrdiff_t c_step)
{
    const ptrdiff_t vectors = (g->n + LANES - 1) / LANES;
    const int last = (int)(g->n - (vectors - 1) * LANES);
    FN(panel) t = {.k = g->k, .a_row = g->a_row, .a_col = g->a_col, .b_row = g->b_row, .c_row = g->c_row,
                   .residual_row = g->residual_row, .last = last, .onto = g->onto, .end = FN(has_end)(g) ? g : NULL,
                   .column_bias = g->column_bias};
    const FN(tile_function) tile = FN(tile_of)(g->m, vectors, last == LANES);
    for (ptrdiff_t j = from; j < to; j++) {
        t.b = (const REAL *)g->b + j * b_step;
        tile(&t, (const REAL *)g->a + j * a_step, (REAL *)g->c + j * c_step, g->row_bias, g->residual);
    }
}

typedef struct {
    const tape_product *product;
    ptrdiff_t batch, a_step, b_step, c_step;
    ptrdiff_t parts; /* of rows or columns if batch is 1, else of the batch */
    int tiny, failed;
} FN(split);

static void FN(multiply_share)(void *context, ptrdiff_t i)
{
    FN(split) *s = context;
    const tape_product *g = s->product;
    int failed = 0;
    if (s->tiny) {
        FN(multiply_tiny)(g, FN(cut)(s->batch, i, s->parts), FN(cut)(s->batch, i + 1, s->parts), s->a_step,
                          s->b_step, s->c_step);
    } else if (s->batch > 1) {
        tape_product one = *g;
        for (ptrdiff_t j = FN(cut)(s->batch, i, s->parts); j < FN(cut)(s->batch, i + 1, s->parts); j++) {
            one.a = (const REAL *)g->a + j * s->a_step;
            one.b = (const REAL *)g->b + j * s->b_step;
            one.c = (REAL *)g->c + j * s->c_step;
            failed |= FN(multiply_part)(&one, 0, g->m, 0, g->n);
        }
    } else if (g->n >= s->parts * WIDTH) {
        const ptrdiff_t panels = (g->n + WIDTH - 1) / WIDTH;
        const ptrdiff_t n0 = FN(cut)(panels, i, s->parts) * WIDTH, n1 = FN(cut)(panels, i + 1, s->parts) * WIDTH;
        failed = FN(multiply_part)(g, 0, g->m, n0, n1 < g->n ? n1 : g->n);
    } else {
        failed = FN(multiply_part)(g, FN(cut)(g->m, i, s->parts), FN(cut)(g->m, i + 1, s->parts), 0, g->n);
    }
    if (failed)
        s->failed = -1;
}

/* A product with one column, as that of one row with the transposed matrices: c is contiguous. */
static tape_product FN(on_its_side)(const tape_product *g)
{
    tape_product p = *g;
    p.m = g->n, p.n = g->m;
    p.a = g->b, p.a_row = g->b_col, p.a_col = g->b_row;
    p.b = g->a, p.b_row = g->a_col, p.b_col = g->a_row;
    p.row_bias = g->column_bias, p.column_bias = g->row_bias;
    p.c_row = g->m;
    return p;
}

static int FN(multiply)(const tape_product *g, ptrdiff_t batch, ptrdiff_t a_step, ptrdiff_t b_step,
                        ptrdiff_t c_step)
{
    if (g->n == 1 && g->m > 1 && g->c_row == 1 && (!g->residual || g->residual_row == 1)) {
        const tape_product p = FN(on_its_side)(g);
        return FN(multiply)(&p, batch, b_step, a_step, c_step);
    }
    if (batch == 0 || g->m == 0 || g->n == 0)
        return 0;
    FN(split) s = {.product = g, .batch = batch, .a_step = a_step, .b_step = b_step, .c_step = c_step, .parts = 1};
    if ((double)batch * (double)g->m * (double)g->n * (double)(g->k + 1) > PARALLEL_ABOVE)
        s.parts = tape_threads();
    s.tiny = g->b_col == 1 && g->n <= WIDTH && g->m <= (g->n <= LANES ? TALL : ROWS) && g->k <= DEPTH
        && !g->row_work;
    if (batch > 1 && batch < s.parts)
        s.parts = batch;
    if (batch == 1 && s.tiny)
        s.parts = 1;
    if (batch == 1 && g->n < s.parts * WIDTH && g->m < s.parts)
        s.parts = 1;
    if (s.parts == 1)
        FN(multiply_share)(&s, 0);
    else
        tape_parallel_for(FN(multiply_share), &s, s.parts);
    return s.failed;
}

#undef DEPTH
#undef AHEAD
#undef WIDTH
#undef BLOCK_ROWS
#undef BLOCK_COLUMNS
