"""Integer indices: whether they stay in range, and sums of rows into the places they name."""

cimport numpy as cnp
from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from numpy cimport NPY_DOUBLE, NPY_FLOAT, NPY_INTP, ndarray, npy_intp

import numpy as np

from tape._kernels.dispatch cimport Loop

cnp.import_array()

cdef Loop ADD = Loop(np.add)

cdef extern from "numpy/arrayobject.h":
    ndarray PyArray_GETCONTIGUOUS(ndarray)

ctypedef fused floating:
    float
    double

ctypedef fused signed_integer:
    int8_t
    int16_t
    int32_t
    int64_t

ctypedef fused unsigned_integer:
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef npy_intp first_signed(const signed_integer* index, npy_intp n, int64_t low,
                           int64_t high) noexcept nogil:
    cdef npy_intp i
    for i in range(n):
        if index[i] < low or index[i] >= high:
            return i
    return -1


cdef npy_intp first_unsigned(const unsigned_integer* index, npy_intp n,
                             uint64_t high) noexcept nogil:
    cdef npy_intp i
    for i in range(n):
        if index[i] >= high:
            return i
    return -1


def first_outside(ndarray index not None, int64_t low, int64_t high) -> int:
    """Position, in C order, of the first integer that is not in [low, high); -1 if there is none.

    Args:
        index: of any integer dtype.
        low, high: low is not above 0, high not below.

    Raises:
        TypeError: another dtype.
    """
    cdef ndarray flat = PyArray_GETCONTIGUOUS(index)
    cdef void* data = cnp.PyArray_DATA(flat)
    cdef npy_intp n = cnp.PyArray_SIZE(flat), at = -1
    cdef int typenum = cnp.PyArray_TYPE(flat), size = cnp.PyArray_ITEMSIZE(flat)
    if not cnp.PyTypeNum_ISINTEGER(typenum):
        raise TypeError(f"first_outside: {index.dtype} is no integer dtype")
    with nogil:
        if cnp.PyTypeNum_ISUNSIGNED(typenum):
            if size == 1:
                at = first_unsigned(<uint8_t*>data, n, high)
            elif size == 2:
                at = first_unsigned(<uint16_t*>data, n, high)
            elif size == 4:
                at = first_unsigned(<uint32_t*>data, n, high)
            else:
                at = first_unsigned(<uint64_t*>data, n, high)
        elif size == 1:
            at = first_signed(<int8_t*>data, n, low, high)
        elif size == 2:
            at = first_signed(<int16_t*>data, n, low, high)
        elif size == 4:
            at = first_signed(<int32_t*>data, n, low, high)
        else:
            at = first_signed(<int64_t*>data, n, low, high)
    return at


cdef void add_rows(floating* y, const floating* g, const npy_intp* index, npy_intp outer,
                   npy_intp n, npy_intp k, npy_intp inner) noexcept nogil:
    """y[o, index[i], :] += g[o, i, :], one after the other: the same bits on every run."""
    cdef npy_intp o, i, j, row
    cdef floating* to
    for o in range(outer):
        for i in range(k):
            row = index[i]
            row += n if row < 0 else 0
            to = y + (o * n + row) * inner
            for j in range(inner):
                to[j] += g[j]
            g += inner


def scatter_add(ndarray y not None, ndarray index not None, ndarray g not None):
    """Add g[o, i, :] to y[o, index[i], :] in place: equal indices add up, negative count back.

    Args:
        y: (outer, n, inner), contiguous float32 or float64.
        index: (k,), contiguous, of NumPy's intp.
        g: (outer, k, inner), contiguous, of y's dtype.

    Raises:
        ValueError: the arrays do not fit each other, or are not as described.
        IndexError: an index is not in [-n, n); y is as it was.
    """
    cdef int typenum = cnp.PyArray_TYPE(y)
    cdef npy_intp outer, n, k, inner, at
    cdef const npy_intp* rows
    cdef void* to
    cdef void* given
    if cnp.PyArray_NDIM(y) != 3 or cnp.PyArray_NDIM(index) != 1 or cnp.PyArray_NDIM(g) != 3:
        raise ValueError("scatter_add: y and g have three axes, index has one")
    outer, n, inner = cnp.PyArray_DIM(y, 0), cnp.PyArray_DIM(y, 1), cnp.PyArray_DIM(y, 2)
    k = cnp.PyArray_DIM(index, 0)
    if (cnp.PyArray_DIM(g, 0) != outer or cnp.PyArray_DIM(g, 1) != k
            or cnp.PyArray_DIM(g, 2) != inner):
        raise ValueError(f"scatter_add: g {(<object>g).shape} is not {(outer, k, inner)}")
    if (typenum not in (NPY_FLOAT, NPY_DOUBLE) or cnp.PyArray_TYPE(g) != typenum
            or cnp.PyArray_TYPE(index) != NPY_INTP):
        raise ValueError(f"scatter_add: dtypes {y.dtype}, {index.dtype}, {g.dtype}")
    if not (cnp.PyArray_ISCARRAY(y) and cnp.PyArray_ISCARRAY_RO(index)
            and cnp.PyArray_ISCARRAY_RO(g)):
        raise ValueError("scatter_add: the arrays must be contiguous, y writable")
    to, given = cnp.PyArray_DATA(y), cnp.PyArray_DATA(g)
    rows = <const npy_intp*>cnp.PyArray_DATA(index)
    with nogil:
        at = first_signed(rows, k, -n, n)
        if at < 0 and typenum == NPY_FLOAT:
            add_rows[float](<float*>to, <float*>given, rows, outer, n, k, inner)
        elif at < 0:
            add_rows[double](<double*>to, <double*>given, rows, outer, n, k, inner)
    if at >= 0:
        raise IndexError(f"scatter_add: index {rows[at]} at {at} is not in [{-n}, {n})")


def add_into(ndarray y not None, ndarray x not None):
    """y += x, in place, for floats of one dtype; x broadcasts to y. Never warns.

    Raises:
        ValueError: the shapes or dtypes do not fit, or y is read-only.
    """
    cdef int typenum = cnp.PyArray_TYPE(y), lead = cnp.PyArray_NDIM(y) - cnp.PyArray_NDIM(x), axis
    if (cnp.PyArray_TYPE(x) != typenum or typenum not in (NPY_FLOAT, NPY_DOUBLE) or lead < 0
            or not cnp.PyArray_ISWRITEABLE(y)):
        raise ValueError(f"add_into: y is {y.dtype}, {y.flags}, x {x.dtype} {(<object>x).shape}")
    for axis in range(cnp.PyArray_NDIM(x)):
        if cnp.PyArray_DIM(x, axis) not in (1, cnp.PyArray_DIM(y, axis + lead)):
            raise ValueError(f"add_into: x {(<object>x).shape}, y {(<object>y).shape}")
    ADD.accumulate(y, x)
