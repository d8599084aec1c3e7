"""Maximum pooling over 2-d windows of (N, C, H, W) arrays, and the two maps its derivatives need.

The loops are those of pool.h.
"""

from libc.stdint cimport int32_t

cimport numpy as cnp
from numpy cimport PyArray_DATA

from tape._kernels.arrays cimport float_array, product
from tape._kernels.table cimport kernels, tape_kernels, tape_picking, tape_pooling
from tape._kernels.window cimport Window, new_images, plane_count, pooling_of, read_window, real_of

cnp.import_array()

__all__ = ["max_pool2d", "max_pool2d_gather", "max_pool2d_scatter"]

cdef Py_ssize_t MAX_PIXELS = 0x7FFFFFFF     # positions in the H * W plane are int32


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
    cdef cnp.ndarray image = float_array(x, 4, "max_pool2d", "x"), y, index
    cdef int kind = cnp.PyArray_TYPE(image), failed, real = real_of(image)
    cdef Window w
    cdef tape_pooling p
    cdef const tape_kernels *table = kernels()
    w.H, w.W = image.shape[2], image.shape[3]
    pixel_count(w.H, w.W, "max_pool2d")
    read_window(&w, "max_pool2d", kernel, stride, padding, dilation, ceil_mode)
    y = new_images("max_pool2d", image.shape[0], image.shape[1], w.Ho, w.Wo, kind)
    index = new_images(
        "max_pool2d", image.shape[0], image.shape[1], w.Ho, w.Wo, cnp.NPY_INT32
    )
    pooling_of(&p, &w, plane_count(y))
    p.x, p.y, p.index = PyArray_DATA(image), PyArray_DATA(y), <int32_t *> PyArray_DATA(index)
    with nogil:
        failed = table.max_pool[real](&p)
    if failed:
        raise MemoryError(f"max_pool2d: no memory for windows of {kernel} over {x.shape}")
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
    cdef Py_ssize_t bad
    cdef tape_picking p
    cdef int real = real_of(image)
    cdef const tape_kernels *table = kernels()
    p.pixels, p.positions = pixel_count(H, W, "max_pool2d_scatter"), image.shape[2] * image.shape[3]
    dx = new_images(
        "max_pool2d_scatter", image.shape[0], image.shape[1], H, W, cnp.PyArray_TYPE(image)
    )
    p.planes, p.index = plane_count(dx), <const int32_t *> PyArray_DATA(where)
    p.from_, p.to = PyArray_DATA(image), PyArray_DATA(dx)
    with nogil:
        bad = table.put[real](&p)
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
    cdef Py_ssize_t bad
    cdef tape_picking p
    cdef int real = real_of(image)
    cdef const tape_kernels *table = kernels()
    p.pixels = pixel_count(image.shape[2], image.shape[3], "max_pool2d_gather")
    p.positions = where.shape[2] * where.shape[3]
    y = new_images(
        "max_pool2d_gather", where.shape[0], where.shape[1], where.shape[2], where.shape[3],
        cnp.PyArray_TYPE(image),
    )
    p.planes, p.index = plane_count(where), <const int32_t *> PyArray_DATA(where)
    p.from_, p.to = PyArray_DATA(image), PyArray_DATA(y)
    with nogil:
        bad = table.pick[real](&p)
    if bad >= 0:
        raise out_of_range(where, bad, image.shape[2], image.shape[3], "max_pool2d_gather")
    return y
