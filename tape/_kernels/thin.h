/* Products of a few rows with a transposed matrix: a layer applied to one row or some. Included once
   for each type.

   Packing b would take longer than the product. So LANES rows of what b is the transpose of are turned
   in registers, LANES steps of k at a time, and every sum is made in the order of gemm.h. */

#define THIN 4 /* rows of a: with more of them packed panels pay */

INLINE void FN(thin_rows)(const int rows, const tape_product *g, const REAL *a, ptrdiff_t n0, ptrdiff_t n1,
                          REAL *c, const REAL *row_bias, const REAL *residual)
{
    const REAL *b = g->b;
    const ptrdiff_t a_row = g->a_row, a_col = g->a_col, b_col = g->b_col;
    for (ptrdiff_t j = n0; j < n1; j += LANES) {
        const int exist = n1 - j < LANES ? (int)(n1 - j) : LANES;
        FN(vec) y[THIN];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
            y[r] = g->onto ? FN(load_first)(c + r * g->c_row + j, exist) : (FN(vec)){0};
        for (ptrdiff_t p0 = 0; p0 < g->k; p0 += DEPTH) {
            const ptrdiff_t end = g->k - p0 < DEPTH ? g->k : p0 + DEPTH;
            FN(vec) sums[THIN] = {0};
            for (ptrdiff_t p = p0; p < end; p += LANES) {
                const int some = end - p < LANES ? (int)(end - p) : LANES;
                const REAL *of_a = a + p * g->a_col;
                const REAL *from = b + p + j * b_col;
                FN(vec) v[LANES];
                if (some == LANES && exist == LANES) {
#pragma GCC unroll 16
                    for (int i = 0; i < LANES; i++, from += b_col) {
                        v[i] = FN(load)(from);
                        __builtin_prefetch(from + 4 * LANES);
                    }
                    FN(transpose)(v);
#pragma GCC unroll 16
                    for (int i = 0; i < LANES; i++, of_a += a_col)
#pragma GCC unroll 4
                        for (int r = 0; r < rows; r++)
                            sums[r] += FN(fill)(of_a[r * a_row]) * v[i];
                    continue;
                }
                for (int i = 0; i < LANES; i++)
                    v[i] = FN(load_first)(from + (i < exist ? i : 0) * b_col, some);
                FN(transpose)(v);
                for (int i = 0; i < some; i++, of_a += a_col)
#pragma GCC unroll 4
                    for (int r = 0; r < rows; r++)
                        sums[r] += FN(fill)(of_a[r * a_row]) * v[i];
            }
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                if (p0 || g->onto)
                    y[r] += sums[r];
                else
                    y[r] = sums[r];
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            if (row_bias)
                y[r] += FN(fill)(row_bias[r]);
            if (g->column_bias)
                y[r] += FN(load_first)((const REAL *)g->column_bias + j, exist);
            if (residual)
                y[r] += FN(load_first)(residual + r * g->residual_row + j, exist);
            FN(store_first)(c + r * g->c_row + j, FN(finish)(g, y[r]), exist);
        }
    }
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
