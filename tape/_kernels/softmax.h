/* Softmax of rows, what is made of it, and their gradients. Included once for each type.

   A row is shifted by its maximum, so nothing overflows. */

/* The sum of e**(x - top), and the exponentials themselves where they are kept. */
INLINE double FN(exp_row)(const REAL *x, REAL *e, const int keep, ptrdiff_t n, REAL top)
{
    FN(sums) sums = {{0}, {0}};
    const FN(vec) tops = FN(fill)(top);
    ALONG(i, n, {
        FN(vec) power = FN(exp)(FN(read)(x + i, whole, some) - tops);
        if (keep)
            FN(write)(e + i, power, whole, some);
        if (!whole)
            power = FN(only)(power, some, 0);
        FN(add_to)(&sums, power);
    });
    return FN(sum_of)(&sums);
}

static void FN(softmax_row)(const tape_rows *t, ptrdiff_t row)
{
    const ptrdiff_t n = t->columns;
    const REAL *x = (const REAL *)t->x + row * n;
    REAL *y = (REAL *)t->y + row * n;
    const REAL top = FN(top_of)(x, n);
    if (n <= LANES) { /* what was stored by a mask is slow to load again */
        const FN(vec) power = FN(exp)(FN(load_first)(x, (int)n) - FN(fill)(top));
        FN(sums) sums = {{0}, {0}};
        FN(add_to)(&sums, FN(only)(power, (int)n, 0));
        FN(store_first)(y, power * FN(fill)((REAL)(1 / FN(sum_of)(&sums))), (int)n);
        return;
    }
    const FN(vec) share = FN(fill)((REAL)(1 / FN(exp_row)(x, y, 1, n, top)));
    ALONG(i, n, { FN(write)(y + i, FN(read)(y + i, whole, some) * share, whole, some); });
}

static void FN(log_softmax_row)(const tape_rows *t, ptrdiff_t row)
{
    const ptrdiff_t n = t->columns;
    const REAL *x = (const REAL *)t->x + row * n;
    REAL *y = (REAL *)t->y + row * n;
    const REAL top = FN(top_of)(x, n);
    const FN(vec) tops = FN(fill)(top), rest = FN(fill)((REAL)log(FN(exp_row)(x, NULL, 0, n, top)));
    ALONG(i, n, { FN(write)(y + i, (FN(read)(x + i, whole, some) - tops) - rest, whole, some); });
}

static void FN(logsumexp_row)(const tape_rows *t, ptrdiff_t row)
{
    const REAL *x = (const REAL *)t->x + row * t->columns;
    REAL top = FN(top_of)(x, t->columns);
    if (isinf(top))
        top = 0; /* exp(-inf) and exp(inf) are right as they are; inf - inf is not */
    ((REAL *)t->y)[row] = (REAL)(top + log(FN(exp_row)(x, NULL, 0, t->columns, top)));
}

static void FN(cross_entropy_row)(const tape_rows *t, ptrdiff_t row)
{
    const REAL *x = (const REAL *)t->x + row * t->columns;
    const REAL top = FN(top_of)(x, t->columns);
    const double whole = FN(exp_row)(x, NULL, 0, t->columns, top);
    ((REAL *)t->y)[row] = (REAL)(log(whole) - ((double)x[t->labels[row]] - top));
}

static void FN(cross_entropy_grad_row)(const tape_rows *t, ptrdiff_t row)
{
    const ptrdiff_t n = t->columns;
    const REAL *x = (const REAL *)t->x + row * n;
    REAL *y = (REAL *)t->y + row * n, *at = y + t->labels[row];
    const REAL top = FN(top_of)(x, n);
    const FN(vec) of_label = FN(exp)(FN(fill)(x[t->labels[row]] - top));
    const double factor = ((const REAL *)t->scale)[row * t->scale_step];
    const double sum = FN(exp_row)(x, y, n > LANES, n, top);
    /* In float64, (e - sum) / sum keeps digits that softmax - 1 loses in float32. */
    const REAL at_label = (REAL)((of_label[0] - sum) / sum * factor);
    const FN(vec) share = FN(fill)((REAL)(factor / sum));
    if (n <= LANES) /* what was stored by a mask is slow to load again */
        FN(store_first)(y, FN(exp)(FN(load_first)(x, (int)n) - FN(fill)(top)) * share, (int)n);
    else
        ALONG(i, n, { FN(write)(y + i, FN(read)(y + i, whole, some) * share, whole, some); });
    *at = at_label;
}

/* y * (g - sum(g * y)), in which x is what softmax gave. */
static void FN(softmax_grad_row)(const tape_rows *t, ptrdiff_t row)
{
    const ptrdiff_t n = t->columns;
    const REAL *x = (const REAL *)t->x + row * n, *g = (const REAL *)t->g + row * n;
    REAL *y = (REAL *)t->y + row * n;
    FN(running) sums = {0};
    ALONG_FOUR(i, k, n, FN(fold)(&sums), {
        sums.part[k] += FN(read)(x + i, whole, some) * FN(read)(g + i, whole, some);
    });
    const FN(vec) along = FN(fill)((REAL)FN(sum_of)(&sums.whole));
    ALONG(i, n, {
        FN(write)(y + i, FN(read)(x + i, whole, some) * (FN(read)(g + i, whole, some) - along), whole, some);
    });
}

/* g - e**x * sum(g), in which x is what log_softmax gave. */
static void FN(log_softmax_grad_row)(const tape_rows *t, ptrdiff_t row)
{
    const ptrdiff_t n = t->columns;
    const REAL *x = (const REAL *)t->x + row * n, *g = (const REAL *)t->g + row * n;
    REAL *y = (REAL *)t->y + row * n;
    FN(running) sums = {0};
    ALONG_FOUR(i, k, n, FN(fold)(&sums), { sums.part[k] += FN(read)(g + i, whole, some); });
    const FN(vec) sum = FN(fill)((REAL)FN(sum_of)(&sums.whole));
    ALONG(i, n, {
        const FN(vec) share = FN(exp)(FN(read)(x + i, whole, some));
        FN(write)(y + i, FN(read)(g + i, whole, some) - share * sum, whole, some);
    });
}

/* scale * e**(x - sum), sum being the row's logsumexp; 0 where that is -inf. */
static void FN(logsumexp_grad_row)(const tape_rows *t, ptrdiff_t row)
{
    const ptrdiff_t n = t->columns;
    const REAL *x = (const REAL *)t->x + row * n, sum = ((const REAL *)t->sums)[row];
    const FN(vec) sums = FN(fill)(sum == (REAL)-INFINITY ? 0 : sum);
    const FN(vec) factor = FN(fill)(((const REAL *)t->scale)[row * t->scale_step]);
    REAL *y = (REAL *)t->y + row * n;
    ALONG(i, n, {
        FN(write)(y + i, FN(exp)(FN(read)(x + i, whole, some) - sums) * factor, whole, some);
    });
}
