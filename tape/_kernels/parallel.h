/* Threads: the only door to them. Everything else counts on results not depending on how many. */
#ifndef TAPE_PARALLEL_H
#define TAPE_PARALLEL_H

#include <stddef.h>

typedef void (*tape_task)(void *context, ptrdiff_t i);

/* Run task(context, i) for every i in [0, n), in any order, on as many threads as are set.

   Called from inside a task, or while another thread is in here, it runs them one after another in
   the calling thread. After fork() the child starts threads of its own when it needs them. */
void tape_parallel_for(tape_task task, void *context, ptrdiff_t n);

/* How many threads tape_parallel_for uses now: 1 inside of a task. */
int tape_threads(void);

/* From now on use n threads, at least 1 and at most TAPE_MOST_THREADS. */
void tape_set_threads(int n);

enum { TAPE_MOST_THREADS = 256 };

/* Memory for one call of a kernel, aligned to 64 bytes, kept for the thread's next call; the same
   slot hands out the same memory. NULL if there is none. */
void *tape_scratch(int slot, size_t bytes);

enum { TAPE_SCRATCH_A, TAPE_SCRATCH_B, TAPE_SCRATCH_C, TAPE_SCRATCH_SLOTS };

#endif
