/* From the sums of windows next to each other to what is stored. */

typedef uint8_t vec_codes __attribute__((vector_size(sizeof(vec_counts) / 4)));

#define ROUNDS_AT 12582912.0f /* 1.5 * 2**23: floats from here on are whole, ties went to even */

typedef struct {
    const tape_int8_windows *k;
    int32_t *m;
    ptrdiff_t width, first; /* sums a window, and which filter is the first */
    ptrdiff_t pixels, filters;
    char *y;                /* of the first window and the first filter */
} int8_end;

INLINE vec_counts int8_bits(vec_float v)
{
    return (vec_counts)(v + fill_float(ROUNDS_AT)) & 0xff;
}

/* sum + offset, or what becomes of it before it is rounded, as the bits of COUNTS floats. */
INLINE vec_float int8_finished(const int kind, const int8_end *e, ptrdiff_t pixel, ptrdiff_t f)
{
    const vec_counts sum = load_counts(e->m + pixel * e->width + f)
        + load_counts(e->k->offsets + e->first + f);
    if (kind == TAPE_INT8_SUMS)
        return (vec_float)sum;
    vec_float y = __builtin_convertvector(sum, vec_float);
    y *= load_float(e->k->scale + e->first + f);
    KEEP(y); /* no fused multiply-add: two roundings, on every machine */
    y += load_float(e->k->bias + e->first + f);
    return larger_float(y, fill_float(e->k->least));
}

/* Filters side by side. */
INLINE void int8_along(const int kind, const int8_end *e)
{
    const ptrdiff_t step = e->k->y_w;
    for (ptrdiff_t f = 0; f < e->filters; f += COUNTS) {
        const int n = e->filters - f < COUNTS ? (int)(e->filters - f) : COUNTS;
        for (ptrdiff_t p = 0; p < e->pixels; p++) {
            const vec_float v = int8_finished(kind, e, p, f);
            if (kind == TAPE_INT8_CODES) {
                const vec_counts bits = int8_bits(smaller_float(v, fill_float(255.0f)));
                const vec_codes codes = __builtin_convertvector(bits, vec_codes);
                if (n == COUNTS)
                    memcpy(e->y + p * step + f, &codes, COUNTS);
                else
                    memcpy(e->y + p * step + f, &codes, (size_t)n);
            } else if (n == COUNTS) {
                store_float((float *)e->y + p * step + f, v);
            } else {
                store_first_float((float *)e->y + p * step + f, v, n);
            }
        }
    }
}

/* Windows side by side: squares of COUNTS windows and filters are transposed. */
INLINE void int8_across(const int kind, const int8_end *e)
{
    for (ptrdiff_t p = 0; p < e->pixels; p += COUNTS) {
        const int n = e->pixels - p < COUNTS ? (int)(e->pixels - p) : COUNTS;
        for (ptrdiff_t f = 0; f < e->filters; f += COUNTS) {
            const int filters = e->filters - f < COUNTS ? (int)(e->filters - f) : COUNTS;
            vec_float v[COUNTS];
#ifdef BIT_TRANSPOSES
            float *m = (float *)e->m + p * e->width + f; /* done with: it takes what comes of it */
            for (int i = 0; i < n; i++)
                store_float(m + i * e->width, int8_finished(kind, e, p + i, f));
            transposed_square(m, e->width, v);
#else
            for (int i = 0; i < COUNTS; i++)
                v[i] = i < n ? int8_finished(kind, e, p + i, f) : (vec_float){0};
            transpose_float(v);
#endif
            float *y = (float *)e->y + p + f * e->k->y_c;
            for (int i = 0; i < filters; i++, y += e->k->y_c)
                store_first_float(y, v[i], n);
        }
    }
}

static void int8_finish(const int8_end *e)
{
    if (e->k->kind == TAPE_INT8_CODES)
        int8_along(TAPE_INT8_CODES, e);
    else if (e->k->kind == TAPE_INT8_SUMS)
        (e->k->y_c == 1 ? int8_along(TAPE_INT8_SUMS, e) : int8_across(TAPE_INT8_SUMS, e));
    else if (e->k->y_c == 1)
        int8_along(TAPE_INT8_FLOATS, e);
    else
        int8_across(TAPE_INT8_FLOATS, e);
}
