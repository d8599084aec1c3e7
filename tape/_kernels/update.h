/* Optimizer updates, in place. Included once for each type.

   Note [No fused operations]
   Every product is rounded before it is added to something, as in PyTorch: a step gives the same
   bits on every instruction set. `FN(times)` keeps the compiler from fusing the two; memory is what
   these loops wait for. The last vector of an array is masked, so a number's step does not depend on
   where it stands either, nor on which thread took it. */

#ifndef TAPE_UPDATE_H
#define TAPE_UPDATE_H

#define UPDATE_ABOVE 5e4 /* numbers, some 10 us of one core: benchmarks "Adam" */
#define UPDATE_BLOCK 64  /* numbers that no two threads share: a line of the cache and more */

#endif

INLINE FN(vec) FN(times)(FN(vec) a, FN(vec) b)
{
    FN(vec) y = a * b;
    PIN(y);
    return y;
}

INLINE FN(vec) FN(root)(FN(vec) x)
{
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        x[i] = sizeof(REAL) == sizeof(float) ? (REAL)__builtin_sqrtf((float)x[i]) : (REAL)__builtin_sqrt(x[i]);
    return x;
}

/* x + weight * (end - x), reckoned from the nearer end; rest is 1 - weight. */
INLINE FN(vec) FN(lerp)(FN(vec) x, FN(vec) end, int near_x, FN(vec) weight, FN(vec) rest)
{
    if (near_x)
        return x + FN(times)(weight, end - x);
    return end - FN(times)(rest, end - x);
}

INLINE FN(vec) FN(read)(const REAL *from, int whole, int n)
{
    if (whole)
        return FN(load)(from);
    return FN(load_first)(from, n);
}

INLINE void FN(write)(REAL *to, FN(vec) v, int whole, int n)
{
    if (whole)
        FN(store)(to, v);
    else
        FN(store_first)(to, v, n);
}

/* A body for whole vectors, then the same one for the rest. */
#define STEP(name)                                                                       \
    static void FN(name)(const tape_settings *s, void *const *data, ptrdiff_t n)         \
    {                                                                                    \
        const ptrdiff_t whole = n / LANES * LANES;                                       \
        FN(name##_vectors)(s, data, 0, whole, 1, LANES);                                 \
        if (whole < n)                                                                   \
            FN(name##_vectors)(s, data, whole, n, 0, (int)(n - whole));                  \
    }

INLINE void FN(sgd_vectors)(const tape_settings *s, void *const *data, ptrdiff_t from, ptrdiff_t to, int whole,
                                int some)
{
    REAL *p = data[0], *buf = data[2];
    const REAL *g = data[1];
    const FN(vec) rate = FN(fill)((REAL)-s->lr), decay = FN(fill)((REAL)s->weight_decay);
    const FN(vec) momentum = FN(fill)((REAL)s->momentum), fresh = FN(fill)((REAL)(1 - s->dampening));
    const int decays = s->weight_decay != 0, moves = s->momentum != 0, first = s->first, nesterov = s->nesterov;
    for (ptrdiff_t i = from; i < to; i += LANES) {
        const FN(vec) x = FN(read)(p + i, whole, some);
        FN(vec) d = FN(read)(g + i, whole, some);
        if (decays)
            d = d + FN(times)(decay, x);
        if (moves) {
            FN(vec) moved = d;
            if (!first)
                moved = FN(times)(FN(read)(buf + i, whole, some), momentum) + FN(times)(fresh, d);
            FN(write)(buf + i, moved, whole, some);
            if (nesterov)
                d = d + FN(times)(momentum, moved);
            else
                d = moved;
        }
        FN(write)(p + i, x + FN(times)(rate, d), whole, some);
    }
}
STEP(sgd)

INLINE void FN(adam_vectors)(const tape_settings *s, void *const *data, ptrdiff_t from, ptrdiff_t to, int whole,
                                int some)
{
    REAL *p = data[0], *m = data[2], *v = data[3], *top = data[4];
    const REAL *g = data[1];
    const FN(vec) rate = FN(fill)((REAL)(-s->lr / s->correction1)), eps = FN(fill)((REAL)s->eps);
    const FN(vec) scale = FN(fill)((REAL)(1 / __builtin_sqrt(s->correction2)));
    const FN(vec) fresh1 = FN(fill)((REAL)(1 - s->beta1)), rest1 = (REAL)1 - fresh1;
    const FN(vec) beta2 = FN(fill)((REAL)s->beta2), fresh2 = FN(fill)((REAL)(1 - s->beta2));
    const FN(vec) decay = FN(fill)((REAL)s->weight_decay);
    const FN(vec) keep = FN(fill)((REAL)(s->decoupled ? 1 - s->lr * s->weight_decay : 1));
    const int decays = s->weight_decay != 0 && !s->decoupled, near = fresh1[0] < (REAL)0.5;
    for (ptrdiff_t i = from; i < to; i += LANES) {
        const FN(vec) x = FN(read)(p + i, whole, some);
        FN(vec) d = FN(read)(g + i, whole, some);
        if (decays)
            d = d + FN(times)(decay, x);
        const FN(vec) mean = FN(lerp)(FN(read)(m + i, whole, some), d, near, fresh1, rest1);
        FN(vec) size = FN(times)(FN(read)(v + i, whole, some), beta2) + FN(times)(FN(times)(fresh2, d), d);
        FN(write)(m + i, mean, whole, some);
        FN(write)(v + i, size, whole, some);
        if (top) {
            const FN(vec) before = FN(read)(top + i, whole, some);
            const FN(mask) larger = (size > before) | (size != size);
            size = (FN(vec))(((FN(mask))size & larger) | ((FN(mask))before & ~larger));
            FN(write)(top + i, size, whole, some);
        }
        const FN(vec) deviation = FN(times)(FN(root)(size), scale) + eps;
        FN(write)(p + i, FN(times)(x, keep) + FN(times)(rate, mean) / deviation, whole, some);
    }
}
STEP(adam)

INLINE void FN(rmsprop_vectors)(const tape_settings *s, void *const *data, ptrdiff_t from, ptrdiff_t to, int whole,
                                int some)
{
    REAL *p = data[0], *square = data[2], *mean = data[3], *buf = data[4];
    const REAL *g = data[1];
    const FN(vec) rate = FN(fill)((REAL)-s->lr), decay = FN(fill)((REAL)s->weight_decay);
    const FN(vec) alpha = FN(fill)((REAL)s->alpha), fresh = FN(fill)((REAL)(1 - s->alpha)), rest = (REAL)1 - fresh;
    const FN(vec) eps = FN(fill)((REAL)s->eps), momentum = FN(fill)((REAL)s->momentum);
    const int decays = s->weight_decay != 0, moves = s->momentum != 0, near = fresh[0] < (REAL)0.5;
    for (ptrdiff_t i = from; i < to; i += LANES) {
        FN(vec) x = FN(read)(p + i, whole, some);
        FN(vec) d = FN(read)(g + i, whole, some);
        if (decays)
            d = d + FN(times)(decay, x);
        FN(vec) size = FN(times)(FN(read)(square + i, whole, some), alpha) + FN(times)(FN(times)(fresh, d), d);
        FN(write)(square + i, size, whole, some);
        if (mean) {
            const FN(vec) centre = FN(lerp)(FN(read)(mean + i, whole, some), d, near, fresh, rest);
            FN(write)(mean + i, centre, whole, some);
            size = size - FN(times)(centre, centre);
        }
        size = FN(root)(size) + eps;
        if (moves) {
            const FN(vec) moved = FN(times)(FN(read)(buf + i, whole, some), momentum) + d / size;
            FN(write)(buf + i, moved, whole, some);
            x = x + FN(times)(rate, moved);
        } else {
            x = x + FN(times)(rate, d) / size;
        }
        FN(write)(p + i, x, whole, some);
    }
}
STEP(rmsprop)

INLINE void FN(scale_vectors)(const tape_settings *s, void *const *data, ptrdiff_t from, ptrdiff_t to, int whole,
                                int some)
{
    REAL *x = data[0];
    const FN(vec) factor = FN(fill)((REAL)s->factor);
    for (ptrdiff_t i = from; i < to; i += LANES)
        FN(write)(x + i, FN(read)(x + i, whole, some) * factor, whole, some);
}
STEP(scale)

/* Numbers [from, to) of one parameter and what belongs to it. */
static void FN(update_part)(int step, const tape_settings *s, const tape_arrays *a, ptrdiff_t from, ptrdiff_t to)
{
    static void (*const steps[TAPE_STEPS])(const tape_settings *, void *const *, ptrdiff_t)
        = {FN(sgd), FN(adam), FN(rmsprop), FN(scale)};
    void *data[TAPE_SLOTS];
    for (int i = 0; i < TAPE_SLOTS; i++)
        data[i] = a->data[i] ? (REAL *)a->data[i] + from : NULL;
    steps[step](s, data, to - from);
}

#undef STEP
