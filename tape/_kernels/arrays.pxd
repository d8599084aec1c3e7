"""What every kernel asks of an array before it touches its memory; compiled into each user."""

cimport numpy as cnp


cdef extern from *:
    Py_ssize_t PY_SSIZE_T_MAX


cdef inline cnp.ndarray float_array(object x, int ndim, str op, str name):
    """`x` itself if it is native, aligned and in C order, else such a copy: float32 or float64."""
    cdef int kind
    if not cnp.PyArray_Check(x):
        raise TypeError(f"{op}: {name} is a {type(x).__name__}, expected a NumPy array")
    kind = cnp.PyArray_TYPE(<cnp.ndarray> x)
    if kind != cnp.NPY_FLOAT and kind != cnp.NPY_DOUBLE:
        raise TypeError(f"{op}: {name} is {x.dtype}, expected float32 or float64")
    if cnp.PyArray_NDIM(<cnp.ndarray> x) != ndim:
        raise ValueError(f"{op}: {name} has shape {x.shape}, expected {ndim} axes")
    return in_order(<cnp.ndarray> x)


cdef inline cnp.ndarray in_order(cnp.ndarray x):
    """`x` itself if it is native, aligned and in C order, else such a copy."""
    if cnp.PyArray_ISCARRAY_RO(x):
        return x
    return cnp.PyArray_FROM_OTF(x, cnp.PyArray_TYPE(x), cnp.NPY_ARRAY_CARRAY_RO)


cdef inline Py_ssize_t product(Py_ssize_t a, Py_ssize_t b, str op) except -1:
    """a * b of two counts, or ValueError when no memory could hold so many elements."""
    if a != 0 and b > PY_SSIZE_T_MAX // a:
        raise ValueError(f"{op}: {a} times {b} elements are more than memory can address")
    return a * b
