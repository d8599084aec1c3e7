/* Products of a few rows, a layer applied to one of them or some: what b holds is read once, and the
   time is that of reading it. Included once for each type.

   Note [Turning]
   Where b is a transposed matrix, packing it would take longer than the product. So LANES rows of the
   matrix are turned in registers, LANES steps of k at a time, and every sum is made in the order of gemm.h. A sum waits
   for itself at every step: several blocks of columns at a time keep the core busy meanwhile.

   Note [Rows that collide]
   Rows a multiple of COLLIDING bytes apart begin in one or two sets of the first cache, which has
   fewer ways than there are streams: a line that two loads touch is fetched twice. Where a vector is
   as wide as a line, the first steps are made apart, so that every other load is of one line. Where
   all rows begin in one set, two blocks of DEPTH are summed side by side, which lie in different
   sets, instead of two blocks of columns. */

#define THIN 4 /* rows of a: with more of them packed panels pay */
#define THIN_BLOCKS 2 /* of LANES columns; more are more streams than the first cache has ways for */
#define LINE 64
#define SETS 4096 /* bytes after which the first cache's sets repeat */
#define COLLIDING 2048

INLINE int FN(collides)(const tape_product *g)
{
    return sizeof(FN(vec)) == LINE && g->b_col * (ptrdiff_t)sizeof(REAL) % COLLIDING == 0;
}

/* Whether all rows begin in one set, and the next block of DEPTH in another. */
INLINE int FN(pairs)(const tape_product *g)
{
    return FN(collides)(g) && DEPTH * sizeof(REAL) < SETS && g->k >= 2 * DEPTH
        && g->b_col * (ptrdiff_t)sizeof(REAL) % SETS == 0;
}

/* `some` steps along k of all blocks. */
INLINE void FN(thin_some)(const int rows, const int blocks, const tape_product *g, const REAL *a, ptrdiff_t a_block,
                          const REAL *b, ptrdiff_t b_block, int exist, int some, FN(vec) (*sums)[THIN_BLOCKS])
{
#pragma GCC unroll 2
    for (int q = 0; q < blocks; q++) {
        const REAL *of_a = a + q * a_block;
        FN(vec) v[LANES];
        FN(load_turned_first)(v, b + q * b_block, g->b_col, q < blocks - 1 ? LANES : exist, some);
        for (int i = 0; i < some; i++, of_a += g->a_col)
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                sums[r][q] += FN(fill)(of_a[r * g->a_row]) * v[i];
    }
}

/* Sums of `steps` steps, at most DEPTH; blocks lie a_block and b_block apart. Of the last one only
   `exist` columns do. */
INLINE void FN(thin_sums)(const int rows, const int blocks, const tape_product *g, const REAL *a, ptrdiff_t a_block,
                          const REAL *b, ptrdiff_t b_block, int exist, ptrdiff_t steps,
                          FN(vec) (*sums)[THIN_BLOCKS])
{
    const ptrdiff_t a_row = g->a_row, a_col = g->a_col, b_col = g->b_col;
    const int beyond = FN(collides)(g) ? (int)((uintptr_t)b % LINE / sizeof(REAL)) : 0;
    ptrdiff_t p = 0;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int q = 0; q < blocks; q++)
            sums[r][q] = (FN(vec)){0};
    if (beyond) {
        p = steps < LANES - beyond ? steps : LANES - beyond;
        FN(thin_some)(rows, blocks, g, a, a_block, b, b_block, exist, (int)p, sums);
    }
    if (exist == LANES)
        for (; p + LANES <= steps; p += LANES)
#pragma GCC unroll 2
            for (int q = 0; q < blocks; q++) {
                const REAL *of_a = a + q * a_block + p * a_col;
                FN(vec) v[LANES];
                FN(load_turned)(v, b + q * b_block + p, b_col);
                __asm__ volatile("" : "+r"(of_a)); /* or all of a stays in registers for the next block */
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++, of_a += a_col)
#pragma GCC unroll 4
                    for (int r = 0; r < rows; r++)
                        sums[r][q] += FN(fill)(of_a[r * a_row]) * v[i];
            }
    for (; p < steps; p += LANES)
        FN(thin_some)(rows, blocks, g, a + p * a_col, a_block, b + p, b_block, exist,
                      steps - p < LANES ? (int)(steps - p) : LANES, sums);
}

/* `blocks` blocks of LANES columns, of the last one only those that exist; or one block of columns
   whose sums are made in pairs. */
INLINE void FN(thin_columns)(const int rows, const int blocks, const int pairs, const tape_product *g,
                             const REAL *a, ptrdiff_t j, int exist, REAL *c, const REAL *row_bias,
                             const REAL *residual)
{
    const REAL *b = (const REAL *)g->b + j * g->b_col;
    const ptrdiff_t a_col = g->a_col;
    FN(vec) y[THIN][THIN_BLOCKS], sums[THIN][THIN_BLOCKS];
    ptrdiff_t p = 0;
    c += j;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int q = 0; q < blocks; q++)
            y[r][q] = g->onto ? FN(load_first)(c + r * g->c_row + q * LANES, q < blocks - 1 ? LANES : exist)
                              : (FN(vec)){0};
    for (; pairs && p + 2 * DEPTH <= g->k; p += 2 * DEPTH) {
        FN(thin_sums)(rows, 2, g, a + p * a_col, DEPTH * a_col, b + p, DEPTH, LANES, DEPTH, sums);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            if (p || g->onto)
                y[r][0] += sums[r][0];
            else
                y[r][0] = sums[r][0];
            y[r][0] += sums[r][1];
        }
    }
    for (; p < g->k; p += DEPTH) {
        FN(thin_sums)(rows, blocks, g, a + p * a_col, 0, b + p, LANES * g->b_col, exist,
                      g->k - p < DEPTH ? g->k - p : DEPTH, sums);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int q = 0; q < blocks; q++)
                if (p || g->onto)
                    y[r][q] += sums[r][q];
                else
                    y[r][q] = sums[r][q];
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int q = 0; q < blocks; q++) {
            const int n = q < blocks - 1 ? LANES : exist;
            if (row_bias)
                y[r][q] += FN(fill)(row_bias[r]);
            if (g->column_bias)
                y[r][q] += FN(load_first)((const REAL *)g->column_bias + j + q * LANES, n);
            if (residual)
                y[r][q] += FN(load_first)(residual + r * g->residual_row + j + q * LANES, n);
            FN(store_first)(c + r * g->c_row + q * LANES, FN(finish)(g, y[r][q]), n);
        }
}

INLINE void FN(thin_rows)(const int rows, const tape_product *g, const REAL *a, ptrdiff_t n0, ptrdiff_t n1,
                          REAL *c, const REAL *row_bias, const REAL *residual)
{
    const int wide = THIN_BLOCKS * LANES;
    ptrdiff_t j = n0;
    if (FN(pairs)(g))
        for (; j + LANES <= n1; j += LANES)
            FN(thin_columns)(rows, 1, 1, g, a, j, LANES, c, row_bias, residual);
    for (; j + wide <= n1; j += wide)
        FN(thin_columns)(rows, THIN_BLOCKS, 0, g, a, j, LANES, c, row_bias, residual);
    for (; j < n1; j += LANES)
        FN(thin_columns)(rows, 1, 0, g, a, j, n1 - j < LANES ? (int)(n1 - j) : LANES, c, row_bias, residual);
    for (int r = 0; g->row_work && r < rows; r++)
        g->row_work(c + r * g->c_row + n0, n1 - n0, g->row_context);
}

static void FN(multiply_thin)(const tape_product *g, ptrdiff_t m0, ptrdiff_t m, ptrdiff_t n0, ptrdiff_t n1)
{
    const REAL *a = (const REAL *)g->a + m0 * g->a_row;
    const REAL *row_bias = g->row_bias ? (const REAL *)g->row_bias + m0 : NULL;
    const REAL *residual = g->residual ? (const REAL *)g->residual + m0 * g->residual_row : NULL;
    REAL *c = (REAL *)g->c + m0 * g->c_row;
    if (m == 1)
        FN(thin_rows)(1, g, a, n0, n1, c, row_bias, residual);
    else if (m == 2)
        FN(thin_rows)(2, g, a, n0, n1, c, row_bias, residual);
    else if (m == 3)
        FN(thin_rows)(3, g, a, n0, n1, c, row_bias, residual);
    else if (m == 4)
        FN(thin_rows)(4, g, a, n0, n1, c, row_bias, residual);
}

/* One row times a matrix whose rows are contiguous: STRIPE columns of some rows at a time, as memory
   is fetched best, to sums in the first cache. */
#define STRIPE 2048
#define AT_ONCE 8 /* rows of b */

INLINE void FN(add_rows)(const int some, REAL *sums, const REAL *a, ptrdiff_t a_col, const REAL *b,
                         ptrdiff_t b_row, ptrdiff_t n, int onto)
{
    FN(vec) of_a[AT_ONCE];
#pragma GCC unroll 8
    for (int i = 0; i < some; i++)
        of_a[i] = FN(fill)(a[i * a_col]);
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        FN(vec) sum = onto ? FN(load)(sums + j) : (FN(vec)){0};
        if (j + LANES <= n)
#pragma GCC unroll 8
            for (int i = 0; i < some; i++)
                sum += of_a[i] * FN(load)(b + i * b_row + j);
        else
#pragma GCC unroll 8
            for (int i = 0; i < some; i++)
                sum += of_a[i] * FN(load_first)(b + i * b_row + j, (int)(n - j));
        FN(store)(sums + j, sum);
    }
}

static void FN(multiply_row)(const tape_product *g, ptrdiff_t m0, ptrdiff_t n0, ptrdiff_t n1)
{
    const REAL *a = (const REAL *)g->a + m0 * g->a_row;
    const REAL *residual = g->residual ? (const REAL *)g->residual + m0 * g->residual_row : NULL;
    REAL *c = (REAL *)g->c + m0 * g->c_row;
    REAL sums[STRIPE] __attribute__((aligned(64)));
    for (ptrdiff_t left = n0; left < n1; left += STRIPE) {
        const ptrdiff_t n = n1 - left < STRIPE ? n1 - left : STRIPE;
        ptrdiff_t p0 = 0;
        do {
            const ptrdiff_t end = g->k - p0 < DEPTH ? g->k : p0 + DEPTH;
            const REAL *b = (const REAL *)g->b + p0 * g->b_row + left, *of_a = a + p0 * g->a_col;
            ptrdiff_t p = p0;
            if (end == p0)
                memset(sums, 0, sizeof(sums));
            for (; p + AT_ONCE <= end; p += AT_ONCE, b += AT_ONCE * g->b_row, of_a += AT_ONCE * g->a_col)
                FN(add_rows)(AT_ONCE, sums, of_a, g->a_col, b, g->b_row, n, p > p0);
            for (; p < end; p++, b += g->b_row, of_a += g->a_col)
                FN(add_rows)(1, sums, of_a, g->a_col, b, g->b_row, n, p > p0);
            for (ptrdiff_t j = 0; j < n; j += LANES) {
                const int exist = n - j < LANES ? (int)(n - j) : LANES;
                FN(vec) y = FN(load)(sums + j);
                if (p0 || g->onto)
                    y = FN(load_first)(c + left + j, exist) + y;
                if (end == g->k) {
                    if (g->row_bias)
                        y += FN(fill)(((const REAL *)g->row_bias)[m0]);
                    if (g->column_bias)
                        y += FN(load_first)((const REAL *)g->column_bias + left + j, exist);
                    if (residual)
                        y += FN(load_first)(residual + left + j, exist);
                    y = FN(finish)(g, y);
                }
                FN(store_first)(c + left + j, y, exist);
            }
            p0 = end;
        } while (p0 < g->k);
    }
    if (g->row_work)
        g->row_work(c + n0, n1 - n0, g->row_context);
}

/* One row times one column, both contiguous. Sums of blocks of DEPTH wait for nothing but themselves:
   LANES of them are made at once, both operands turned. */
static void FN(multiply_dot)(const tape_product *g, ptrdiff_t row, ptrdiff_t column)
{
    const REAL *a = (const REAL *)g->a + row * g->a_row, *b = (const REAL *)g->b + column * g->b_col;
    REAL *c = (REAL *)g->c + row * g->c_row + column, total = g->onto ? *c : 0;
    int onto = g->onto;
    for (ptrdiff_t left = g->k / DEPTH; left > 0; left -= LANES, a += LANES * DEPTH, b += LANES * DEPTH) {
        const int blocks = left < LANES ? (int)left : LANES;
        FN(vec) sums = {0};
        for (int p = 0; p < DEPTH; p += LANES) {
            FN(vec) x[LANES], y[LANES];
            if (blocks == LANES) {
                FN(load_turned)(x, a + p, DEPTH);
                FN(load_turned)(y, b + p, DEPTH);
            } else {
                FN(load_turned_first)(x, a + p, DEPTH, blocks, LANES);
                FN(load_turned_first)(y, b + p, DEPTH, blocks, LANES);
            }
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                sums += x[i] * y[i];
        }
        for (int i = 0; i < blocks; i++, onto = 1)
            total = onto ? total + sums[i] : sums[i];
    }
    a = (const REAL *)g->a + row * g->a_row + g->k / DEPTH * DEPTH;
    b = (const REAL *)g->b + column * g->b_col + g->k / DEPTH * DEPTH;
    if (g->k % DEPTH) {
        FN(vec) sum = {0};
        for (ptrdiff_t p = 0; p < g->k % DEPTH; p++) {
            FN(vec) x = FN(fill)(a[p]);
            PIN(x); /* or compilers multiply numbers first, and round before they add */
            sum += x * FN(fill)(b[p]);
        }
        total += sum[0];
    }
    FN(vec) y = FN(fill)(total);
    if (g->row_bias)
        y += FN(fill)(((const REAL *)g->row_bias)[row]);
    if (g->column_bias)
        y += FN(fill)(((const REAL *)g->column_bias)[column]);
    if (g->residual)
        y += FN(fill)(((const REAL *)g->residual)[row * g->residual_row + column]);
    FN(store_first)(c, FN(finish)(g, y), 1);
    if (g->row_work)
        g->row_work(c, 1, g->row_context);
}
