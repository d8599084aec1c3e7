"""Correlation of codes of 8 bits with filters of int8: quantised convolutions and dense layers.

An `Int8Filters` is made once for filters and used for many images. The filters are put in the order
that the instruction set in use wants when they are first needed.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int8_t, int32_t, uint8_t
from libc.string cimport memset

cimport numpy as cnp
from numpy cimport (
    NPY_FLOAT, NPY_INT32, NPY_UINT8, PyArray_DATA, PyArray_DIM, PyArray_NDIM,
    PyArray_SIZE, PyArray_STRIDES, PyArray_TYPE, ndarray, npy_intp,
)

import numpy as np

from tape._kernels.bit_cuts cimport checked_pair
from tape._kernels.bits cimport volume
from tape._kernels.freelist cimport empty
from tape._kernels.int8_table cimport (
    TAPE_INT8_CODES, TAPE_INT8_FLOATS, TAPE_INT8_SUMS, tape_int8_images, tape_int8_kernels,
    tape_int8_windows,
)
from tape._kernels.table cimport kernels
from tape._kernels.window cimport Window, read_window

cnp.import_array()

__all__ = ["Int8Filters", "LONGEST", "codes_of", "has_dot"]

LONGEST = (2**31 - 1) // (255 * 128)
"""Terms of a sum of products of codes that fits 32 bits whatever they are."""

cdef enum:
    RELEASE_MACS = 1 << 22
    BLOCK = 16


cdef ndarray padded_vector(str name, object values, Py_ssize_t filters, Py_ssize_t groups,
                           object dtype):
    """One number a filter, each group's followed by zeros up to a multiple of BLOCK."""
    cdef Py_ssize_t each = filters // groups
    values = np.asarray(values)
    if values.shape != (filters,):
        raise ValueError(f"Int8Filters: {name} has shape {values.shape}, expected {(filters,)}")
    if values.dtype.kind not in "fiu":
        raise TypeError(f"Int8Filters: {name} is {values.dtype}, expected {np.dtype(dtype)}")
    if not np.isfinite(values).all():
        raise ValueError(f"Int8Filters: {name} holds NaN or inf")
    result = np.zeros((groups, (each + BLOCK - 1) // BLOCK * BLOCK), dtype)
    result[:, :each] = values.reshape(groups, each)
    return result


cdef float checked_number(str name, object value, double low, double high) except? -1:
    """A finite number from low to high."""
    cdef double number = value
    if not low <= number <= high:
        raise ValueError(f"{name} is {value}, expected a number from {low:g} to {high:g}")
    return <float> number


cdef class Int8Filters:
    """Filters of int8 and how they move over images of codes.

    The code q of an image stands for (q - zero) / factor, so a result is
    (sum of (q - zero) * w) * scale + bias, with zeros where the image is padded.

    Args:
        w: filters (C_out, C / groups, R, S), int8.
        zero: the code of 0, from 0 to 255.
        factor: what numbers are multiplied by to make codes of them.
        scale, bias: one number a filter, 1 and 0 by default.
        least: what smaller results become: 0 is a relu.

    Raises:
        ValueError: a setting is wrong, there are no weights, or sums may not fit 32 bits.
    """

    cdef ndarray w, arranged, offsets, scale, bias
    cdef const tape_int8_kernels *arranged_for
    cdef readonly tuple shape
    cdef tuple stride, padding, dilation
    cdef Py_ssize_t groups, each, each_padded, tap_words
    cdef readonly int zero
    cdef float factor, least
    cdef bint merged            # the taps of a row are one run of codes

    def __init__(self, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, *,
                 zero=0, factor=1.0, scale=None, bias=None, least=-INFINITY):
        if not isinstance(w, ndarray) or w.dtype != np.int8 or w.ndim != 4:
            what = f"{w.dtype} {w.shape}" if isinstance(w, ndarray) else type(w).__name__
            raise ValueError(
                f"Int8Filters: w is {what}, expected int8 filters (C_out, C / groups, R, S)")
        if (isinstance(groups, bool) or not hasattr(groups, "__index__") or groups < 1
                or w.shape[0] % groups):
            raise ValueError(f"Int8Filters: groups = {groups} does not divide {w.shape[0]} filters")
        if not w.size:
            raise ValueError(f"Int8Filters: filters {w.shape} without weights")
        if w.shape[1] * w.shape[2] * w.shape[3] > LONGEST:
            raise ValueError(f"Int8Filters: filters {w.shape} of more than {LONGEST} terms each")
        if isinstance(zero, bool) or not hasattr(zero, "__index__") or not 0 <= zero <= 255:
            raise ValueError(f"Int8Filters: zero is {zero!r}, expected a whole number to 255")
        self.w, self.shape, self.groups = np.array(w, order="C"), w.shape, groups
        self.stride = checked_pair("stride", stride, 1)
        self.dilation = checked_pair("dilation", dilation, 1)
        if not isinstance(padding, (tuple, list)) or len(padding) != 2:
            raise ValueError(f"Int8Filters: padding is {padding!r}, expected ((top, bottom), "
                             "(left, right))")
        self.padding = tuple([checked_pair("padding", pair, 0) for pair in padding])
        self.zero = zero
        self.factor = checked_number("Int8Filters: factor", factor, 1e-37, 3e38)
        self.least = least
        if self.least != self.least:
            raise ValueError("Int8Filters: least is NaN")
        self.tap_words = (w.shape[1] + 3) // 4
        self.each = w.shape[0] // groups
        self.each_padded = (self.each + BLOCK - 1) // BLOCK * BLOCK
        self.merged = groups == 1 and self.dilation[1] == 1
        self.scale = padded_vector("scale", np.ones(w.shape[0]) if scale is None else scale,
                                   w.shape[0], groups, np.float32)
        self.bias = padded_vector("bias", np.zeros(w.shape[0]) if bias is None else bias,
                                  w.shape[0], groups, np.float32)
        self.offsets = padded_vector("offsets", -zero * w.sum((1, 2, 3), dtype=np.int64),
                                     w.shape[0], groups, np.int32)

    cdef int arrange(self, const tape_int8_kernels *k) except -1:
        """Put the filters in the order that the kernels want."""
        cdef Py_ssize_t words = self.shape[2] * self.shape[3] * self.tap_words, g
        cdef ndarray rows, room
        rows = np.zeros((self.shape[0], self.shape[2], self.shape[3], 4 * self.tap_words), np.int8)
        rows[..., : self.shape[1]] = self.w.transpose(0, 2, 3, 1)
        room = np.empty(self.groups * self.each_padded * words * 4 + 64, np.int8)
        for g in range(self.groups):
            k.arrange(<const int8_t *> PyArray_DATA(rows) + g * self.each * words * 4, self.each,
                      words,
                      <char *> aligned(PyArray_DATA(room)) + g * self.each_padded * words * 4)
        self.arranged, self.arranged_for = room, k
        return 0

    cdef ndarray bytes_of(self, const Window *w, ndarray x, tape_int8_windows *k):
        """The codes of x with their border, filled up; k is told where they are."""
        cdef Py_ssize_t pixel = self.groups * self.tap_words * 4, C = self.shape[1], g
        cdef npy_intp *step = PyArray_STRIDES(x)
        cdef npy_intp dims[4]
        cdef ndarray y
        cdef tape_int8_images p
        cdef bint bordered = w.top or w.bottom or w.left or w.right
        if (PyArray_TYPE(x) == NPY_UINT8 and not bordered and C % 4 == 0 and step[1] == 1
                and (step[3] == pixel or w.W == 1) and (step[2] >= w.W * pixel or w.H == 1)
                and (step[0] >= w.H * step[2] or PyArray_DIM(x, 0) == 1)):
            k.x = <const uint8_t *> PyArray_DATA(x)
            k.x_n, k.x_h, k.x_w = step[0], step[2], pixel
            k.x_bytes = (PyArray_DIM(x, 0) - 1) * step[0] + (w.H - 1) * step[2] + w.W * pixel
            return x
        dims[0], dims[3] = PyArray_DIM(x, 0), pixel
        dims[1], dims[2] = w.top + w.H + w.bottom, w.left + w.W + w.right
        volume(dims, 4, "Int8Filters")
        y = empty(4, dims, NPY_UINT8)
        k.x_bytes = PyArray_SIZE(y)
        k.x = <const uint8_t *> PyArray_DATA(y)
        k.x_n, k.x_h, k.x_w = dims[1] * dims[2] * pixel, dims[2] * pixel, pixel
        if bordered:
            memset(PyArray_DATA(y), self.zero, k.x_bytes)
        if PyArray_TYPE(x) == NPY_UINT8:
            inside = y[:, w.top:w.top + w.H, w.left:w.left + w.W]
            inside = inside.reshape(*inside.shape[:3], self.groups, 4 * self.tap_words)
            inside[..., :C] = x.transpose(0, 2, 3, 1).reshape(
                dims[0], w.H, w.W, self.groups, C)
            inside[..., C:] = 0
            return y
        p.n, p.c, p.h, p.w = dims[0], C, w.H, w.W
        p.x_n, p.x_c, p.x_h, p.x_w = step[0] // 4, step[1] // 4, step[2] // 4, step[3] // 4
        p.y_n, p.y_h, p.y_w = k.x_n, k.x_h, k.x_w
        p.factor, p.zero = self.factor, self.zero
        for g in range(self.groups):
            p.x = <const float *> PyArray_DATA(x) + g * C * p.x_c
            p.y = <uint8_t *> PyArray_DATA(y) + w.top * k.x_h + w.left * pixel
            p.y += g * 4 * self.tap_words
            if PyArray_SIZE(x) > RELEASE_MACS // 64:
                with nogil:
                    kernels().int8.pack(&p)
            else:
                kernels().int8.pack(&p)
        return y

    cdef int correlate(self, const Window *w, ndarray x, tape_int8_windows *k) except -1:
        """Fill k.y, whose strides k knows."""
        cdef const tape_int8_kernels *table = &kernels().int8
        cdef Py_ssize_t r, s, g, size
        cdef int failed = 0
        cdef ndarray _x = self.bytes_of(w, x, k)  # lives as long as k points there
        cdef ndarray arranged, run_at
        cdef const uint8_t *first = k.x
        cdef ptrdiff_t *at
        cdef double macs
        if self.arranged_for != table:
            self.arrange(table)
        arranged = self.arranged
        if self.merged:
            k.runs, k.run_words = w.R, w.S * self.tap_words
        else:
            k.runs, k.run_words = w.R * w.S, self.tap_words
        run_at = np.empty(k.runs, np.intp)
        at = <ptrdiff_t *> PyArray_DATA(run_at)
        for r in range(w.R):
            if self.merged:
                at[r] = r * w.dh * k.x_h
            else:
                for s in range(w.S):
                    at[r * w.S + s] = r * w.dh * k.x_h + s * w.dw * k.x_w
        k.run_at = at
        k.x_h *= w.sh
        k.x_w *= w.sw
        k.images, k.rows, k.columns, k.filters = PyArray_DIM(x, 0), w.Ho, w.Wo, self.each
        size = self.each_padded * w.R * w.S * self.tap_words * 4
        macs = <double> k.images * k.rows * k.columns * self.shape[0] * k.runs * k.run_words * 4
        for g in range(self.groups):
            k.x = first + g * self.tap_words * 4
            k.weights = <const char *> aligned(PyArray_DATA(arranged)) + g * size
            k.offsets = <const int32_t *> PyArray_DATA(self.offsets) + g * self.each_padded
            k.scale = <const float *> PyArray_DATA(self.scale) + g * self.each_padded
            k.bias = <const float *> PyArray_DATA(self.bias) + g * self.each_padded
            if macs > RELEASE_MACS:
                with nogil:
                    failed |= table.correlate(k)
            else:
                failed |= table.correlate(k)
            k.y = <char *> k.y + self.each * k.y_c * (1 if k.kind == TAPE_INT8_CODES else 4)
            k.x_bytes -= self.tap_words * 4
        if failed:
            raise MemoryError(f"Int8Filters: no memory to rewrite codes {(<object> x).shape}")
        return 0

    cdef ndarray result(self, object images, int kind, bint channels_last):
        cdef tape_int8_windows k
        cdef Window w
        cdef npy_intp dims[4]
        cdef Py_ssize_t C = self.shape[0]
        cdef ndarray x, y
        if not isinstance(images, ndarray) or PyArray_NDIM(<ndarray> images) != 4:
            raise ValueError(f"Int8Filters: x is {described(images)}, expected images (N, C, H, W)")
        x = images
        if PyArray_TYPE(x) != NPY_UINT8:
            if x.dtype.kind != "f":
                raise TypeError(f"Int8Filters: x is {x.dtype}, expected uint8 codes or floats")
            x = strided_floats(x)
        if PyArray_DIM(x, 1) != self.shape[1] * self.groups:
            raise ValueError(
                f"Int8Filters: x has {PyArray_DIM(x, 1)} channels, w expects "
                f"{self.shape[1] * self.groups} (x {images.shape}, w {self.shape}, "
                f"groups = {self.groups})"
            )
        w.H, w.W = PyArray_DIM(x, 2), PyArray_DIM(x, 3)
        read_window(&w, "Int8Filters", self.shape[2:], self.stride, self.padding, self.dilation,
                    False)
        k.kind, k.least = kind, self.least
        dims[0] = PyArray_DIM(x, 0)
        if channels_last:
            if kind == TAPE_INT8_CODES:
                C = (C + 3) // 4 * 4
            dims[1], dims[2], dims[3] = w.Ho, w.Wo, C
            k.y_n, k.y_h, k.y_w, k.y_c = w.Ho * w.Wo * C, w.Wo * C, C, 1
        else:
            dims[1], dims[2], dims[3] = C, w.Ho, w.Wo
            k.y_n, k.y_h, k.y_w, k.y_c = C * w.Ho * w.Wo, w.Wo, 1, w.Ho * w.Wo
        volume(dims, 4, "Int8Filters")
        y = empty(4, dims, {TAPE_INT8_SUMS: NPY_INT32, TAPE_INT8_FLOATS: NPY_FLOAT,
                            TAPE_INT8_CODES: NPY_UINT8}[kind])
        k.y = PyArray_DATA(y)
        if PyArray_SIZE(y):
            self.correlate(&w, x, &k)
        if not channels_last:
            return y
        y = y.transpose(0, 3, 1, 2)
        return y if C == self.shape[0] else y[:, :self.shape[0]]

    def sums(self, x, *, channels_last=False):
        """The sums of (q - zero) * w, int32 (N, C_out, Ho, Wo); `channels_last` is about memory.

        `x` holds codes, or floats that are made codes.
        """
        return self.result(x, TAPE_INT8_SUMS, channels_last)

    def floats(self, x, *, channels_last=False):
        """sums * scale + bias, no less than `least`: float32, each step rounded."""
        return self.result(x, TAPE_INT8_FLOATS, channels_last)

    def codes(self, x):
        """What `floats` are, rounded to even and cut to 0 ... 255: uint8, channels last in memory.
        """
        if not 0 <= self.least <= 255:
            raise ValueError(
                f"Int8Filters: least is {self.least}, for codes a number from 0 to 255")
        return self.result(x, TAPE_INT8_CODES, True)


def codes_of(x, factor, zero):
    """round(x * factor) + zero, ties to even, cut to 0 ... 255, uint8; NaN becomes 0.

    Raises:
        TypeError: x holds no floats.
        ValueError: factor or zero is out of range.
    """
    cdef tape_int8_images p
    cdef ndarray a, y
    if not isinstance(x, ndarray) or x.dtype.kind != "f":
        raise TypeError(f"codes_of: x is {described(x)}, expected floats")
    p.factor = checked_number("codes_of: factor", factor, 1e-37, 3e38)
    p.zero = checked_number("codes_of: zero", zero, 0, 255)
    if p.zero != <int> p.zero:
        raise ValueError(f"codes_of: zero is {zero}, expected a whole number")
    a = np.ascontiguousarray(x, np.float32)
    y = np.empty((PyArray_SIZE(a) + 3) // 4 * 4, np.uint8)
    p.n = p.h = p.w = 1
    p.c = PyArray_SIZE(a)
    p.x, p.y = <const float *> PyArray_DATA(a), <uint8_t *> PyArray_DATA(y)
    p.x_n = p.x_h = p.x_w = p.y_n = p.y_h = p.y_w = 0
    p.x_c = 1
    with nogil:
        kernels().int8.pack(&p)
    return y[:p.c].reshape(x.shape)


def has_dot():
    """Whether the kernels in use multiply and add 4 codes a lane in one instruction."""
    return bool(kernels().int8.has_dot())


cdef ndarray strided_floats(ndarray x):
    """x as native, aligned float32 whose strides are whole floats."""
    cdef int i
    cdef bint fits = PyArray_TYPE(x) == NPY_FLOAT and cnp.PyArray_ISBEHAVED_RO(x)
    for i in range(PyArray_NDIM(x)):
        fits = fits and PyArray_STRIDES(x)[i] % 4 == 0
    return x if fits else np.array(x, np.float32, order="C")


cdef str described(object x):
    return f"{x.dtype} {x.shape}" if isinstance(x, ndarray) else f"a {type(x).__name__}"


cdef void *aligned(void *start) noexcept:
    """The first address from there on that begins a cache line."""
    return <void *> ((<size_t> start + 63) // 64 * 64)
