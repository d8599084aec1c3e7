/* The steps of update.h over parameters of either type. Included once, after both. */

typedef struct {
    int step;
    const tape_settings *settings;
    const tape_arrays *items;
    ptrdiff_t count, numbers, parts;
} update_split;

/* A thread's share of all numbers, wherever one parameter ends and the next begins. */
static void update_share(void *context, ptrdiff_t i)
{
    const update_split *u = context;
    const ptrdiff_t blocks = (u->numbers + UPDATE_BLOCK - 1) / UPDATE_BLOCK;
    const ptrdiff_t from = cut_float(blocks, i, u->parts) * UPDATE_BLOCK;
    const ptrdiff_t to = cut_float(blocks, i + 1, u->parts) * UPDATE_BLOCK;
    ptrdiff_t at = 0;
    for (const tape_arrays *a = u->items; a < u->items + u->count; at += a->size, a++) {
        const ptrdiff_t first = from > at ? from - at : 0, last = to - at < a->size ? to - at : a->size;
        if (first < last)
            (a->kind == TAPE_FLOAT ? update_part_float : update_part_double)(u->step, u->settings, a, first, last);
    }
}

static void update(int step, const tape_settings *s, const tape_arrays *items, ptrdiff_t count, ptrdiff_t numbers)
{
    update_split u = {step, s, items, count, numbers, 1};
    if ((double)numbers > UPDATE_ABOVE)
        u.parts = tape_threads();
    tape_parallel_for(update_share, &u, u.parts);
}
