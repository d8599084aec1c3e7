"""Geometry of 2-d windows over images, and the row steps that unfolding and pooling share."""

from cython cimport floating

cimport numpy as cnp

from tape._kernels.table cimport TAPE_DOUBLE, TAPE_FLOAT, tape_pooling


cdef struct Window:
    Py_ssize_t H, W, R, S, Ho, Wo
    Py_ssize_t sh, sw                       # stride
    Py_ssize_t top, bottom, left, right     # padding
    Py_ssize_t dh, dw                       # dilation


cdef int read_window(
    Window *w, str op, object kernel, object stride, object padding, object dilation, bint ceil_mode
) except -1


cdef inline Py_ssize_t plane_count(cnp.ndarray images) noexcept:
    """N * C of (N, C, H, W), 0 if there is nothing in them."""
    return images.shape[0] * images.shape[1] if cnp.PyArray_SIZE(images) else 0


cdef inline int real_of(cnp.ndarray x) noexcept:
    """Which of the table's functions is for an array of float32 or float64."""
    return TAPE_FLOAT if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT else TAPE_DOUBLE


cdef cnp.ndarray new_images(
    str op, Py_ssize_t N, Py_ssize_t C, Py_ssize_t H, Py_ssize_t W, int kind
)


cdef void pooling_of(tape_pooling *p, const Window *w, Py_ssize_t planes) noexcept


cdef inline void reach(
    Py_ssize_t size, Py_ssize_t stride, Py_ssize_t offset, Py_ssize_t count,
    Py_ssize_t *first, Py_ssize_t *last,
) noexcept nogil:
    """The outputs [first, last) of `count` whose pixel o * stride + offset is in [0, size)."""
    last[0] = 0 if offset >= size else min(count, (size - 1 - offset) // stride + 1)
    first[0] = 0 if offset >= 0 else min(last[0], (stride - 1 - offset) // stride)


cdef inline void fill_row(floating *row, floating value, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        row[i] = value


cdef inline void add_row(floating *row, const floating *other, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        row[i] += other[i]
