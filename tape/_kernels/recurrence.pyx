"""First-order linear recurrences along an axis: what gradients of running products are made of."""

cimport numpy as cnp
from cython cimport floating
from numpy cimport NPY_DOUBLE, NPY_FLOAT, PyArray_DATA, PyArray_DIM, ndarray, npy_intp

cnp.import_array()

__all__ = ["recur"]


cdef void along(const floating* a, const floating* b, floating* y, npy_intp outer, npy_intp n,
                npy_intp inner, bint backward) noexcept nogil:
    """The recurrence down the middle axis of three."""
    cdef npy_intp step = -inner if backward else inner
    cdef npy_intp coefficient = inner if backward else 0
    cdef npy_intp o, _, j, at
    for o in range(outer):
        at = o * n * inner + ((n - 1) * inner if backward else 0)
        for j in range(at, at + inner):
            y[j] = b[j]
        for _ in range(1, n):
            at += step
            for j in range(at, at + inner):
                y[j] = a[j + coefficient] * y[j - step] + b[j]


def recur(ndarray a not None, ndarray b not None, int axis, bint backward):
    """y[i] = a[i] y[i-1] + b[i] along an axis, or, backward, y[i] = a[i+1] y[i+1] + b[i].

    Outside of the axis y is 0. For a matrix A with a below its diagonal, forward is
    inv(I - A) b and backward inv(I - A.T) b: each is the other's adjoint in b.

    Args:
        a, b: of one shape, and both float32 or both float64.
        axis: not negative.

    Raises:
        ValueError: the operands are not as described.
    """
    cdef npy_intp outer = 1, inner = 1, n
    cdef int typenum = cnp.PyArray_TYPE(a), ndim = cnp.PyArray_NDIM(a), i
    cdef ndarray y
    if typenum not in (NPY_FLOAT, NPY_DOUBLE) or cnp.PyArray_TYPE(b) != typenum:
        raise ValueError(f"recur: dtypes {a.dtype} and {b.dtype}")
    if not cnp.PyArray_SAMESHAPE(a, b) or not 0 <= axis < ndim:
        raise ValueError(
            f"recur: shapes {(<object>a).shape} and {(<object>b).shape}, axis {axis}"
        )
    a = cnp.PyArray_GETCONTIGUOUS(a)
    b = cnp.PyArray_GETCONTIGUOUS(b)
    y = cnp.PyArray_EMPTY(ndim, cnp.PyArray_DIMS(a), typenum, 0)
    n = PyArray_DIM(a, axis)
    for i in range(axis):
        outer *= PyArray_DIM(a, i)
    for i in range(axis + 1, ndim):
        inner *= PyArray_DIM(a, i)
    if cnp.PyArray_SIZE(a) == 0:
        return y
    with nogil:
        if typenum == NPY_FLOAT:
            along[float](<float*>PyArray_DATA(a), <float*>PyArray_DATA(b), <float*>PyArray_DATA(y),
                         outer, n, inner, backward)
        else:
            along[double](<double*>PyArray_DATA(a), <double*>PyArray_DATA(b),
                          <double*>PyArray_DATA(y), outer, n, inner, backward)
    return y
