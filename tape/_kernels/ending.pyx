"""Activations that a product of the C kernels ends in; the numbers are those of the ops alone."""

from libc.stddef cimport ptrdiff_t

import numpy as np

cimport numpy as cnp
from numpy cimport npy_intp

from tape._kernels.dispatch cimport Loop
from tape._kernels.table cimport (
    TAPE_FLOAT, TAPE_LEAKY_RELU, TAPE_PASS_GELU, TAPE_PASS_SIGMOID, TAPE_RELU, kernels, tape_pass,
)

cdef Loop TANH = Loop(np.tanh)
cdef double LEAK = 0.01  # of leaky_relu, as by default


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
        ending.row_work, ending.which = by_pass, TAPE_PASS_SIGMOID
    elif name == "gelu":
        ending.row_work, ending.which = by_pass, TAPE_PASS_GELU
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


cdef void by_pass(void* row, ptrdiff_t n, const void* context) noexcept nogil:
    """The op's own loop over a row, in place."""
    cdef const Ending* ending = <const Ending*> context
    cdef tape_pass p
    p.which, p.n, p.x, p.g, p.y, p.a, p.b, p.c = (
        ending.which, n, row, NULL, row, 0, 0, 0,
    )
    kernels().run_pass[0 if ending.size == 4 else 1](&p)
