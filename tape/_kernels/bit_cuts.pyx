"""How filters move over an image and how its border cuts them, along one axis."""

cimport numpy as cnp
from numpy cimport NPY_INTP, PyArray_DATA, PyArray_DIM, PyArray_ZEROS, ndarray, npy_intp

cnp.import_array()

__all__: list[str] = []


cdef ndarray integers(Py_ssize_t n, int kind):
    cdef npy_intp size = n
    return PyArray_ZEROS(1, &size, kind, 0)


cdef tuple checked_pair(str name, object pair, Py_ssize_t least):
    """A pair of whole numbers in [least, 2**31)."""
    if (
        not isinstance(pair, (tuple, list)) or len(pair) != 2
        or not all([hasattr(n, "__index__") and least <= n < 1 << 31 for n in pair])
    ):
        raise ValueError(
            f"BitFilters: {name} is {pair!r}, expected two whole numbers from {least} to "
            f"{(1 << 31) - 1}"
        )
    return tuple([int(n) for n in pair])


cdef class Cuts:
    """The ways in which the border of an image cuts filters along one axis, and who is cut how."""

    def __cinit__(self, Py_ssize_t windows, Py_ssize_t size, Py_ssize_t taps, Py_ssize_t stride,
                  Py_ssize_t before, Py_ssize_t dilation):
        cdef Py_ssize_t i, k, begin, first, last
        cdef npy_intp *firsts
        cdef npy_intp *lasts
        cdef npy_intp *found
        cdef Py_ssize_t most = min(windows, taps * taps + 2)
        self.first, self.last = integers(most, NPY_INTP), integers(most, NPY_INTP)
        self.of_window = integers(windows, NPY_INTP)
        firsts = <npy_intp *> PyArray_DATA(self.first)
        lasts = <npy_intp *> PyArray_DATA(self.last)
        found = <npy_intp *> PyArray_DATA(self.of_window)
        k = 0
        for i in range(windows):
            begin = i * stride - before
            first = 0 if begin >= 0 else min(taps, (dilation - 1 - begin) // dilation)
            last = 0 if begin >= size else min(taps, (size - 1 - begin) // dilation + 1)
            last = max(first, last)
            if self.n == 0 or firsts[k] != first or lasts[k] != last:
                k = 0
                while k < self.n and (firsts[k] != first or lasts[k] != last):
                    k += 1
                if k == self.n:
                    firsts[k], lasts[k] = first, last
                    self.n += 1
            found[i] = k

    cdef void scale(self, Py_ssize_t by) noexcept:
        """From now on, of_window counts in steps of `by`."""
        cdef npy_intp *found = <npy_intp *> PyArray_DATA(self.of_window)
        cdef Py_ssize_t i
        for i in range(PyArray_DIM(self.of_window, 0)):
            found[i] *= by
