/* Included last by isa/<name>.c: every kernel's body in terms of what that file supplies, and the
   table of them.

   ISA                         the name
   vec_float, vec_double       vectors with arithmetic operators
   load_first_x, store_first_x the first n elements of a vector from and to memory, no others
   load_halves_x               half a vector from one place, half from another
   above_x, at_most_x, choose_x  comparisons of vectors, and a choice by one
   larger_x, smaller_x         the extreme of two numbers, the second one if one is NaN
   low_double, high_double     the halves of a vector of floats
   times_power_x               with HAS_POWER: x * 2**n; else exp.h has its own
   ROWS, VECTORS, TALL         of a tile of a matrix product; see gemm.h
   BITS                        the file that compares and counts bits; see bit_correlate.h
   CODES                       the file that multiplies codes of 8 bits; see int8_tile.h */
#include "../kernels.h"
#include "../parallel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define PARALLEL_ABOVE 1e6 /* multiply-adds, 10 us of one core: benchmarks "two threads" */
/* The compiler must have v in a register here, and may know nothing of it afterwards. */
#if defined(__x86_64__)
#define PIN(v) __asm__ volatile("" : "+v"(v))
#else
#define PIN(v) __asm__ volatile("" : "+w"(v))
#endif
#define INLINE static inline __attribute__((always_inline))

typedef int32_t ints_float __attribute__((vector_size(sizeof(vec_float))));
typedef int64_t ints_double __attribute__((vector_size(sizeof(vec_double))));

#define BODY "bodies.h"
#include "types.h"
#undef BODY

#define BITS_PARALLEL_ABOVE 2e6 /* comparisons of 16 bits, some 10 us: benchmarks "two threads" */
#include "../bit_tile.h"
#include BITS

#define BODY "../bit_pack.h"
#include "types.h"
#undef BODY

#include "../bit_finish.h"
#ifdef BIT_PLANES
#include "../bit_planes.h"
#endif
#include "../bit_correlate.h"

#define INT8_PARALLEL_ABOVE 2e6      /* multiply-adds, some 10 us: benchmarks "two threads" */
#define INT8_PACK_PARALLEL_ABOVE 2e5 /* numbers */
#include CODES
#include "../int8_tile.h"
#include "../int8_finish.h"
#include "../int8_pack.h"
#include "../int8_correlate.h"
#include "../steps.h"

#define NAME_(isa) #isa
#define NAME(isa) NAME_(isa)

const tape_kernels PASTE(tape_kernels, ISA) = {
    .name = NAME(ISA),
    .multiply = {multiply_float, multiply_double},
    .correlate = {correlate_float, correlate_double},
    .weigh = {weigh_float, weigh_double},
    .max_pool = {max_pool_float, max_pool_double},
    .avg_pool = {avg_pool_float, avg_pool_double},
    .avg_spread = {avg_spread_float, avg_spread_double},
    .pick = {pick_float, pick_double},
    .put = {put_float, put_double},
    .update = update,
    .run_pass = {run_pass_float, run_pass_double},
    .run_rows = {run_rows_float, run_rows_double},
    .run_channels = {run_channels_float, run_channels_double},
    .sparse = {sparse_float, sparse_double},
    .shift = {shift_float, shift_double},
    .fma_peak = {fma_peak_float, fma_peak_double},
    .bits = {
        .pack = {pack_float, pack_double},
        .unpack = {unpack_float, unpack_double},
        .arranged = arranged,
        .arrange = arrange,
        .ones = count_ones,
        .correlate = correlate,
        .popcount_peak = popcount_peak,
    },
    .int8 = {
        .pack = int8_pack,
        .arrange = int8_arrange,
        .correlate = int8_correlate,
        .has_dot = int8_has_dot,
    },
};
