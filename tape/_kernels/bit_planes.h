/* Windows of signs against filters where results lie window by window, channel after channel.

   There the lanes are COUNTS windows next to each other, not filters, so nothing is transposed on
   the way out: the words of an image are put in planes first, one for each word of a pixel and each
   column of a window, in which the windows of all rows are neighbours without a gap. That is as
   much work as a few filters.

   A filter's offset is looked up in a vector that holds those of all its classes. */
typedef struct {
    const tape_bit_windows *k;
    ptrdiff_t image, windows;
    const uint32_t *planes;
    const ptrdiff_t *tap_at;                /* of each word of a window, in planes */
    const int32_t *offsets;                 /* COUNTS of each filter */
    const int32_t *class;                   /* of each window */
    ptrdiff_t tiles, width, wider, parts;   /* in vectors; see bit_job */
} plane_job;

INLINE void finish_planes(const int scaled, plane_job job, ptrdiff_t vector, int vectors,
                          ptrdiff_t filter, const int32_t *m)
{
    const tape_bit_windows k = *job.k;
    const ptrdiff_t end = k.filters - filter < BIT_PLANES ? k.filters : filter + BIT_PLANES;
    const ptrdiff_t window = vector * COUNTS;
    float *y = (float *)k.y + job.image * k.y_n + window + filter * k.y_c;
    for (ptrdiff_t o = filter; o < end; o++, y += k.y_c) {
        const vec_counts offsets = load_counts(job.offsets + o * COUNTS);
        for (int v = 0; v < vectors; v++, m += COUNTS) {
            const ptrdiff_t left = job.windows - window - v * COUNTS;
            const vec_counts class = load_counts(job.class + window + v * COUNTS);
            const vec_counts mismatches = load_counts(m);
            const vec_counts a = __builtin_shuffle(offsets, class) + mismatches + mismatches;
            vec_float z = (vec_float)a;
            if (scaled) {
                z = __builtin_convertvector(a, vec_float);
                if (k.scale) {
                    z *= k.scale[o];
                    KEEP(z); /* as in `finished` */
                }
                if (k.bias)
                    z += k.bias[o];
                if (k.residual)
                    z += load_first_float(k.residual + (y - (float *)k.y) + v * COUNTS,
                                          left < COUNTS ? (int)left : COUNTS);
            }
            if (left >= COUNTS)
                store_float(y + v * COUNTS, z);
            else
                store_first_float(y + v * COUNTS, z, (int)left);
        }
    }
}

static void plane_share(void *context, ptrdiff_t part)
{
    const plane_job *job = context;
    const tape_bit_windows *k = job->k;
    const ptrdiff_t taps = k->runs * k->run_words;
    const ptrdiff_t tile0 = job->tiles * part / job->parts;
    const ptrdiff_t tile1 = job->tiles * (part + 1) / job->parts;
    int32_t m[BIT_MOST_COUNTS] __attribute__((aligned(64)));
    for (ptrdiff_t o = 0; o < k->filters; o += BIT_PLANES) {
        const char *filters = (const char *)k->filter_bits + o / BIT_BLOCK * taps * BIT_FILTER_BYTES
                              + o % BIT_BLOCK * 4;
        for (ptrdiff_t tile = tile0; tile < tile1; tile++) {
            const ptrdiff_t vector = tile * job->width + (tile < job->wider ? tile : job->wider);
            const int vectors = (int)(job->width + (tile < job->wider));
            plane_tiles[vectors - 1](job->planes + vector * COUNTS, job->tap_at, taps, filters, m);
            if (k->kind == TAPE_SCALED)
                finish_planes(1, *job, vector, vectors, o, m);
            else
                finish_planes(0, *job, vector, vectors, o, m);
        }
    }
}

enum { PLANE_COLUMNS = 32 };

/* Where the words of a window are: in which of `columns` columns, and the last row and word. */
typedef struct {
    ptrdiff_t columns, column[PLANE_COLUMNS], rows, words;
} plane_taps;

static int find_taps(const tape_bit_windows *k, plane_taps *taps)
{
    const ptrdiff_t pixels = k->x_row / k->x_pixel;
    *taps = (plane_taps){0};
    for (ptrdiff_t run = 0; run < k->runs; run++)
        for (ptrdiff_t i = 0; i < k->run_words; i++) {
            const ptrdiff_t at = k->run_at[run] + i, pixel = at / k->x_pixel;
            const ptrdiff_t column = pixel % pixels;
            ptrdiff_t c = 0;
            while (c < taps->columns && taps->column[c] != column)
                c++;
            if (c == PLANE_COLUMNS)
                return 0;
            taps->column[c] = column;
            if (c == taps->columns)
                taps->columns++;
            if (pixel / pixels >= taps->rows)
                taps->rows = pixel / pixels + 1;
            if (at % k->x_pixel >= taps->words)
                taps->words = at % k->x_pixel + 1;
        }
    return 1;
}

/* The planes of an image; `apart` has room for its words, each by itself. */
static void put_in_planes(const tape_bit_windows *k, const plane_taps *taps, const uint32_t *x,
                          uint32_t *apart, uint32_t *planes, ptrdiff_t plane)
{
    const ptrdiff_t rows = k->rows - 1 + taps->rows, across = k->x_w / k->x_pixel;
    ptrdiff_t pixels = 0;
    for (ptrdiff_t c = 0; c < taps->columns; c++)
        if (taps->column[c] + (k->columns - 1) * across >= pixels)
            pixels = taps->column[c] + (k->columns - 1) * across + 1;
    for (ptrdiff_t word = 0; word < taps->words; word++) {
        for (ptrdiff_t row = 0; row < rows; row++)
            for (ptrdiff_t i = 0; i < pixels; i++)
                apart[row * pixels + i] = x[row * k->x_row + i * k->x_pixel + word];
        for (ptrdiff_t c = 0; c < taps->columns; c++) {
            uint32_t *to = planes + (c * taps->words + word) * plane;
            const uint32_t *from = apart + taps->column[c];
            for (ptrdiff_t row = 0; row < rows; row++, from += pixels, to += k->columns)
                if (across == 1)
                    for (ptrdiff_t j = 0; j < k->columns; j += COUNTS) /* the next row mends it */
                        store_float((float *)(to + j), load_float((const float *)(from + j)));
                else
                    for (ptrdiff_t j = 0; j < k->columns; j++)
                        to[j] = from[j * across];
        }
    }
}

/* correlate for results that lie so; 1 if that is not the case or would gain nothing. */
static int correlate_planes(const tape_bit_windows *k)
{
    const ptrdiff_t padded = (k->filters + 31) / 32 * 32, windows = k->rows * k->columns;
    const ptrdiff_t vectors = (windows + COUNTS - 1) / COUNTS, words = k->runs * k->run_words;
    ptrdiff_t row_most = 0, column_most = 0;
    plane_taps taps;
    if (!words || k->kind == TAPE_SIGNS || k->y_w != 1 || k->y_h != k->columns || k->x_h != k->x_row
        || k->filters < BIT_PLANES || windows * 8 < vectors * COUNTS * 7)
        return 1;
    for (ptrdiff_t i = 0; i < k->rows; i++)
        row_most = k->row_class[i] > row_most ? k->row_class[i] : row_most;
    for (ptrdiff_t j = 0; j < k->columns; j++)
        column_most = k->column_class[j] > column_most ? k->column_class[j] : column_most;
    const ptrdiff_t classes = (row_most + column_most) / padded + 1;
    if (classes > COUNTS || !find_taps(k, &taps))
        return 1;

    const ptrdiff_t rows = k->rows - 1 + taps.rows;
    const ptrdiff_t plane = (rows * k->columns + 2 * COUNTS - 1) / COUNTS * COUNTS;
    const ptrdiff_t apart = (rows * (k->x_row / k->x_pixel) + 2 * COUNTS - 1) / COUNTS * COUNTS;
    const size_t size = (size_t)(taps.columns * taps.words * plane + apart
                                 + (vectors + padded) * COUNTS) * 4
                        + (size_t)words * sizeof(ptrdiff_t);
    uint32_t *planes = tape_scratch(TAPE_SCRATCH_A, size);
    if (!planes)
        return -1;
    uint32_t *apart_at = planes + taps.columns * taps.words * plane;
    int32_t *class = (int32_t *)(apart_at + apart), *offsets = class + vectors * COUNTS;
    ptrdiff_t *tap_at = (ptrdiff_t *)(offsets + padded * COUNTS);
    for (ptrdiff_t j = 0; j < k->columns; j++)
        class[j] = (int32_t)(k->column_class[j] / padded);
    for (ptrdiff_t i = k->rows - 1; i >= 0; i--) {
        const int32_t row = (int32_t)(k->row_class[i] / padded);
        for (ptrdiff_t j = 0; j < k->columns; j++)
            class[i * k->columns + j] = class[j] + row;
    }
    for (ptrdiff_t i = windows; i < vectors * COUNTS; i++)
        class[i] = 0;
    for (ptrdiff_t o = 0; o < k->filters; o++)
        for (ptrdiff_t c = 0; c < classes; c++)
            offsets[o * COUNTS + c] = k->offsets[c * padded + o];
    for (ptrdiff_t i = 0; i < words; i++) {
        const ptrdiff_t at = k->run_at[i / k->run_words] + i % k->run_words;
        const ptrdiff_t pixel = at / k->x_pixel, pixels = k->x_row / k->x_pixel;
        ptrdiff_t c = 0;
        while (taps.column[c] != pixel % pixels)
            c++;
        tap_at[i] = (c * taps.words + at % k->x_pixel) * plane + pixel / pixels * k->columns;
    }
    plane_job job = {.k = k, .windows = windows, .planes = planes, .tap_at = tap_at,
                     .offsets = offsets, .class = class, .parts = 1};
    job.tiles = (vectors + PLANE_VECTORS - 1) / PLANE_VECTORS;
    job.width = vectors / job.tiles, job.wider = vectors % job.tiles;
    const ptrdiff_t threads = tape_threads();
    if ((double)windows * (double)k->filters * (double)words * 32 > BITS_PARALLEL_ABOVE * 16)
        job.parts = threads < job.tiles ? threads : job.tiles;
    for (; job.image < k->images; job.image++) {
        put_in_planes(k, &taps, k->x + job.image * k->x_n, apart_at, planes, plane);
        if (job.parts > 1)
            tape_parallel_for(plane_share, &job, job.parts);
        else
            plane_share(&job, 0);
    }
    return 0;
}
