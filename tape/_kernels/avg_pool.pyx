"""Average pooling over 2-d windows of (N, C, H, W) arrays, and its adjoint.

The loops are those of avg_pool.h.
"""

cimport numpy as cnp
from numpy cimport PyArray_DATA

from tape._kernels.arrays cimport float_array
from tape._kernels.table cimport kernels, tape_kernels, tape_pooling
from tape._kernels.window cimport Window, new_images, plane_count, pooling_of, read_window, real_of

cnp.import_array()

__all__ = ["avg_pool2d", "avg_pool2d_scatter"]


cdef int average(
    cnp.ndarray x, cnp.ndarray y, const Window *w, bint spreads, bint count_include_pad,
    Py_ssize_t divisor, str op,
) except -1:
    """The kernel on arrays of the shapes that the window says."""
    cdef tape_pooling p
    cdef int failed, real = real_of(x)
    cdef const tape_kernels *table = kernels()
    pooling_of(&p, w, plane_count(y))
    p.x, p.y = PyArray_DATA(x), PyArray_DATA(y)
    p.divisor, p.counts_padding = divisor, count_include_pad
    with nogil:
        failed = table.avg_spread[real](&p) if spreads else table.avg_pool[real](&p)
    if failed:
        raise MemoryError(
            f"{op}: no memory for windows of {w.R} x {w.S} over images of {w.H} x {w.W}"
        )
    return 0


def avg_pool2d(
    x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), *,
    bint ceil_mode=False, bint count_include_pad=True, Py_ssize_t divisor=0,
):
    """The mean of every window.

    Shapes: x (N, C, H, W) -> y (N, C, Ho, Wo), each as `window_count`

    >>> import numpy as np
    >>> avg_pool2d(np.array([[[[1.0, 3.0], [5.0, 7.0]]]]), (2, 1))
    array([[[[3., 5.]]]])

    Args:
        x: float32 or float64, in any layout.
        kernel: (R, S), the size of the window; at least 1.
        stride: (sh, sw), from one window to the next; at least 1.
        padding: ((top, bottom), (left, right)) pixels around the image; at least 0.
        ceil_mode: also a last window that reaches beyond the padding, as `window_count`; what lies
            there is never counted.
        count_include_pad: padding counts as pixels of 0; otherwise only the image's own pixels
            count, and a window without any has y = 0.
        divisor: what the sum of every window is divided by; 0 for its number of pixels.

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: a setting is out of range, or the window is larger than the padded image.
    """
    cdef cnp.ndarray image = float_array(x, 4, "avg_pool2d", "x"), y
    cdef Window w
    w.H, w.W = image.shape[2], image.shape[3]
    read_window(&w, "avg_pool2d", kernel, stride, padding, (1, 1), ceil_mode)
    y = new_images(
        "avg_pool2d", image.shape[0], image.shape[1], w.Ho, w.Wo, cnp.PyArray_TYPE(image)
    )
    average(image, y, &w, False, count_include_pad, divisor, "avg_pool2d")
    return y


def avg_pool2d_scatter(
    g, Py_ssize_t H, Py_ssize_t W, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), *,
    bint ceil_mode=False, bint count_include_pad=True, Py_ssize_t divisor=0,
):
    """Images in which each g is spread evenly over the pixels its window averaged.

    The adjoint of `avg_pool2d` on images of H x W, whose settings it takes.

    Shapes: g (N, C, Ho, Wo) -> dx (N, C, H, W)

    Raises:
        TypeError: g is not an array of float32 or float64.
        ValueError: as `avg_pool2d`, or g is not of the shape that it gives for H x W.
    """
    cdef cnp.ndarray grad = float_array(g, 4, "avg_pool2d_scatter", "g"), dx
    cdef Window w
    w.H, w.W = H, W
    read_window(&w, "avg_pool2d_scatter", kernel, stride, padding, (1, 1), ceil_mode)
    if grad.shape[2] != w.Ho or grad.shape[3] != w.Wo:
        raise ValueError(
            f"avg_pool2d_scatter: g has shape {g.shape}, but an image of {H} x {W} has "
            f"{w.Ho} x {w.Wo} windows"
        )
    dx = new_images(
        "avg_pool2d_scatter", grad.shape[0], grad.shape[1], H, W, cnp.PyArray_TYPE(grad)
    )
    average(grad, dx, &w, True, count_include_pad, divisor, "avg_pool2d_scatter")
    return dx
