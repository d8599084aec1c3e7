"""Reductions by a binary loop, their axes settled in C."""

cimport numpy as cnp
from cython cimport floating
from numpy cimport (
    NPY_FLOAT, PyArray_DATA, PyArray_DIM, PyArray_NDIM, PyArray_SIZE, ndarray, npy_intp,
)

import numpy as np

from tape._kernels.dispatch cimport Kernel, Loop, is_float
from tape._kernels.freelist cimport empty
from tape._kernels.strides cimport MAX_DIMS, RELEASE_ABOVE

cnp.import_array()


cdef bint axes_of(axis, int ndim, unsigned long* axes) except -1:
    """Set a bit for every axis meant; False if one is out of range, given twice or no integer."""
    cdef unsigned long bit
    axes[0] = 0
    if axis is None:
        axes[0] = ~0ul
    elif type(axis) is tuple:
        for one in <tuple>axis:
            bit = axis_bit(one, ndim)
            if bit == 0 or axes[0] & bit:
                return False
            axes[0] |= bit
    else:
        axes[0] = axis_bit(axis, ndim)
        return axes[0] != 0
    return True


cdef unsigned long axis_bit(axis, int ndim) except? 0:
    """The bit of one axis, 0 if it is out of range or no integer."""
    if type(axis) is not int:
        return 0
    if ndim == 0 and -1 <= axis <= 0:
        return 1  # 0-d counts as a line of one element
    if not -ndim <= axis < ndim:
        return 0
    return 1ul << (<int>axis + ndim if axis < 0 else <int>axis)


cdef class Reduction(Kernel):
    """A binary ufunc folded over axes: the kernel of an op with settings `axis`, ..., `keepdims`.

    Settings between the two must be None. Empty operands, axes out of range and unusual dtypes are
    left to the op.
    """

    def __cinit__(self, function, *rest):
        self.loop = Loop(function)

    def __call__(self, ndarray x not None, axis, bint keepdims):
        """x folded over an axis, several, or (None) all of them, as a new array.

        Raises:
            ValueError: there is no such axis.
            TypeError: no loop takes the dtype.
        """
        cdef unsigned long axes
        if isinstance(axis, cnp.integer):
            axis = int(axis)
        if not axes_of(axis, PyArray_NDIM(x), &axes):
            raise ValueError(f"axis {axis} for {PyArray_NDIM(x)} axes")
        y = self.folded(x, axes, keepdims)
        if y is None:
            raise TypeError(f"{self.loop!r} has no loop for {x.dtype}")
        return y

    cdef ndarray settled(self, list operands, tuple settings):
        cdef unsigned long axes
        cdef Py_ssize_t i, n = len(settings)
        cdef ndarray x
        if not isinstance(operands[0], ndarray):
            return None
        x = <ndarray>operands[0]
        for i in range(1, n - 1):
            if settings[i] is not None:
                return None
        if PyArray_SIZE(x) == 0 or not axes_of(settings[0], PyArray_NDIM(x), &axes):
            return None
        return self.reduced(x, axes, bool(settings[n - 1]))

    cdef ndarray reduced(self, ndarray x, unsigned long axes, bint keepdims):
        """The result, or None if the dtype is not one of this kernel."""
        return self.folded(x, axes, keepdims)

    cdef ndarray folded(self, ndarray x, unsigned long axes, bint keepdims):
        """x folded by the loop, or by one of our own for a sum over leading axes."""
        cdef int lead = 0, axis, ndim = PyArray_NDIM(x)
        cdef npy_intp n = 1
        if self.loop.identity == 0 and is_float(cnp.PyArray_TYPE(x)) and PyArray_SIZE(x):
            while lead < ndim and axes >> lead & 1:
                lead += 1
            for axis in range(lead, ndim):
                n = 0 if axes >> axis & 1 else n * PyArray_DIM(x, axis)
            if lead and n > 1:
                return sum_of_rows(cnp.PyArray_GETCONTIGUOUS(x), lead, n, keepdims)
        return self.loop.reduce(x, axes, keepdims)


cdef enum:
    BLOCK = 16  # rows summed up in their own precision before float64 takes the sum over
    WIDE = 32   # a row shorter than this is read together with the next ones


cdef void add_rows(floating* y, const floating* x, npy_intp rows, npy_intp n, npy_intp group,
                   floating* block, double* total) noexcept nogil:
    """y (n) = the sum of x's rows, `group` of them at a time; block and total are zeros."""
    cdef npy_intp wide = n * group, chunk, i, row
    for chunk in range(rows // group):
        if chunk % BLOCK == 0:
            for i in range(wide):
                total[i] += block[i]
                block[i] = x[i]
        else:
            for i in range(wide):
                block[i] += x[i]
        x += wide
    for i in range(wide):
        total[i] += block[i]
    for row in range(rows % group):
        for i in range(n):
            total[i] += x[row * n + i]
    for i in range(n, wide):
        total[i % n] += total[i]
    for i in range(n):
        y[i] = <floating>total[i]


cdef void sum_rows(ndarray y, ndarray x, npy_intp n, npy_intp group, char* scratch) noexcept nogil:
    cdef npy_intp rows = PyArray_SIZE(x) // n
    cdef double* total = <double*>scratch
    if cnp.PyArray_TYPE(x) == NPY_FLOAT:
        add_rows(<float*>PyArray_DATA(y), <float*>PyArray_DATA(x), rows, n, group,
                 <float*>(total + n * group), total)
    else:
        add_rows(<double*>PyArray_DATA(y), <double*>PyArray_DATA(x), rows, n, group,
                 total + n * group, total)


cdef ndarray sum_of_rows(ndarray x, int lead, npy_intp n, bint keepdims):
    """The sum over the first `lead` axes of x, in C order, that leave n elements.

    NumPy's loop would take a call for each row, and lose digits over many of them.
    """
    cdef npy_intp shape[MAX_DIMS]
    cdef npy_intp group = max(1, min(WIDE // n, PyArray_SIZE(x) // n // 4)), size = 2 * n * group
    cdef int axis, ndim = PyArray_NDIM(x), typenum = cnp.PyArray_TYPE(x)
    cdef ndarray y, scratch = cnp.PyArray_ZEROS(1, &size, cnp.NPY_DOUBLE, 0)
    for axis in range(ndim):
        shape[axis] = 1 if axis < lead else PyArray_DIM(x, axis)
    if keepdims:
        y = empty(ndim, shape, typenum)
    else:
        y = empty(ndim - lead, shape + lead, typenum)
    if PyArray_SIZE(x) > RELEASE_ABOVE:
        with nogil:
            sum_rows(y, x, n, group, cnp.PyArray_BYTES(scratch))
    else:
        sum_rows(y, x, n, group, cnp.PyArray_BYTES(scratch))
    return y


cdef class Mean(Reduction):
    """The mean over axes of an operand in floating point."""

    def __cinit__(self, function):
        self.divide = Loop(np.divide)

    cdef ndarray reduced(self, ndarray x, unsigned long axes, bint keepdims):
        cdef ndarray y
        if not is_float(cnp.PyArray_TYPE(x)):
            return None
        y = self.folded(x, axes, keepdims)
        return self.divide.apply(y, PyArray_SIZE(x) // PyArray_SIZE(y))


cdef class SumTo(Reduction):
    """A sum over the axes that broadcasting a shape, the only setting, to x's would stretch."""

    cdef ndarray settled(self, list operands, tuple settings):
        cdef ndarray x, y
        cdef tuple shape
        cdef int axis, n, lead
        cdef unsigned long axes
        cdef npy_intp length
        cdef bint inside = False
        if not isinstance(operands[0], ndarray):
            return None
        if not isinstance(settings[0], tuple):
            return None
        x, shape = <ndarray>operands[0], settings[0]
        n = len(shape)
        lead = PyArray_NDIM(x) - n
        if lead < 0:
            return None
        axes = (1ul << lead) - 1
        for axis in range(n):
            if type(shape[axis]) is not int:
                return None
            length = shape[axis]
            if length != PyArray_DIM(x, lead + axis):
                if length != 1:
                    return None
                axes |= 1ul << (lead + axis)
                inside = True
        y = self.folded(x, axes, False)
        return y.reshape(shape) if inside and y is not None else y
