"""Activation functions, one pass over the numbers each."""

from cython cimport floating
from libc.math cimport erf, erfc, erfcf, erff

import numpy as np

cimport numpy as cnp
from numpy cimport (
    PyArray_DATA, PyArray_DIMS, PyArray_EMPTY, PyArray_NDIM, PyArray_SIZE, PyArray_TYPE, ndarray,
)

from tape._kernels.dispatch cimport Kernel, cast, is_float, side_by_side
from tape._kernels.exponential cimport take_exp
from tape._kernels.strides cimport RELEASE_ABOVE

cnp.import_array()

__all__ = ["ERF", "ERFC", "RELU", "RELU_GATE", "SIGMOID", "Gate", "Pass"]

ctypedef void (*FloatPass)(const float *, float *, Py_ssize_t) noexcept nogil
ctypedef void (*DoublePass)(const double *, double *, Py_ssize_t) noexcept nogil

cdef enum:
    GROUP = 1024        # numbers that stay in the cache from one pass over them to the next


cdef void relu(const floating *x, floating *y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = 0 if x[i] <= 0 else x[i]


cdef void sigmoid(const floating *x, floating *y, Py_ssize_t n) noexcept nogil:
    """e / (1 + e) or 1 / (1 + e) with e = exp(-|x|), which neither overflows nor loses digits."""
    cdef Py_ssize_t count, i
    while n > 0:
        count = min(n, GROUP)
        for i in range(count):
            y[i] = -x[i] if x[i] > 0 else x[i]
        take_exp(y, count)
        for i in range(count):
            y[i] = (1 if x[i] > 0 else y[i]) / (1 + y[i])
        x += count
        y += count
        n -= count


cdef void error(const floating *x, floating *y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = erff(x[i]) if floating is float else erf(x[i])


cdef void error_rest(const floating *x, floating *y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = erfcf(x[i]) if floating is float else erfc(x[i])


cdef void relu_gate(
    const floating *x, const floating *by, floating *y, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating v
    for i in range(n):
        v = x[i]        # read in either case, so that it becomes vector code
        y[i] = 0 if by[i] <= 0 else v


cdef class Pass(Kernel):
    """One number in, one out; where `widens`, integers become float64, else they are left alone."""

    cdef FloatPass on_float
    cdef DoublePass on_double
    cdef bint widens

    def __call__(self, x):
        cdef ndarray y = self.unary(np.asarray(x))
        if y is None:
            raise TypeError(f"no loop for {x.dtype}")
        return y

    cdef ndarray unary(self, ndarray x):
        cdef ndarray y
        cdef int kind = PyArray_TYPE(x)
        cdef Py_ssize_t n = PyArray_SIZE(x)
        cdef const void *start
        cdef void *result
        if not is_float(kind):
            if not self.widens:
                return None
            kind = cnp.NPY_DOUBLE
            x = cast(x, kind)
        x = cnp.PyArray_GETCONTIGUOUS(x)
        y = PyArray_EMPTY(PyArray_NDIM(x), PyArray_DIMS(x), kind, 0)
        start, result = PyArray_DATA(x), PyArray_DATA(y)
        if n > RELEASE_ABOVE:
            with nogil:
                self.run(kind, start, result, n)
        else:
            self.run(kind, start, result, n)
        return y

    cdef void run(self, int kind, const void *x, void *y, Py_ssize_t n) noexcept nogil:
        if kind == cnp.NPY_FLOAT:
            self.on_float(<const float *> x, <float *> y, n)
        else:
            self.on_double(<const double *> x, <double *> y, n)


cdef class Gate(Kernel):
    """x where `by` is above 0 or NaN, else 0: operands of one shape and dtype, in C order."""

    cdef ndarray binary(self, a, b):
        cdef ndarray x, by, y
        if not isinstance(a, ndarray) or not isinstance(b, ndarray):
            return None
        x, by = <ndarray> a, <ndarray> b
        cdef int kind = PyArray_TYPE(x)
        cdef Py_ssize_t n = PyArray_SIZE(x)
        cdef const void *start
        cdef const void *gate
        cdef void *result
        if kind != PyArray_TYPE(by) or not is_float(kind) or not side_by_side(x, by):
            return None
        y = PyArray_EMPTY(PyArray_NDIM(x), PyArray_DIMS(x), kind, 0)
        start, gate, result = PyArray_DATA(x), PyArray_DATA(by), PyArray_DATA(y)
        if n > RELEASE_ABOVE:
            with nogil:
                run_gate(kind, start, gate, result, n)
        else:
            run_gate(kind, start, gate, result, n)
        return y


cdef void run_gate(
    int kind, const void *x, const void *by, void *y, Py_ssize_t n
) noexcept nogil:
    if kind == cnp.NPY_FLOAT:
        relu_gate(<const float *> x, <const float *> by, <float *> y, n)
    else:
        relu_gate(<const double *> x, <const double *> by, <double *> y, n)


cdef Pass new_pass(FloatPass on_float, DoublePass on_double, bint widens):
    cdef Pass p = Pass.__new__(Pass)
    p.on_float, p.on_double, p.widens = on_float, on_double, widens
    return p


RELU = new_pass(relu[float], relu[double], False)
RELU_GATE = Gate()
SIGMOID = new_pass(sigmoid[float], sigmoid[double], True)
ERF = new_pass(error[float], error[double], True)
ERFC = new_pass(error_rest[float], error_rest[double], True)
