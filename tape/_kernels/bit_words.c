/* What needs no particular instructions: see bits.h. */
#include "bits.h"

#include <stdlib.h>
#include <string.h>

int tape_bit_offsets(const tape_bit_borders *b)
{
    const ptrdiff_t padded = (b->filters + 31) / 32 * 32, across = (b->width + 1) * padded;
    const int32_t taps = (int32_t)(b->height * b->width);
    /* corner[r][s]: for each filter, the sum of t over the rows above r and the columns left of s.
     */
    int32_t *corner = calloc((size_t)((b->height + 1) * across), sizeof *corner);
    if (!corner)
        return -1;
    for (ptrdiff_t r = 0; r < b->height; r++)
        for (ptrdiff_t s = 0; s < b->width; s++) {
            const int32_t *ones = b->ones + (r * b->width + s) * padded;
            const int32_t *before = corner + r * across + s * padded;
            int32_t *to = corner + (r + 1) * across + (s + 1) * padded;
            for (ptrdiff_t o = 0; o < padded; o++)
                to[o] = before[padded + o] + before[across + o] - before[o]
                        + ((int32_t)b->channels - 2 * ones[o]);
        }
    const int32_t *all = corner + b->height * across + b->width * padded, weight = 1 - b->pad_value;
    int32_t *to = b->offsets;
    for (ptrdiff_t i = 0; i < b->row_classes; i++)
        for (ptrdiff_t j = 0; j < b->column_classes; j++, to += padded) {
            const int32_t *above = corner + b->top[i] * across;
            const int32_t *below = corner + b->bottom[i] * across;
            const ptrdiff_t left = b->left[j] * padded, right = b->right[j] * padded;
            for (ptrdiff_t o = 0; o < padded; o++) {
                const int32_t inside
                    = below[right + o] - below[left + o] - above[right + o] + above[left + o];
                to[o] = taps * (int32_t)b->channels - weight * (all[o] - inside);
            }
        }
    free(corner);
    return 0;
}

void tape_bit_thresholds(int32_t *offsets, ptrdiff_t classes, ptrdiff_t filters,
                         const int32_t *least)
{
    const ptrdiff_t padded = (filters + 31) / 32 * 32;
    for (ptrdiff_t i = 0; i < classes; i++, offsets += padded)
        for (ptrdiff_t o = 0; o < padded; o++) {
            /* offset - 2 m >= least, that is, m <= floor((offset - least) / 2) */
            const int64_t room = o < filters ? (int64_t)offsets[o] - least[o] : INT32_MAX;
            const int64_t most = room >= 0 ? room / 2 : -((1 - room) / 2);
            offsets[o] = (int32_t)(o < filters ? most : INT32_MAX);
        }
}

void tape_bit_channels(const uint32_t *from, ptrdiff_t from_step, uint32_t *to, ptrdiff_t to_step,
                       ptrdiff_t pixels, ptrdiff_t first, ptrdiff_t n)
{
    const ptrdiff_t words = (n + 31) / 32, shift = first % 32;
    const uint32_t last = n % 32 ? (1u << n % 32) - 1 : ~0u;
    from += first / 32;
    for (ptrdiff_t p = 0; p < pixels; p++, from += from_step, to += to_step) {
        for (ptrdiff_t i = 0; i < words; i++) {
            uint32_t word = from[i] >> shift;
            if (shift && shift + n > 32 * (i + 1)) /* the next word holds bits of this one */
                word |= from[i + 1] << (32 - shift);
            to[i] = word;
        }
        if (words)
            to[words - 1] &= last;
    }
}

/* The first step k >= 0 of a window from start on that is in the image, start + k * step >= 0. */
static ptrdiff_t first_inside(ptrdiff_t start, ptrdiff_t step)
{
    return start < 0 ? (-start + step - 1) / step : 0;
}

/* How many of n steps of a window end before the image does. */
static ptrdiff_t last_inside(ptrdiff_t start, ptrdiff_t step, ptrdiff_t n, ptrdiff_t size)
{
    const ptrdiff_t most = start < size ? (size - 1 - start) / step + 1 : 0;
    return most < n ? most : n;
}

int tape_bit_pool_image(const tape_bit_pool *p)
{
    const uint32_t turn = p->least ? ~0u : 0;  /* the least of signs is the greatest, turned */
    const ptrdiff_t n = p->image_columns * p->x_w, reach = (p->width - 1) * p->dilation_w + 1;
    uint32_t *line = malloc((size_t)n * sizeof *line + 1);
    if (!line)
        return -1;
    for (ptrdiff_t i = 0; i < p->rows; i++) {
        const ptrdiff_t h = i * p->stride_h - p->top;
        const ptrdiff_t r_last = last_inside(h, p->dilation_h, p->height, p->image_rows);
        memset(line, 0xff, (size_t)n * sizeof *line);
        for (ptrdiff_t r = first_inside(h, p->dilation_h); r < r_last; r++) {
            const uint32_t *x = p->x + (h + r * p->dilation_h) * p->x_h;
            for (ptrdiff_t k = 0; k < n; k++)
                line[k] &= x[k] ^ turn;
        }
        for (ptrdiff_t j = 0; j < p->columns; j++) {
            const ptrdiff_t w = j * p->stride_w - p->left;
            const int inside = w >= 0 && w + reach <= p->image_columns;
            const ptrdiff_t s_first = inside ? 0 : first_inside(w, p->dilation_w);
            const ptrdiff_t s_last
                = inside ? p->width : last_inside(w, p->dilation_w, p->width, p->image_columns);
            uint32_t *y = p->y + i * p->y_h + j * p->y_w;
            for (ptrdiff_t c = 0; c < p->words; c++) {
                uint32_t found = ~0u;
                for (ptrdiff_t s = s_first; s < s_last; s++)
                    found &= line[(w + s * p->dilation_w) * p->x_w + c];
                y[c] = found ^ turn;
            }
            if (p->words)
                y[p->words - 1] &= p->last;
        }
    }
    free(line);
    return 0;
}
