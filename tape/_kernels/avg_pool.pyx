"""Average pooling over 2-d windows of (N, C, H, W) arrays, and its adjoint.

The window's rows are summed first, then its taps along the row: R * W + S * Wo additions for an
output row instead of R * S * Wo, the long ones over contiguous memory.
"""

from cython cimport floating
from libc.string cimport memcpy

cimport numpy as cnp
from numpy cimport PyArray_DATA, npy_intp

from tape._kernels.arrays cimport float_array
from tape._kernels.window cimport (
    Window, add_row, fill_row, plane_count, read_window, tap_columns,
)

cnp.import_array()

__all__ = ["avg_pool2d", "avg_pool2d_scatter"]


cdef void window_widths(
    floating *widths, const Window *w, bint count_include_pad, Py_ssize_t divisor
) noexcept nogil:
    """For each output column the width its window is counted with; 1 where it holds no pixel."""
    cdef Py_ssize_t ow, start, end
    for ow in range(w.Wo):
        if divisor != 0:
            widths[ow] = 1
            continue
        start = ow * w.sw - w.left
        end = min(start + w.S, w.W + w.right if count_include_pad else w.W)
        widths[ow] = <floating> max(end - (start if count_include_pad else max(start, 0)), 1)


cdef inline Py_ssize_t window_rows(
    const Window *w, Py_ssize_t oh, bint count_include_pad, Py_ssize_t divisor,
    Py_ssize_t *top, Py_ssize_t *bottom,
) noexcept nogil:
    """Image rows [top, bottom) of the windows of output row `oh`; the height they count with."""
    cdef Py_ssize_t start = oh * w.sh - w.top
    top[0] = max(start, 0)
    bottom[0] = min(start + w.R, w.H)
    if divisor != 0:
        return divisor
    return min(w.R, w.H + w.bottom - start) if count_include_pad else bottom[0] - top[0]


cdef void avg_planes(
    const floating *x, floating *y, floating *widths, const Py_ssize_t *ends, const Window *w,
    Py_ssize_t planes, bint count_include_pad, Py_ssize_t divisor,
) noexcept nogil:
    cdef Py_ssize_t _plane, oh, ow, ih, s, top, bottom
    cdef floating height
    cdef floating *total = widths + w.Wo
    window_widths(widths, w, count_include_pad, divisor)
    for _plane in range(planes):
        for oh in range(w.Ho):
            height = <floating> window_rows(w, oh, count_include_pad, divisor, &top, &bottom)
            fill_row(y, 0, w.Wo)
            if top < bottom:
                memcpy(total, x + top * w.W, w.W * sizeof(floating))
                for ih in range(top + 1, bottom):
                    add_row(total, x + ih * w.W, w.W)
                for s in range(w.S):
                    for ow in range(ends[2 * s], ends[2 * s + 1]):
                        y[ow] += total[ow * w.sw + s - w.left]
                for ow in range(w.Wo):
                    y[ow] /= height * widths[ow]
            y += w.Wo
        x += w.H * w.W


cdef void spread_planes(
    const floating *g, floating *dx, floating *widths, const Py_ssize_t *ends, const Window *w,
    Py_ssize_t planes, bint count_include_pad, Py_ssize_t divisor,
) noexcept nogil:
    """The steps of `avg_planes` in reverse: divide, spread along the row, add to every row."""
    cdef Py_ssize_t _plane, oh, ow, ih, s, top, bottom
    cdef floating height
    cdef floating *total = widths + w.Wo
    window_widths(widths, w, count_include_pad, divisor)
    for _plane in range(planes):
        for oh in range(w.Ho):
            height = <floating> window_rows(w, oh, count_include_pad, divisor, &top, &bottom)
            if top < bottom:
                fill_row(total, 0, w.W)
                for s in range(w.S):
                    for ow in range(ends[2 * s], ends[2 * s + 1]):
                        total[ow * w.sw + s - w.left] += g[ow] / (height * widths[ow])
                for ih in range(top, bottom):
                    add_row(dx + ih * w.W, total, w.W)
            g += w.Wo
        dx += w.H * w.W


cdef cnp.ndarray scratch_rows(const Window *w, int kind):
    """Memory for the widths of an output row and the sums of an image row: Wo + W numbers."""
    cdef npy_intp shape[1]
    shape[0] = w.Wo + w.W
    return cnp.PyArray_EMPTY(1, shape, kind, 0)


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
    cdef cnp.ndarray image = float_array(x, 4, "avg_pool2d", "x"), y, columns, scratch
    cdef int kind = cnp.PyArray_TYPE(image)
    cdef Py_ssize_t planes
    cdef npy_intp shape[4]
    cdef Window w
    w.H, w.W = image.shape[2], image.shape[3]
    read_window(&w, "avg_pool2d", kernel, stride, padding, (1, 1), ceil_mode)
    shape[0], shape[1], shape[2], shape[3] = image.shape[0], image.shape[1], w.Ho, w.Wo
    y = cnp.PyArray_EMPTY(4, shape, kind, 0)
    planes = plane_count(y)
    columns = tap_columns(&w)
    scratch = scratch_rows(&w, kind)
    with nogil:
        if kind == cnp.NPY_FLOAT:
            avg_planes(
                <const float *> PyArray_DATA(image), <float *> PyArray_DATA(y),
                <float *> PyArray_DATA(scratch), <const Py_ssize_t *> PyArray_DATA(columns),
                &w, planes, count_include_pad, divisor)
        else:
            avg_planes(
                <const double *> PyArray_DATA(image), <double *> PyArray_DATA(y),
                <double *> PyArray_DATA(scratch), <const Py_ssize_t *> PyArray_DATA(columns),
                &w, planes, count_include_pad, divisor)
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
    cdef cnp.ndarray grad = float_array(g, 4, "avg_pool2d_scatter", "g"), dx, columns, scratch
    cdef int kind = cnp.PyArray_TYPE(grad)
    cdef Py_ssize_t planes = plane_count(grad)
    cdef npy_intp shape[4]
    cdef Window w
    w.H, w.W = H, W
    read_window(&w, "avg_pool2d_scatter", kernel, stride, padding, (1, 1), ceil_mode)
    if grad.shape[2] != w.Ho or grad.shape[3] != w.Wo:
        raise ValueError(
            f"avg_pool2d_scatter: g has shape {g.shape}, but an image of {H} x {W} has "
            f"{w.Ho} x {w.Wo} windows"
        )
    shape[0], shape[1], shape[2], shape[3] = grad.shape[0], grad.shape[1], H, W
    columns = tap_columns(&w)
    scratch = scratch_rows(&w, kind)
    dx = cnp.PyArray_ZEROS(4, shape, kind, 0)
    with nogil:
        if kind == cnp.NPY_FLOAT:
            spread_planes(
                <const float *> PyArray_DATA(grad), <float *> PyArray_DATA(dx),
                <float *> PyArray_DATA(scratch), <const Py_ssize_t *> PyArray_DATA(columns),
                &w, planes, count_include_pad, divisor)
        else:
            spread_planes(
                <const double *> PyArray_DATA(grad), <double *> PyArray_DATA(dx),
                <double *> PyArray_DATA(scratch), <const Py_ssize_t *> PyArray_DATA(columns),
                &w, planes, count_include_pad, divisor)
    return dx
