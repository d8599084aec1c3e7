/* What the tiles of isa/bits_<name>.h are given. */

/* How the windows of a tile lie in memory: bytes from pixel to pixel and from block to block. */
typedef struct {
    ptrdiff_t x_step, filter_step;
    ptrdiff_t runs, run_words;
    const ptrdiff_t *run_at;
} bit_window;

/* Where 32 signs of each pixel go, for a tile that makes them itself; see finish_signs. */
typedef struct {
    const int32_t *offsets; /* of the row's class and of the first filter */
    const ptrdiff_t *class; /* of each pixel */
    uint32_t *y;
    ptrdiff_t y_step; /* words */
    uint32_t flip;
} bit_signs;
