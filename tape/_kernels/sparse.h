/* Sparse matrices, by rows, times vectors. Included once for each type; see kernels.h.

   Of many vectors LANES are computed side by side, so that a number of the matrix costs one load of
   itself, and each of their numbers it meets one multiplication among LANES: the vectors are turned
   first, BATCH of them at a time. One or two are multiplied number by number. */

#define SPARSE_BATCH 64 /* vectors at a time; a multiple of LANES */
#define SPARSE_WIDE 4   /* registers of sums */
#define SPARSE_FEW 3    /* vectors that are worth turning: benchmarks "sparse" */

typedef struct {
    const tape_sparse *p;
    const REAL *x; /* turned (columns, wide), or as it is */
    REAL *y;       /* turned (rows, wide), or as it is */
    ptrdiff_t wide, parts;
} FN(sparse_work);

/* Some rows times vectors as they are. */
static void FN(sparse_dots)(void *context, ptrdiff_t part)
{
    const FN(sparse_work) *s = context;
    const tape_sparse *p = s->p;
    const ptrdiff_t end = FN(cut)(p->rows, part + 1, s->parts);
    const REAL *values = p->values, *bias = p->bias;
    for (ptrdiff_t i = 0; i < p->batch; i++) {
        const REAL *x = s->x + i * p->columns;
        for (ptrdiff_t r = FN(cut)(p->rows, part, s->parts); r < end; r++) {
            REAL sum[4] = {0, 0, 0, 0}; /* for the processor to work on side by side */
            const int32_t last = p->starts[r + 1];
            int32_t k = p->starts[r];
            for (; k + 4 <= last; k += 4)
                for (int q = 0; q < 4; q++)
                    sum[q] += values[k + q] * x[p->places[k + q]];
            for (; k < last; k++)
                sum[0] += values[k] * x[p->places[k]];
            s->y[i * p->rows + r] = (sum[0] + sum[1]) + (sum[2] + sum[3]) + (bias ? bias[r] : 0);
        }
    }
}

/* One row times some registers of turned vectors. */
INLINE void FN(sparse_row)(const tape_sparse *p, ptrdiff_t r, const REAL *x, ptrdiff_t wide, REAL *y,
                           const int registers)
{
    const REAL *values = p->values, *bias = p->bias;
    FN(vec) sum[SPARSE_WIDE];
    for (int v = 0; v < registers; v++)
        sum[v] = FN(fill)(bias ? bias[r] : 0);
    for (int32_t k = p->starts[r]; k < p->starts[r + 1]; k++) {
        const REAL *column = x + p->places[k] * wide;
        const FN(vec) w = FN(fill)(values[k]);
#pragma GCC unroll 4
        for (int v = 0; v < registers; v++)
            sum[v] += w * FN(load)(column + v * LANES);
    }
    for (int v = 0; v < registers; v++)
        FN(store)(y + v * LANES, sum[v]);
}

/* Some rows times turned vectors. */
static void FN(sparse_lanes)(void *context, ptrdiff_t part)
{
    const FN(sparse_work) *s = context;
    const ptrdiff_t end = FN(cut)(s->p->rows, part + 1, s->parts);
    for (ptrdiff_t r = FN(cut)(s->p->rows, part, s->parts); r < end; r++) {
        REAL *y = s->y + r * s->wide;
        ptrdiff_t j = 0;
        for (; j + SPARSE_WIDE * LANES <= s->wide; j += SPARSE_WIDE * LANES)
            FN(sparse_row)(s->p, r, s->x + j, s->wide, y + j, SPARSE_WIDE);
        for (; j < s->wide; j += LANES)
            FN(sparse_row)(s->p, r, s->x + j, s->wide, y + j, 1);
    }
}

/* Rows and columns exchanged: `to` has `step` numbers a row, of which the first `rows` are set. */
static void FN(sparse_turn)(const REAL *from, ptrdiff_t from_step, ptrdiff_t rows, ptrdiff_t columns, REAL *to,
                            ptrdiff_t step, int fills)
{
    FN(vec) v[LANES];
    for (ptrdiff_t i = 0; i < rows; i += LANES)
        for (ptrdiff_t c = 0; c < columns; c += LANES) {
            const int high = rows - i < LANES ? (int)(rows - i) : LANES;
            const int some = columns - c < LANES ? (int)(columns - c) : LANES;
            const REAL *at = from + i * from_step + c;
            if (high == LANES && some == LANES)
                FN(load_turned)(v, at, from_step);
            else
                FN(load_turned_first)(v, at, from_step, high, some);
            for (int q = 0; q < some; q++) {
                REAL *line = to + (c + q) * step + i;
                if (high == LANES || fills)
                    FN(store)(line, v[q]);
                else
                    FN(store_first)(line, v[q], high);
            }
        }
}

/* y = x times the rows, plus bias; see kernels.h. */
static int FN(sparse)(const tape_sparse *p)
{
    FN(sparse_work) s = {.p = p, .x = p->x, .y = p->y, .parts = 1};
    const double work = (double)p->starts[p->rows] * (double)(p->batch < SPARSE_BATCH ? p->batch : SPARSE_BATCH);
    if (work > PARALLEL_ABOVE)
        s.parts = tape_threads();
    if (p->batch < SPARSE_FEW) {
        if (s.parts == 1)
            FN(sparse_dots)(&s, 0);
        else
            tape_parallel_for(FN(sparse_dots), &s, s.parts);
        return 0;
    }
    for (ptrdiff_t i = 0; i < p->batch; i += SPARSE_BATCH) {
        const ptrdiff_t some = p->batch - i < SPARSE_BATCH ? p->batch - i : SPARSE_BATCH;
        s.wide = (some + LANES - 1) / LANES * LANES;
        REAL *x = tape_scratch(TAPE_SCRATCH_A, (size_t)(p->columns * s.wide) * sizeof(REAL));
        REAL *y = tape_scratch(TAPE_SCRATCH_B, (size_t)(p->rows * s.wide) * sizeof(REAL));
        if (!x || !y)
            return -1;
        FN(sparse_turn)((const REAL *)p->x + i * p->columns, p->columns, some, p->columns, x, s.wide, 1);
        s.x = x, s.y = y;
        if (s.parts == 1)
            FN(sparse_lanes)(&s, 0);
        else
            tape_parallel_for(FN(sparse_lanes), &s, s.parts);
        FN(sparse_turn)(y, s.wide, p->rows, some, (REAL *)p->y + i * p->rows, p->rows, 0);
    }
    return 0;
}

#undef SPARSE_BATCH
#undef SPARSE_WIDE
#undef SPARSE_FEW
