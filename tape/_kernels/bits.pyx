"""Signs, one bit each: packing numbers, unpacking, pooling. See bits.h for what a word holds."""

from libc.stdint cimport uint32_t

cimport numpy as cnp
from numpy cimport (
    NPY_DOUBLE, NPY_FLOAT, NPY_UINT32, PyArray_DATA, PyArray_DIM, PyArray_EMPTY, PyArray_NDIM,
    PyArray_STRIDE, PyArray_TYPE, PyArray_ZEROS, ndarray, npy_intp,
)

import numpy as np

from tape._kernels.bits_table cimport (
    TAPE_NEGATIVE, TAPE_NOT_POSITIVE, TAPE_OUTSIDE, tape_bit_images, tape_bit_pool,
    tape_bit_pool_image,
)
from tape._kernels.freelist cimport empty
from tape._kernels.strides cimport MAX_DIMS, RELEASE_ABOVE
from tape._kernels.table cimport kernels
from tape._kernels.window cimport Window, read_window

cnp.import_array()

__all__ = ["PackedBits", "binary_pool", "pack", "unpack", "words_as", "words_shape"]

RULES = {"negative": TAPE_NEGATIVE, "not positive": TAPE_NOT_POSITIVE, "outside": TAPE_OUTSIDE}
NO_BORDER = (0, 0, 0, 0)


cdef class PackedBits:
    """An array of signs, one bit each: +1 is 0, -1 is 1. `pack` and `tape.pack_bits` make them.

    Args:
        words: uint32, the signs along `axis` in the words of its last axis, 32 a word, lowest bit
            first; what is left of the last word, and the border, is 0.
        shape: of the array of signs.
        axis: the one along which signs share a word.
        border: pixels above, below, left and right of images (N, C, H, W) packed along C.
    """

    def __init__(self, words, shape, axis, border=NO_BORDER):
        cdef tuple sizes = tuple([int(n) for n in shape])
        words = np.array(words, order="C")  # nobody else may change what is kept
        if words.dtype != np.uint32:
            raise TypeError(f"PackedBits: words are {words.dtype}, expected uint32")
        axis = checked_axis("PackedBits", axis, len(sizes))
        border = checked_border("PackedBits", border, len(sizes), axis)
        expected = words_shape(sizes, axis, border)
        if words.shape != expected:
            raise ValueError(
                f"PackedBits: words have shape {words.shape}, signs {sizes} packed along axis "
                f"{axis} with a border {border} take {expected}"
            )
        if words.size and sizes[axis] % 32 and (words[..., -1] >> (sizes[axis] % 32)).any():
            raise ValueError(f"PackedBits: bits beyond the {sizes[axis]} of axis {axis} are set")
        top, _, left, _ = border
        if any(border):
            inside = words[:, top:top + sizes[2], left:left + sizes[3]]
            if np.count_nonzero(words) != np.count_nonzero(inside):
                raise ValueError(f"PackedBits: bits of the border {border} are set")
        self.words = words
        self.words.flags.writeable = False
        self.shape, self.axis, self.border = sizes, axis, border

    @property
    def ndim(self):
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self):
        """How much memory the words take."""
        return self.words.nbytes

    def __reduce__(self):
        return PackedBits, (self.words, self.shape, self.axis, self.border)

    def __repr__(self):
        return f"PackedBits(shape={self.shape}, axis={self.axis}, {self.nbytes} bytes)"


cdef PackedBits packed(ndarray words, tuple shape, int axis, tuple border):
    """PackedBits of words that are known to be right."""
    cdef PackedBits bits = PackedBits.__new__(PackedBits)
    cnp.PyArray_CLEARFLAGS(words, cnp.NPY_ARRAY_WRITEABLE)
    bits.words, bits.shape, bits.axis, bits.border = words, shape, axis, border
    return bits


cdef int checked_axis(str op, object axis, int ndim) except -1:
    cdef int found
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise TypeError(f"{op}: axis is {axis!r}, expected an integer")
    if not -ndim <= axis < ndim:
        raise ValueError(f"{op}: axis {axis} is out of range for {ndim} axes")
    found = axis
    return found + ndim if found < 0 else found


cdef tuple checked_border(str op, object border, int ndim, int axis):
    cdef bint is_four = isinstance(border, (tuple, list)) and len(border) == 4
    if border is NO_BORDER:
        return NO_BORDER
    for n in border if is_four else ():
        is_four = is_four and hasattr(n, "__index__") and 0 <= n < 1 << 31
    if not is_four:
        raise ValueError(f"{op}: border is {border!r}, expected pixels (top, bottom, left, right)")
    if any(border) and (ndim != 4 or axis != 1):
        raise ValueError(f"{op}: only images packed along axis 1 have a border, got {border!r}")
    return tuple([int(n) for n in border])


def words_shape(tuple shape, int axis, tuple border):
    """The shape of the words of signs of that shape."""
    if not 0 <= axis < len(shape) or len(border) != 4 or (any(border) and len(shape) != 4):
        raise ValueError(f"signs {shape} cannot be packed along axis {axis}, border {border}")
    rest = [*shape[:axis], *shape[axis + 1:], (shape[axis] + 31) // 32]
    if any(border):
        rest[1] += border[0] + border[1]
        rest[2] += border[2] + border[3]
    return tuple(rest)


cdef object fit(str op, object x):
    """x, an array of native and aligned float32 or float64."""
    if not isinstance(x, ndarray):
        raise TypeError(f"{op}: x is a {type(x).__name__}, expected a NumPy array")
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        raise TypeError(f"{op}: x is {x.dtype}, expected float32 or float64")
    if x.dtype.isnative and x.flags.aligned:
        return x
    return x.astype(x.dtype.newbyteorder("="))


cdef int lay_out(tape_bit_images *p, ndarray x, int axis, tuple border, ndarray words) except -1:
    """How x, in C order unless it is images packed along axis 1, corresponds to its words."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x), n = PyArray_DIM(words, PyArray_NDIM(words) - 1)
    cdef int i
    p.x, p.bits = PyArray_DATA(x), <uint32_t *> PyArray_DATA(words)
    p.c = PyArray_DIM(x, axis)
    if PyArray_NDIM(x) == 4 and axis == 1:
        p.n, p.h, p.w = PyArray_DIM(x, 0), PyArray_DIM(x, 2), PyArray_DIM(x, 3)
        p.x_n, p.x_c = PyArray_STRIDE(x, 0) // size, PyArray_STRIDE(x, 1) // size
        p.x_h, p.x_w = PyArray_STRIDE(x, 2) // size, PyArray_STRIDE(x, 3) // size
        p.bits_w = n
        p.bits_h = n * PyArray_DIM(words, 2)
        p.bits_n = p.bits_h * PyArray_DIM(words, 1)
        p.bits += <Py_ssize_t> border[0] * p.bits_h + <Py_ssize_t> border[2] * p.bits_w
        return 0
    p.n = p.w = 1
    for i in range(axis):
        p.n *= PyArray_DIM(x, i)
    for i in range(axis + 1, PyArray_NDIM(x)):
        p.w *= PyArray_DIM(x, i)
    p.h, p.x_h, p.bits_h = 1, 0, 0
    p.x_n, p.x_c, p.x_w = p.c * p.w, p.w, 1
    p.bits_n, p.bits_w = p.w * n, n
    return 0


ctypedef void (*Images)(const tape_bit_images*) noexcept nogil


cdef void run(Images f, const tape_bit_images *p) noexcept:
    if p.n * p.h * p.w * p.c > RELEASE_ABOVE:
        with nogil:
            f(p)
    elif p.n * p.h * p.w * p.c:
        f(p)


def pack(x, axis=1, rule="negative", window=1.0, border=NO_BORDER):
    """Signs of x as bits along an axis.

    Args:
        x: float32 or float64, any strides.
        rule: what gives the bit 1, which stands for -1: "negative" (so -0.0 and NaN are +1), "not
            positive" (so 0 and NaN are -1), or "outside": not |x| <= window.
        border: pixels of 0 bits (top, bottom, left, right) around images packed along axis 1.

    Raises:
        TypeError: x is not an array of floats.
        ValueError: there is no such axis or rule, or a border that x cannot have.
    """
    cdef tape_bit_images p
    cdef npy_intp dims[MAX_DIMS]
    cdef ndarray array, words
    cdef int i
    x = fit("pack", x)
    axis = checked_axis("pack", axis, x.ndim)
    border = checked_border("pack", border, x.ndim, axis)
    if rule not in RULES:
        raise ValueError(f"pack: rule is {rule!r}, expected one of {', '.join(map(repr, RULES))}")
    if not (x.ndim == 4 and axis == 1):
        x = np.ascontiguousarray(x)
    array = x
    shape = words_shape(x.shape, axis, border)
    for i in range(len(shape)):
        dims[i] = shape[i]
    volume(dims, len(shape), "pack")
    if any(border):
        words = PyArray_ZEROS(len(shape), dims, NPY_UINT32, 0)
    else:
        words = PyArray_EMPTY(len(shape), dims, NPY_UINT32, 0)
    lay_out(&p, array, axis, border, words)
    p.rule, p.window = RULES[rule], window
    run(kernels().bits.pack[PyArray_TYPE(array) == NPY_DOUBLE], &p)
    return packed(words, x.shape, axis, border)


def unpack(PackedBits bits not None, dtype="float32", zero=1.0, one=-1.0):
    """The array of signs, or of what else should stand for the bits 0 and 1."""
    cdef tape_bit_images p
    cdef npy_intp dims[MAX_DIMS]
    cdef ndarray x
    cdef int i, kind = np.dtype(dtype).num
    if kind != NPY_FLOAT and kind != NPY_DOUBLE:
        raise TypeError(f"unpack: dtype is {np.dtype(dtype)}, expected float32 or float64")
    for i in range(len(bits.shape)):
        dims[i] = bits.shape[i]
    x = empty(len(bits.shape), dims, kind)
    lay_out(&p, x, bits.axis, bits.border, bits.words)
    p.zero, p.one = zero, one
    run(kernels().bits.unpack[kind == NPY_DOUBLE], &p)
    return x


def binary_pool(PackedBits x not None, window, stride=None, padding=((0, 0), (0, 0)),
                dilation=(1, 1), *, least=False, border=NO_BORDER):
    """The greatest sign of each window of images packed along axis 1, or the least.

    Raises:
        ValueError: x is not such images, a setting is wrong, or no window fits.
    """
    cdef Window w
    cdef tape_bit_pool p
    cdef npy_intp dims[4]
    cdef ndarray y, words = x.words
    cdef Py_ssize_t n, image, x_n, y_n, count
    cdef int failed = 0
    if len(x.shape) != 4 or x.axis != 1:
        raise ValueError(f"binary_pool: x is {x!r}, expected images packed along axis 1")
    border = checked_border("binary_pool", border, 4, 1)
    n, w.H, w.W = x.shape[0], x.shape[2], x.shape[3]
    read_window(&w, "binary_pool", window, window if stride is None else stride, padding, dilation,
                False)
    if (2 * max(w.top, w.bottom) > w.dh * (w.R - 1) + 1
            or 2 * max(w.left, w.right) > w.dw * (w.S - 1) + 1):
        raise ValueError(f"binary_pool: padding {padding} is more than half the window {window}")
    p.rows, p.columns, p.words = w.Ho, w.Wo, PyArray_DIM(words, 3)
    p.image_rows, p.image_columns, p.height, p.width = w.H, w.W, w.R, w.S
    p.stride_h, p.stride_w, p.dilation_h, p.dilation_w = w.sh, w.sw, w.dh, w.dw
    p.top, p.left, p.least = w.top, w.left, bool(least)
    p.last = <uint32_t> -1 if x.shape[1] % 32 == 0 else (<uint32_t> 1 << x.shape[1] % 32) - 1
    p.x_w = p.words
    p.x_h = p.x_w * PyArray_DIM(words, 2)
    x_n = p.x_h * PyArray_DIM(words, 1)
    dims[0], dims[1], dims[2] = n, w.Ho + border[0] + border[1], w.Wo + border[2] + border[3]
    dims[3] = p.words
    count = volume(dims, 4, "binary_pool")
    y = PyArray_ZEROS(4, dims, NPY_UINT32, 0)
    p.y_w = p.words
    p.y_h = p.y_w * dims[2]
    y_n = p.y_h * dims[1]
    for image in range(n if count else 0):
        p.x = <const uint32_t *> PyArray_DATA(words) + image * x_n
        p.x += <Py_ssize_t> x.border[0] * p.x_h + <Py_ssize_t> x.border[2] * p.x_w
        p.y = <uint32_t *> PyArray_DATA(y) + image * y_n
        p.y += <Py_ssize_t> border[0] * p.y_h + <Py_ssize_t> border[2] * p.y_w
        with nogil:
            failed |= tape_bit_pool_image(&p)
    if failed:
        raise MemoryError
    return packed(y, (n, x.shape[1], w.Ho, w.Wo), 1, border)


def words_as(words, tuple shape, int axis, border=NO_BORDER):
    """PackedBits of words whose bits are known to be right; ValueError if there are too few."""
    words = np.ascontiguousarray(words, np.uint32)
    if words.shape != words_shape(shape, axis, border):
        raise ValueError(
            f"words have shape {words.shape}, signs {shape} packed along axis {axis} with a border "
            f"{border} take {words_shape(shape, axis, border)}"
        )
    return packed(words.view(), shape, axis, border)
