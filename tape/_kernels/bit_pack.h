/* Numbers to signs and back; see bits.h. Included once for each type.

   Packing compares: taking the sign bit of a float would make -1 of -0.0 and of half the NaNs.
   Where the columns of an image are contiguous, a vector holds LANES pixels of one channel, and 32
   such comparisons, each or-ed in at its own bit, make LANES words: nothing is transposed. Where
   the channels are contiguous, LANES channels of a pixel give LANES bits of a word at once. */

INLINE FN(ints) FN(chosen)(const int rule, FN(vec) x, FN(vec) window)
{
    if (rule == TAPE_NEGATIVE)
        return (FN(ints))(x < 0);
    if (rule == TAPE_NOT_POSITIVE)
        return ~(FN(ints))(x > 0);
    return ~((FN(ints))(x <= window) & (FN(ints))(x >= -window));
}

INLINE int FN(chosen_one)(const int rule, REAL x, REAL window)
{
    if (rule == TAPE_NEGATIVE)
        return x < 0;
    if (rule == TAPE_NOT_POSITIVE)
        return !(x > 0);
    return !(x <= window && x >= -window);
}

/* `pixels` <= LANES words of `channels` <= 32 channels, of a row of contiguous pixels. */
INLINE void FN(pack_across)(const int rule, const REAL *x, ptrdiff_t x_c, int channels, int pixels,
                            REAL window, uint32_t *to, ptrdiff_t to_step)
{
    const FN(vec) bound = FN(fill)(window);
    FN(ints) words = {0}, bit = (FN(ints)){0} + 1;
    if (pixels == LANES)
        for (int c = 0; c < channels; c++, x += x_c, bit += bit)
            words |= FN(chosen)(rule, FN(load)(x), bound) & bit;
    else
        for (int c = 0; c < channels; c++, x += x_c, bit += bit)
            words |= FN(chosen)(rule, FN(load_first)(x, pixels), bound) & bit;
    for (int i = 0; i < pixels; i++)
        to[i * to_step] = (uint32_t)words[i];
}

/* One word of `channels` <= 32 contiguous channels. */
INLINE uint32_t FN(pack_along)(const int rule, const REAL *x, int channels, REAL window)
{
    const FN(vec) bound = FN(fill)(window);
    uint32_t word = 0;
    int c = 0;
    if (channels == 32) { /* most words are whole: these wait for nothing */
#pragma GCC unroll 16
        for (; c < 32; c += LANES)
            word |= FN(signs_of)(FN(chosen)(rule, FN(load)(x + c), bound)) << c;
        return word;
    }
    for (; c + LANES <= channels; c += LANES)
        word |= FN(signs_of)(FN(chosen)(rule, FN(load)(x + c), bound)) << c;
    for (; c < channels; c++)
        word |= (uint32_t)FN(chosen_one)(rule, x[c], window) << c;
    return word;
}

INLINE void FN(pack_by)(const int rule, const tape_bit_images *p, ptrdiff_t n, ptrdiff_t h)
{
    const REAL *row = (const REAL *)p->x + n * p->x_n + h * p->x_h, window = (REAL)p->window;
    uint32_t *to = p->bits + n * p->bits_n + h * p->bits_h;
    for (ptrdiff_t c = 0; c < p->c; c += 32, row += 32 * p->x_c, to++) {
        const int channels = p->c - c < 32 ? (int)(p->c - c) : 32;
        if (p->x_w == 1 && !(p->x_c == 1 && p->w < LANES)) {
            for (ptrdiff_t w = 0; w < p->w; w += LANES)
                FN(pack_across)(rule, row + w, p->x_c, channels,
                                p->w - w < LANES ? (int)(p->w - w) : LANES, window,
                                to + w * p->bits_w, p->bits_w);
        } else if (p->x_c == 1) {
            for (ptrdiff_t w = 0; w < p->w; w++)
                to[w * p->bits_w] = FN(pack_along)(rule, row + w * p->x_w, channels, window);
        } else {
            for (ptrdiff_t w = 0; w < p->w; w++) {
                const REAL *x = row + w * p->x_w;
                uint32_t word = 0;
                for (int i = 0; i < channels; i++)
                    word |= (uint32_t)FN(chosen_one)(rule, x[i * p->x_c], window) << i;
                to[w * p->bits_w] = word;
            }
        }
    }
}

static void FN(pack_row)(void *context, ptrdiff_t i)
{
    const tape_bit_images *p = context;
    if (p->rule == TAPE_NEGATIVE)
        FN(pack_by)(TAPE_NEGATIVE, p, i / p->h, i % p->h);
    else if (p->rule == TAPE_NOT_POSITIVE)
        FN(pack_by)(TAPE_NOT_POSITIVE, p, i / p->h, i % p->h);
    else
        FN(pack_by)(TAPE_OUTSIDE, p, i / p->h, i % p->h);
}

static void FN(unpack_row)(void *context, ptrdiff_t i)
{
    const tape_bit_images *p = context;
    const REAL values[2] = {(REAL)p->zero, (REAL)p->one};
    const uint32_t *from = p->bits + i / p->h * p->bits_n + i % p->h * p->bits_h;
    REAL *row = (REAL *)p->x + i / p->h * p->x_n + i % p->h * p->x_h;
    if (p->x_c == 1)
        for (ptrdiff_t w = 0; w < p->w; w++)
            for (ptrdiff_t c = 0; c < p->c; c++)
                row[w * p->x_w + c] = values[from[w * p->bits_w + c / 32] >> c % 32 & 1];
    else
        for (ptrdiff_t c = 0; c < p->c; c++)
            for (ptrdiff_t w = 0; w < p->w; w++)
                row[w * p->x_w + c * p->x_c] = values[from[w * p->bits_w + c / 32] >> c % 32 & 1];
}

static void FN(over_rows)(tape_task task, const tape_bit_images *p)
{
    const ptrdiff_t rows = p->n * p->h;
    if ((double)rows * (double)p->w * (double)p->c > BITS_PARALLEL_ABOVE)
        tape_parallel_for(task, (void *)p, rows);
    else
        for (ptrdiff_t i = 0; i < rows; i++)
            task((void *)p, i);
}

static void FN(pack)(const tape_bit_images *p) { FN(over_rows)(FN(pack_row), p); }

static void FN(unpack)(const tape_bit_images *p) { FN(over_rows)(FN(unpack_row), p); }
