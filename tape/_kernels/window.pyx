"""Windows over images: how many fit, unfold (im2col) and its adjoint fold (col2im).

Every loop runs along image rows. For one tap (r, s) of the window the output rows and columns whose
pixel lies inside the image are two ranges, found once by `reach`; inside them nothing is tested.
"""

from cython cimport floating
from libc.string cimport memcpy

cimport numpy as cnp
from numpy cimport PyArray_DATA, npy_intp

from tape._kernels.arrays cimport float_array, product
from tape._kernels.freelist cimport empty
from tape._kernels.table cimport tape_pooling
from tape._kernels.window cimport Window, add_row, fill_row, reach

cnp.import_array()

__all__ = ["fold", "unfold", "window_count", "window_counts"]

# Settings fit 31 bits and sizes 62, so that no sum or product of two settings overflows.
cdef Py_ssize_t MAX_SETTING = 0x7FFFFFFF
cdef Py_ssize_t MAX_SIZE = <Py_ssize_t> 1 << 62


cdef int read_pair(
    object pair, Py_ssize_t least, str op, str name, Py_ssize_t *first, Py_ssize_t *second
) except -1:
    """Read two whole numbers in [least, 2**31)."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{op}: {name} is {pair!r}, expected two whole numbers")
    first[0] = pair[0]
    second[0] = pair[1]
    if min(first[0], second[0]) < least or max(first[0], second[0]) > MAX_SETTING:
        raise ValueError(
            f"{op}: {name} is {pair!r}, expected numbers from {least} to {MAX_SETTING}"
        )
    return 0


cdef Py_ssize_t count_windows(
    str op, str axis, Py_ssize_t size, Py_ssize_t window, Py_ssize_t stride,
    Py_ssize_t before, Py_ssize_t after, Py_ssize_t dilation, bint ceil_mode,
) except -1:
    """Number of window positions along one axis; see `window_count`."""
    cdef Py_ssize_t span = (window - 1) * dilation + 1, room, count
    if size < 0 or size > MAX_SIZE:
        raise ValueError(f"{op}: {axis} is {size}, expected a number from 0 to {MAX_SIZE}")
    room = size + before + after - span
    count = room // stride + 1 if room >= 0 else 0
    if ceil_mode and room > -stride and room % stride and count * stride < before + size:
        count += 1
    if count == 0:
        raise ValueError(
            f"{op}: a window of {window} with dilation {dilation} spans {span}, but {axis} is only "
            f"{before} + {size} + {after} with its padding"
        )
    return count


cdef int read_window(
    Window *w, str op, object kernel, object stride, object padding, object dilation, bint ceil_mode
) except -1:
    """Check the settings against the image (w.H, w.W) and fill in the rest of `w`."""
    read_pair(kernel, 1, op, "kernel", &w.R, &w.S)
    read_pair(stride, 1, op, "stride", &w.sh, &w.sw)
    read_pair(dilation, 1, op, "dilation", &w.dh, &w.dw)
    if not isinstance(padding, (tuple, list)) or len(padding) != 2:
        raise ValueError(f"{op}: padding is {padding!r}, expected ((top, bottom), (left, right))")
    read_pair(padding[0], 0, op, "padding of height", &w.top, &w.bottom)
    read_pair(padding[1], 0, op, "padding of width", &w.left, &w.right)
    w.Ho = count_windows(op, "height", w.H, w.R, w.sh, w.top, w.bottom, w.dh, ceil_mode)
    w.Wo = count_windows(op, "width", w.W, w.S, w.sw, w.left, w.right, w.dw, ceil_mode)
    return 0


cdef cnp.ndarray new_images(
    str op, Py_ssize_t N, Py_ssize_t C, Py_ssize_t H, Py_ssize_t W, int kind
):
    """Room for (N, C, H, W) numbers of this kind, or an error that names them and the op."""
    try:
        return empty(4, [N, C, H, W], kind)
    except (MemoryError, ValueError) as error:
        raise MemoryError(
            f"{op}: no memory for a result of shape {(N, C, H, W)}, "
            f"{float(N) * C * H * W:.3g} numbers"
        ) from error


cdef void pooling_of(tape_pooling *p, const Window *w, Py_ssize_t planes) noexcept:
    """The window in the terms of kernels.h."""
    p.planes, p.height, p.width, p.out_height, p.out_width = planes, w.H, w.W, w.Ho, w.Wo
    p.rows, p.columns, p.top, p.left, p.bottom, p.right = w.R, w.S, w.top, w.left, w.bottom, w.right
    p.stride_y, p.stride_x, p.dilation_y, p.dilation_x = w.sh, w.sw, w.dh, w.dw
    p.index, p.divisor, p.counts_padding = NULL, 0, True


def window_counts(image, window, stride, padding, dilation, bint ceil_mode):
    """`window_count` along both axes (H, W) of an image, from pairs.

    Raises:
        ValueError: the window does not fit, or a setting is out of range.
    """
    cdef Window w
    w.H, w.W = image
    read_window(&w, "window_counts", window, stride, padding, dilation, ceil_mode)
    return w.Ho, w.Wo


def window_count(size, window, stride=1, before=0, after=0, dilation=1, *, ceil_mode=False):
    """Number of positions of a window of `window` pixels along an axis of `size` pixels.

    floor((before + size + after - (window - 1) * dilation - 1) / stride) + 1; with `ceil_mode` one
    more that reaches beyond the padding, if pixels are left over and it starts inside the image or
    the padding before it.

    >>> window_count(28, 3, before=1, after=1), window_count(28, 3, 2)
    (28, 13)
    >>> window_count(28, 3, 2, ceil_mode=True)
    14

    Raises:
        ValueError: the window does not fit, or a setting is out of range.
    """
    cdef Py_ssize_t span, step, first, last, spread, unused
    read_pair((window, stride), 1, "window_count", "(window, stride)", &span, &step)
    read_pair((before, after), 0, "window_count", "(before, after)", &first, &last)
    read_pair((dilation, 1), 1, "window_count", "(dilation, 1)", &spread, &unused)
    return count_windows("window_count", "size", size, span, step, first, last, spread, ceil_mode)


cdef void unfold_tap(
    const floating *x, floating *cols, const Window *w, Py_ssize_t r, Py_ssize_t s, floating fill
) noexcept nogil:
    """One row of the column matrix: the pixel of tap (r, s) at every window position."""
    cdef Py_ssize_t oh, ow, top, bottom, left, right
    cdef Py_ssize_t up = r * w.dh - w.top, aside = s * w.dw - w.left
    cdef const floating *row
    reach(w.H, w.sh, up, w.Ho, &top, &bottom)
    reach(w.W, w.sw, aside, w.Wo, &left, &right)
    if left == right:
        top = bottom = w.Ho
    fill_row(cols, fill, top * w.Wo)
    fill_row(cols + bottom * w.Wo, fill, (w.Ho - bottom) * w.Wo)
    if w.sh == 1 and w.sw == 1 and w.Wo == w.W and top < bottom:
        # Rows follow each other alike in image and result: one copy, then the edges it ran over.
        memcpy(
            cols + top * w.Wo + left, x + (top + up) * w.W + left + aside,
            ((bottom - top - 1) * w.W + right - left) * sizeof(floating),
        )
        for oh in range(top, bottom):
            fill_row(cols + oh * w.Wo, fill, left)
            fill_row(cols + oh * w.Wo + right, fill, w.Wo - right)
        return
    for oh in range(top, bottom):
        row = x + (oh * w.sh + up) * w.W + aside
        fill_row(cols + oh * w.Wo, fill, left)
        if w.sw == 1:
            memcpy(cols + oh * w.Wo + left, row + left, (right - left) * sizeof(floating))
        else:
            for ow in range(left, right):
                cols[oh * w.Wo + ow] = row[ow * w.sw]
        fill_row(cols + oh * w.Wo + right, fill, w.Wo - right)


cdef void fold_tap(
    const floating *cols, floating *x, const Window *w, Py_ssize_t r, Py_ssize_t s
) noexcept nogil:
    """Add one row of the column matrix to the pixels it was taken from."""
    cdef Py_ssize_t oh, ow, top, bottom, left, right
    cdef Py_ssize_t up = r * w.dh - w.top, aside = s * w.dw - w.left
    cdef floating *row
    reach(w.H, w.sh, up, w.Ho, &top, &bottom)
    reach(w.W, w.sw, aside, w.Wo, &left, &right)
    for oh in range(top, bottom):
        row = x + (oh * w.sh + up) * w.W + aside
        if w.sw == 1:
            add_row(row + left, cols + oh * w.Wo + left, right - left)
        else:
            for ow in range(left, right):
                row[ow * w.sw] += cols[oh * w.Wo + ow]


cdef void unfold_planes(
    const floating *x, floating *cols, const Window *w, Py_ssize_t planes, floating fill
) noexcept nogil:
    cdef Py_ssize_t _plane, r, s
    for _plane in range(planes):
        for r in range(w.R):
            for s in range(w.S):
                unfold_tap(x, cols, w, r, s, fill)
                cols += w.Ho * w.Wo
        x += w.H * w.W


cdef void fold_planes(
    const floating *cols, floating *x, const Window *w, Py_ssize_t planes
) noexcept nogil:
    cdef Py_ssize_t _plane, r, s
    for _plane in range(planes):
        for r in range(w.R):
            for s in range(w.S):
                fold_tap(cols, x, w, r, s)
                cols += w.Ho * w.Wo
        x += w.H * w.W


def unfold(x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), double fill=0.0):
    """The pixels under every window position, one column per position (im2col).

    cols[n, (c * R + r) * S + s, oh * Wo + ow]
        = x[n, c, oh * sh + r * dh - top, ow * sw + s * dw - left], or `fill` outside of the image

    Shapes: x (N, C, H, W) -> cols (N, C * R * S, Ho * Wo)

    Args:
        x: float32 or float64, in any layout.
        kernel: (R, S), the size of the window; at least 1.
        stride: (sh, sw), from one window to the next; at least 1.
        padding: ((top, bottom), (left, right)) pixels around the image; at least 0.
        dilation: (dh, dw), from one tap of the window to the next; at least 1.
        fill: value of the padding.

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: a setting is out of range, or the window is larger than the padded image.
    """
    cdef cnp.ndarray image = float_array(x, 4, "unfold", "x"), cols
    cdef npy_intp shape[3]
    cdef Py_ssize_t planes = product(image.shape[0], image.shape[1], "unfold")
    cdef int kind = cnp.PyArray_TYPE(image)
    cdef Window w
    w.H = image.shape[2]
    w.W = image.shape[3]
    read_window(&w, "unfold", kernel, stride, padding, dilation, False)
    shape[0] = image.shape[0]
    shape[1] = product(image.shape[1], product(w.R, w.S, "unfold"), "unfold")
    shape[2] = product(w.Ho, w.Wo, "unfold")
    cols = cnp.PyArray_EMPTY(3, shape, kind, 0)
    with nogil:
        if kind == cnp.NPY_FLOAT:
            unfold_planes(
                <const float *> PyArray_DATA(image), <float *> PyArray_DATA(cols),
                &w, planes, <float> fill,
            )
        else:
            unfold_planes(
                <const double *> PyArray_DATA(image), <double *> PyArray_DATA(cols),
                &w, planes, fill,
            )
    return cols


def fold(cols, image_shape, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)):
    """Images in which every pixel is the sum of the columns' entries taken from it (col2im).

    The adjoint of `unfold`: sum(fold(cols) * x) = sum(cols * unfold(x)) with fill 0.

    Shapes: cols (N, C * R * S, Ho * Wo) -> x (N, C, H, W), which is `image_shape`

    Raises:
        TypeError: cols is not an array of float32 or float64.
        ValueError: as `unfold`, or cols is not of the shape that `unfold` gives for `image_shape`.
    """
    cdef cnp.ndarray columns = float_array(cols, 3, "fold", "cols"), x
    cdef npy_intp shape[4]
    cdef Py_ssize_t planes, rows, positions
    cdef int kind = cnp.PyArray_TYPE(columns)
    cdef Window w
    if not isinstance(image_shape, tuple) or len(image_shape) != 4:
        raise ValueError(f"fold: image_shape is {image_shape!r}, expected (N, C, H, W)")
    shape[0], shape[1], shape[2], shape[3] = image_shape
    if min(shape[0], shape[1], shape[2], shape[3]) < 0:
        raise ValueError(f"fold: image_shape is {image_shape!r}, expected sizes of at least 0")
    w.H = shape[2]
    w.W = shape[3]
    read_window(&w, "fold", kernel, stride, padding, dilation, False)
    planes = product(shape[0], shape[1], "fold")
    rows = product(shape[1], product(w.R, w.S, "fold"), "fold")
    positions = product(w.Ho, w.Wo, "fold")
    if (
        columns.shape[0] != shape[0] or columns.shape[1] != rows or columns.shape[2] != positions
    ):
        raise ValueError(
            f"fold: cols has shape {cols.shape}, expected {(shape[0], rows, positions)} "
            f"for images {image_shape}"
        )
    x = cnp.PyArray_ZEROS(4, shape, kind, 0)
    with nogil:
        if kind == cnp.NPY_FLOAT:
            fold_planes(
                <const float *> PyArray_DATA(columns), <float *> PyArray_DATA(x), &w, planes
            )
        else:
            fold_planes(
                <const double *> PyArray_DATA(columns), <double *> PyArray_DATA(x), &w, planes
            )
    return x
