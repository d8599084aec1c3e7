/* What a set of kernels offers: one table for each instruction set, filled by isa/<name>.c. */
#ifndef TAPE_KERNELS_H
#define TAPE_KERNELS_H

#include "bits.h"

#include <stddef.h>
#include <stdint.h>

enum { TAPE_FLOAT, TAPE_DOUBLE, TAPE_REALS };

/* What happens in registers to a result before it is stored. */
enum { TAPE_NOTHING, TAPE_RELU, TAPE_LEAKY_RELU };

/* Work on n finished numbers of a row while they are in the cache. */
typedef void (*tape_row_work)(void *row, ptrdiff_t n, const void *context);

/* c (m, n) = finish(a (m, k) @ b (k, n) + biases + residual), or added to c.

   Strides count elements, may be negative or 0; the columns of c and of the residual are
   contiguous. c overlaps with nothing else. */
typedef struct {
    ptrdiff_t m, n, k;
    const void *a, *b;
    ptrdiff_t a_row, a_col, b_row, b_col;
    void *c;
    ptrdiff_t c_row;
    int onto;                /* add to c what it holds */
    const void *row_bias;    /* m numbers, or NULL */
    const void *column_bias; /* n numbers, or NULL */
    const void *residual;    /* like c, or NULL */
    ptrdiff_t residual_row;
    int activation;          /* TAPE_NOTHING, ... */
    double slope;            /* of TAPE_LEAKY_RELU */
    tape_row_work row_work;  /* or NULL */
    const void *row_context;
} tape_product;

typedef struct {
    const char *name;
    /* Matrix products, one for each type of real numbers; -1 if there is no memory, c then holds
       anything. `batch` of them lie a_step, b_step, c_step elements apart. */
    int (*multiply[TAPE_REALS])(const tape_product *p, ptrdiff_t batch, ptrdiff_t a_step,
                                ptrdiff_t b_step, ptrdiff_t c_step);
    tape_bit_kernels bits;
} tape_kernels;

/* The table in use; the best one that this machine can run, until another is chosen. */
const tape_kernels *tape_table(void);

/* Use the table of this name. -1: it was not built; -2: this machine cannot run it. */
int tape_choose(const char *name);

/* The i-th table that was built, best first, and whether this machine can run it; NULL after the
   last one. */
const tape_kernels *tape_built(int i, int *runs_here);

#endif
