"""The C kernels in use: one table of functions, chosen once at import; see kernels.h."""

import numbers
import os

from tape._kernels.machine import usable_cores

cdef extern from "kernels.h" nogil:
    const tape_kernels* tape_table()
    const tape_kernels* tape_built(int i, int* runs_here)
    int tape_choose(const char* name)

cdef extern from "parallel.h" nogil:
    int tape_threads()
    void tape_set_threads(int n)


cdef const tape_kernels* kernels() noexcept nogil:
    return tape_table()


def built() -> dict[str, bool]:
    """The instruction sets with kernels, best first, and whether this machine has them."""
    cdef int i = 0, runs_here = 0
    cdef const tape_kernels* table
    found = {}
    while True:
        table = tape_built(i, &runs_here)
        if table is NULL:
            return found
        found[table.name.decode()] = bool(runs_here)
        i += 1


def used() -> str:
    """The instruction set whose kernels are used."""
    return tape_table().name.decode()


def use(isa: str) -> None:
    """Use the kernels of an instruction set from now on.

    Raises:
        ValueError: it was not built, or this machine does not have it.
    """
    cdef int failed = tape_choose(isa.encode())
    if failed:
        why = "was not built" if failed == -1 else "is not one that this machine has"
        runs = [name for name, here in built().items() if here]
        raise ValueError(f"TAPE_ISA: {isa!r} {why}; it may be {' or '.join(runs)}")


def set_num_threads(n):
    """Let kernels use up to n threads, which is 1 ... 256, from now on and in the whole process.

    A result never depends on how many. Until then they use as many as the environment variable
    OMP_NUM_THREADS says, or else one for each core that this process may run on.

    Raises:
        ValueError: n is not an integer from 1 to 256.

    >>> import tape
    >>> before = tape.get_num_threads()
    >>> tape.set_num_threads(1)
    >>> tape.get_num_threads()
    1
    >>> tape.set_num_threads(before)
    """
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or not 1 <= n <= 256:
        raise ValueError(f"set_num_threads: n must be an integer from 1 to 256, got {n!r}")
    tape_set_threads(int(n))


def get_num_threads() -> int:
    """Up to how many threads a kernel uses."""
    return tape_threads()


def fma_peak(double_precision: bool, rounds: int) -> float:
    """Multiply and add in registers only; how many floating-point operations that was."""
    return tape_table().fma_peak[1 if double_precision else 0](rounds)


SIGNS_BY = {
    "avx512": "vpopcntd",
    "avx2": "tables for vpshufb",
    "neon": "cnt",
    "scalar": "popcnt, or arithmetic where the machine lacks it",
}


def show_config() -> None:
    """Print which instruction sets kernels were built for, which are found here, which are used.

    >>> import tape
    >>> tape.show_config()  # doctest: +ELLIPSIS
    kernels built: ...
    found here:    ...
    used:          ... (TAPE_ISA chooses another one)
    signs counted: ...
    codes added:   ...
    threads:       ... (OMP_NUM_THREADS or tape.set_num_threads)
    """
    sets = built()
    print("kernels built:", ", ".join(sets))
    print("found here:   ", ", ".join([name for name, here in sets.items() if here]))
    print("used:         ", used(), "(TAPE_ISA chooses another one)")
    print("signs counted:", SIGNS_BY[used()])
    print("codes added:  ", "vpdpbusd" if tape_table().int8.has_dot() else "in pairs of 16 bits")
    print("threads:      ", get_num_threads(), "(OMP_NUM_THREADS or tape.set_num_threads)")


tape_set_threads(usable_cores())
if os.environ.get("TAPE_ISA"):
    use(os.environ["TAPE_ISA"])
