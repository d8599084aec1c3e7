/* From minus the mismatches of a tile to what is stored. */

typedef int32_t vec_counts __attribute__((vector_size(sizeof(vec_float))));
typedef int32_t loose_counts __attribute__((vector_size(sizeof(vec_float)), aligned(4), may_alias));

enum { COUNTS = sizeof(vec_counts) / 4 };

INLINE vec_counts load_counts(const int32_t *from) { return *(const loose_counts *)from; }

/* What a tile of windows next to each other needs to know: m[pixel * width + channel]. */
typedef struct {
    int kind;               /* TAPE_COUNTS, ... */
    int32_t *m;
    ptrdiff_t width, first; /* channels a pixel, and which filter is the first */
    int pixels, channels;   /* channels that exist */
    const int32_t *offsets; /* of the row's class and of the first filter */
    const ptrdiff_t *class; /* of each pixel */
    char *y;                /* of the first pixel and the first filter */
    ptrdiff_t y_w, y_c;
    int y_bit;
    const float *scale, *bias, *residual; /* of the first filter */
    const uint32_t *flip;
} bit_tile_end;

/* offset - 2 m, or what becomes of it, as the bits of COUNTS floats. */
INLINE vec_float finished(const int scaled, bit_tile_end t, ptrdiff_t pixel, ptrdiff_t c)
{
    const vec_counts m = load_counts(t.m + pixel * t.width + c);
    const vec_counts a = load_counts(t.offsets + t.class[pixel] + c) + m + m;
    if (!scaled)
        return (vec_float)a;
    vec_float y = __builtin_convertvector(a, vec_float);
    if (t.scale) {
        y *= load_float(t.scale + c);
        KEEP(y); /* no fused multiply-add: two roundings, on every machine */
    }
    if (t.bias)
        y += load_float(t.bias + c);
    return y;
}

/* Channels side by side. */
INLINE void finish_along(const int scaled, bit_tile_end t)
{
    for (ptrdiff_t c = 0; c < t.channels; c += COUNTS) {
        const int n = t.channels - c < COUNTS ? (int)(t.channels - c) : COUNTS;
        float *y = (float *)t.y + c;
        const float *residual = t.residual ? t.residual + c : NULL;
        if (n == COUNTS && !t.residual) {
#pragma GCC unroll 2
            for (ptrdiff_t p = 0; p < t.pixels; p++)
                store_float(y + p * t.y_w, finished(scaled, t, p, c));
            continue;
        }
        for (ptrdiff_t p = 0; p < t.pixels; p++) {
            vec_float v = finished(scaled, t, p, c);
            if (scaled && residual)
                v += load_first_float(residual + p * t.y_w, n);
            store_first_float(y + p * t.y_w, v, n);
        }
    }
}

/* Pixels side by side: squares of COUNTS pixels and channels are transposed. */
INLINE void finish_across(const int scaled, bit_tile_end t)
{
    for (ptrdiff_t p = 0; p < t.pixels; p += COUNTS) {
        const int n = t.pixels - p < COUNTS ? (int)(t.pixels - p) : COUNTS;
        for (ptrdiff_t c = 0; c < t.channels; c += COUNTS) {
            const int channels = t.channels - c < COUNTS ? (int)(t.channels - c) : COUNTS;
            vec_float v[COUNTS];
#ifdef BIT_TRANSPOSES
            float *m = (float *)t.m + p * t.width + c; /* done with: it takes what comes of it */
            for (int i = 0; i < n; i++)
                store_float(m + i * t.width, finished(scaled, t, p + i, c));
            transposed_square(m, t.width, v);
#else
            for (int i = 0; i < COUNTS; i++)
                v[i] = i < n ? finished(scaled, t, p + i, c) : (vec_float){0};
            transpose_float(v);
#endif
            float *y = (float *)t.y + p + c * t.y_c;
            if (channels == COUNTS && !t.residual) {
#pragma GCC unroll 16
                for (int i = 0; i < COUNTS; i++, y += t.y_c)
                    store_first_float(y, v[i], n);
                continue;
            }
            const float *residual = t.residual ? t.residual + p + c * t.y_c : NULL;
            for (int i = 0; i < channels; i++) {
                if (scaled && residual)
                    v[i] += load_first_float(residual + i * t.y_c, n);
                store_first_float(y + i * t.y_c, v[i], n);
            }
        }
    }
}

/* Signs, 16 at a time. Those of filters that do not exist are 0 already: their offset is the
   greatest number. Results of groups may begin in the middle of a word. */
INLINE void finish_signs(bit_tile_end t)
{
    const ptrdiff_t at = t.y_bit + t.first, step = 2 * t.y_w;
    const int shift = at % 16;
    for (ptrdiff_t c = 0; c < t.channels; c += 16) {
        const uint32_t flip = t.flip ? ((const uint16_t *)t.flip)[(t.first + c) / 16] : 0;
        const int32_t *m = t.m + c, *offsets = t.offsets + c;
        uint16_t *y = (uint16_t *)t.y + (at + c) / 16;
        for (int p = 0; p < t.pixels; p++, y += step) {
            const uint32_t signs = below_16(m + p * t.width, offsets + t.class[p]) ^ flip;
            if (!shift) {
                y[0] = (uint16_t)signs;
                continue;
            }
            y[0] |= (uint16_t)(signs << shift);
            if (signs >> (16 - shift)) /* a filter stands there, so the word exists */
                y[1] |= (uint16_t)(signs >> (16 - shift));
        }
    }
}

/* A copy of what is known lies in registers; what it points at may change with every store. */
static void finish_tile(const bit_tile_end *t)
{
    if (t->kind == TAPE_SIGNS)
        finish_signs(*t);
    else if (t->y_c == 1 && t->kind == TAPE_COUNTS)
        finish_along(0, *t);
    else if (t->y_c == 1)
        finish_along(1, *t);
    else if (t->kind == TAPE_COUNTS)
        finish_across(0, *t);
    else
        finish_across(1, *t);
}
