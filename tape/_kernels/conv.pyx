"""Convolution of images by the C kernels, and its two gradients."""

import numpy as np

cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint32_t
from libc.string cimport memset
from numpy cimport (
    PyArray_BYTES, PyArray_DATA, PyArray_DIM, PyArray_ITEMSIZE, PyArray_NDIM, PyArray_STRIDE,
    PyArray_TYPE, ndarray, npy_intp,
)

from tape._kernels.arrays cimport product
from tape._kernels.bits cimport checked_border, packed, volume
from tape._kernels.ending cimport Ending, end_in
from tape._kernels.table cimport kernels, tape_convolution
from tape._kernels.window cimport Window, new_images, read_window

from tape._kernels.bits import NO_BORDER, RULES

cnp.import_array()

__all__ = ["conv2d", "conv2d_image", "conv2d_signs", "conv2d_window"]

cdef enum:
    LITTLE_WORK = 2000000  # multiply-adds, some 20 us: done before releasing the GIL has paid


cdef struct Taps:
    ptrdiff_t *y
    ptrdiff_t *x
    ptrdiff_t *w


cdef ndarray images(x, str name, dtype):
    """x (N, C, H, W) as floats of one dtype whose rows are contiguous."""
    if not isinstance(x, cnp.ndarray) or PyArray_NDIM(<ndarray>x) != 4:
        raise ValueError(f"conv2d: {name} must be an array of four axes")
    cdef ndarray a = <ndarray>x
    if not (PyArray_TYPE(a) == dtype and cnp.PyArray_ISBEHAVED_RO(a)
            and (PyArray_STRIDE(a, 3) == PyArray_ITEMSIZE(a) or PyArray_DIM(a, 3) == 1)):
        a = cnp.PyArray_FROM_OTF(a, dtype, cnp.NPY_ARRAY_CARRAY_RO | cnp.NPY_ARRAY_FORCECAST)
    return a


cdef int common_type(x, w, b=None) except -1:
    """The type that NumPy promotes images x and what they meet to: float32 or float64."""
    if x.dtype.char not in "fd":
        raise TypeError(f"conv2d: {x.dtype} images, expected float32 or float64")
    kind = x.dtype
    for other in (w, b):
        if other is not None and other.dtype is not kind:
            kind = np.result_type(kind, other.dtype)
    if kind.char not in "fd":
        raise TypeError(f"conv2d: {x.dtype} images times {w.dtype} are {kind}")
    return cnp.NPY_FLOAT if kind.char == "f" else cnp.NPY_DOUBLE


cdef void lay_x(tape_convolution* p, ndarray x) noexcept:
    cdef ptrdiff_t size = PyArray_ITEMSIZE(x)
    p.x = PyArray_DATA(x)
    p.height, p.width = PyArray_DIM(x, 2), PyArray_DIM(x, 3)
    p.x_image, p.x_channel = PyArray_STRIDE(x, 0) // size, PyArray_STRIDE(x, 1) // size
    p.x_row = PyArray_STRIDE(x, 2) // size


cdef void lay_y(tape_convolution* p, ndarray y) noexcept:
    cdef ptrdiff_t size = PyArray_ITEMSIZE(y)
    p.y = PyArray_DATA(y)
    p.out_height, p.out_width = PyArray_DIM(y, 2), PyArray_DIM(y, 3)
    p.y_image, p.y_channel = PyArray_STRIDE(y, 0) // size, PyArray_STRIDE(y, 1) // size
    p.y_row, p.y_col = PyArray_STRIDE(y, 2) // size, 1


cdef int run(tape_convolution* p, int kind, bint weighs) except -1:
    """The kernel on what p says, without the GIL if there is much to do."""
    cdef int failed
    cdef double work = (
        <double>(p.batch * p.groups) * <double>(p.out_height * p.out_width)
        * <double>p.out_channels * <double>(p.channels * p.n_taps))
    if work > LITTLE_WORK:
        with nogil:
            failed = kernels().weigh[kind](p) if weighs else kernels().correlate[kind](p)
    else:
        failed = kernels().weigh[kind](p) if weighs else kernels().correlate[kind](p)
    if failed == -1:
        raise MemoryError
    if failed:
        raise ValueError(
            f"conv2d: {p.channels} channels of an image of {p.height} x {p.width}, windows of "
            f"{p.reach_y} x {p.reach_x} pixels every {p.stride_y} and {p.stride_x}, are more than "
            "2^31 numbers in one block")
    return 0


cdef void set_reach(tape_convolution* p) noexcept:
    """How far the taps go: see kernels.h."""
    cdef ptrdiff_t t, low_y = p.tap_y[0], high_y = low_y, low_x = p.tap_x[0], high_x = low_x
    for t in range(p.n_taps):
        low_y, high_y = min(low_y, p.tap_y[t]), max(high_y, p.tap_y[t])
        low_x, high_x = min(low_x, p.tap_x[t]), max(high_x, p.tap_x[t])
    p.top, p.reach_y = -low_y, high_y - low_y + 1
    p.left, p.reach_x = -low_x, high_x - low_x + 1


cdef void window_taps(tape_convolution* p, Taps* taps, ptrdiff_t R, ptrdiff_t S, padding,
                      dilation):
    """All taps of a window, as they lie on the image."""
    cdef ptrdiff_t r, s, top = padding[0][0], left = padding[1][0]
    cdef ptrdiff_t down = dilation[0], right = dilation[1]
    for r in range(R):
        for s in range(S):
            taps.y[r * S + s], taps.x[r * S + s] = r * down - top, s * right - left
            taps.w[r * S + s] = r * S + s
    p.n_taps = R * S
    p.tap_y, p.tap_x, p.tap_w = taps.y, taps.x, taps.w
    set_reach(p)


cdef ndarray room_for(Taps* taps, ptrdiff_t R, ptrdiff_t S):
    """Memory for the taps of a window, which lives as long as what is returned."""
    cdef ndarray room = cnp.PyArray_EMPTY(2, [3, product(R, S, "conv2d")], cnp.NPY_INTP, 0)
    taps.y = <ptrdiff_t*>PyArray_DATA(room)
    taps.x = taps.y + R * S
    taps.w = taps.x + R * S
    return room


cdef void lay_out(tape_convolution* p, Taps* taps, ndarray x, ndarray w, ndarray y, stride,
                  padding, dilation, ptrdiff_t groups):
    """An image, a weight in C order and their result as they lie, whichever is wanted."""
    cdef ptrdiff_t R = PyArray_DIM(w, 2), S = PyArray_DIM(w, 3)
    memset(p, 0, sizeof(p[0]))
    p.batch, p.groups = PyArray_DIM(x, 0), groups
    p.channels, p.out_channels = PyArray_DIM(w, 1), PyArray_DIM(w, 0) // groups
    lay_x(p, x)
    lay_y(p, y)
    p.w = PyArray_DATA(w)
    p.w_in, p.w_out = R * S, p.channels * R * S
    p.w_group = p.out_channels * p.w_out
    p.stride_y, p.stride_x = stride[0], stride[1]
    window_taps(p, taps, R, S, padding, dilation)


cdef ndarray bias_of(tape_convolution* p, b, int kind):
    """b as the kernel reads it, who has to be kept for as long; None for none."""
    cdef ndarray bias
    if b is None:
        return None
    bias = cnp.PyArray_FROM_OTF(b, kind, cnp.NPY_ARRAY_CARRAY_RO | cnp.NPY_ARRAY_FORCECAST)
    p.bias = PyArray_DATA(bias)
    return bias


cdef int place(Window* at, ndarray x, ndarray w, stride, padding, dilation) except -1:
    """How the windows of w lie on x."""
    at.H, at.W = PyArray_DIM(x, 2), PyArray_DIM(x, 3)
    window = PyArray_DIM(w, 2), PyArray_DIM(w, 3)
    return read_window(at, "conv2d", window, stride, padding, dilation, False)


def conv2d(x, w, stride, padding, dilation, ptrdiff_t groups, b=None, activation=None):
    """y (N, C_out, Ho, Wo): windows of x (N, C, H, W) times w (C_out, C / groups, R, S), plus b.

    The activation is None, or the name of one that `ending` knows.

    Raises:
        TypeError: x or w is no array of floats.
        ValueError: there are not four axes, no window fits, or a block is too large.
    """
    cdef int kind = common_type(x, w, b)
    cdef ndarray image = images(x, "x", kind), weight = images(w, "w", kind), y
    cdef tape_convolution p
    cdef Window at
    cdef Taps taps
    cdef Ending ending
    cdef ndarray _room = room_for(&taps, PyArray_DIM(weight, 2), PyArray_DIM(weight, 3))
    weight = cnp.PyArray_GETCONTIGUOUS(weight)
    place(&at, image, weight, stride, padding, dilation)
    y = new_images("conv2d", PyArray_DIM(image, 0), PyArray_DIM(weight, 0), at.Ho, at.Wo, kind)
    lay_out(&p, &taps, image, weight, y, stride, padding, dilation, groups)
    _bias = bias_of(&p, b, kind)
    if activation is not None:
        end_in(activation, 0 if kind == cnp.NPY_FLOAT else 1, &ending)
        p.activation, p.slope = ending.activation, ending.slope
        p.row_work, p.row_context = ending.row_work, &ending
    run(&p, 0 if kind == cnp.NPY_FLOAT else 1, False)
    return y


def conv2d_signs(x, w, stride, padding, dilation, b=None, rule="negative", border=NO_BORDER):
    """The signs of `conv2d`, packed as `pack` packs them: y itself is never written.

    Raises:
        TypeError: x or w is no array of floats.
        ValueError: there are not four axes, channels do not match, no window fits, or a block is
            too large.
    """
    cdef int kind = common_type(x, w, b)
    cdef ndarray image = images(x, "x", kind), weight = images(w, "w", kind), words
    cdef tape_convolution p
    cdef Window at
    cdef Taps taps
    cdef npy_intp dims[4]
    cdef ptrdiff_t top, bottom, left, right
    cdef ndarray _room = room_for(&taps, PyArray_DIM(weight, 2), PyArray_DIM(weight, 3))
    weight = cnp.PyArray_GETCONTIGUOUS(weight)
    if PyArray_DIM(image, 1) != PyArray_DIM(weight, 1):
        raise ValueError(
            f"conv2d: x has {PyArray_DIM(image, 1)} channels, w expects {PyArray_DIM(weight, 1)}")
    place(&at, image, weight, stride, padding, dilation)
    top, bottom, left, right = checked_border("conv2d", border, 4, 1)
    dims[0] = PyArray_DIM(image, 0)
    dims[1], dims[2] = top + at.Ho + bottom, left + at.Wo + right
    dims[3] = (PyArray_DIM(weight, 0) + 31) // 32
    volume(dims, 4, "conv2d")
    words = cnp.PyArray_ZEROS(4, dims, cnp.NPY_UINT32, 0)
    lay_out(&p, &taps, image, weight, image, stride, padding, dilation, 1)
    p.y, p.out_height, p.out_width, p.y_row = NULL, at.Ho, at.Wo, at.Wo
    p.bits_col, p.bits_row = dims[3], dims[3] * dims[2]
    p.bits_image = p.bits_row * dims[1]
    p.bits = <uint32_t*>PyArray_DATA(words) + top * p.bits_row + left * p.bits_col
    p.rule = RULES[rule]
    _bias = bias_of(&p, b, kind)
    run(&p, 0 if kind == cnp.NPY_FLOAT else 1, False)
    shape = PyArray_DIM(image, 0), PyArray_DIM(weight, 0), at.Ho, at.Wo
    return packed(words, shape, 1, (top, bottom, left, right))


def conv2d_image(g, w, int H, int W, stride, padding, dilation, ptrdiff_t groups):
    """The gradient dx (N, C, H, W) for the image of `conv2d` that gave g (N, C_out, Ho, Wo).

    Raises:
        TypeError: g or w is no array of floats.
        ValueError: there are not four axes, or a block is too large.
    """
    cdef int kind = common_type(g, w)
    cdef ndarray result = images(g, "g", kind), weight = images(w, "w", kind), dx
    cdef tape_convolution p
    cdef Taps taps
    cdef ptrdiff_t R = PyArray_DIM(weight, 2), S = PyArray_DIM(weight, 3), r, s, i, j, at_y, at_x
    cdef ptrdiff_t top = padding[0][0], left = padding[1][0], down = dilation[0]
    cdef ptrdiff_t right = dilation[1], stride_y = stride[0], stride_x = stride[1], size
    cdef ndarray _room = room_for(&taps, R, S)
    weight = cnp.PyArray_GETCONTIGUOUS(weight)
    memset(&p, 0, sizeof(p))
    p.batch, p.groups = PyArray_DIM(result, 0), groups
    p.channels, p.out_channels = PyArray_DIM(weight, 0) // groups, PyArray_DIM(weight, 1)
    dx = new_images("conv2d_input_grad", p.batch, p.out_channels * groups, H, W, kind)
    if stride_y > 1 or stride_x > 1:  # there may be pixels that no window covers
        memset(PyArray_DATA(dx), 0, cnp.PyArray_NBYTES(dx))
    size = PyArray_ITEMSIZE(dx)
    lay_x(&p, result)
    lay_y(&p, dx)
    p.w = PyArray_DATA(weight)
    p.w_out, p.w_in = R * S, p.out_channels * R * S
    p.w_group = p.channels * p.w_in
    p.stride_y = p.stride_x = 1
    p.y_row, p.y_col = W * stride_y, stride_x
    p.tap_y, p.tap_x, p.tap_w = taps.y, taps.x, taps.w
    for i in range(min(stride_y, H)):
        for j in range(min(stride_x, W)):
            p.n_taps = 0
            for r in range(R):
                for s in range(S):
                    at_y, at_x = i + top - r * down, j + left - s * right
                    if at_y % stride_y or at_x % stride_x:
                        continue
                    taps.y[p.n_taps], taps.x[p.n_taps] = at_y // stride_y, at_x // stride_x
                    taps.w[p.n_taps] = r * S + s
                    p.n_taps += 1
            if p.n_taps == 0:
                continue
            set_reach(&p)
            p.y = PyArray_BYTES(dx) + (i * W + j) * size
            p.out_height = (H - i + stride_y - 1) // stride_y
            p.out_width = (W - j + stride_x - 1) // stride_x
            run(&p, 0 if kind == cnp.NPY_FLOAT else 1, False)
    return dx


def conv2d_window(g, x, ptrdiff_t R, ptrdiff_t S, stride, padding, dilation, ptrdiff_t groups):
    """The gradient dw (C_out, C / groups, R, S) for the weight of `conv2d` that gave g from x.

    Raises:
        TypeError: g or x is no array of floats.
        ValueError: there are not four axes, or a block is too large.
    """
    cdef int kind = common_type(g, x)
    cdef ndarray result = images(g, "g", kind), image = images(x, "x", kind), dw
    cdef tape_convolution p
    cdef Taps taps
    cdef ndarray _room = room_for(&taps, R, S)
    result = cnp.PyArray_GETCONTIGUOUS(result)
    dw = new_images(
        "conv2d_weight_grad", PyArray_DIM(result, 1), PyArray_DIM(image, 1) // groups, R, S, kind)
    if PyArray_DIM(image, 0) == 0:
        memset(PyArray_DATA(dw), 0, cnp.PyArray_NBYTES(dw))
        return dw
    lay_out(&p, &taps, image, dw, result, stride, padding, dilation, groups)
    run(&p, 0 if kind == cnp.NPY_FLOAT else 1, True)
    return dw
