"""Views, made without a detour through Python."""

cimport numpy as cnp
from numpy cimport PyArray_DIM, PyArray_NDIM, ndarray, npy_intp

import numpy as np

from tape._kernels.dispatch cimport Kernel
from tape._kernels.strides cimport MAX_DIMS, strides_under

cnp.import_array()


cdef bint are_integers(sequence) noexcept:
    """Whether this is a tuple of Python's own integers."""
    if type(sequence) is not tuple:
        return False
    for n in <tuple>sequence:
        if type(n) is not int:
            return False
    return True


cdef class MatrixTranspose(Kernel):
    """The last two axes swapped."""

    cdef ndarray unary(self, ndarray x):
        cdef int n = PyArray_NDIM(x)
        return <ndarray>cnp.PyArray_SwapAxes(x, n - 1, n - 2) if n >= 2 else None


cdef class Stretch(Kernel):
    """x broadcast to a shape, the only setting, as a read-only view."""

    cdef ndarray settled(self, list operands, tuple settings):
        cdef int ndim, lead, axis
        cdef npy_intp dims[MAX_DIMS]
        cdef npy_intp strides[MAX_DIMS]
        cdef ndarray x, view
        cdef tuple shape
        if not isinstance(operands[0], ndarray) or not are_integers(settings[0]):
            return None
        x, shape = <ndarray>operands[0], settings[0]
        ndim = len(shape)
        lead = ndim - PyArray_NDIM(x)
        if ndim > MAX_DIMS or lead < 0:
            return None
        for axis in range(ndim):
            dims[axis] = shape[axis]
            if dims[axis] < 0 or (axis >= lead and PyArray_DIM(x, axis - lead) != dims[axis]
                                  and PyArray_DIM(x, axis - lead) != 1):
                return None
        strides_under(x, 0, ndim, strides)
        view = cnp.PyArray_New(
            ndarray, ndim, dims, cnp.PyArray_TYPE(x), strides, cnp.PyArray_BYTES(x), 0, 0, None
        )
        cnp.set_array_base(view, x)
        return view


cdef class View(Kernel):
    """A method of arrays that gives a view, called with an op's settings.

    NumPy knows quickly what it cannot do: that is left to the op, whose shape rule finds the words.
    """

    cdef object method

    def __cinit__(self, method):
        self.method = method

    cdef ndarray settled(self, list operands, tuple settings):
        if len(operands) != 1 or not isinstance(operands[0], ndarray):
            return None
        try:
            y = self.method(operands[0], *settings)
        except (IndexError, OverflowError, TypeError, ValueError):
            return None
        return <ndarray>y if isinstance(y, ndarray) else np.asarray(y)


cdef class Reshape(View):
    """A View by ndarray.reshape that does not, as NumPy does, take every negative length for -1."""

    cdef ndarray settled(self, list operands, tuple settings):
        if not are_integers(settings[0]) or settings[1] is not None:
            return None
        for n in <tuple>settings[0]:
            if n < -1:
                return None
        return View.settled(self, operands, (settings[0],))


cdef class Permute(View):
    """A View by ndarray.transpose, of axes given as a tuple of integers."""

    cdef ndarray settled(self, list operands, tuple settings):
        return View.settled(self, operands, settings) if are_integers(settings[0]) else None
