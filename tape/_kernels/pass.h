/* Activation functions and their gradients, one pass over the numbers each. Included once for each
   type. */

#ifndef TAPE_PASS_H
#define TAPE_PASS_H

#define PASS_ABOVE 5e4 /* numbers, some 10 us of one core: benchmarks "gelu", two threads */
#define PASS_BLOCK 64  /* numbers that no two threads share */

/* y of one vector: x is what the function has, or what a slope needs of it, and g the cotangent. */
#define UNUSED __attribute__((unused))
#define OF(name)                                                                            \
    INLINE FN(vec) FN(name##_of)(FN(vec) x UNUSED, FN(vec) g UNUSED, FN(vec) a UNUSED,       \
                                 FN(vec) b UNUSED, FN(vec) c UNUSED)

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

OF(relu)
{
    return FN(choose)(FN(at_most)(x, (FN(vec)){0}), (FN(vec)){0}, x);
}

OF(leaky_relu)
{
    return FN(choose)(FN(above)(x, (FN(vec)){0}), x, x * a);
}

/* e / (1 + e) or 1 / (1 + e) with e = exp(-|x|), which neither overflows nor loses digits. */
INLINE FN(vec) FN(sigmoid_at)(FN(vec) x)
{
    const FN(vec) e = FN(exp)(-FN(magnitude)(x));
    return FN(choose)(FN(above)(x, (FN(vec)){0}), FN(fill)(1), e) / (e + 1);
}

OF(sigmoid)
{
    return FN(sigmoid_at)(x);
}

OF(silu)
{
    return FN(finite_below)(x) * FN(sigmoid_at)(x);
}

/* a is beta, b the threshold. */
OF(softplus)
{
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

OF(gelu)
{
    FN(vec) bell;
    return FN(finite_below)(x) * FN(normal_below)(x, &bell);
}

/* 2 sqrt(2 / pi) (x + 0.044715 x**3) */
INLINE FN(vec) FN(gelu_cubic)(FN(vec) x)
{
    return (x + x * x * x * (REAL)0.044715) * (REAL)1.5957691216057308;
}

OF(gelu_tanh)
{
    return FN(finite_below)(x) * FN(sigmoid_at)(FN(gelu_cubic)(x));
}

/* NaN passes. */
INLINE FN(vec) FN(clamp)(FN(vec) low, FN(vec) high, FN(vec) x)
{
    return FN(smaller)(high, FN(larger)(low, x));
}

OF(clamp)
{
    return FN(clamp)(a, b, x);
}

OF(hardsigmoid)
{
    return FN(clamp)((FN(vec)){0}, FN(fill)(6), x + 3) / 6;
}

OF(hardswish)
{
    return FN(finite_below)(x) * (FN(clamp)((FN(vec)){0}, FN(fill)(6), x + 3) / 6);
}

OF(softshrink)
{
    return x - FN(clamp)(-a, a, x);
}

/* a is the factor below 0, b that of the exponent, c the factor above 0. */
OF(elu)
{
    return FN(choose)(FN(above)(x, (FN(vec)){0}), x * c, FN(expm1)(x * b) * a);
}

/* n / (n + 2) = tanh(log(1 + w)), where n = w (w + 2) and w = exp(x), both over w**2 above 0; what it
   lacks of 1 is 2 over the same. */
INLINE FN(vec) FN(mish_gate)(FN(vec) x, FN(vec) *rest)
{
    const FN(vec) e = FN(exp)(-FN(magnitude)(x)), square = e * e;
    const FN(flags) is = FN(above)(x, (FN(vec)){0});
    const FN(vec) n = FN(choose)(is, e * 2 + 1, e * 2 + square);
    const FN(vec) two = FN(choose)(is, square * 2, FN(fill)(2));
    *rest = two / (n + two);
    return n / (n + two);
}

OF(mish)
{
    FN(vec) rest;
    return FN(finite_below)(x) * FN(mish_gate)(x, &rest);
}

/* Gradients between or beyond two bounds, which do not count themselves; c is a factor. */
OF(inside)
{
    const FN(vec) below = FN(choose)(FN(at_most)(b, x), (FN(vec)){0}, g * c);
    return FN(choose)(FN(at_most)(x, a), (FN(vec)){0}, below);
}

OF(outside)
{
    const FN(vec) between = FN(choose)(FN(at_most)(x, b), (FN(vec)){0}, g * c);
    return FN(choose)(FN(at_most)(a, x), between, g * c);
}

OF(hardswish_slope)
{
    const FN(vec) below = FN(choose)(FN(at_most)(FN(fill)(3), x), g, g * (x / 3 + (REAL)0.5));
    return FN(choose)(FN(at_most)(x, FN(fill)(-3)), (FN(vec)){0}, below);
}

OF(elu_slope)
{
    return FN(choose)(FN(above)(x, (FN(vec)){0}), g * c, g * a * FN(exp)(x * b));
}

OF(mish_slope)
{
    FN(vec) rest;
    const FN(vec) t = FN(mish_gate)(x, &rest);
    return g * (t + FN(within)(x) * FN(sigmoid_at)(x) * (rest * (1 + t)));
}

OF(relu_gate)
{
    return FN(choose)(FN(at_most)(x, (FN(vec)){0}), (FN(vec)){0}, g);
}

OF(leaky_relu_gate)
{
    return FN(choose)(FN(above)(x, (FN(vec)){0}), g, g * a);
}

OF(sigmoid_slope)
{
    return g * x * (1 - x);
}

OF(tanh_slope)
{
    return g * (1 - x * x);
}

OF(silu_slope)
{
    const FN(vec) s = FN(sigmoid_at)(x);
    return g * (s + FN(within)(x) * (s * (1 - s)));
}

OF(softplus_slope)
{
    const FN(vec) z = x * a;
    return FN(choose)(FN(above)(z, b), g, g * FN(sigmoid_at)(z));
}

OF(gelu_slope)
{
    FN(vec) bell;
    const FN(vec) below = FN(normal_below)(x, &bell);
    return g * (below + FN(within)(x) * bell * (REAL)0.3989422804014327);
}

OF(gelu_tanh_slope)
{
    x = FN(within)(x);
    const FN(vec) s = FN(sigmoid_at)(FN(gelu_cubic)(x));
    const FN(vec) along = (1 + x * x * (REAL)(3 * 0.044715)) * (REAL)1.5957691216057308;
    return g * (s + x * (s * (1 - s)) * along);
}

#define PASS(name, with_g)                                                                      \
    static void FN(name##_pass)(const tape_pass *p, ptrdiff_t from, ptrdiff_t to)                \
    {                                                                                           \
        const REAL *x = (const REAL *)p->x + from, *g = with_g ? (const REAL *)p->g + from : x;  \
        const FN(vec) a = FN(fill)((REAL)p->a), b = FN(fill)((REAL)p->b),                        \
                      c = FN(fill)((REAL)p->c);                                                 \
        REAL *y = (REAL *)p->y + from;                                                           \
        ALONG(i, to - from, {                                                                    \
            const FN(vec) v = FN(read)(x + i, whole, some);                                      \
            const FN(vec) d = with_g ? FN(read)(g + i, whole, some) : v;                         \
            FN(write)(y + i, FN(name##_of)(v, d, a, b, c), whole, some);                            \
        });                                                                                      \
    }
PASS(relu, 0)
PASS(leaky_relu, 0)
PASS(sigmoid, 0)
PASS(silu, 0)
PASS(softplus, 0)
PASS(gelu, 0)
PASS(gelu_tanh, 0)
PASS(clamp, 0)
PASS(hardsigmoid, 0)
PASS(hardswish, 0)
PASS(elu, 0)
PASS(softshrink, 0)
PASS(mish, 0)
PASS(relu_gate, 1)
PASS(leaky_relu_gate, 1)
PASS(outside, 1)
PASS(inside, 1)
PASS(sigmoid_slope, 1)
PASS(tanh_slope, 1)
PASS(silu_slope, 1)
PASS(softplus_slope, 1)
PASS(gelu_slope, 1)
PASS(gelu_tanh_slope, 1)
PASS(hardswish_slope, 1)
PASS(elu_slope, 1)
PASS(mish_slope, 1)
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
        [TAPE_PASS_CLAMP] = FN(clamp_pass),
        [TAPE_PASS_HARDSIGMOID] = FN(hardsigmoid_pass),
        [TAPE_PASS_HARDSWISH] = FN(hardswish_pass),
        [TAPE_PASS_ELU] = FN(elu_pass),
        [TAPE_PASS_SOFTSHRINK] = FN(softshrink_pass),
        [TAPE_PASS_MISH] = FN(mish_pass),
        [TAPE_PASS_RELU_GATE] = FN(relu_gate_pass),
        [TAPE_PASS_LEAKY_RELU_GATE] = FN(leaky_relu_gate_pass),
        [TAPE_PASS_OUTSIDE] = FN(outside_pass),
        [TAPE_PASS_INSIDE] = FN(inside_pass),
        [TAPE_PASS_SIGMOID_SLOPE] = FN(sigmoid_slope_pass),
        [TAPE_PASS_TANH_SLOPE] = FN(tanh_slope_pass),
        [TAPE_PASS_SILU_SLOPE] = FN(silu_slope_pass),
        [TAPE_PASS_SOFTPLUS_SLOPE] = FN(softplus_slope_pass),
        [TAPE_PASS_GELU_SLOPE] = FN(gelu_slope_pass),
        [TAPE_PASS_GELU_TANH_SLOPE] = FN(gelu_tanh_slope_pass),
        [TAPE_PASS_HARDSWISH_SLOPE] = FN(hardswish_slope_pass),
        [TAPE_PASS_ELU_SLOPE] = FN(elu_slope_pass),
        [TAPE_PASS_MISH_SLOPE] = FN(mish_slope_pass),
    };
    FN(pass_split) s = {p, works[p->which], 1};
    if ((double)p->n > PASS_ABOVE)
        s.parts = tape_threads();
    tape_parallel_for(FN(pass_share), &s, s.parts);
}
