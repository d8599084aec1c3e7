"""Activation functions, one pass over the numbers each."""

from cython cimport floating
from libc.math cimport erf, erfc, erfcf, erff

import numpy as np

cimport numpy as cnp
from numpy cimport (
    PyArray_DATA, PyArray_DIMS, PyArray_NDIM, PyArray_SIZE, PyArray_TYPE, ndarray,
)

from tape._kernels.arrays cimport in_order
from tape._kernels.dispatch cimport Kernel, cast, is_float
from tape._kernels.freelist cimport empty
from tape._kernels.strides cimport RELEASE_ABOVE
from tape._kernels.table cimport (
    TAPE_PASS_GELU, TAPE_PASS_GELU_SLOPE, TAPE_PASS_LEAKY_RELU, TAPE_PASS_LEAKY_RELU_GATE,
    TAPE_PASS_RELU, TAPE_PASS_RELU_GATE, TAPE_PASS_SIGMOID, TAPE_PASS_SIGMOID_SLOPE, TAPE_PASS_SILU,
    TAPE_PASS_SILU_SLOPE, TAPE_PASS_SOFTPLUS, TAPE_PASS_SOFTPLUS_SLOPE, TAPE_PASS_TANH_SLOPE,
    kernels, tape_pass,
)

cnp.import_array()

__all__ = [
    "ERF", "ERFC", "GELU", "GELU_SLOPE", "LEAKY_RELU", "LEAKY_RELU_GATE", "RELU", "RELU_GATE",
    "SIGMOID", "SIGMOID_SLOPE", "SILU", "SILU_SLOPE", "SOFTPLUS", "SOFTPLUS_SLOPE", "TANH_SLOPE",
    "Pass", "Slope",
]


cdef void error(const floating *x, floating *y, Py_ssize_t n, bint rest) noexcept nogil:
    cdef Py_ssize_t i
    if rest:
        for i in range(n):
            y[i] = erfcf(x[i]) if floating is float else erfc(x[i])
    else:
        for i in range(n):
            y[i] = erff(x[i]) if floating is float else erf(x[i])


cdef bint is_number(setting) noexcept:
    return type(setting) is float or type(setting) is int


cdef bint read_settings(tape_pass *p, tuple settings) except -1:
    """Put an op's settings where the C loop looks for them; False if they are the op's own."""
    if p.which == TAPE_PASS_GELU or p.which == TAPE_PASS_GELU_SLOPE:
        p.which += settings[0] == "tanh"  # its own loop stands next
        return settings[0] == "tanh" or settings[0] == "none"
    if not is_number(settings[0]) or not is_number(settings[len(settings) - 1]):
        return False
    p.a, p.b = settings[0], settings[len(settings) - 1]
    return p.a != 0 or len(settings) == 1


cdef void run(int kind, const tape_pass *p) noexcept:
    """Take the pass, without the GIL if it is long."""
    cdef int real = 0 if kind == cnp.NPY_FLOAT else 1
    if p.n > RELEASE_ABOVE:
        with nogil:
            kernels().run_pass[real](p)
    else:
        kernels().run_pass[real](p)


cdef class Pass(Kernel):
    """One number in, one out; where `widens`, integers become float64, else they are left alone."""

    cdef int which
    cdef bint widens

    def __call__(self, x, *settings):
        x = np.asarray(x)
        cdef ndarray y = self.settled([x], settings) if settings else self.unary(x)
        if y is None:
            raise TypeError(f"no loop for {x.dtype}")
        return y

    cdef ndarray unary(self, ndarray x):
        cdef tape_pass p
        p.which, p.a, p.b = self.which, 0, 0
        return self.passed(x, &p)

    cdef ndarray settled(self, list operands, tuple settings):
        cdef tape_pass p
        p.which = self.which
        if not read_settings(&p, settings):
            return None
        x = operands[0]
        if not isinstance(x, ndarray):
            x = np.asarray(x, np.float32 if type(x) is float else None)
        return self.passed(<ndarray>x, &p)

    cdef ndarray passed(self, ndarray x, tape_pass *p):
        cdef ndarray y
        cdef int kind = PyArray_TYPE(x)
        if not is_float(kind):
            if not self.widens:
                return None
            kind = cnp.NPY_DOUBLE
            x = cast(x, kind)
        x = in_order(x)
        y = empty(PyArray_NDIM(x), PyArray_DIMS(x), kind)
        p.n, p.x, p.g, p.y = PyArray_SIZE(x), PyArray_DATA(x), NULL, PyArray_DATA(y)
        self.take(kind, p)
        return y

    cdef void take(self, int kind, const tape_pass *p) noexcept:
        run(kind, p)


cdef class ErrorFunction(Pass):
    """erf, or 1 - erf if `which`, by the C library."""

    cdef void take(self, int kind, const tape_pass *p) noexcept:
        cdef bint rest = self.which
        with nogil:
            if kind == cnp.NPY_FLOAT:
                error(<const float *> p.x, <float *> p.y, p.n, rest)
            else:
                error(<const double *> p.x, <double *> p.y, p.n, rest)


cdef class Slope(Kernel):
    """A cotangent times the slope at a number: operands of one shape and dtype."""

    cdef int which

    cdef ndarray binary(self, a, b):
        cdef tape_pass p
        p.which, p.a, p.b = self.which, 0, 0
        return self.passed(a, b, &p)

    cdef ndarray settled(self, list operands, tuple settings):
        cdef tape_pass p
        p.which, p.a, p.b = self.which, 0, 0
        return self.passed(operands[0], operands[1], &p) if read_settings(&p, settings) else None

    cdef ndarray passed(self, a, b, tape_pass *p):
        cdef ndarray g, x, y
        cdef int kind
        if not isinstance(a, ndarray) or not isinstance(b, ndarray):
            return None
        g, x = <ndarray> a, <ndarray> b
        kind = PyArray_TYPE(g)
        if kind != PyArray_TYPE(x) or not is_float(kind) or not cnp.PyArray_SAMESHAPE(g, x):
            return None
        g, x = in_order(g), in_order(x)
        y = empty(PyArray_NDIM(g), PyArray_DIMS(g), kind)
        p.n = PyArray_SIZE(g)
        p.g, p.x, p.y = PyArray_DATA(g), PyArray_DATA(x), PyArray_DATA(y)
        run(kind, p)
        return y


cdef Pass new_pass(int which, bint widens=True):
    cdef Pass p = Pass.__new__(Pass)
    p.which, p.widens = which, widens
    return p


cdef Slope new_slope(int which):
    cdef Slope s = Slope.__new__(Slope)
    s.which = which
    return s


cdef ErrorFunction new_error_function(bint rest):
    cdef ErrorFunction e = ErrorFunction.__new__(ErrorFunction)
    e.which, e.widens = rest, True
    return e


RELU = new_pass(TAPE_PASS_RELU, False)
RELU_GATE = new_slope(TAPE_PASS_RELU_GATE)
LEAKY_RELU = new_pass(TAPE_PASS_LEAKY_RELU)
LEAKY_RELU_GATE = new_slope(TAPE_PASS_LEAKY_RELU_GATE)
TANH_SLOPE = new_slope(TAPE_PASS_TANH_SLOPE)
SIGMOID = new_pass(TAPE_PASS_SIGMOID)
SIGMOID_SLOPE = new_slope(TAPE_PASS_SIGMOID_SLOPE)
SILU = new_pass(TAPE_PASS_SILU)
SILU_SLOPE = new_slope(TAPE_PASS_SILU_SLOPE)
SOFTPLUS = new_pass(TAPE_PASS_SOFTPLUS)
SOFTPLUS_SLOPE = new_slope(TAPE_PASS_SOFTPLUS_SLOPE)
GELU = new_pass(TAPE_PASS_GELU)
GELU_SLOPE = new_slope(TAPE_PASS_GELU_SLOPE)
ERF = new_error_function(False)
ERFC = new_error_function(True)
