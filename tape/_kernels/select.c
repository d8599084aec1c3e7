/* Which instruction sets were built, which of them this machine has, and which one is in use. */
#include "kernels.h"

#include <string.h>

#define DECLARE(isa) extern const tape_kernels tape_kernels_##isa;

#ifdef TAPE_BUILT_avx512
DECLARE(avx512)
static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("fma");
}
#endif
#ifdef TAPE_BUILT_avx2
DECLARE(avx2)
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
        && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}
#endif
#ifdef TAPE_BUILT_neon
DECLARE(neon)
static int has_neon(void) { return 1; }
#endif
DECLARE(scalar)
static int has_scalar(void) { return 1; }

static const struct {
    const tape_kernels *table;
    int (*runs_here)(void);
} built[] = {
#ifdef TAPE_BUILT_avx512
    {&tape_kernels_avx512, has_avx512},
#endif
#ifdef TAPE_BUILT_avx2
    {&tape_kernels_avx2, has_avx2},
#endif
#ifdef TAPE_BUILT_neon
    {&tape_kernels_neon, has_neon},
#endif
    {&tape_kernels_scalar, has_scalar},
};

enum { N_BUILT = sizeof built / sizeof *built };

static const tape_kernels *chosen = 0;

const tape_kernels *tape_built(int i, int *runs_here)
{
    if (i >= N_BUILT)
        return 0;
    *runs_here = built[i].runs_here();
    return built[i].table;
}

int tape_choose(const char *name)
{
    for (int i = 0; i < N_BUILT; i++)
        if (!strcmp(built[i].table->name, name)) {
            if (!built[i].runs_here())
                return -2;
            chosen = built[i].table;
            return 0;
        }
    return -1;
}

const tape_kernels *tape_table(void)
{
    for (int i = 0; !chosen; i++) /* the last one runs everywhere */
        if (built[i].runs_here())
            chosen = built[i].table;
    return chosen;
}
