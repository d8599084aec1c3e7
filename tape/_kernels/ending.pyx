"""Activations that a product of the C kernels ends in; the numbers are those of the ops alone."""

from cython cimport floating
from libc.stddef cimport ptrdiff_t
from libc.string cimport memcpy

import numpy as np

cimport numpy as cnp
from numpy cimport npy_intp

from tape._kernels.activation cimport error_rest, sigmoid
from tape._kernels.dispatch cimport Loop
from tape._kernels.table cimport TAPE_FLOAT, TAPE_LEAKY_RELU, TAPE_RELU

cdef enum:
    PIECE = 512  # numbers of a row that are copied aside at a time

cdef Loop TANH = Loop(np.tanh)
cdef double LEAK = 0.01  # of leaky_relu, as by default
cdef double SQRT_HALF = 0.5 ** 0.5
cdef float LOWEST_FLOAT = np.finfo(np.float32).min
cdef double LOWEST_DOUBLE = np.finfo(np.float64).min


cdef int end_in(str name, int kind, Ending* ending) except -1:
    """Say how a product of this kind of numbers ends in the activation of this name.

    Raises:
        ValueError: no product ends in it.
    """
    cdef int typenum = cnp.NPY_FLOAT if kind == TAPE_FLOAT else cnp.NPY_DOUBLE
    ending.row_work = NULL
    ending.activation = 0
    ending.slope = LEAK
    ending.inner, ending.data = TANH.inner[typenum], TANH.data[typenum]
    ending.size = 4 if kind == TAPE_FLOAT else 8
    if name == "relu":
        ending.activation = TAPE_RELU
    elif name == "leaky_relu":
        ending.activation = TAPE_LEAKY_RELU
    elif name == "tanh":
        ending.row_work = by_loop
    elif name == "sigmoid":
        ending.row_work = <tape_row_work> sigmoid_row[float]
        if kind != TAPE_FLOAT:
            ending.row_work = <tape_row_work> sigmoid_row[double]
    elif name == "gelu":
        ending.row_work = <tape_row_work> gelu_row[float]
        if kind != TAPE_FLOAT:
            ending.row_work = <tape_row_work> gelu_row[double]
    else:
        raise ValueError(f"no product ends in {name}")
    return 0


cdef void by_loop(void* row, ptrdiff_t n, const void* context) noexcept nogil:
    """NumPy's own loop over a row, in place."""
    cdef const Ending* ending = <const Ending*> context
    cdef char** args = [<char*> row, <char*> row]
    cdef npy_intp count = n
    cdef npy_intp* steps = [ending.size, ending.size]
    ending.inner(args, &count, steps, ending.data)


cdef void sigmoid_row(floating* y, ptrdiff_t n, const void* _context) noexcept nogil:
    cdef floating[PIECE] x
    cdef ptrdiff_t some
    while n > 0:
        some = min(n, PIECE)
        memcpy(x, y, some * sizeof(floating))
        sigmoid(x, y, some)
        y += some
        n -= some


cdef void gelu_row(floating* y, ptrdiff_t n, const void* _context) noexcept nogil:
    """The steps of the op `gelu`, one after another."""
    cdef floating[PIECE] x
    cdef floating[PIECE] z
    cdef floating v
    cdef floating down = <floating> -SQRT_HALF
    cdef floating lowest = LOWEST_FLOAT if floating is float else LOWEST_DOUBLE
    cdef ptrdiff_t some, i
    while n > 0:
        some = min(n, PIECE)
        for i in range(some):
            x[i] = y[i]
            z[i] = x[i] * down
        error_rest(z, y, some)
        for i in range(some):
            v = lowest if x[i] < lowest else x[i]
            y[i] = v * (y[i] * <floating> 0.5)
        y += some
        n -= some
