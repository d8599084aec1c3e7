"""Activation functions, one pass over the numbers each."""

from cython cimport floating
from libc.math cimport INFINITY, erf, erfc, erfcf, erff

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
    TAPE_PASS_CLAMP, TAPE_PASS_ELU, TAPE_PASS_ELU_SLOPE, TAPE_PASS_GELU, TAPE_PASS_GELU_SLOPE,
    TAPE_PASS_HARDSIGMOID, TAPE_PASS_HARDSWISH, TAPE_PASS_HARDSWISH_SLOPE, TAPE_PASS_LEAKY_RELU,
    TAPE_PASS_LEAKY_RELU_GATE, TAPE_PASS_MISH, TAPE_PASS_MISH_SLOPE, TAPE_PASS_OUTSIDE,
    TAPE_PASS_RELU, TAPE_PASS_RELU_GATE, TAPE_PASS_SIGMOID, TAPE_PASS_SIGMOID_SLOPE, TAPE_PASS_SILU,
    TAPE_PASS_SILU_SLOPE, TAPE_PASS_SOFTPLUS, TAPE_PASS_SOFTPLUS_SLOPE, TAPE_PASS_SOFTSHRINK,
    TAPE_PASS_TANH_SLOPE, kernels, tape_pass,
)

cnp.import_array()

__all__ = [
    "BAND", "CELU", "ELU", "ELU_SLOPE", "ERF", "ERFC", "GELU", "GELU_SLOPE", "HARDSHRINK",
    "HARDSIGMOID", "HARDSWISH", "HARDSWISH_SLOPE", "HARDTANH", "LEAKY_RELU", "LEAKY_RELU_GATE",
    "LOGSIGMOID", "MISH", "MISH_SLOPE", "RELU", "RELU6", "RELU_GATE", "SELU", "SIGMOID",
    "SIGMOID_SLOPE", "SILU", "SILU_SLOPE", "SOFTPLUS", "SOFTPLUS_SLOPE", "SOFTSHRINK", "TANH_SLOPE",
    "Pass", "Slope",
]

cdef double SELU_ALPHA = 1.6732632423543772, SELU_SCALE = 1.0507009873554805


cdef void error(const floating *x, floating *y, Py_ssize_t n, bint rest) noexcept nogil:
    cdef Py_ssize_t i
    if rest:
        for i in range(n):
            y[i] = erfcf(x[i]) if floating is float else erfc(x[i])
    else:
        for i in range(n):
            y[i] = erff(x[i]) if floating is float else erf(x[i])


cdef bint is_number(setting) noexcept:
    return (type(setting) is float or type(setting) is int) and setting == setting


cdef bint read_settings(tape_pass *p, tuple settings) except -1:
    """Put an op's settings where the C loop looks for them; False if they are the op's own."""
    cdef Py_ssize_t i, n = len(settings)
    if p.which == TAPE_PASS_GELU or p.which == TAPE_PASS_GELU_SLOPE:
        p.which += settings[0] == "tanh"  # its own loop stands next
        return settings[0] == "tanh" or settings[0] == "none"
    if p.which == TAPE_PASS_OUTSIDE and n == 4:
        p.which += settings[3] is True  # within the bounds: its own loop stands next
        n = 3
    for i in range(n):
        if not is_number(settings[i]):
            return False
    p.a = settings[0]
    if n > 1:
        p.b = settings[1]
    if n > 2:
        p.c = settings[2]
    if p.which == TAPE_PASS_CLAMP:
        return p.a <= p.b
    if p.which == TAPE_PASS_SOFTPLUS or p.which == TAPE_PASS_SOFTPLUS_SLOPE:
        return p.a != 0
    if p.which == TAPE_PASS_SOFTSHRINK:
        return p.a >= 0
    if p.which == TAPE_PASS_OUTSIDE and n == 1:  # hardshrink
        p.a, p.b = -p.a, p.a
    elif p.which == TAPE_PASS_ELU and p.b == 0:  # celu
        if p.a == 0:
            return False
        p.b = 1 / p.a
    return True


cdef void run(int kind, const tape_pass *p) noexcept:
    """Take the pass, without the GIL if it is long."""
    cdef int real = 0 if kind == cnp.NPY_FLOAT else 1
    if p.n > RELEASE_ABOVE:
        with nogil:
            kernels().run_pass[real](p)
    else:
        kernels().run_pass[real](p)


cdef class Pass(Kernel):
    """One number in, one out; where `widens`, integers become float64, else they are left alone.

    What an op's settings do not say is a, b and c.
    """

    cdef int which
    cdef bint widens
    cdef double a, b, c

    def __call__(self, x, *settings):
        x = np.asarray(x)
        cdef ndarray y = self.settled([x], settings) if settings else self.unary(x)
        if y is None:
            raise TypeError(f"no loop for {x.dtype}")
        return y

    cdef ndarray unary(self, ndarray x):
        cdef tape_pass p
        p.which, p.a, p.b, p.c = self.which, self.a, self.b, self.c
        return self.passed(x, &p)

    cdef ndarray settled(self, list operands, tuple settings):
        cdef tape_pass p
        p.which, p.a, p.b, p.c = self.which, self.a, self.b, self.c
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
        p.n, p.x, p.g, p.y = PyArray_SIZE(x), PyArray_DATA(x), PyArray_DATA(x), PyArray_DATA(y)
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
        p.which, p.a, p.b, p.c = self.which, 0, 0, 0
        return self.passed(a, b, &p)

    cdef ndarray settled(self, list operands, tuple settings):
        cdef tape_pass p
        p.which, p.a, p.b, p.c = self.which, 0, 0, 0
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


cdef Pass new_pass(int which, bint widens=True, double a=0, double b=0, double c=1):
    cdef Pass p = Pass.__new__(Pass)
    p.which, p.widens, p.a, p.b, p.c = which, widens, a, b, c
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
RELU6 = new_pass(TAPE_PASS_CLAMP, False, 0, 6)
HARDTANH = new_pass(TAPE_PASS_CLAMP)
HARDSIGMOID = new_pass(TAPE_PASS_HARDSIGMOID)
HARDSWISH = new_pass(TAPE_PASS_HARDSWISH)
HARDSWISH_SLOPE = new_slope(TAPE_PASS_HARDSWISH_SLOPE)
BAND = new_slope(TAPE_PASS_OUTSIDE)
HARDSHRINK = new_pass(TAPE_PASS_OUTSIDE)
SOFTSHRINK = new_pass(TAPE_PASS_SOFTSHRINK)
ELU = new_pass(TAPE_PASS_ELU, True, 1, 1)
CELU = new_pass(TAPE_PASS_ELU)
SELU = new_pass(TAPE_PASS_ELU, True, SELU_SCALE * SELU_ALPHA, 1, SELU_SCALE)
ELU_SLOPE = new_slope(TAPE_PASS_ELU_SLOPE)
MISH = new_pass(TAPE_PASS_MISH)
MISH_SLOPE = new_slope(TAPE_PASS_MISH_SLOPE)
LOGSIGMOID = new_pass(TAPE_PASS_SOFTPLUS, True, -1, INFINITY)
ERF = new_error_function(False)
ERFC = new_error_function(True)
