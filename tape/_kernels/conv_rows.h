/* Correlation with vectors along the rows of the image. Included once for each
   type.

   Where a result has few channels, or few numbers go into each, vectors along channels are mostly
   empty or are hardly filled before they are turned round and stored. Then a tile is some channels
   times some vectors of pixels of the result: for each tap, every vector is loaded from its place
   in the slab plus the tap's offset, and multiplied with one weight of each channel.

   Which way is taken depends on how many channels there are, and no result may: so both sum along k
   in the same blocks. */

#define FEW 3                /* channels of a tile with twice the vectors */
#define BROAD (2 * VECTORS)

/* One vector of pixels: where it begins in the slab and in the result, how many pixels there are. */
typedef struct {
    int32_t from, exist;
    ptrdiff_t to;
} FN(strip);

typedef struct {
    ptrdiff_t k, w_row, y_channel;
    const int32_t *taps;
    const REAL *slab, *w, *bias;
    int onto;
    const tape_product *end; /* what to do with finished sums; NULL if more follow */
    REAL *y;
} FN(rows);

INLINE void FN(row_tile)(const int channels, const int vectors, const FN(rows) *t, ptrdiff_t channel,
                         const FN(strip) *strips, int n_strips)
{
    FN(vec) sums[ROWS][BROAD];
    const REAL *from[BROAD];
    const REAL *w = t->w + channel * t->w_row, *w3 = w + 3 * t->w_row;
    const ptrdiff_t w_row = t->w_row;
#pragma GCC unroll 16
    for (int v = 0; v < vectors; v++) {
        from[v] = t->slab + strips[v < n_strips ? v : 0].from;
#pragma GCC unroll 8
        for (int i = 0; i < channels; i++)
            sums[i][v] = (FN(vec)){0};
    }
    for (ptrdiff_t p = 0; p < t->k; p++, w++, w3++) {
        const ptrdiff_t at = t->taps[p];
        FN(vec) of_w[ROWS]; /* of all channels: fewer than vectors, or as few that all fit */
#pragma GCC unroll 8
        for (int i = 0; i < channels; i++)
            of_w[i] = FN(fill)(i < 3 ? w[i * w_row] : w3[(i - 3) * w_row]);
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) {
            const FN(vec) of_x = FN(load)(from[v] + at);
#pragma GCC unroll 8
            for (int i = 0; i < channels; i++)
                sums[i][v] += of_w[i] * of_x;
        }
    }
    for (int v = 0; v < n_strips; v++) {
        REAL *to = t->y + channel * t->y_channel + strips[v].to;
#pragma GCC unroll 8
        for (int i = 0; i < channels; i++, to += t->y_channel) {
            FN(vec) y = sums[i][v];
            if (t->onto)
                y = FN(load_first)(to, strips[v].exist) + y;
            if (t->end) {
                if (t->bias)
                    y += FN(fill)(t->bias[channel + i]);
                y = FN(finish)(t->end, y);
            }
            if (strips[v].exist == LANES)
                FN(store)(to, y);
            else
                FN(store_first)(to, y, strips[v].exist);
        }
    }
}

typedef void (*FN(row_function))(const FN(rows) *, ptrdiff_t, const FN(strip) *, int);

#define TILE(channels, vectors)                                                                 \
    static void FN(rows_##channels)(const FN(rows) *t, ptrdiff_t channel,                       \
                                    const FN(strip) *strips, int n)                             \
    {                                                                                           \
        FN(row_tile)(channels, vectors, t, channel, strips, n);                                 \
    }
TILE(1, BROAD) TILE(2, BROAD) TILE(3, BROAD) TILE(4, VECTORS) TILE(5, VECTORS) TILE(6, VECTORS)
static const FN(row_function) FN(row_tiles)[ROWS] = {
    FN(rows_1), FN(rows_2), FN(rows_3), FN(rows_4), FN(rows_5), FN(rows_6),
};
#undef TILE

/* Whether vectors along rows take fewer steps than vectors along channels, which are turned before
   they are stored, but not where signs are all that is; see conv.h. */
static int FN(along_rows)(const tape_convolution *g, ptrdiff_t k)
{
    const ptrdiff_t of_channels = (g->out_channels + LANES - 1) / LANES;
    const ptrdiff_t of_pixels = (g->out_width + LANES - 1) / LANES;
    const double by_channel = (double)of_channels * (double)(k + (g->bits ? 5 : 12)) * (double)g->out_width;
    const double by_row = (double)of_pixels * (double)(k + 4) * (double)g->out_channels;
    return g->stride_x == 1 && g->y_col == 1 && by_row < by_channel;
}

/* How many strips one tile takes. */
static ptrdiff_t FN(broad)(ptrdiff_t channels) { return channels <= FEW ? BROAD : VECTORS; }

static ptrdiff_t FN(strip_count)(const tape_convolution *g, ptrdiff_t rows)
{
    return rows * ((g->out_width + LANES - 1) / LANES);
}

static void FN(lay_strips)(FN(strip) *strips, const tape_convolution *g, ptrdiff_t rows, ptrdiff_t wide)
{
    for (ptrdiff_t y = 0; y < rows; y++)
        for (ptrdiff_t x = 0; x < g->out_width; x += LANES) {
            const ptrdiff_t left = g->out_width - x;
            strips->from = (int32_t)(y * g->stride_y * wide + x);
            strips->to = y * g->y_row + x;
            strips->exist = left < LANES ? (int32_t)left : LANES;
            strips++;
        }
}

/* All channels of all strips. */
static void FN(correlate_rows)(const FN(rows) *t, ptrdiff_t channels, const FN(strip) *strips, ptrdiff_t n)
{
    const ptrdiff_t tiles = (channels + ROWS - 1) / ROWS;
    ptrdiff_t at = 0;
    while (at < n) {
        const ptrdiff_t wide = FN(broad)(channels);
        const int some = (int)(n - at < wide ? n - at : wide);
        for (ptrdiff_t i = 0; i < tiles; i++) {
            const ptrdiff_t c0 = FN(cut)(channels, i, tiles), c1 = FN(cut)(channels, i + 1, tiles);
            FN(rows) of_k = *t;
            do {
                const ptrdiff_t left = t->k - (of_k.w - t->w);
                of_k.k = left < GATHER_DEPTH ? left : GATHER_DEPTH;
                of_k.onto = left < t->k, of_k.end = left > of_k.k ? NULL : t->end;
                FN(row_tiles)[c1 - c0 - 1](&of_k, c0, strips + at, some);
                of_k.taps += of_k.k, of_k.w += of_k.k;
            } while (of_k.w - t->w < t->k);
        }
        at += some;
    }
}

#undef FEW
#undef BROAD
