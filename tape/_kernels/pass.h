/* Activation functions and their gradients, one pass over the numbers each. Included once for each
   type. */

#ifndef TAPE_PASS_H
#define TAPE_PASS_H

#define PASS_ABOVE 5e4 /* numbers, some 10 us of one core: benchmarks "gelu", two threads */
#define PASS_BLOCK 64  /* numbers that no two threads share */

#endif

/* x with its lowest finite number for -inf, so that times 0 it is -0 and not NaN. */
INLINE FN(vec) FN(finite_below)(FN(vec) x)
{
    return FN(larger)(FN(fill)(BY_TYPE(-0x1.fffffep127, -0x1.fffffffffffffp1023)), x);
}

/* x no further from 0 than where slopes have reached their limits: infinity times 0 is NaN. */
INLINE FN(vec) FN(within)(FN(vec) x)
{
    return FN(larger)(FN(fill)(-1000), FN(smaller)(FN(fill)(1000), x));
}

INLINE FN(vec) FN(relu_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)g, (void)a, (void)b;
    return FN(choose)(FN(at_most)(x, (FN(vec)){0}), (FN(vec)){0}, x);
}

INLINE FN(vec) FN(leaky_relu_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)g, (void)b;
    return FN(choose)(FN(above)(x, (FN(vec)){0}), x, x * a);
}

/* e / (1 + e) or 1 / (1 + e) with e = exp(-|x|), which neither overflows nor loses digits. */
INLINE FN(vec) FN(sigmoid_at)(FN(vec) x)
{
    const FN(vec) e = FN(exp)(-FN(magnitude)(x));
    return FN(choose)(FN(above)(x, (FN(vec)){0}), FN(fill)(1), e) / (e + 1);
}

INLINE FN(vec) FN(sigmoid_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)g, (void)a, (void)b;
    return FN(sigmoid_at)(x);
}

INLINE FN(vec) FN(silu_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)g, (void)a, (void)b;
    return FN(finite_below)(x) * FN(sigmoid_at)(x);
}

/* a is beta, b the threshold. */
INLINE FN(vec) FN(softplus_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)g;
    const FN(vec) z = x * a, y = FN(larger)((FN(vec)){0}, z) + FN(log_above_one)(FN(exp)(-FN(magnitude)(z)));
    return FN(choose)(FN(above)(z, b), x, y / a);
}

/* The normal distribution at x, and its density but for 1 / sqrt(2 pi). */
INLINE FN(vec) FN(normal_below)(FN(vec) x, FN(vec) *bell)
{
    const FN(vec) u = FN(smaller)(FN(fill)(40), FN(magnitude)(x));
    *bell = FN(bell)(u);
    const FN(vec) tail = FN(tail)(u, *bell);
    return FN(choose)(FN(above)(x, (FN(vec)){0}), 1 - tail, tail);
}

INLINE FN(vec) FN(gelu_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)g, (void)a, (void)b;
    FN(vec) bell;
    return FN(finite_below)(x) * FN(normal_below)(x, &bell);
}

/* 2 sqrt(2 / pi) (x + 0.044715 x**3) */
INLINE FN(vec) FN(gelu_cubic)(FN(vec) x)
{
    return (x + x * x * x * (REAL)0.044715) * (REAL)1.5957691216057308;
}

INLINE FN(vec) FN(gelu_tanh_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)g, (void)a, (void)b;
    return FN(finite_below)(x) * FN(sigmoid_at)(FN(gelu_cubic)(x));
}

INLINE FN(vec) FN(relu_gate_of)(FN(vec) y, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)a, (void)b;
    return FN(choose)(FN(at_most)(y, (FN(vec)){0}), (FN(vec)){0}, g);
}

INLINE FN(vec) FN(leaky_relu_gate_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)b;
    return FN(choose)(FN(above)(x, (FN(vec)){0}), g, g * a);
}

INLINE FN(vec) FN(sigmoid_slope_of)(FN(vec) y, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)a, (void)b;
    return g * y * (1 - y);
}

INLINE FN(vec) FN(tanh_slope_of)(FN(vec) y, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)a, (void)b;
    return g * (1 - y * y);
}

INLINE FN(vec) FN(silu_slope_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)a, (void)b;
    const FN(vec) s = FN(sigmoid_at)(x);
    return g * (s + FN(within)(x) * (s * (1 - s)));
}

INLINE FN(vec) FN(softplus_slope_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    const FN(vec) z = x * a;
    return FN(choose)(FN(above)(z, b), g, g * FN(sigmoid_at)(z));
}

INLINE FN(vec) FN(gelu_slope_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)a, (void)b;
    FN(vec) bell;
    const FN(vec) below = FN(normal_below)(x, &bell);
    return g * (below + FN(within)(x) * bell * (REAL)0.3989422804014327);
}

INLINE FN(vec) FN(gelu_tanh_slope_of)(FN(vec) x, FN(vec) g, FN(vec) a, FN(vec) b)
{
    (void)a, (void)b;
    x = FN(within)(x);
    const FN(vec) s = FN(sigmoid_at)(FN(gelu_cubic)(x));
    const FN(vec) along = (1 + x * x * (REAL)(3 * 0.044715)) * (REAL)1.5957691216057308;
    return g * (s + x * (s * (1 - s)) * along);
}

#define PASS(name, with_g)                                                                      \
    static void FN(name##_pass)(const tape_pass *p, ptrdiff_t from, ptrdiff_t to)                \
    {                                                                                           \
        const REAL *x = (const REAL *)p->x + from, *g = with_g ? (const REAL *)p->g + from : x;  \
        const FN(vec) a = FN(fill)((REAL)p->a), b = FN(fill)((REAL)p->b);                        \
        REAL *y = (REAL *)p->y + from;                                                           \
        ALONG(i, to - from, {                                                                    \
            const FN(vec) v = FN(read)(x + i, whole, some);                                      \
            const FN(vec) d = with_g ? FN(read)(g + i, whole, some) : v;                         \
            FN(write)(y + i, FN(name##_of)(v, d, a, b), whole, some);                            \
        });                                                                                      \
    }
PASS(relu, 0)
PASS(leaky_relu, 0)
PASS(sigmoid, 0)
PASS(silu, 0)
PASS(softplus, 0)
PASS(gelu, 0)
PASS(gelu_tanh, 0)
PASS(relu_gate, 1)
PASS(leaky_relu_gate, 1)
PASS(sigmoid_slope, 1)
PASS(tanh_slope, 1)
PASS(silu_slope, 1)
PASS(softplus_slope, 1)
PASS(gelu_slope, 1)
PASS(gelu_tanh_slope, 1)
#undef PASS

typedef struct {
    const tape_pass *pass;
    void (*work)(const tape_pass *, ptrdiff_t, ptrdiff_t);
    ptrdiff_t parts;
} FN(pass_split);

static void FN(pass_share)(void *context, ptrdiff_t i)
{
    const FN(pass_split) *s = context;
    const ptrdiff_t n = s->pass->n, blocks = (n + PASS_BLOCK - 1) / PASS_BLOCK;
    const ptrdiff_t from = FN(cut)(blocks, i, s->parts) * PASS_BLOCK;
    const ptrdiff_t to = FN(cut)(blocks, i + 1, s->parts) * PASS_BLOCK;
    s->work(s->pass, from, to < n ? to : n);
}

static void FN(run_pass)(const tape_pass *p)
{
    static void (*const works[TAPE_PASSES])(const tape_pass *, ptrdiff_t, ptrdiff_t) = {
        [TAPE_PASS_RELU] = FN(relu_pass),
        [TAPE_PASS_LEAKY_RELU] = FN(leaky_relu_pass),
        [TAPE_PASS_SIGMOID] = FN(sigmoid_pass),
        [TAPE_PASS_SILU] = FN(silu_pass),
        [TAPE_PASS_SOFTPLUS] = FN(softplus_pass),
        [TAPE_PASS_GELU] = FN(gelu_pass),
        [TAPE_PASS_GELU_TANH] = FN(gelu_tanh_pass),
        [TAPE_PASS_RELU_GATE] = FN(relu_gate_pass),
        [TAPE_PASS_LEAKY_RELU_GATE] = FN(leaky_relu_gate_pass),
        [TAPE_PASS_SIGMOID_SLOPE] = FN(sigmoid_slope_pass),
        [TAPE_PASS_TANH_SLOPE] = FN(tanh_slope_pass),
        [TAPE_PASS_SILU_SLOPE] = FN(silu_slope_pass),
        [TAPE_PASS_SOFTPLUS_SLOPE] = FN(softplus_slope_pass),
        [TAPE_PASS_GELU_SLOPE] = FN(gelu_slope_pass),
        [TAPE_PASS_GELU_TANH_SLOPE] = FN(gelu_tanh_slope_pass),
    };
    FN(pass_split) s = {p, works[p->which], 1};
    if ((double)p->n > PASS_ABOVE)
        s.parts = tape_threads();
    tape_parallel_for(FN(pass_share), &s, s.parts);
}
