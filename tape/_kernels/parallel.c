/* A pool of threads that sleep between tasks.

   Note [Fork]
   A forked child has only the thread that called fork(): the workers are gone, and a lock that
   another thread held stays locked for ever. So the child forgets the pool altogether and starts
   from nothing (`forget_pool`).

   Note [One caller]
   The pool serves one caller at a time. Who finds it busy, or is itself a worker, runs its tasks
   alone: no waiting, no deadlock, and no more threads than were asked for. */
#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SPINS = 1000 }; /* some 10 us of waiting before a thread sleeps: benchmarks "two threads" */

#ifdef __APPLE__
#include <dispatch/dispatch.h>
typedef dispatch_semaphore_t semaphore;
static void semaphore_init(semaphore *s) { *s = dispatch_semaphore_create(0); }
static void semaphore_post(semaphore *s) { dispatch_semaphore_signal(*s); }
static void semaphore_wait(semaphore *s) { dispatch_semaphore_wait(*s, DISPATCH_TIME_FOREVER); }
static int semaphore_try(semaphore *s) { return !dispatch_semaphore_wait(*s, DISPATCH_TIME_NOW); }
#else
#include <errno.h>
#include <semaphore.h>
typedef sem_t semaphore;
static void semaphore_init(semaphore *s) { sem_init(s, 0, 0); }
static void semaphore_post(semaphore *s) { sem_post(s); }
static void semaphore_wait(semaphore *s) { while (sem_wait(s) && errno == EINTR) {} }
static int semaphore_try(semaphore *s) { return !sem_trywait(s); }
#endif

static struct {
    pthread_mutex_t door; /* held by the one caller */
    semaphore done;       /* posted once a round, by the helper that finishes last */
    semaphore work[TAPE_MOST_THREADS];
    tape_task task;
    void *context;
    ptrdiff_t n;
    atomic_ptrdiff_t next;
    atomic_int awake;     /* helpers that have not finished this round */
    int n_workers;
} pool = {.door = PTHREAD_MUTEX_INITIALIZER};

static int n_threads = 1;

/* What belongs to the calling thread. Not _Thread_local: a library that is loaded late gets such
   memory when a thread first touches it, and glibc aborts the process if there is none. */
static pthread_key_t inside_key, scratch_key;
static pthread_once_t keys_once = PTHREAD_ONCE_INIT;
static int keys_work = 0;

static void free_scratch(void *of_thread);

static void make_keys(void)
{
    keys_work = !pthread_key_create(&inside_key, NULL) && !pthread_key_create(&scratch_key, free_scratch);
}

static int have_keys(void)
{
    pthread_once(&keys_once, make_keys);
    return keys_work;
}

/* Whether the thread runs tasks of the pool. If that cannot be noted, it finds the pool busy. */
static int is_inside(void) { return have_keys() && pthread_getspecific(inside_key); }

static void set_inside(int is)
{
    if (have_keys())
        (void)pthread_setspecific(inside_key, is ? &pool : NULL);
}

static void forget_pool(void)
{
    pthread_mutex_init(&pool.door, NULL);
    pool.n_workers = 0;
    set_inside(0);
}

static inline void breathe(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_for(semaphore *s)
{
    for (int spin = 0; spin < SPINS; spin++) {
        if (semaphore_try(s))
            return;
        breathe();
    }
    semaphore_wait(s);
}

static void run_tasks(void)
{
    ptrdiff_t i;
    while ((i = atomic_fetch_add(&pool.next, 1)) < pool.n)
        pool.task(pool.context, i);
}

static void *worker(void *argument)
{
    semaphore *work = argument;
    set_inside(1);
    for (;;) {
        wait_for(work);
        run_tasks();
        if (atomic_fetch_sub(&pool.awake, 1) == 1)
            semaphore_post(&pool.done);
    }
    return NULL;
}

/* Start workers until there are `wanted`, or the system refuses; how many there are. */
static int hire(int wanted)
{
    static int watching = 0;
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (pool.n_workers >= wanted)
        return wanted;
    if (!watching)
        watching = pthread_atfork(NULL, NULL, forget_pool) == 0;
    if (!watching)
        return 0; /* a child would wait for workers it does not have */
    if (!pool.n_workers)
        semaphore_init(&pool.done);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* a signal is for the threads of the program, which may be waiting for it */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.n_workers < wanted) {
        semaphore_init(&pool.work[pool.n_workers]);
        if (pthread_create(&thread, &attributes, worker, &pool.work[pool.n_workers]))
            break;
        pool.n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return pool.n_workers;
}

static void run_alone(tape_task task, void *context, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        task(context, i);
}

void tape_parallel_for(tape_task task, void *context, ptrdiff_t n)
{
    ptrdiff_t helpers = tape_threads() - 1;
    if (helpers > n - 1)
        helpers = n - 1;
    if (helpers <= 0 || pthread_mutex_trylock(&pool.door)) {
        run_alone(task, context, n);
        return;
    }
    helpers = hire((int)helpers);
    if (helpers) {
        pool.task = task, pool.context = context, pool.n = n;
        atomic_store(&pool.next, 0);
        atomic_store(&pool.awake, (int)helpers);
        for (ptrdiff_t i = 0; i < helpers; i++)
            semaphore_post(&pool.work[i]);
        set_inside(1);
        run_tasks();
        set_inside(0);
        wait_for(&pool.done);
    } else {
        run_alone(task, context, n);
    }
    pthread_mutex_unlock(&pool.door);
}

int tape_threads(void) { return n_threads == 1 || is_inside() ? 1 : n_threads; }

void tape_set_threads(int n)
{
    n_threads = n < 1 ? 1 : n > TAPE_MOST_THREADS ? TAPE_MOST_THREADS : n;
}

/* Memory of the calling thread. */
typedef struct {
    void *start[TAPE_SCRATCH_SLOTS];
    size_t bytes[TAPE_SCRATCH_SLOTS];
} scratch;

static void free_scratch(void *of_thread)
{
    scratch *s = of_thread;
    for (int slot = 0; slot < TAPE_SCRATCH_SLOTS; slot++)
        free(s->start[slot]);
    free(s);
}

void *tape_scratch(int slot, size_t bytes)
{
    scratch *mine = have_keys() ? pthread_getspecific(scratch_key) : NULL;
    if (!mine) {
        mine = keys_work ? calloc(1, sizeof *mine) : NULL;
        if (!mine || pthread_setspecific(scratch_key, mine)) {
            free(mine);
            return NULL;
        }
    }
    if (!mine->start[slot] || mine->bytes[slot] < bytes) {
        const size_t rounded = (bytes + 4096) / 4096 * 4096;
        void *grown = aligned_alloc(64, rounded);
        if (!grown)
            return NULL;
        free(mine->start[slot]);
        mine->start[slot] = grown, mine->bytes[slot] = rounded;
    }
    return mine->start[slot];
}
