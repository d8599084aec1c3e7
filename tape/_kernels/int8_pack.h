/* Numbers to codes; see int8.h. */

INLINE vec_counts int8_coded(const tape_int8_images *p, vec_float x)
{
    const vec_float zero = fill_float(p->zero);
    x *= fill_float(p->factor);
    KEEP(x);
    x = larger_float(x, -zero); /* NaN too */
    x = smaller_float(x, fill_float(255.0f) - zero);
    return ((vec_counts)(x + fill_float(ROUNDS_AT)) + (int32_t)p->zero) & 0xff;
}

/* The codes of `n` numbers next to each other, no more. */
INLINE void int8_pack_along(const tape_int8_images *p, const float *x, ptrdiff_t n, uint8_t *y)
{
    ptrdiff_t i = 0;
    for (; i + COUNTS <= n; i += COUNTS) {
        const vec_codes codes
            = __builtin_convertvector(int8_coded(p, load_float(x + i)), vec_codes);
        memcpy(y + i, &codes, COUNTS);
    }
    if (i < n) {
        const vec_codes codes = __builtin_convertvector(
            int8_coded(p, load_first_float(x + i, (int)(n - i))), vec_codes);
        memcpy(y + i, &codes, (size_t)(n - i));
    }
}

/* COUNTS pixels of 4 * COUNTS channels at a time: 4 channels make a word, and squares of words are
   transposed. */
INLINE void int8_pack_across(const tape_int8_images *p, const float *x, uint8_t *y)
{
    for (ptrdiff_t w = 0; w < p->w; w += COUNTS) {
        const int pixels = p->w - w < COUNTS ? (int)(p->w - w) : COUNTS;
        for (ptrdiff_t c = 0; c < p->c; c += 4 * COUNTS) {
            const ptrdiff_t channels = p->c - c < 4 * COUNTS ? p->c - c : 4 * COUNTS;
            const int words = (int)((channels + 3) / 4);
            const float *from = x + w + c * p->x_c;
            vec_float v[COUNTS];
            for (int i = 0; i < COUNTS; i++) {
                vec_counts word = {0};
                for (int b = 0; b < 4 && 4 * i + b < channels; b++, from += p->x_c)
                    word |= int8_coded(p, pixels == COUNTS ? load_float(from)
                                                           : load_first_float(from, pixels))
                        << 8 * b;
                v[i] = (vec_float)word;
            }
            transpose_float(v);
            for (int i = 0; i < pixels; i++)
                store_first_float((float *)(y + (w + i) * p->y_w + c), v[i], words);
        }
    }
}

static void int8_pack_row(void *context, ptrdiff_t i)
{
    const tape_int8_images *p = context;
    const float *x = p->x + i / p->h * p->x_n + i % p->h * p->x_h;
    uint8_t *y = p->y + i / p->h * p->y_n + i % p->h * p->y_h;
    if (p->x_w == 1 && p->w > 1) {
        int8_pack_across(p, x, y);
        return;
    }
    for (ptrdiff_t w = 0; w < p->w; w++, x += p->x_w, y += p->y_w) {
        if (p->x_c == 1)
            int8_pack_along(p, x, p->c, y);
        else
            for (ptrdiff_t c = 0; c < p->c; c++)
                int8_pack_along(p, x + c * p->x_c, 1, y + c);
        memset(y + p->c, 0, (size_t)(-p->c & 3));
    }
}

static void int8_pack(const tape_int8_images *p)
{
    const ptrdiff_t rows = p->n * p->h;
    if ((double)rows * (double)p->w * (double)p->c > INT8_PACK_PARALLEL_ABOVE)
        tape_parallel_for(int8_pack_row, (void *)p, rows);
    else
        for (ptrdiff_t i = 0; i < rows; i++)
            int8_pack_row((void *)p, i);
}
