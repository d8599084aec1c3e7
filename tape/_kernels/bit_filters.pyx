"""Correlation of signs with filters of signs: binary convolutions and matrix products.

A `BitFilters` is made once for filters and used for many images. What depends on the size of the
images or on the instruction set in use is made when it is first needed, and kept.
"""

from libc.stdint cimport int32_t, uint32_t, uint8_t
from libc.string cimport memcpy

cimport numpy as cnp
from numpy cimport (
    NPY_FLOAT, NPY_INT32, NPY_INTP, NPY_UINT8, NPY_UINT32, PyArray_DATA, PyArray_DIM, PyArray_EMPTY,
    PyArray_ZEROS, ndarray, npy_intp,
)

import numpy as np

from tape._kernels.arrays cimport product
from tape._kernels.bit_cuts cimport Cuts, checked_pair, integers
from tape._kernels.bits cimport PackedBits, checked_border, packed, volume
from tape._kernels.bits_table cimport (
    TAPE_COUNTS, TAPE_SCALED, TAPE_SIGNS, tape_bit_borders, tape_bit_channels, tape_bit_kernels,
    tape_bit_offsets, tape_bit_thresholds, tape_bit_windows,
)
from tape._kernels.freelist cimport empty
from tape._kernels.table cimport kernels
from tape._kernels.window cimport Window, new_images, read_window

cnp.import_array()

__all__ = ["BitFilters", "popcount_peak"]

cdef enum:
    LONGEST = 1 << 29           # bits of a filter, so that offsets fit 32 bits at any pad_value
    RELEASE_MACS = 1 << 24      # some 7 us of AVX-512, 70 us without vectors


cdef ndarray padded_vector(
    str name, object values, Py_ssize_t filters, Py_ssize_t groups, object dtype
):
    """One number a filter, each group's followed by zeros up to a multiple of 32."""
    cdef Py_ssize_t each = filters // groups
    values = np.asarray(values)
    if values.shape != (filters,):
        raise ValueError(f"BitFilters: {name} has shape {values.shape}, expected {(filters,)}")
    if values.dtype.kind not in {"scale": "fiu", "bias": "fiu", "least": "iu", "flip": "biu"}[name]:
        raise TypeError(f"BitFilters: {name} is {values.dtype}, expected {np.dtype(dtype)}")
    if name == "least" and ((values < -(1 << 31)) | (values >= 1 << 31)).any():
        raise ValueError("BitFilters: least holds numbers of more than 32 bits")
    result = np.zeros((groups, (each + 31) // 32 * 32), dtype)
    result[:, :each] = values.reshape(groups, each)
    return result


cdef class Placed:
    """What a BitFilters needs to know about images of one size."""

    cdef Window w
    cdef Cuts rows, columns
    cdef ndarray offsets        # (groups, row classes, column classes, filters of a group padded)


cdef class BitFilters:
    """Filters of signs and how they move over images of signs.

    Args:
        w: signs (C_out, C / groups, R, S) packed along axis 1.
        pad_value: what the padding holds: 0, 1 or -1.
        scale, bias: one number a filter, for `scaled`.
        least: for `signs`, the least correlation of each filter whose sign is +1, int32.
        flip: for `signs`, for which filters it is the least whose sign is -1.

    Raises:
        ValueError: a setting is wrong, or a filter is too long to count in 32 bits.
    """

    cdef ndarray words, arranged, ones, scale_of, bias_of, least, flip
    cdef const tape_bit_kernels *arranged_for
    cdef Placed placed
    cdef readonly tuple shape
    cdef tuple stride, padding, dilation
    cdef Py_ssize_t groups, each, each_padded, tap_words
    cdef int pad_value
    cdef bint merged            # the taps of a row are one run of words

    def __init__(self, PackedBits w not None, stride=(1, 1), padding=((0, 0), (0, 0)),
                 dilation=(1, 1), groups=1, pad_value=0, *, scale=None, bias=None, least=None,
                 flip=None):
        if len(w.shape) != 4 or w.axis != 1 or any(w.border):
            raise ValueError(
                f"BitFilters: w is {w!r}, expected filters (C_out, C / groups, R, S) packed along "
                "axis 1 without a border"
            )
        if (isinstance(groups, bool) or not hasattr(groups, "__index__") or groups < 1
                or w.shape[0] % groups):
            raise ValueError(f"BitFilters: groups = {groups} does not divide {w.shape[0]} filters")
        if not np.isscalar(pad_value) or pad_value not in (-1, 0, 1):
            raise ValueError(f"BitFilters: pad_value is {pad_value!r}, expected 0, 1 or -1")
        if w.shape[1] * w.shape[2] * w.shape[3] > LONGEST:
            raise ValueError(f"BitFilters: filters {w.shape} of more than {LONGEST} bits each")
        self.words, self.shape, self.groups, self.pad_value = w.words, w.shape, groups, pad_value
        self.stride = checked_pair("stride", stride, 1)
        self.dilation = checked_pair("dilation", dilation, 1)
        if not isinstance(padding, (tuple, list)) or len(padding) != 2:
            raise ValueError(f"BitFilters: padding is {padding!r}, expected ((top, bottom), (left, "
                             "right))")
        self.padding = tuple([checked_pair("padding", pair, 0) for pair in padding])
        self.tap_words = PyArray_DIM(w.words, 3)
        self.each = w.shape[0] // groups
        self.each_padded = (self.each + 31) // 32 * 32
        self.merged = groups == 1 and self.dilation[1] == 1
        if scale is not None:
            self.scale_of = padded_vector("scale", scale, w.shape[0], groups, np.float32)
        if bias is not None:
            self.bias_of = padded_vector("bias", bias, w.shape[0], groups, np.float32)
        if least is not None:
            self.least = padded_vector("least", least, w.shape[0], groups, np.int32)
        if flip is not None:
            flips = padded_vector("flip", flip, w.shape[0], groups, bool)
            self.flip = np.packbits(flips, axis=1, bitorder="little")

    cdef int arrange(self, const tape_bit_kernels *k) except -1:
        """Put the filters in the order that the kernels want."""
        cdef Py_ssize_t R = self.shape[2], S = self.shape[3], g
        cdef Py_ssize_t words = R * S * self.tap_words, size = k.arranged(self.each, words)
        cdef npy_intp bytes = product(size, self.groups, "BitFilters") + 64
        cdef ndarray room = PyArray_EMPTY(1, &bytes, NPY_UINT8, 0)
        cdef uint8_t *to = <uint8_t *> aligned(PyArray_DATA(room))
        for g in range(self.groups):
            if self.merged:
                k.arrange(self.filters(g), self.each, R, S * self.tap_words, to + g * size)
            else:
                k.arrange(self.filters(g), self.each, R * S, self.tap_words, to + g * size)
        self.arranged, self.arranged_for = room, k
        return 0

    cdef const uint32_t *filters(self, Py_ssize_t group) noexcept:
        cdef Py_ssize_t size = self.shape[2] * self.shape[3] * self.tap_words
        return <const uint32_t *> PyArray_DATA(self.words) + group * self.each * size

    cdef Placed place(self, Py_ssize_t H, Py_ssize_t W):
        """What images of that size need.

        Who uses it has to hold it: another thread may put what its own images need in its place.
        """
        cdef Placed at
        cdef tape_bit_borders b
        cdef Py_ssize_t g, R = self.shape[2], S = self.shape[3], classes
        cdef Py_ssize_t size = R * S * self.each_padded
        at = self.placed
        if at is not None and at.w.H == H and at.w.W == W:
            return at
        at = Placed()
        at.w.H, at.w.W = H, W
        read_window(&at.w, "BitFilters", (R, S), self.stride, self.padding, self.dilation, False)
        new_images("BitFilters", 1, self.shape[0], at.w.Ho, at.w.Wo, NPY_UINT8)  # if there is room
        at.rows = Cuts(at.w.Ho, H, R, at.w.sh, at.w.top, at.w.dh)
        at.columns = Cuts(at.w.Wo, W, S, at.w.sw, at.w.left, at.w.dw)
        classes = at.rows.n * at.columns.n
        at.offsets = integers(
            product(self.groups * classes, self.each_padded, "BitFilters") + 16, NPY_INT32)
        if self.ones is None:
            self.ones = integers(self.groups * size, NPY_INT32)
            # Only filters that are cut need to know what is cut off.
            for g in range(self.groups if self.pad_value != 1 else 0):
                kernels().bits.ones(self.filters(g), self.each, R * S, self.tap_words,
                                    <int32_t *> PyArray_DATA(self.ones) + g * size)
        b.filters, b.height, b.width, b.channels = self.each, R, S, self.shape[1]
        b.pad_value = self.pad_value
        b.row_classes, b.column_classes = at.rows.n, at.columns.n
        b.top, b.bottom = steps(at.rows.first), steps(at.rows.last)
        b.left, b.right = steps(at.columns.first), steps(at.columns.last)
        for g in range(self.groups):
            b.ones = <const int32_t *> PyArray_DATA(self.ones) + g * size
            b.offsets = <int32_t *> aligned(PyArray_DATA(at.offsets))
            b.offsets += g * classes * self.each_padded
            if tape_bit_offsets(&b) < 0:
                raise MemoryError
            if self.least is not None:
                tape_bit_thresholds(
                    b.offsets, classes, self.each,
                    <const int32_t *> PyArray_DATA(self.least) + g * self.each_padded)
        at.columns.scale(self.each_padded)
        at.rows.scale(self.each_padded * at.columns.n)
        self.placed = at
        return at

    cdef tuple pixels(self, Placed at, PackedBits x, tape_bit_windows *k):
        """The words of x with the border and the words a pixel that are needed, and the runs.

        k is told where they are, and points into both.
        """
        cdef Window *w = &at.w
        cdef ndarray words = x.words
        cdef Py_ssize_t C = self.shape[1], n = PyArray_DIM(words, 3), width, height, row, g, i, j
        cdef Py_ssize_t top = x.border[0], left = x.border[2]
        cdef const uint32_t *source
        cdef uint32_t *to
        cdef npy_intp dims[4]
        if (top < w.top or x.border[1] < w.bottom or left < w.left or x.border[3] < w.right
                or (self.groups > 1 and C % 32)):
            dims[0] = PyArray_DIM(words, 0)
            dims[1], dims[2] = w.top + w.H + w.bottom, w.left + w.W + w.right
            dims[3] = self.groups * self.tap_words
            volume(dims, 4, "BitFilters")
            words = PyArray_ZEROS(4, dims, NPY_UINT32, 0)
            for i in range(dims[0]):
                for j in range(w.H):
                    row = (i * PyArray_DIM(x.words, 1) + top + j) * PyArray_DIM(x.words, 2) + left
                    source = <const uint32_t *> PyArray_DATA(x.words) + row * n
                    to = <uint32_t *> PyArray_DATA(words)
                    to += ((i * dims[1] + w.top + j) * dims[2] + w.left) * dims[3]
                    if self.groups == 1 or C % 32 == 0:
                        memcpy(to, source, w.W * n * sizeof(uint32_t))
                        continue
                    for g in range(self.groups):
                        tape_bit_channels(source, n, to + g * self.tap_words, dims[3], w.W,
                                          g * C, C)
            top, left, n = w.top, w.left, dims[3]
        width, height = PyArray_DIM(words, 2), PyArray_DIM(words, 1)
        k.x = <const uint32_t *> PyArray_DATA(words) + ((top - w.top) * width + left - w.left) * n
        k.x_n, k.x_h, k.x_w = height * width * n, w.sh * width * n, w.sw * n
        k.x_row, k.x_pixel = width * n, n
        k.x_words = PyArray_DIM(words, 0) * k.x_n - ((top - w.top) * width + left - w.left) * n
        return words, self.runs(w, k, width * n, n)

    cdef ndarray runs(
        self, const Window *w, tape_bit_windows *k, Py_ssize_t row, Py_ssize_t pixel
    ):
        """The runs of words of a window, given the distances of rows and pixels."""
        cdef Py_ssize_t r, s
        cdef ndarray run_at
        cdef npy_intp *at
        k.runs, k.run_words = w.R, w.S * self.tap_words
        if not self.merged:
            k.runs, k.run_words = w.R * w.S, self.tap_words
        run_at = integers(k.runs, NPY_INTP)
        at = <npy_intp *> PyArray_DATA(run_at)
        for r in range(w.R):
            if self.merged:
                at[r] = r * w.dh * row
            else:
                for s in range(w.S):
                    at[r * w.S + s] = r * w.dh * row + s * w.dw * pixel
        k.run_at = <const ptrdiff_t *> at
        return run_at

    cdef int correlate(self, Placed at, PackedBits x, tape_bit_windows *k, ndarray y) except -1:
        """Fill y, whose strides k knows."""
        cdef const tape_bit_kernels *table = &kernels().bits
        cdef Py_ssize_t g, size, classes
        cdef int failed = 0
        cdef tuple _pointed_at = self.pixels(at, x, k)  # lives as long as k points there
        cdef ndarray filter_bits
        cdef const uint32_t *first = k.x
        cdef const char *arranged
        cdef double macs
        if self.arranged_for != table:
            self.arrange(table)
        filter_bits = self.arranged
        arranged = <const char *> aligned(PyArray_DATA(filter_bits))
        size = table.arranged(self.each, self.shape[2] * self.shape[3] * self.tap_words)
        classes = at.rows.n * at.columns.n
        k.images, k.rows, k.columns = x.shape[0], at.w.Ho, at.w.Wo
        k.filters = self.each
        k.row_class = steps(at.rows.of_window)
        k.column_class = steps(at.columns.of_window)
        macs = <double> k.images * k.rows * k.columns * self.shape[0] * k.runs * k.run_words * 32
        for g in range(self.groups):
            k.x = first + g * self.tap_words
            k.filter_bits = arranged + g * size
            k.offsets = <const int32_t *> aligned(PyArray_DATA(at.offsets))
            k.offsets += g * classes * self.each_padded
            k.scale = k.bias = NULL
            if self.scale_of is not None:
                k.scale = <const float *> PyArray_DATA(self.scale_of) + g * self.each_padded
            if self.bias_of is not None:
                k.bias = <const float *> PyArray_DATA(self.bias_of) + g * self.each_padded
            if self.flip is not None:
                k.flip = <const uint32_t *> PyArray_DATA(self.flip) + g * self.each_padded // 32
            if macs > RELEASE_MACS:
                with nogil:
                    failed |= table.correlate(k)
            else:
                failed |= table.correlate(k)
            if k.kind == TAPE_SIGNS:
                k.y_bit += <int> self.each
                k.y = <uint32_t *> k.y + k.y_bit // 32
                k.y_bit %= 32
            else:
                k.y = <float *> k.y + self.each * k.y_c
                if k.residual != NULL:
                    k.residual += self.each * k.y_c
            k.x_words -= self.tap_words
        if failed:
            raise MemoryError(f"BitFilters: no memory to rewrite {x!r}")
        return 0

    cdef Placed check(self, object x, str what):
        """What images x need, if they are what these filters can be used on."""
        cdef PackedBits bits
        if not isinstance(x, PackedBits):
            raise TypeError(f"BitFilters: x is a {type(x).__name__}, expected PackedBits")
        bits = x
        if len(bits.shape) != 4 or bits.axis != 1:
            raise ValueError(f"BitFilters: x is {x!r}, expected images packed along axis 1")
        if bits.shape[1] != self.shape[1] * self.groups:
            raise ValueError(
                f"BitFilters: x has {bits.shape[1]} channels, w expects "
                f"{self.shape[1] * self.groups} (x {bits.shape}, w {self.shape}, "
                f"groups = {self.groups})"
            )
        if (what == "signs") != (self.least is not None):
            made = "without" if self.least is None else "with"
            raise ValueError(f"BitFilters: {what} of filters that were made {made} `least`")
        return self.place(bits.shape[2], bits.shape[3])

    cdef ndarray numbers(
        self, Placed at, PackedBits x, int kind, object residual, bint channels_last
    ):
        cdef tape_bit_windows k
        cdef npy_intp dims[4]
        cdef Py_ssize_t Ho = at.w.Ho, Wo = at.w.Wo, C = self.shape[0]
        cdef ndarray y
        k.kind, k.residual, k.flip, k.y_bit = kind, NULL, NULL, 0
        dims[0] = x.shape[0]
        if channels_last:
            dims[1], dims[2], dims[3] = Ho, Wo, C
            k.y_n, k.y_h, k.y_w, k.y_c = Ho * Wo * C, Wo * C, C, 1
        else:
            dims[1], dims[2], dims[3] = C, Ho, Wo
            k.y_n, k.y_h, k.y_w, k.y_c = C * Ho * Wo, Wo, 1, Ho * Wo
        volume(dims, 4, "BitFilters")
        y = empty(4, dims, NPY_FLOAT if kind == TAPE_SCALED else NPY_INT32)
        k.y = PyArray_DATA(y)
        if residual is not None:
            shape = (x.shape[0], C, Ho, Wo)
            if not isinstance(residual, ndarray):
                raise TypeError(f"BitFilters: residual is a {type(residual).__name__}")
            if residual.dtype != np.float32 or residual.shape != shape:
                raise ValueError(
                    f"BitFilters: residual is {residual.dtype} {residual.shape}, expected float32 "
                    f"{shape}"
                )
            if channels_last:
                residual = residual.transpose(0, 2, 3, 1)
            residual = np.ascontiguousarray(residual)
            k.residual = <const float *> PyArray_DATA(<ndarray> residual)
        self.correlate(at, x, &k, y)
        return y.transpose(0, 3, 1, 2) if channels_last else y

    def counts(self, x, *, channels_last=False):
        """The correlation (N, C_out, Ho, Wo), int32; `channels_last` is about its memory."""
        return self.numbers(self.check(x, "counts"), x, TAPE_COUNTS, None, channels_last)

    def scaled(self, x, residual=None, *, channels_last=False):
        """correlation * scale + bias + residual, float32, each step rounded."""
        return self.numbers(self.check(x, "scaled"), x, TAPE_SCALED, residual, channels_last)

    def signs(self, x, border=(0, 0, 0, 0)):
        """The signs of results, as `least` and `flip` say; `border` is what the next layer pads."""
        cdef tape_bit_windows k
        cdef npy_intp dims[4]
        cdef ndarray y
        cdef PackedBits bits
        cdef Py_ssize_t top, bottom, left, right
        cdef Placed at = self.check(x, "signs")
        bits = x
        top, bottom, left, right = checked_border("BitFilters", border, 4, 1)
        dims[0] = bits.shape[0]
        dims[1], dims[2] = top + at.w.Ho + bottom, left + at.w.Wo + right
        dims[3] = (self.shape[0] + 31) // 32
        volume(dims, 4, "BitFilters")
        y = PyArray_ZEROS(4, dims, NPY_UINT32, 0)
        k.kind, k.residual, k.flip = TAPE_SIGNS, NULL, NULL
        k.y_w = dims[3]
        k.y_h = dims[3] * dims[2]
        k.y_n = k.y_h * dims[1]
        k.y_c = k.y_bit = 0
        k.y = <uint32_t *> PyArray_DATA(y) + top * k.y_h + left * k.y_w
        self.correlate(at, bits, &k, y)
        shape = (bits.shape[0], self.shape[0], at.w.Ho, at.w.Wo)
        return packed(y, shape, 1, (top, bottom, left, right))


cdef const ptrdiff_t *steps(ndarray of) noexcept:
    return <const ptrdiff_t *> PyArray_DATA(of)


cdef void *aligned(void *start) noexcept:
    """The first address from there on that begins a cache line."""
    return <void *> ((<size_t> start + 63) // 64 * 64)


def popcount_peak(Py_ssize_t rounds):
    """Run the loop that bounds these kernels; how many pairs of bits it compared and counted."""
    cdef double done
    with nogil:
        done = kernels().bits.popcount_peak(rounds)
    return done
