/* Windows of codes against filters of int8; see int8.h.

   Windows of a row are split evenly into chunks, and those into tiles; the sums of a chunk stay in
   the first cache until they are finished, so that results may leave with windows side by side. A
   few blocks of filters stay there too while all windows pass by. */
enum { INT8_CHUNK = 48 };

typedef struct {
    const tape_int8_windows *k;
    const char *x;                  /* the codes, as the tiles want them */
    int dot;
    ptrdiff_t chunks_a_row, chunks; /* of windows */
    ptrdiff_t blocks;               /* of filters */
    ptrdiff_t chunk_parts, block_parts;
} int8_job;

static void int8_share(void *context, ptrdiff_t part)
{
    const int8_job *job = context;
    const tape_int8_windows *k = job->k;
    const ptrdiff_t chunk0 = job->chunks * (part / job->block_parts) / job->chunk_parts;
    const ptrdiff_t chunk1 = job->chunks * (part / job->block_parts + 1) / job->chunk_parts;
    const ptrdiff_t end = job->blocks * (part % job->block_parts + 1) / job->block_parts;
    const ptrdiff_t unit = job->dot ? 1 : 2, size = k->kind == TAPE_INT8_CODES ? 1 : 4;
    int32_t m[INT8_CHUNK * INT8_BLOCKS * INT8_BLOCK] __attribute__((aligned(64)));
    int8_window window = {
        .x_step = k->x_w * unit,
        .filter_step = k->runs * k->run_words * 4 * INT8_BLOCK,
        .runs = k->runs,
        .steps = k->run_words * (job->dot ? 1 : 2),
        .run_at = k->run_at,
    };
    int8_end e = {.k = k, .m = m};
    for (ptrdiff_t block = job->blocks * (part % job->block_parts) / job->block_parts; block < end;) {
        int blocks = INT8_BLOCKS;
        while (blocks > end - block)
            blocks /= 2;
        window.width = e.width = blocks * INT8_BLOCK, e.first = block * INT8_BLOCK;
        e.filters = k->filters - e.first < e.width ? k->filters - e.first : e.width;
        for (ptrdiff_t i = chunk0; i < chunk1; i++) {
            const ptrdiff_t j = i % job->chunks_a_row, row = i / job->chunks_a_row;
            const ptrdiff_t image = row / k->rows, h = row % k->rows;
            const ptrdiff_t left = k->columns * j / job->chunks_a_row;
            const char *x = job->x + (image * k->x_n + h * k->x_h + left * k->x_w) * unit;
            e.pixels = k->columns * (j + 1) / job->chunks_a_row - left;
            const ptrdiff_t tiles = (e.pixels + INT8_PIXELS - 1) / INT8_PIXELS;
            for (ptrdiff_t t = 0; t < tiles; t++) {
                const ptrdiff_t p0 = e.pixels * t / tiles, p1 = e.pixels * (t + 1) / tiles;
                int8_tiles[job->dot][p1 - p0 - 1][blocks - 1](
                    &window, x + p0 * window.x_step,
                    (const char *)k->weights + block * window.filter_step, m + p0 * e.width);
            }
            e.y = (char *)k->y
                + (image * k->y_n + h * k->y_h + left * k->y_w + e.first * k->y_c) * size;
            int8_finish(&e);
        }
        block += blocks;
    }
}

/* Codes as numbers of 16 bits. */
static void int8_spread(void *context, ptrdiff_t part)
{
    const int8_job *job = context;
    const ptrdiff_t n = job->k->x_bytes, end = n < (part + 1) << 16 ? n : (part + 1) << 16;
    int16_t *to = (int16_t *)job->x;
    for (ptrdiff_t i = part << 16; i < end; i++)
        to[i] = job->k->x[i];
}

static int int8_correlate(const tape_int8_windows *k)
{
    int8_job job = {.k = k, .x = (const char *)k->x, .chunk_parts = 1, .block_parts = 1};
    if (!k->images || !k->rows || !k->columns || !k->filters)
        return 0;
    job.chunks_a_row = (k->columns + INT8_CHUNK - 1) / INT8_CHUNK;
    job.chunks = k->images * k->rows * job.chunks_a_row;
    job.blocks = (k->filters + INT8_BLOCK - 1) / INT8_BLOCK;
    job.dot = int8_has_dot();
    const ptrdiff_t parts = tape_threads();
    const int is_large = parts > 1
        && (double)k->images * (double)k->rows * (double)k->columns * (double)k->filters
                * (double)(k->runs * k->run_words) * 4
            > INT8_PARALLEL_ABOVE;
    if (!job.dot) {
        const ptrdiff_t pieces = (k->x_bytes + 0xffff) >> 16;
        job.x = tape_scratch(TAPE_SCRATCH_A, (size_t)k->x_bytes * 2 + 1);
        if (!job.x)
            return -1;
        if (is_large)
            tape_parallel_for(int8_spread, &job, pieces);
        else
            for (ptrdiff_t i = 0; i < pieces; i++)
                int8_spread(&job, i);
    }
    if (is_large && job.chunks >= parts)
        job.chunk_parts = parts;
    else if (is_large)
        job.block_parts = parts < job.blocks ? parts : job.blocks;
    if (job.chunk_parts * job.block_parts == 1)
        int8_share(&job, 0);
    else
        tape_parallel_for(int8_share, &job, job.chunk_parts * job.block_parts);
    return 0;
}

static void int8_arrange(const int8_t *filters, ptrdiff_t n, ptrdiff_t words, void *to)
{
    const int each = int8_has_dot() ? 4 : 2; /* codes a lane at a time */
    int8_t *lanes = to;
    for (ptrdiff_t first = 0; first < n; first += INT8_BLOCK)
        for (ptrdiff_t i = 0; i < 4 * words; i += each)
            for (ptrdiff_t f = first; f < first + INT8_BLOCK; f++)
                for (int j = 0; j < each; j++)
                    *lanes++ = f < n ? filters[f * 4 * words + i + j] : 0;
}
