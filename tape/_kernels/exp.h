/* Exponentials and what is made of them, for one vector. Included once for each type.

   Note [Exponential]
   e**x = 2**n * e**r, where n is the integer next to x / ln 2. It is found by adding a number so
   large that what remains of the sum are whole numbers, in its lowest bits. |r| <= ln(2) / 2, where
   a polynomial is within a fifth of a unit in the last place of e**r. Its coefficients, like those
   below, interpolate at the zeros of a Chebyshev polynomial. */

#ifndef TAPE_EXP_H
#define TAPE_EXP_H

static const double exp_of_float[] = {0.001392625083, 0.008363232884, 0.04166655421, 0.1666657667, 0.5};
static const double exp_of_double[] = {
    2.5100472505694996e-8,   2.76202015910315488e-7, 2.75572682769056962e-6, 0.0000248015210578682052,
    0.00019841269863171556,  0.00138888889173670806, 0.0083333333333300382,  0.0416666666666238205,
    0.166666666666666675,    0.500000000000000103,
};
/* (log((1 + s) / (1 - s)) - 2 s) / s**3 in terms of s**2, to 1 / 9 */
static const double log_of_float[] = {0.2322432922, 0.217065758, 0.2859235799, 0.3999970633, 0.6666666732};
static const double log_of_double[] = {
    0.156305778009228504, 0.074921437955507673, 0.108451783948800148, 0.117342790613031975,
    0.133351786314492558, 0.153845439648605493, 0.181818198979627144, 0.222222221982367706,
    0.285714285716000993, 0.399999999999995225, 0.666666666666666669,
};
/* e**(u**2 / 2) / t of the normal distribution below -u, in terms of t - 1/2, t = 1 / (1 + u / 5) */
static const double tail_of_float[] = {
    0.02240325263, -0.0676606666, -0.04365576103, 0.07862891939, 0.2661411726, 0.4422548826,
    0.5280720295,  0.5016551431,  0.3962443709,   0.2661529889,  0.1538386102,
};
static const double tail_of_double[] = {
    0.00064024882077308378,  -0.000973822134797464744, -0.000931491425769760459, 0.0022643674365550934,
    0.000897129814766872973, -0.00367747170668952999,  -0.00105324119042224912,  0.0057185738007806467,
    0.00219266319566229797,  -0.00907909665099690318,  -0.0065205123470607802,   0.0136655991563665458,
    0.0203827020467001629,   -0.0121601653471009246,   -0.0557976568584604269,   -0.0408509127319479737,
    0.0766304451038398171,   0.266176855030532382,     0.442359287724020079,     0.528065171745302873,
    0.501653050674059914,    0.396244492775980859,     0.266153001156022741,     0.153838609950012592,
};
#define TERMS(of) (sizeof(REAL) == sizeof(float) ? of##_of_float : of##_of_double), \
    (sizeof(REAL) == sizeof(float) ? (int)(sizeof of##_of_float / sizeof(double))     \
                                   : (int)(sizeof of##_of_double / sizeof(double)))
#define BY_TYPE(of_float, of_double) ((REAL)(sizeof(REAL) == sizeof(float) ? (of_float) : (of_double)))

#endif

/* The coefficient of the highest power comes first. */
INLINE FN(vec) FN(polynomial)(FN(vec) x, const double *terms, const int n)
{
    FN(vec) y = FN(fill)((REAL)terms[0]);
#pragma GCC unroll 32
    for (int i = 1; i < n; i++)
        y = y * x + FN(fill)((REAL)terms[i]);
    return y;
}

#ifndef HAS_POWER
/* x * 2**n of a whole n, in two steps, so that the result may be subnormal. */
INLINE FN(vec) FN(times_power)(FN(vec) x, FN(vec) shifted)
{
    const int bits = BY_TYPE(23, 52), bias = BY_TYPE(127, 1023);
    const FN(vec) shift = FN(fill)(BY_TYPE(12582912.0, 6755399441055744.0));
    const FN(ints) n = (FN(ints))shifted - (FN(ints))shift, half = n >> 1;
    return x * (FN(vec))((half + bias) << bits) * (FN(vec))((n - half + bias) << bits);
}
#endif

INLINE FN(vec) FN(magnitude)(FN(vec) x)
{
    return (FN(vec))((FN(ints))x & ~(FN(ints))FN(fill)((REAL)-0.0));
}

/* e**r - 1 of Note [Exponential] for x + rest, where rest is small, and the power that is left to
   multiply e**r with, as times_power takes it; NaN stays. */
INLINE FN(vec) FN(exp_less_one)(FN(vec) x, FN(vec) rest, FN(vec) *power)
{
    const FN(vec) shift = FN(fill)(BY_TYPE(12582912.0, 6755399441055744.0));
    x = FN(larger)(FN(fill)(BY_TYPE(-105, -747)), FN(smaller)(FN(fill)(BY_TYPE(89, 710)), x));
    const FN(vec) shifted = (x + rest) * FN(fill)((REAL)1.4426950408889634) + shift, n = shifted - shift;
    /* ln 2 in two parts, the first one so short that its product with n is exact */
    FN(vec) r = x - n * FN(fill)(BY_TYPE(0.693359375, 0.6931471803691238));
    r = (r + rest) - n * FN(fill)(BY_TYPE(-0.000212194440055, 1.90821492927058782e-10));
    const FN(vec) y = FN(polynomial)(r, TERMS(exp));
#ifdef HAS_POWER
    *power = n;
#else
    *power = shifted;
#endif
    return (y * r) * r + r;
}

/* e**(x + rest), where rest is small; NaN stays. */
INLINE FN(vec) FN(exp_of_sum)(FN(vec) x, FN(vec) rest)
{
    FN(vec) power;
    const FN(vec) y = FN(exp_less_one)(x, rest, &power) + 1;
    return FN(times_power)(y, power);
}

/* e**x - 1 without loss of digits next to 0. */
INLINE FN(vec) FN(expm1)(FN(vec) x)
{
    FN(vec) power;
    const FN(vec) y = FN(exp_less_one)(x, (FN(vec)){0}, &power);
    /* apart where the power is small, in one where it may overflow before the product does */
    const FN(vec) near = FN(times_power)(y, power) + (FN(times_power)(FN(fill)(1), power) - 1);
    const FN(vec) far = FN(choose)(FN(above)(x, FN(fill)(1)), FN(times_power)(y + 1, power) - 1, near);
    return FN(choose)(FN(at_most)(FN(magnitude)(x), (FN(vec)){0}), x, far); /* -0 stays */
}

INLINE FN(vec) FN(exp)(FN(vec) x) { return FN(exp_of_sum)(x, (FN(vec)){0}); }

/* log(1 + e) for e in [0, 1]. */
INLINE FN(vec) FN(log_above_one)(FN(vec) e)
{
    const FN(vec) s = e / (e + 2), z = s * s;
    return s * z * FN(polynomial)(z, TERMS(log)) + s * 2;
}

/* e**(-u**2 / 2), u >= 0: the square's rounding would cost digits, so it is taken in two parts. */
INLINE FN(vec) FN(bell)(FN(vec) u)
{
    const FN(ints) upper = (FN(ints)){0} - (1 << (sizeof(REAL) == sizeof(float) ? 12 : 27));
    const FN(vec) most = (FN(vec))((FN(ints))u & upper);
    FN(vec) square = most * most;
    PIN(square);
    return FN(exp_of_sum)(square * (REAL)-0.5, (u - most) * (u + most) * (REAL)-0.5);
}

/* The normal distribution below -u, u >= 0, in full relative accuracy; the bell is given. */
INLINE FN(vec) FN(tail)(FN(vec) u, FN(vec) bell)
{
    const FN(vec) t = 1 / (u * (REAL)0.2 + 1);
    return FN(polynomial)(t - (REAL)0.5, TERMS(tail)) * t * bell;
}
