/* From the mismatches of a tile to what is stored. */

typedef int32_t vec_counts __attribute__((vector_size(sizeof(vec_float))));
typedef int32_t loose_counts __attribute__((vector_size(sizeof(vec_float)), aligned(4), may_alias));

enum { COUNTS = sizeof(vec_counts) / 4 };

INLINE vec_counts load_counts(const int32_t *from) { return *(const loose_counts *)from; }

/* What a tile of windows next to each other needs to know: m[pixel * width + channel]. */
typedef struct {
    const tape_bit_windows *k;
    int32_t *m;
    ptrdiff_t width, first; /* channels a pixel, and which filter is the first */
    int pixels, channels;   /* channels that exist */
    const int32_t *offsets; /* of the row's class and of the first filter */
    const ptrdiff_t *class; /* of each pixel */
    char *y;                /* of the first pixel and the first filter */
    const float *residual;
} bit_tile_end;

/* offset - 2 m, or what becomes of it, as the bits of COUNTS floats. */
INLINE vec_float finished(const int scaled, const bit_tile_end *t, int pixel, ptrdiff_t c)
{
    const vec_counts m = load_counts(t->m + pixel * t->width + c);
    const vec_counts a = load_counts(t->offsets + t->class[pixel] + c) - m - m;
    if (!scaled)
        return (vec_float)a;
    vec_float y = __builtin_convertvector(a, vec_float);
    if (t->k->scale) {
        y *= load_float(t->k->scale + t->first + c);
        KEEP(y); /* no fused multiply-add: two roundings, on every machine */
    }
    if (t->k->bias)
        y += load_float(t->k->bias + t->first + c);
    return y;
}

/* Channels side by side. */
INLINE void finish_along(const int scaled, const bit_tile_end *t)
{
    for (int p = 0; p < t->pixels; p++) {
        float *y = (float *)t->y + p * t->k->y_w;
        const float *residual = t->residual + (t->residual ? p * t->k->y_w : 0);
        for (ptrdiff_t c = 0; c < t->channels; c += COUNTS) {
            vec_float v = finished(scaled, t, p, c);
            if (t->channels - c >= COUNTS) {
                if (scaled && t->residual)
                    v += load_float(residual + c);
                store_float(y + c, v);
            } else {
                const int n = (int)(t->channels - c);
                if (scaled && t->residual)
                    v += load_first_float(residual + c, n);
                store_first_float(y + c, v, n);
            }
        }
    }
}

/* Pixels side by side: squares of COUNTS pixels and channels are transposed. */
INLINE void finish_across(const int scaled, const bit_tile_end *t)
{
    for (int p = 0; p < t->pixels; p += COUNTS) {
        const int n = t->pixels - p < COUNTS ? t->pixels - p : COUNTS;
        for (ptrdiff_t c = 0; c < t->channels; c += COUNTS) {
            vec_float v[COUNTS];
#ifdef BIT_TRANSPOSES
            float *m = (float *)t->m + p * t->width + c; /* done with: it takes what comes of it */
            for (int i = 0; i < n; i++)
                store_float(m + i * t->width, finished(scaled, t, p + i, c));
            transposed_square(m, t->width, v);
#else
            for (int i = 0; i < COUNTS; i++)
                v[i] = i < n ? finished(scaled, t, p + i, c) : (vec_float){0};
            transpose_float(v);
#endif
            for (int i = 0; i < COUNTS && c + i < t->channels; i++) {
                const ptrdiff_t at = p + (c + i) * t->k->y_c;
                if (scaled && t->residual)
                    v[i] += load_first_float(t->residual + at, n);
                store_first_float((float *)t->y + at, v[i], n);
            }
        }
    }
}

/* Signs, 16 at a time. Those of filters that do not exist are 0 already: their offset is the
   greatest number. Results of groups may begin in the middle of a word. */
INLINE void finish_signs(const bit_tile_end *t)
{
    const ptrdiff_t at = t->k->y_bit + t->first, step = 2 * t->k->y_w, width = t->width;
    const int shift = at % 16, pixels = t->pixels;
    const ptrdiff_t *class = t->class;
    for (ptrdiff_t c = 0; c < t->channels; c += 16) {
        const uint32_t flip = t->k->flip ? ((const uint16_t *)t->k->flip)[(t->first + c) / 16] : 0;
        const int32_t *m = t->m + c, *offsets = t->offsets + c;
        uint16_t *y = (uint16_t *)t->y + (at + c) / 16;
        if (!shift) {
#pragma GCC unroll 2
            for (int p = 0; p < pixels; p++)
                y[p * step] = (uint16_t)(greater_16(m + p * width, offsets + class[p]) ^ flip);
            continue;
        }
        for (int p = 0; p < pixels; p++) {
            const uint32_t signs = (greater_16(m + p * width, offsets + class[p]) ^ flip) << shift;
            y[p * step] |= (uint16_t)signs;
            if (signs >> 16) /* a filter stands there, so the word exists */
                y[p * step + 1] |= (uint16_t)(signs >> 16);
        }
    }
}

static void finish_tile(const bit_tile_end *t)
{
    if (t->k->kind == TAPE_SIGNS)
        finish_signs(t);
    else if (t->k->y_c == 1 && t->k->kind == TAPE_COUNTS)
        finish_along(0, t);
    else if (t->k->y_c == 1)
        finish_along(1, t);
    else if (t->k->kind == TAPE_COUNTS)
        finish_across(0, t);
    else
        finish_across(1, t);
}
