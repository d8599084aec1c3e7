/* Tiles of `pixels` windows next to each other and `blocks` blocks of 16 filters, whose sums stay in
   registers: for each 4 codes (2, where those are widened to 16 bits) of each window the weights of
   all filters are loaded once. Every filter has a lane of its own; sums of whole numbers are exact,
   so neither their order nor the instruction set makes a difference. */
enum { INT8_BLOCK = 16 };

typedef struct {
    ptrdiff_t x_step, filter_step; /* bytes from window to window and from block to block */
    ptrdiff_t runs, steps;         /* of 4 bytes */
    const ptrdiff_t *run_at;
    ptrdiff_t width;               /* sums a window */
} int8_window;

INLINE void int8_tile_of(const int dot, const int pixels, const int blocks, const int8_window *k,
                         const char *x, const char *filters, int32_t *m)
{
    const int vectors = blocks * INT8_PARTS, bytes = (dot ? 64 : 32) / INT8_PARTS;
    const ptrdiff_t step = k->x_step, filter_step = k->filter_step;
    int8_sums sums[INT8_PIXELS][INT8_BLOCKS * INT8_PARTS];
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sums[p][v] = int8_none();
    for (ptrdiff_t run = 0; run < k->runs; run++) {
        const char *at[2], *of[2]; /* x86 adds 0, 1 or 2 steps for nothing */
#pragma GCC unroll 2
        for (int i = 0; i < (pixels + 2) / 3; i++)
            at[i] = x + k->run_at[run] * (dot ? 1 : 2) + 3 * i * step;
#pragma GCC unroll 2
        for (int i = 0; i < (blocks + 2) / 3; i++)
            of[i] = filters + 3 * i * filter_step;
        for (ptrdiff_t n = k->steps; n > 0; n--) {
            __typeof__(int8_weights(dot, filters)) w[INT8_BLOCKS * INT8_PARTS];
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) {
                const int b = v / INT8_PARTS;
                w[v] = int8_weights(dot, of[b / 3] + b % 3 * filter_step + v % INT8_PARTS * bytes);
            }
#pragma GCC unroll 8
            for (int p = 0; p < pixels; p++) {
                const __typeof__(w[0]) a = int8_codes(at[p / 3] + p % 3 * step);
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++)
                    int8_add(dot, &sums[p][v], a, w[v]);
            }
#pragma GCC unroll 2
            for (int i = 0; i < (pixels + 2) / 3; i++)
                at[i] += 4;
#pragma GCC unroll 2
            for (int i = 0; i < (blocks + 2) / 3; i++)
                of[i] += INT8_PARTS * bytes;
        }
        filters += k->steps * INT8_PARTS * bytes;
    }
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            int8_keep(m + p * k->width + v * (INT8_BLOCK / INT8_PARTS), sums[p][v]);
}

typedef void (*int8_tile)(const int8_window *, const char *, const char *, int32_t *);

#define INT8_TILE(way, attribute, dot, pixels, blocks)                                            \
    static __attribute__((noinline)) attribute void way##_##pixels##_##blocks(                    \
        const int8_window *k, const char *x, const char *filters, int32_t *m)                     \
    {                                                                                             \
        int8_tile_of(dot, pixels, blocks, k, x, filters, m);                                      \
    }
#if INT8_BLOCKS == 4
#define INT8_ROW(way, attribute, dot, pixels)                                                     \
    INT8_TILE(way, attribute, dot, pixels, 1) INT8_TILE(way, attribute, dot, pixels, 2)           \
    INT8_TILE(way, attribute, dot, pixels, 4)
#define INT8_NAMES(way, pixels) {way##_##pixels##_1, way##_##pixels##_2, 0, way##_##pixels##_4}
#else
#define INT8_ROW(way, attribute, dot, pixels) INT8_TILE(way, attribute, dot, pixels, 1)
#define INT8_NAMES(way, pixels) {way##_##pixels##_1}
#endif
#if INT8_PIXELS == 6
#define INT8_TILES(way, attribute, dot)                                                           \
    INT8_ROW(way, attribute, dot, 1) INT8_ROW(way, attribute, dot, 2)                             \
    INT8_ROW(way, attribute, dot, 3) INT8_ROW(way, attribute, dot, 4)                             \
    INT8_ROW(way, attribute, dot, 5) INT8_ROW(way, attribute, dot, 6)
#define INT8_ALL(way)                                                                             \
    {INT8_NAMES(way, 1), INT8_NAMES(way, 2), INT8_NAMES(way, 3), INT8_NAMES(way, 4),              \
     INT8_NAMES(way, 5), INT8_NAMES(way, 6)}
#else
#define INT8_TILES(way, attribute, dot)                                                           \
    INT8_ROW(way, attribute, dot, 1) INT8_ROW(way, attribute, dot, 2)
#define INT8_ALL(way) {INT8_NAMES(way, 1), INT8_NAMES(way, 2)}
#endif

INT8_TILES(int8_pairs, , 0)
#ifdef INT8_DOT
INT8_TILES(int8_fours, INT8_DOT, 1)
#define INT8_WAYS 2
#else
#define INT8_WAYS 1
#endif

static const int8_tile int8_tiles[INT8_WAYS][INT8_PIXELS][INT8_BLOCKS] = {
    INT8_ALL(int8_pairs),
#ifdef INT8_DOT
    INT8_ALL(int8_fours),
#endif
};
