"""Sums of shifted multiples of signals; the loop is that of shifts.h."""

cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from numpy cimport PyArray_DATA, PyArray_DIM, PyArray_TYPE

import numpy as np

from tape._kernels.arrays cimport float_array, in_order
from tape._kernels.table cimport TAPE_DOUBLE, TAPE_FLOAT, kernels, tape_shifts

cnp.import_array()

__all__ = ["shifted_sums"]


cdef cnp.ndarray whole_numbers(object x, str name):
    """One axis of whole numbers in C order."""
    if not isinstance(x, cnp.ndarray) or x.ndim != 1 or x.dtype != np.intp:
        raise TypeError(f"shifted_sums: {name} must be an array (n,) of intp, got {x!r:.60}")
    return in_order(<cnp.ndarray> x)


def shifted_sums(
    x, starts, offsets, factors, bias, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t pitch, *,
    bint relu=False,
):
    """y[n, o, i, j] = bias[o] + sum over e of factors[e] * x[n, offsets[e] + i * pitch + j].

    The terms e of o are those from starts[o] up to starts[o + 1].

    Shapes: x (N, size), starts (n_out + 1,), offsets (n,), factors (n,), bias (n_out,) ->
    y (N, n_out, rows, width)

    Args:
        x: float32 or float64, in any layout; factors and bias are of the same type.
        starts, offsets: of `intp`; starts rises from 0 to n.
        bias: or None.
        rows, width, pitch: at least 1; pitch is at least width.
        relu: whether max(y, 0) is taken.

    Raises:
        TypeError: an array has another dtype.
        ValueError: shapes do not match, or a term would read outside of x.

    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0, 4.0, 8.0]])
    >>> terms = np.array([0, 2]), np.array([0, 1]), np.array([10.0, 1.0])
    >>> shifted_sums(x, *terms, None, 1, 3, 3)
    array([[[[12., 24., 48.]]]])
    """
    cdef cnp.ndarray images = float_array(x, 2, "shifted_sums", "x")
    cdef cnp.ndarray weights = float_array(factors, 1, "shifted_sums", "factors")
    cdef cnp.ndarray first = whole_numbers(starts, "starts")
    cdef cnp.ndarray places = whole_numbers(offsets, "offsets")
    cdef cnp.ndarray b = None if bias is None else float_array(bias, 1, "shifted_sums", "bias")
    cdef cnp.ndarray y
    cdef tape_shifts p
    cdef Py_ssize_t i, size = PyArray_DIM(images, 1), n = PyArray_DIM(places, 0), most
    cdef int typenum = PyArray_TYPE(images), real = TAPE_FLOAT
    cdef const ptrdiff_t* at = <const ptrdiff_t*> PyArray_DATA(first)
    cdef const ptrdiff_t* shift = <const ptrdiff_t*> PyArray_DATA(places)
    if typenum == cnp.NPY_DOUBLE:
        real = TAPE_DOUBLE
    if PyArray_TYPE(weights) != typenum or b is not None and PyArray_TYPE(b) != typenum:
        raise TypeError(f"shifted_sums: factors and bias must be {images.dtype} as x")
    if rows < 1 or width < 1 or pitch < width:
        raise ValueError(f"shifted_sums: {rows} rows of {width} numbers of {pitch} are none")
    if rows > 1 and pitch > size // (rows - 1):
        raise ValueError(f"shifted_sums: {rows} rows of {pitch} are more than {size} numbers")
    most = size - ((rows - 1) * pitch + width)
    p.kinds = PyArray_DIM(first, 0) - 1
    if p.kinds < 0 or PyArray_DIM(weights, 0) != n or b is not None and (
            PyArray_DIM(b, 0) != p.kinds):
        raise ValueError(
            f"shifted_sums: starts ({p.kinds + 1},), offsets ({n},), factors {factors.shape} and "
            "bias do not match"
        )
    if at[0] != 0 or at[p.kinds] != n:
        raise ValueError(f"shifted_sums: starts go from {at[0]} to {at[p.kinds]}, not 0 to {n}")
    for i in range(p.kinds):
        if at[i + 1] < at[i]:
            raise ValueError(f"shifted_sums: starts fall from {at[i]} to {at[i + 1]}")
    for i in range(n):
        if shift[i] < 0 or shift[i] > most:
            raise ValueError(f"shifted_sums: offset {shift[i]} is not from 0 to {most}")
    p.images, p.rows, p.width, p.pitch, p.relu = PyArray_DIM(images, 0), rows, width, pitch, relu
    y = np.empty((p.images, p.kinds, rows, width), images.dtype)
    if p.images == 0 or p.kinds == 0:
        return y
    p.x, p.x_image = PyArray_DATA(images), size
    p.starts, p.offsets = at, shift
    p.factors, p.bias = PyArray_DATA(weights), NULL if b is None else PyArray_DATA(b)
    p.y = PyArray_DATA(y)
    with nogil:
        kernels().shift[real](&p)
    return y
