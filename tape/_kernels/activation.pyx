"""Activation functions, one pass over the numbers each."""

from cython cimport floating
from libc.math cimport erf, erfc, erfcf, erff

import numpy as np

cimport numpy as cnp
from numpy cimport (
    PyArray_DATA, PyArray_DIMS, PyArray_NDIM, PyArray_SIZE, PyArray_TYPE, ndarray,
)

from tape._kernels.dispatch cimport Kernel, cast, is_float, side_by_side
from tape._kernels.exponential cimport take_exp
from tape._kernels.freelist cimport empty
from tape._kernels.strides cimport RELEASE_ABOVE

cnp.import_array()

__all__ = [
    "ERF", "ERFC", "RELU", "RELU_GATE", "SIGMOID", "SIGMOID_SLOPE", "TANH_SLOPE", "Pass", "Slope",
]

ctypedef void (*FloatPass)(const float *, float *, Py_ssize_t) noexcept nogil
ctypedef void (*DoublePass)(const double *, double *, Py_ssize_t) noexcept nogil
ctypedef void (*FloatSlope)(const float *, const float *, float *, Py_ssize_t) noexcept nogil
ctypedef void (*DoubleSlope)(const double *, const double *, double *, Py_ssize_t) noexcept nogil

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
    const floating *g, const floating *y, floating *out, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating v
    for i in range(n):
        v = g[i]        # read in either case, so that it becomes vector code
        out[i] = 0 if y[i] <= 0 else v


cdef void tanh_slope(
    const floating *g, const floating *y, floating *out, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = g[i] * (1 - y[i] * y[i])


cdef void sigmoid_slope(
    const floating *g, const floating *y, floating *out, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = g[i] * y[i] * (1 - y[i])


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
        y = empty(PyArray_NDIM(x), PyArray_DIMS(x), kind)
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


cdef class Slope(Kernel):
    """A cotangent times the slope at a result: operands of one shape and dtype, in C order."""

    cdef FloatSlope on_float
    cdef DoubleSlope on_double

    cdef ndarray binary(self, a, b):
        cdef ndarray g, y, out
        cdef int kind
        if not isinstance(a, ndarray) or not isinstance(b, ndarray):
            return None
        g, y = <ndarray> a, <ndarray> b
        kind = PyArray_TYPE(g)
        if kind != PyArray_TYPE(y) or not is_float(kind) or not side_by_side(g, y):
            return None
        out = empty(PyArray_NDIM(g), PyArray_DIMS(g), kind)
        if PyArray_SIZE(g) > RELEASE_ABOVE:
            with nogil:
                self.run(kind, PyArray_DATA(g), PyArray_DATA(y), PyArray_DATA(out), PyArray_SIZE(g))
        else:
            self.run(kind, PyArray_DATA(g), PyArray_DATA(y), PyArray_DATA(out), PyArray_SIZE(g))
        return out

    cdef void run(
        self, int kind, const void *g, const void *y, void *out, Py_ssize_t n
    ) noexcept nogil:
        if kind == cnp.NPY_FLOAT:
            self.on_float(<const float *> g, <const float *> y, <float *> out, n)
        else:
            self.on_double(<const double *> g, <const double *> y, <double *> out, n)


cdef Pass new_pass(FloatPass on_float, DoublePass on_double, bint widens):
    cdef Pass p = Pass.__new__(Pass)
    p.on_float, p.on_double, p.widens = on_float, on_double, widens
    return p


cdef Slope new_slope(FloatSlope on_float, DoubleSlope on_double):
    cdef Slope s = Slope.__new__(Slope)
    s.on_float, s.on_double = on_float, on_double
    return s


RELU = new_pass(relu[float], relu[double], False)
RELU_GATE = new_slope(relu_gate[float], relu_gate[double])
TANH_SLOPE = new_slope(tanh_slope[float], tanh_slope[double])
SIGMOID = new_pass(sigmoid[float], sigmoid[double], True)
SIGMOID_SLOPE = new_slope(sigmoid_slope[float], sigmoid_slope[double])
ERF = new_pass(error[float], error[double], True)
ERFC = new_pass(error_rest[float], error_rest[double], True)
