/* Windows of signs against filters; see bits.h.

   The product of two signs is +1 where their bits agree, so K products sum to K - 2 m with m the
   number of bits that differ: exclusive or, count, add.

   isa/bits_<name>.h supplies tiles of `pixels` windows next to each other and `blocks` blocks of
   BIT_BLOCK filters. Every filter has a lane of its own and goes through the words of its window
   in turn, so nothing is added across lanes, and how long a filter is makes no difference. Windows
   of a row are split evenly into tiles (15 are 8 and 7, not 14 and 1), of as many as BIT_TOGETHER
   where a tile counts so many at once.

   Note [Order of a convolution]
   A few blocks of filters stay in the first cache (4.6 KB: 32 filters 3 x 3 x 128) while all
   windows pass by, whose words are shared by neighbouring windows. */

typedef struct {
    const tape_bit_windows *k;
    const char *x;                           /* the words, as the tiles want them */
    ptrdiff_t tiles_a_row, tiles, blocks;
    ptrdiff_t width, wider;                  /* BIT_TOGETHER windows in a tile; how many have more */
    int most_blocks;                         /* at once */
    ptrdiff_t tile_parts, block_parts;
} bit_job;

static void bit_share(void *context, ptrdiff_t part)
{
    const bit_job *job = context;
    const tape_bit_windows *k = job->k;
    const ptrdiff_t tile0 = job->tiles * (part / job->block_parts) / job->tile_parts;
    const ptrdiff_t tile1 = job->tiles * (part / job->block_parts + 1) / job->tile_parts;
    const ptrdiff_t groups = (job->blocks + job->most_blocks - 1) / job->most_blocks;
    const ptrdiff_t group0 = groups * (part % job->block_parts) / job->block_parts;
    const ptrdiff_t group1 = groups * (part % job->block_parts + 1) / job->block_parts;
    const ptrdiff_t end = group1 * job->most_blocks < job->blocks ? group1 * job->most_blocks
                                                                   : job->blocks;
    int32_t m[BIT_MOST_COUNTS] __attribute__((aligned(64)));
    const bit_window window = {
        .x_step = k->x_w * BIT_UNIT,
        .filter_step = k->runs * k->run_words * BIT_FILTER_BYTES,
        .runs = k->runs,
        .run_words = k->run_words,
        .run_at = k->run_at,
    };
    bit_tile_end t = {
        .kind = k->kind, .m = m, .y_w = k->y_w, .y_c = k->y_c, .y_bit = k->y_bit, .flip = k->flip,
    };
    for (ptrdiff_t block = group0 * job->most_blocks; block < end;) {
        int blocks = job->most_blocks;
        while (blocks > end - block)
            blocks /= 2;
        t.width = blocks * BIT_BLOCK, t.first = block * BIT_BLOCK;
        t.scale = k->scale ? k->scale + t.first : NULL, t.bias = k->bias ? k->bias + t.first : NULL;
        t.channels = (int)(k->filters - t.first < t.width ? k->filters - t.first : t.width);
        const int whole_words = k->kind == TAPE_SIGNS && !k->y_bit && t.width == 32
                                && t.first % 32 == 0;
        bit_signs signs = {.y_step = k->y_w};
        if (whole_words && k->flip)
            signs.flip = k->flip[t.first / 32];
        ptrdiff_t i = tile0, image = i / job->tiles_a_row / k->rows;
        ptrdiff_t h = i / job->tiles_a_row % k->rows, j = i % job->tiles_a_row;
        for (; i < tile1; i++) {
            const ptrdiff_t left
                = (j * job->width + (j < job->wider ? j : job->wider)) * BIT_TOGETHER;
            t.pixels = (int)(job->width + (j < job->wider)) * BIT_TOGETHER;
            if (t.pixels > k->columns - left)
                t.pixels = (int)(k->columns - left);
            const ptrdiff_t y = image * k->y_n + h * k->y_h + left * k->y_w;
            t.offsets = k->offsets + k->row_class[h] + t.first;
            t.class = k->column_class + left;
            t.y = (char *)k->y + y * 4;
            if (k->kind != TAPE_SIGNS) {
                t.y += t.first * k->y_c * 4;
                t.residual = k->residual ? k->residual + y + t.first * k->y_c : 0;
            }
            signs.offsets = t.offsets, signs.class = t.class;
            signs.y = (uint32_t *)t.y + t.first / 32;
            if (!bit_tile(t.pixels, blocks, &window,
                          job->x + (image * k->x_n + h * k->x_h + left * k->x_w) * BIT_UNIT,
                          (const char *)k->filter_bits + block * window.filter_step, m,
                          whole_words ? &signs : NULL))
                finish_tile(&t);
            if (++j == job->tiles_a_row) {
                j = 0;
                if (++h == k->rows)
                    h = 0, image++;
            }
        }
        block += blocks;
    }
}

static int correlate(const tape_bit_windows *k)
{
    bit_job job = {.k = k, .x = (const char *)k->x, .tile_parts = 1, .block_parts = 1};
    if (!k->images || !k->rows || !k->columns || !k->filters)
        return 0;
#ifdef BIT_PLANES
    const int done = correlate_planes(k);
    if (done <= 0)
        return done;
#endif
#if BIT_UNIT != 4
    char *spread = tape_scratch(TAPE_SCRATCH_A, (size_t)k->x_words * BIT_UNIT + 1);
    if (!spread)
        return -1;
    spread_bits(k->x, k->x_words, k->x_w, spread);
    job.x = spread;
#endif
    job.tiles_a_row = (k->columns + BIT_PIXELS - 1) / BIT_PIXELS;
    job.tiles = k->images * k->rows * job.tiles_a_row;
    job.blocks = (k->filters + BIT_BLOCK - 1) / BIT_BLOCK;
    const ptrdiff_t together = (k->columns + BIT_TOGETHER - 1) / BIT_TOGETHER;
    job.width = together / job.tiles_a_row, job.wider = together % job.tiles_a_row;
    const ptrdiff_t widest = (job.width + (job.wider > 0)) * BIT_TOGETHER;
    job.most_blocks = bit_blocks((int)widest);
    const ptrdiff_t parts = tape_threads();
    if (parts > 1 && (double)job.tiles * (double)widest * (double)k->filters
                             * (double)(k->runs * k->run_words) * 32 > BITS_PARALLEL_ABOVE * 16) {
        if (job.tiles >= parts || k->y_bit % 16)
            job.tile_parts = parts < job.tiles ? parts : job.tiles;
        else
            job.block_parts = parts;
    }
    if (job.tile_parts * job.block_parts == 1)
        bit_share(&job, 0);
    else
        tape_parallel_for(bit_share, &job, job.tile_parts * job.block_parts);
    return 0;
}

static size_t arranged(ptrdiff_t filters, ptrdiff_t words)
{
    return (size_t)((filters + BIT_BLOCK - 1) / BIT_BLOCK * words) * BIT_FILTER_BYTES;
}

static void arrange(const uint32_t *filters, ptrdiff_t n, ptrdiff_t runs, ptrdiff_t run_words,
                    void *to)
{
    const ptrdiff_t words = runs * run_words;
    for (ptrdiff_t first = 0; first < n; first += BIT_BLOCK)
        arrange_block(filters + first * words, n - first < BIT_BLOCK ? (int)(n - first) : BIT_BLOCK,
                      runs, run_words, (char *)to + first / BIT_BLOCK * words * BIT_FILTER_BYTES);
}

static void count_ones(const uint32_t *filters, ptrdiff_t n, ptrdiff_t taps, ptrdiff_t words,
                       int32_t *to)
{
    const ptrdiff_t padded = (n + 31) / 32 * 32;
    memset(to, 0, (size_t)(taps * padded) * sizeof *to);
    for (ptrdiff_t o = 0; o < n; o++)
        for (ptrdiff_t tap = 0; tap < taps; tap++) {
            int32_t ones = 0;
            for (ptrdiff_t i = 0; i < words; i++)
                ones += ones_of(*filters++);
            to[tap * padded + o] = ones;
        }
}
