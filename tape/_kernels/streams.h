/* A plane of an image, dealt out for windows to be gone through. Included once for each type.

   Note [Streams]
   The pixels that one tap of the window meets, from one window to the next, lie a stride apart. So
   rows and columns are dealt out to streams, by their remainder modulo the stride, with the padding
   around them; in a stream the pixels of a tap follow each other, and a plane's windows are one run
   of `out_height * pitch` numbers from the tap's offset on, whatever their rows' length. Where a
   stream would be mostly gaps (a large stride or dilation), each tap has a stream of its own. */

#ifndef TAPE_STREAMS_H
#define TAPE_STREAMS_H

#define MOST_PHASES 4        /* a larger stride has streams by tap */
#define BAND_BYTES (48 << 10) /* of streams and results, to stay in the second cache at worst */

/* One axis: position j of stream p is the padded pixel j * stride + p * apart. */
typedef struct {
    ptrdiff_t streams, beyond; /* positions that taps reach beyond the last window's */
    ptrdiff_t stride, dilation, apart;
} pool_axis;

static pool_axis lay_axis(ptrdiff_t count, ptrdiff_t taps, ptrdiff_t stride, ptrdiff_t dilation)
{
    pool_axis a = {taps, 0, stride, dilation, dilation};
    const ptrdiff_t span = (taps - 1) * dilation;
    if (stride <= MOST_PHASES && span / stride <= 4 * count + 64) {
        a.streams = span + 1 < stride ? span + 1 : stride;
        a.beyond = span / stride;
        a.apart = 1;
    }
    return a;
}

/* Where the first window meets tap t: which stream, and the position in it. */
static ptrdiff_t stream_of(const pool_axis *a, ptrdiff_t t)
{
    return a->apart == 1 ? t * a->dilation % a->stride : t;
}

static ptrdiff_t position_of(const pool_axis *a, ptrdiff_t t)
{
    return a->apart == 1 ? t * a->dilation / a->stride : 0;
}

/* The first pixel inside of an image that the window at `start` meets, or -1. */
static ptrdiff_t first_pixel(ptrdiff_t start, ptrdiff_t taps, ptrdiff_t dilation, ptrdiff_t size)
{
    const ptrdiff_t t = start >= 0 ? 0 : (dilation - 1 - start) / dilation;
    return t < taps && start + t * dilation < size ? start + t * dilation : -1;
}

/* Streams of a band of `band` rows of windows, and what else is in scratch memory. */
typedef struct {
    pool_axis y, x;
    ptrdiff_t bands, band, pitch, stream; /* numbers of a row, of a stream */
    ptrdiff_t numbers, run;               /* of all streams; of the windows, with whole vectors */
    int covered;                          /* every position of every stream is a pixel of its row */
} pool_layout;

/* How to take a plane apart, or -1 where it is too much to count. */
static int lay_streams(pool_layout *l, const tape_pooling *g, ptrdiff_t lanes, ptrdiff_t bytes)
{
    l->y = lay_axis(g->out_height, g->rows, g->stride_y, g->dilation_y);
    l->x = lay_axis(g->out_width, g->columns, g->stride_x, g->dilation_x);
    l->pitch = g->out_width + l->x.beyond;
    const double streams = (double)l->y.streams * (double)l->x.streams;
    const double row = streams * (double)l->pitch * (double)bytes;
    double most = (BAND_BYTES - row * (double)l->y.beyond) / (row + 4 * (double)l->pitch * 4) + 1;
    if (most < (double)l->y.beyond + 1)
        most = (double)l->y.beyond + 1; /* or rows are mostly copied again for the next band */
    l->bands = (ptrdiff_t)((double)(g->out_height - 1) / most) + 1;
    l->band = (g->out_height + l->bands - 1) / l->bands;
    if ((row + 64) * (double)(l->band + l->y.beyond + 1) + 64 * streams * (double)lanes > 1e15)
        return -1;
    l->stream = (l->band + l->y.beyond) * l->pitch + lanes;
    l->numbers = l->y.streams * l->x.streams * l->stream + l->pitch + lanes;
    l->covered = g->left == 0 && l->x.apart == 1 && l->pitch * g->stride_x <= g->width + g->stride_x - l->x.streams;
    l->run = (l->band * l->pitch + lanes) / 16 * 16 + 16;
    return 0;
}

typedef struct {
    ptrdiff_t from; /* offset in the streams */
    uint32_t at;    /* place in the plane, from the window's first pixel on, modulo 2**32 */
} pool_tap;

static void lay_taps(pool_tap *tap, const pool_layout *l, const tape_pooling *g)
{
    for (ptrdiff_t r = 0; r < g->rows; r++)
        for (ptrdiff_t s = 0; s < g->columns; s++, tap++) {
            const ptrdiff_t stream = stream_of(&l->y, r) * l->x.streams + stream_of(&l->x, s);
            tap->from = stream * l->stream + position_of(&l->y, r) * l->pitch + position_of(&l->x, s);
            tap->at = (uint32_t)(r * g->dilation_y) * (uint32_t)g->width + (uint32_t)(s * g->dilation_x);
        }
}

#endif

/* LANES numbers, of which n exist; `pad` for the others. */
INLINE FN(vec) FN(load_padded)(const REAL *from, ptrdiff_t n, REAL pad)
{
    FN(vec) v = FN(fill)(pad);
    if (n >= LANES)
        return FN(load)(from);
    if (n <= 0)
        return v;
    FN(mask) exists;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        exists[i] = i;
    exists = exists < (int)n;
    return (FN(vec))(((FN(mask))FN(load_first)(from, (int)n) & exists) | ((FN(mask))v & ~exists));
}

/* Deal n pixels of each row out to the two streams of stride 2, where pixels 0, 2, ... and 1, 3, ...
   go.

   What a vector writes beyond the end is padding that stands there anyway, or a row still to come.
   Where no window meets it (`open`), it may be the next row's pixels as well as padding. */
INLINE void FN(deal_pairs)(const int open, REAL *even, REAL *odd, ptrdiff_t pitch, const REAL *x, ptrdiff_t x_row,
                           ptrdiff_t rows, ptrdiff_t n, ptrdiff_t n_even, ptrdiff_t n_odd, REAL pad)
{
    FN(mask) low, high;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        low[i] = 2 * i, high[i] = 2 * i + 1;
    for (; rows > 0; rows--, x += x_row, even += pitch, odd += pitch)
        for (ptrdiff_t i = 0; i < n_even; i += LANES) {
            const FN(vec) v = open ? FN(load)(x + 2 * i) : FN(load_padded)(x + 2 * i, n - 2 * i, pad);
            const FN(vec) w = open ? FN(load)(x + 2 * i + LANES)
                                   : FN(load_padded)(x + 2 * i + LANES, n - 2 * i - LANES, pad);
            FN(store)(even + i, __builtin_shuffle(v, w, low));
            if (i < n_odd)
                FN(store)(odd + i, __builtin_shuffle(v, w, high));
        }
}

/* Deal rows of pixels out to their streams; `room` is how far memory reaches behind their start,
   `followed` whether rows of padding follow. */
static void FN(deal_rows)(REAL *to, const REAL *x, ptrdiff_t x_row, ptrdiff_t rows, const pool_layout *l,
                          const tape_pooling *g, ptrdiff_t room, int followed, REAL pad)
{
    const pool_axis *a = &l->x;
    const ptrdiff_t pitch = l->pitch, width = g->width;
    if (a->streams == 2 && a->stride == 2 && a->apart == 1) {
        const ptrdiff_t of_even = g->left / 2, of_odd = (g->left + 1) / 2;
        REAL *even = to + g->left % 2 * l->stream + of_even, *odd = to + (g->left + 1) % 2 * l->stream + of_odd;
        const ptrdiff_t n_even = (width + 1) / 2 < pitch - of_even ? (width + 1) / 2 : pitch - of_even;
        const ptrdiff_t n_odd = width / 2 < pitch - of_odd ? width / 2 : pitch - of_odd;
        const ptrdiff_t n = n_even + n_odd; /* pixels that any window meets */
        const ptrdiff_t reads = (n_even + LANES - 1) / LANES * 2 * LANES, last = (rows - 1) * x_row + reads;
        const ptrdiff_t safe = last <= room ? rows : rows - 1 - (last - room - 1) / x_row;
        const ptrdiff_t most = followed && safe > rows - 1 ? rows - 1 : safe;
        const ptrdiff_t open = l->covered && most > 0 ? most : 0;
        FN(deal_pairs)(1, even, odd, pitch, x, x_row, open, n, n_even, n_odd, pad);
        FN(deal_pairs)(0, even + open * pitch, odd + open * pitch, pitch, x + open * x_row, x_row, rows - open, n,
                       n_even, n_odd, pad);
        return;
    }
    for (; rows > 0; rows--, x += x_row, to += pitch)
        for (ptrdiff_t p = 0; p < a->streams; p++) {
            const ptrdiff_t origin = p * a->apart - g->left;
            ptrdiff_t j = origin >= 0 ? 0 : (a->stride - 1 - origin) / a->stride, c = origin + j * a->stride;
            REAL *stream = to + p * l->stream;
            if (a->stride == 1)
                for (; j < pitch && c < width; j += LANES, c += LANES) {
                    const ptrdiff_t n = width - c < pitch - j ? width - c : pitch - j;
                    FN(store)(stream + j, FN(load_padded)(x + c, n, pad));
                }
            else
                for (; j < pitch && c < width; j++, c += a->stride)
                    stream[j] = x[c];
        }
}

/* Deal the pixels of a plane that a band of windows from row `first` on meets out to the streams. */
static void FN(deal)(REAL *to, const REAL *x, const pool_layout *l, const tape_pooling *g,
                     ptrdiff_t first, ptrdiff_t room, REAL pad)
{
    const ptrdiff_t step = g->stride_y, positions = l->band + l->y.beyond;
    for (ptrdiff_t p = 0; p < l->y.streams; p++, to += l->x.streams * l->stream) {
        const ptrdiff_t y = first * step + p * l->y.apart - g->top;
        const ptrdiff_t from = y >= 0 ? 0 : (step - 1 - y) / step;
        ptrdiff_t rows = y >= g->height ? 0 : (g->height - 1 - y) / step + 1;
        rows = (rows < positions ? rows : positions) - from;
        if (rows > 0) {
            const ptrdiff_t at = (y + from * step) * g->width;
            FN(deal_rows)(to + from * l->pitch, x + at, step * g->width, rows, l, g, room - at,
                          from + rows < positions, pad);
        }
    }
}
