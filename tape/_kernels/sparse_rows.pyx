"""Sparse matrices by rows, and their products with vectors.

A `SparseRows` is made once for a matrix, checked then, and used for many vectors.
"""

from libc.stdint cimport int32_t

cimport numpy as cnp
from numpy cimport NPY_FLOAT, PyArray_DATA, PyArray_TYPE, ndarray

import numpy as np

from tape._kernels.table cimport TAPE_DOUBLE, TAPE_FLOAT, kernels, tape_sparse

cnp.import_array()

__all__ = ["SparseRows"]

cdef enum:
    RELEASE_ABOVE = 1 << 15  # multiply-adds, some 20 us


cdef class SparseRows:
    """A matrix of which only some numbers are kept, row by row.

    Args:
        starts: (rows + 1,), int32: where the numbers of each row begin, and the last ones end.
        places: (n,), int32: the column of each number.
        values: (n,), float32 or float64.
        columns: how many there are.

    Raises:
        TypeError: arrays have other dtypes.
        ValueError: they do not say a matrix.
    """

    cdef readonly ndarray starts, places, values
    cdef readonly Py_ssize_t rows, columns

    def __init__(self, starts, places, values, Py_ssize_t columns):
        self.starts, self.places, self.values = (
            np.array(a, order="C", ndmin=1) for a in (starts, places, values)
        )
        if not self.starts.dtype == self.places.dtype == np.int32:
            raise TypeError(
                f"SparseRows: starts and places are {self.starts.dtype} and {self.places.dtype}, "
                "expected int32"
            )
        if self.values.dtype not in (np.float32, np.float64):
            raise TypeError(f"SparseRows: values are {self.values.dtype}, expected floats")
        n = len(self.values)
        if not self.starts.ndim == self.places.ndim == self.values.ndim == 1:
            raise ValueError("SparseRows: starts, places and values have one axis each")
        if len(self.places) != n or not len(self.starts):
            raise ValueError(f"SparseRows: {n} values at {len(self.places)} places")
        steps = np.diff(self.starts.astype(np.int64), append=n)  # which cannot wrap around
        if self.starts[0] != 0 or steps[len(steps) - 1] != 0 or (steps < 0).any():
            raise ValueError(f"SparseRows: starts do not rise from 0 to the {n} values")
        if n and not 0 <= self.places.min() <= self.places.max() < columns:
            raise ValueError(f"SparseRows: places lie outside of {columns} columns")
        self.rows, self.columns = len(self.starts) - 1, columns

    def product(self, x, bias=None):
        """x times the rows, plus bias.   Shapes: x (m, columns), bias (rows,) -> (m, rows)

        Raises:
            TypeError: x or bias has another dtype than the values.
            ValueError: x or bias has another shape.
        """
        cdef tape_sparse p
        cdef ndarray a, y, b
        cdef int failed, kind
        if x.dtype != self.values.dtype or (bias is not None and bias.dtype != x.dtype):
            raise TypeError(f"SparseRows: x is {x.dtype}, the values are {self.values.dtype}")
        if x.ndim != 2 or x.shape[1] != self.columns:
            raise ValueError(f"SparseRows: x {x.shape} has not {self.columns} columns")
        if bias is not None and bias.shape != (self.rows,):
            raise ValueError(f"SparseRows: bias {bias.shape} for {self.rows} rows")
        a = np.ascontiguousarray(x)
        y = np.empty((x.shape[0], self.rows), x.dtype)
        p.rows, p.columns, p.batch = self.rows, self.columns, x.shape[0]
        p.starts = <const int32_t *> PyArray_DATA(self.starts)
        p.places = <const int32_t *> PyArray_DATA(self.places)
        p.values, p.x, p.y = PyArray_DATA(self.values), PyArray_DATA(a), PyArray_DATA(y)
        p.bias = NULL
        if bias is not None:
            b = np.ascontiguousarray(bias)
            p.bias = PyArray_DATA(b)
        kind = TAPE_FLOAT if PyArray_TYPE(a) == NPY_FLOAT else TAPE_DOUBLE
        if p.batch * len(self.values) > RELEASE_ABOVE:
            with nogil:
                failed = kernels().sparse[kind](&p)
        else:
            failed = kernels().sparse[kind](&p)
        if failed:
            raise MemoryError
        return y
