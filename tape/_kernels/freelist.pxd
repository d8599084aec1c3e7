from cpython.object cimport PyObject
from numpy cimport ndarray, npy_intp


cdef ndarray empty(int ndim, npy_intp* dims, int typenum)
cdef void recycle(PyObject* last) noexcept
