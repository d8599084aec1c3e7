"""Maximum pooling over 2-d windows of (N, C, H, W) arrays, and the two maps its derivatives need.

An output row is built tap by tap along whole image rows, so that no pixel is tested for being
inside the image and the steps become vector code.
"""

from cython cimport floating
from libc.math cimport INFINITY
from libc.stdint cimport int32_t

cimport numpy as cnp
from numpy cimport PyArray_DATA, npy_intp

from tape._kernels.arrays cimport float_array, product
from tape._kernels.window cimport Window, plane_count, read_window, tap_columns

cnp.import_array()

__all__ = ["max_pool2d", "max_pool2d_gather", "max_pool2d_scatter"]

cdef Py_ssize_t MAX_PIXELS = 0x7FFFFFFF     # positions in the H * W plane are int32


cdef cnp.ndarray first_columns(const Window *w):
    """For each output column the image column of its first tap inside the image, or -1."""
    cdef npy_intp shape[1]
    cdef Py_ssize_t ow, s, column
    shape[0] = w.Wo
    cdef cnp.ndarray columns = cnp.PyArray_EMPTY(1, shape, cnp.NPY_INT32, 0)
    cdef int32_t *first = <int32_t *> PyArray_DATA(columns)
    for ow in range(w.Wo):
        column = ow * w.sw - w.left
        s = 0 if column >= 0 else (w.dw - 1 - column) // w.dw
        column += s * w.dw
        first[ow] = <int32_t> column if s < w.S and column < w.W else -1
    return columns


cdef inline void keep_larger(
    const floating *row, Py_ssize_t step, Py_ssize_t position, floating *best, int32_t *index,
    Py_ssize_t n,
) noexcept nogil:
    """Replace best where the row is larger or NaN, and note where that was."""
    cdef Py_ssize_t i
    cdef floating v
    cdef bint larger
    for i in range(n):      # without a branch, so that it becomes vector code
        v = row[i * step]
        larger = (v > best[i]) | (v != v)
        best[i] = v if larger else best[i]
        index[i] = <int32_t> position + <int32_t> (i * step) if larger else index[i]


cdef void max_row(
    const floating *x, floating *y, int32_t *index, const int32_t *first, const Py_ssize_t *ends,
    const Window *w, Py_ssize_t oh,
) noexcept nogil:
    """One output row: the maximum over the window's taps in scan order, and its position."""
    cdef Py_ssize_t ow, s, n, at, ih = oh * w.sh - w.top
    cdef Py_ssize_t r = 0 if ih >= 0 else (w.dh - 1 - ih) // w.dh
    ih += r * w.dh
    for ow in range(w.Wo):
        y[ow] = -INFINITY
        index[ow] = -1
    if r < w.R and ih < w.H:
        for ow in range(w.Wo):
            index[ow] = -1 if first[ow] < 0 else <int32_t> (ih * w.W) + first[ow]
    while r < w.R and ih < w.H:
        for s in range(w.S):
            ow, n = ends[2 * s], ends[2 * s + 1] - ends[2 * s]
            at = ih * w.W + ow * w.sw + s * w.dw - w.left
            if w.sw == 1:       # a constant step becomes vector code
                keep_larger(x + at, 1, at, y + ow, index + ow, n)
            elif w.sw == 2:
                keep_larger(x + at, 2, at, y + ow, index + ow, n)
            else:
                keep_larger(x + at, w.sw, at, y + ow, index + ow, n)
        r += 1
        ih += w.dh


cdef void max_planes(
    const floating *x, floating *y, int32_t *index, const int32_t *first, const Py_ssize_t *ends,
    const Window *w, Py_ssize_t planes,
) noexcept nogil:
    cdef Py_ssize_t _plane, oh
    for _plane in range(planes):
        for oh in range(w.Ho):
            max_row(x, y, index, first, ends, w, oh)
            y += w.Wo
            index += w.Wo
        x += w.H * w.W


cdef Py_ssize_t scatter_planes(
    const floating *g, const int32_t *index, floating *dx, Py_ssize_t planes, Py_ssize_t positions,
    Py_ssize_t pixels,
) noexcept nogil:
    """Add each g to the pixel it came from; the first index out of range, or -1."""
    cdef Py_ssize_t plane, i, at
    for plane in range(planes):
        for i in range(positions):
            at = index[i]
            if 0 <= at < pixels:
                dx[at] += g[i]
            elif at != -1:
                return plane * positions + i
        g += positions
        index += positions
        dx += pixels
    return -1


cdef Py_ssize_t gather_planes(
    const floating *x, const int32_t *index, floating *y, Py_ssize_t planes, Py_ssize_t positions,
    Py_ssize_t pixels,
) noexcept nogil:
    """Take the pixel each index names, 0 for -1; the first index out of range, or -1."""
    cdef Py_ssize_t plane, i, at
    for plane in range(planes):
        for i in range(positions):
            at = index[i]
            if 0 <= at < pixels:
                y[i] = x[at]
            elif at == -1:
                y[i] = 0
            else:
                return plane * positions + i
        x += pixels
        index += positions
        y += positions
    return -1


cdef Py_ssize_t pixel_count(Py_ssize_t H, Py_ssize_t W, str op) except -1:
    """H * W, if every position in the plane fits an int32."""
    if H < 0 or W < 0:
        raise ValueError(f"{op}: the image is {H} x {W}, expected sizes of at least 0")
    if product(H, W, op) > MAX_PIXELS:
        raise ValueError(f"{op}: a plane of {H} x {W} pixels is more than {MAX_PIXELS}")
    return H * W


cdef cnp.ndarray index_array(object index, cnp.ndarray other, int axes, str op, str name):
    """`index` in C order: int32, of the lengths of `other` along the first `axes` axes."""
    if not cnp.PyArray_Check(index) or cnp.PyArray_TYPE(index) != cnp.NPY_INT32:
        raise TypeError(f"{op}: index is not an array of int32, as max_pool2d gives it")
    if index.ndim != 4 or index.shape[:axes] != (<object> other).shape[:axes]:
        raise ValueError(
            f"{op}: index has shape {index.shape}, but {name} {(<object> other).shape}"
        )
    return cnp.PyArray_FROM_OTF(index, cnp.NPY_INT32, cnp.NPY_ARRAY_CARRAY_RO)


cdef object out_of_range(cnp.ndarray index, Py_ssize_t at, Py_ssize_t H, Py_ssize_t W, str op):
    """The error for the index at flat position `at`."""
    return ValueError(
        f"{op}: index {(<const int32_t *> PyArray_DATA(index))[at]} is outside of an image of "
        f"{H} x {W} pixels"
    )


def max_pool2d(
    x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), *, bint ceil_mode=False
):
    """The maximum of every window and where it stands in the image: (y, index).

    `index` is the int32 position ih * W + iw of the first maximum in reading order; NaN counts as
    larger than all (of several the last is named). Padding counts as -inf and is never named: a
    window without any pixel has y = -inf and index -1.

    Shapes: x (N, C, H, W) -> y, index (N, C, Ho, Wo), each as `window_count`

    >>> import numpy as np
    >>> x = np.array([[[[1.0, 5.0, 5.0], [4.0, 2.0, 3.0]]]])
    >>> y, index = max_pool2d(x, (2, 2))
    >>> y, index
    (array([[[[5., 5.]]]]), array([[[[1, 1]]]], dtype=int32))

    Args:
        x: float32 or float64, in any layout.
        kernel: (R, S), the size of the window; at least 1.
        stride: (sh, sw), from one window to the next; at least 1.
        padding: ((top, bottom), (left, right)) pixels around the image; at least 0.
        dilation: (dh, dw), from one tap of the window to the next; at least 1.
        ceil_mode: also a last window that reaches beyond the padding, as `window_count`.

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: a setting is out of range, or the window is larger than the padded image.
    """
    cdef cnp.ndarray image = float_array(x, 4, "max_pool2d", "x"), y, index, first, columns
    cdef int kind = cnp.PyArray_TYPE(image)
    cdef Py_ssize_t planes
    cdef npy_intp shape[4]
    cdef int32_t *where
    cdef const int32_t *start
    cdef const Py_ssize_t *ends
    cdef Window w
    w.H, w.W = image.shape[2], image.shape[3]
    pixel_count(w.H, w.W, "max_pool2d")
    read_window(&w, "max_pool2d", kernel, stride, padding, dilation, ceil_mode)
    shape[0], shape[1], shape[2], shape[3] = image.shape[0], image.shape[1], w.Ho, w.Wo
    y = cnp.PyArray_EMPTY(4, shape, kind, 0)
    index = cnp.PyArray_EMPTY(4, shape, cnp.NPY_INT32, 0)
    planes = plane_count(y)
    first = first_columns(&w)
    columns = tap_columns(&w)
    where = <int32_t *> PyArray_DATA(index)
    start = <const int32_t *> PyArray_DATA(first)
    ends = <const Py_ssize_t *> PyArray_DATA(columns)
    with nogil:
        if kind == cnp.NPY_FLOAT:
            max_planes(
                <const float *> PyArray_DATA(image), <float *> PyArray_DATA(y), where, start,
                ends, &w, planes)
        else:
            max_planes(
                <const double *> PyArray_DATA(image), <double *> PyArray_DATA(y), where, start,
                ends, &w, planes)
    return y, index


def max_pool2d_scatter(g, index, Py_ssize_t H, Py_ssize_t W):
    """Images of zeros with every g added to the pixel its index names.

    The adjoint of `max_pool2d_gather`, and the gradient of `max_pool2d`. Index -1 adds nothing.

    Shapes: g, index (N, C, Ho, Wo) -> dx (N, C, H, W)

    Raises:
        TypeError: g is not an array of float32 or float64, or index not one of int32.
        ValueError: the shapes differ, or an index is not in [-1, H * W).
    """
    cdef cnp.ndarray image = float_array(g, 4, "max_pool2d_scatter", "g"), dx
    cdef cnp.ndarray where = index_array(index, image, 4, "max_pool2d_scatter", "g")
    cdef npy_intp shape[4]
    cdef Py_ssize_t planes = plane_count(image), positions = image.shape[2] * image.shape[3], bad
    cdef Py_ssize_t pixels = pixel_count(H, W, "max_pool2d_scatter")
    cdef int kind = cnp.PyArray_TYPE(image)
    shape[0], shape[1], shape[2], shape[3] = image.shape[0], image.shape[1], H, W
    dx = cnp.PyArray_ZEROS(4, shape, kind, 0)
    with nogil:
        if kind == cnp.NPY_FLOAT:
            bad = scatter_planes(
                <const float *> PyArray_DATA(image), <const int32_t *> PyArray_DATA(where),
                <float *> PyArray_DATA(dx), planes, positions, pixels)
        else:
            bad = scatter_planes(
                <const double *> PyArray_DATA(image), <const int32_t *> PyArray_DATA(where),
                <double *> PyArray_DATA(dx), planes, positions, pixels)
    if bad >= 0:
        raise out_of_range(where, bad, H, W, "max_pool2d_scatter")
    return dx


def max_pool2d_gather(x, index):
    """The pixel each index names, 0 for index -1.

    The adjoint of `max_pool2d_scatter`, and the derivative of `max_pool2d` along x.

    Shapes: x (N, C, H, W), index (N, C, Ho, Wo) -> y (N, C, Ho, Wo)

    Raises:
        TypeError: x is not an array of float32 or float64, or index not one of int32.
        ValueError: N or C differ, or an index is not in [-1, H * W).
    """
    cdef cnp.ndarray image = float_array(x, 4, "max_pool2d_gather", "x"), y
    cdef cnp.ndarray where = index_array(index, image, 2, "max_pool2d_gather", "x")
    cdef Py_ssize_t planes = plane_count(where), positions = where.shape[2] * where.shape[3], bad
    cdef Py_ssize_t pixels = pixel_count(image.shape[2], image.shape[3], "max_pool2d_gather")
    cdef int kind = cnp.PyArray_TYPE(image)
    y = cnp.PyArray_EMPTY(4, where.shape, kind, 0)
    with nogil:
        if kind == cnp.NPY_FLOAT:
            bad = gather_planes(
                <const float *> PyArray_DATA(image), <const int32_t *> PyArray_DATA(where),
                <float *> PyArray_DATA(y), planes, positions, pixels)
        else:
            bad = gather_planes(
                <const double *> PyArray_DATA(image), <const int32_t *> PyArray_DATA(where),
                <double *> PyArray_DATA(y), planes, positions, pixels)
    if bad >= 0:
        raise out_of_range(where, bad, image.shape[2], image.shape[3], "max_pool2d_gather")
    return y
