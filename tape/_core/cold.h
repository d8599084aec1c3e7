/* Included before all that Cython writes: what runs only when an error is raised is moved out of the
   way of what runs for every op, whose code should fit the instruction cache. */
#ifndef TAPE_COLD_H
#define TAPE_COLD_H

#if defined(__GNUC__)
static void __Pyx_AddTraceback(const char *function, int c_line, int line, const char *file)
    __attribute__((cold, unused));
#endif

#endif
