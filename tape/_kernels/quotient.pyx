"""Quotients rounded down, where NumPy's loop gives what the Array API wants."""

cimport numpy as cnp
from libc.math cimport isinf
from numpy cimport ndarray, npy_intp

import numpy as np

from tape._kernels.dispatch cimport Loop, is_float

cnp.import_array()

ctypedef fused real:
    float
    double


cdef bint found(const real* x, npy_intp n) noexcept:
    """Whether an element is infinite."""
    cdef npy_intp i
    for i in range(n):
        if isinf(x[i]):
            return True
    return False


cdef bint is_infinite(x) except -1:
    """Whether a number is infinite, or an element of an array."""
    cdef ndarray array
    if not isinstance(x, ndarray):
        return type(x) is float and isinf(<double>x)
    array = <ndarray>x
    if not is_float(cnp.PyArray_TYPE(array)):
        return False
    if not cnp.PyArray_IS_C_CONTIGUOUS(array):
        return bool(np.isinf(array).any())
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT:
        return found(<float*>cnp.PyArray_DATA(array), cnp.PyArray_SIZE(array))
    return found(<double*>cnp.PyArray_DATA(array), cnp.PyArray_SIZE(array))


cdef class FloorDivide(Loop):
    """np.floor_divide of operands of which none is infinite."""

    cdef ndarray binary(self, a, b):
        return None if is_infinite(a) or is_infinite(b) else Loop.binary(self, a, b)
