/* Panels: copies of parts of matrices in the order in which tiles read them; see Note [Packing] in
   gemm.h. Included once for each type. */

/* Copy k rows of n columns of b, rows `width` apart, what is missing of the last vector as 0. */
static void FN(pack_b)(REAL *to, ptrdiff_t width, const REAL *b, ptrdiff_t b_row, ptrdiff_t b_col,
                       ptrdiff_t k, ptrdiff_t n)
{
    ptrdiff_t p = 0;
    if (b_col == 1) {
        for (; p < k; p++, b += b_row, to += width) {
            ptrdiff_t j = 0;
            for (; j + LANES <= n; j += LANES)
                FN(store)(to + j, FN(load)(b + j));
            if (j < n)
                FN(store)(to + j, FN(load_first)(b + j, (int)(n - j)));
        }
        return;
    }
    if (b_row == 1)
        for (; p + LANES <= k; p += LANES)
            for (ptrdiff_t j = 0; j < width; j += LANES) {
                const REAL *from = b + p + j * b_col;
                FN(vec) v[LANES];
                if (j + LANES <= n)
                    FN(load_turned)(v, from, b_col);
                else
                    FN(load_turned_first)(v, from, b_col, (int)(n - j), LANES);
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) {
                    FN(store)(to + (p + i) * width + j, v[i]);
                    __builtin_prefetch(from + i * b_col + 4 * LANES); /* no machine sees 16 streams coming */
                }
            }
    for (; p < k; p++)
        for (ptrdiff_t j = 0; j < width; j++)
            to[p * width + j] = j < n ? b[p * b_row + j * b_col] : 0;
}

/* Copy k columns of `rows` elements of a, each column contiguous. */
static void FN(pack_a)(REAL *to, const REAL *a, ptrdiff_t a_row, ptrdiff_t a_col, ptrdiff_t k, int rows)
{
    for (ptrdiff_t p = 0; p < k; p++)
        for (int i = 0; i < rows; i++)
            to[p * rows + i] = a[i * a_row + p * a_col];
}
