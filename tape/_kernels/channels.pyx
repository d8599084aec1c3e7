"""Statistics of the channels of a batch (N, C, *s), and what normalises by them: kernels of ops.

Operands are checked here; the loops are those of channels.h.
"""

cimport numpy as cnp
from numpy cimport PyArray_DATA, PyArray_DIM, PyArray_NDIM, PyArray_SIZE, PyArray_TYPE, npy_intp

from tape._kernels.arrays cimport in_order
from tape._kernels.dispatch cimport Kernel, is_float
from tape._kernels.freelist cimport empty
from tape._kernels.strides cimport RELEASE_ABOVE
from tape._kernels.table cimport (
    TAPE_CHANNEL_AFFINE, TAPE_CHANNEL_MOMENTS, TAPE_CHANNEL_SUMS, kernels, tape_channels,
)

cnp.import_array()

__all__ = ["ChannelAffine", "ChannelMoments", "ChannelSums", "ChannelTotals"]


cdef cnp.ndarray read_batch(tape_channels *t, object x):
    """Note the batch, if it is one in floating point; else None."""
    cdef cnp.ndarray batch
    cdef int axis
    if not isinstance(x, cnp.ndarray):
        return None
    batch = <cnp.ndarray> x
    if PyArray_NDIM(batch) < 2 or PyArray_SIZE(batch) == 0 or not is_float(PyArray_TYPE(batch)):
        return None
    batch = in_order(batch)
    t.n, t.channels, t.size = PyArray_DIM(batch, 0), PyArray_DIM(batch, 1), 1
    for axis in range(2, PyArray_NDIM(batch)):
        t.size *= PyArray_DIM(batch, axis)
    t.x, t.g, t.mean, t.scale, t.bias = PyArray_DATA(batch), NULL, NULL, NULL, NULL
    return batch


cdef cnp.ndarray per_channel(object x, cnp.ndarray batch):
    """A number for each channel, side by side; None if x is nothing like that."""
    cdef cnp.ndarray vector
    if not isinstance(x, cnp.ndarray):
        return None
    vector = <cnp.ndarray> x
    if (PyArray_NDIM(vector) != 1 or PyArray_DIM(vector, 0) != PyArray_DIM(batch, 1)
            or PyArray_TYPE(vector) != PyArray_TYPE(batch)):
        return None
    return in_order(vector)


cdef void run(cnp.ndarray batch, cnp.ndarray y, tape_channels *t) noexcept:
    cdef int real = 0 if PyArray_TYPE(batch) == cnp.NPY_FLOAT else 1
    t.y = PyArray_DATA(y)
    if PyArray_SIZE(batch) > RELEASE_ABOVE:
        with nogil:
            kernels().run_channels[real](t)
    else:
        kernels().run_channels[real](t)


cdef class ChannelMoments(Kernel):
    """Mean and biased variance of every channel: x (N, C, *s) -> y (2, C)."""

    cdef cnp.ndarray unary(self, cnp.ndarray x):
        cdef tape_channels t
        cdef cnp.ndarray batch = read_batch(&t, x), y
        cdef npy_intp shape[2]
        if batch is None:
            return None
        shape[0], shape[1] = 2, t.channels
        t.work = TAPE_CHANNEL_MOMENTS
        y = empty(2, shape, PyArray_TYPE(batch))
        run(batch, y, &t)
        return y


cdef class ChannelSums(Kernel):
    """sum(g * (x - mean)) of every channel: g, x (N, C, *s), mean (C) -> y (C)."""

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        cdef tape_channels t
        cdef cnp.ndarray batch = read_batch(&t, operands[1]), g, mean, y
        cdef npy_intp shape[1]
        if batch is None or not isinstance(operands[0], cnp.ndarray):
            return None
        g, mean = <cnp.ndarray> operands[0], per_channel(operands[2], batch)
        if (mean is None or PyArray_TYPE(g) != PyArray_TYPE(batch)
                or not cnp.PyArray_SAMESHAPE(g, batch)):
            return None
        g = in_order(g)
        shape[0] = t.channels
        t.work, t.g, t.mean = TAPE_CHANNEL_SUMS, PyArray_DATA(g), PyArray_DATA(mean)
        y = empty(1, shape, PyArray_TYPE(batch))
        run(batch, y, &t)
        return y


cdef class ChannelTotals(Kernel):
    """The sum of every channel: x (N, C, *s) -> y (C)."""

    cdef cnp.ndarray unary(self, cnp.ndarray x):
        cdef tape_channels t
        cdef cnp.ndarray batch = read_batch(&t, x), y
        cdef npy_intp shape[1]
        if batch is None:
            return None
        shape[0] = t.channels
        t.work = TAPE_CHANNEL_SUMS
        y = empty(1, shape, PyArray_TYPE(batch))
        run(batch, y, &t)
        return y


cdef class ChannelAffine(Kernel):
    """(x - mean) * scale + bias: x (N, C, *s), the others (C), bias may be 0.0 -> y as x."""

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        cdef tape_channels t
        cdef cnp.ndarray batch = read_batch(&t, operands[0]), mean, scale, bias = None, y
        if batch is None:
            return None
        mean, scale = per_channel(operands[1], batch), per_channel(operands[2], batch)
        if mean is None or scale is None:
            return None
        t.work, t.mean, t.scale = TAPE_CHANNEL_AFFINE, PyArray_DATA(mean), PyArray_DATA(scale)
        if not (type(operands[3]) is float and operands[3] == 0):
            bias = per_channel(operands[3], batch)
            if bias is None:
                return None
            t.bias = PyArray_DATA(bias)
        y = empty(PyArray_NDIM(batch), cnp.PyArray_DIMS(batch), PyArray_TYPE(batch))
        run(batch, y, &t)
        return y
