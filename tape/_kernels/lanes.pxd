"""Reductions of contiguous numbers in a fixed order; compiled into each user.

Lanes run side by side, number i in lane i % LANES, so that they become vector code although the
compiler may not reorder additions; lanes are combined from first to last, then the rest follows.
"""

from cython cimport floating
from libc.math cimport INFINITY


cdef enum:
    LANES = 8           # partial sums that fit the registers
    MAX_LANES = 32      # enough to stay a loop, which vectorises where unrolled maxima do not


cdef inline floating largest(const floating *x, Py_ssize_t n) noexcept nogil:
    """The largest number that is not NaN; -inf if there is none."""
    cdef floating[MAX_LANES] lane
    cdef floating top = -INFINITY
    cdef Py_ssize_t i, k, rest = 0
    if n >= MAX_LANES:
        rest = n - n % MAX_LANES
        for k in range(MAX_LANES):
            lane[k] = -INFINITY
        for i in range(n // MAX_LANES):
            for k in range(MAX_LANES):
                lane[k] = x[i * MAX_LANES + k] if x[i * MAX_LANES + k] > lane[k] else lane[k]
        for k in range(MAX_LANES):
            top = lane[k] if lane[k] > top else top
    for i in range(rest, n):
        top = x[i] if x[i] > top else top
    return top


cdef inline double total(const floating *x, Py_ssize_t n) noexcept nogil:
    """Sum in float64."""
    cdef double[LANES] lane
    cdef double whole = 0
    cdef Py_ssize_t i, k
    for k in range(LANES):
        lane[k] = 0
    for i in range(n // LANES):
        for k in range(LANES):
            lane[k] += x[i * LANES + k]
    for k in range(LANES):
        whole += lane[k]
    for i in range(n - n % LANES, n):
        whole += x[i]
    return whole


cdef inline double spread(const floating *x, double centre, Py_ssize_t n) noexcept nogil:
    """Sum of (x - centre)**2 in float64."""
    cdef double[LANES] lane
    cdef double whole = 0, distance
    cdef Py_ssize_t i, k
    for k in range(LANES):
        lane[k] = 0
    for i in range(n // LANES):
        for k in range(LANES):
            distance = x[i * LANES + k] - centre
            lane[k] += distance * distance
    for k in range(LANES):
        whole += lane[k]
    for i in range(n - n % LANES, n):
        whole += (x[i] - centre) * (x[i] - centre)
    return whole
