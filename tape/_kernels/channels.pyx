"""Statistics of the channels of a batch (N, C, *s), and what normalises by them: kernels of ops.

Operands are checked here; the loops are those of channels.h.
"""

cimport numpy as cnp
from numpy cimport PyArray_DATA, PyArray_DIM, PyArray_NDIM, PyArray_SIZE, PyArray_TYPE, npy_intp

from tape._kernels.dispatch cimport Kernel, is_float, side_by_side
from tape._kernels.freelist cimport empty
from tape._kernels.strides cimport RELEASE_ABOVE
from tape._kernels.table cimport (
    TAPE_CHANNEL_AFFINE, TAPE_CHANNEL_MOMENTS, TAPE_CHANNEL_SUMS, kernels, tape_channels,
)

cnp.import_array()

__all__ = ["ChannelAffine", "ChannelMoments", "ChannelSums"]


cdef cnp.ndarray read_batch(tape_channels *t, object x):
    """Note the batch, if it is one in floating point; else None."""
    cdef cnp.ndarray batch
    cdef int axis
    if not isinstance(x, cnp.ndarray):
        return None
    batch = <cnp.ndarray> x
    if (PyArray_NDIM(batch) < 2 or PyArray_SIZE(batch) == 0 or not is_float(PyArray_TYPE(batch))
            or not cnp.PyArray_ISNOTSWAPPED(batch)):
        return None
    batch = cnp.PyArray_GETCONTIGUOUS(batch)
    t.n, t.channels, t.size = PyArray_DIM(batch, 0), PyArray_DIM(batch, 1), 1
    for axis in range(2, PyArray_NDIM(batch)):
        t.size *= PyArray_DIM(batch, axis)
    t.x, t.g, t.mean, t.scale, t.bias = PyArray_DATA(batch), NULL, NULL, NULL, NULL
    return batch


cdef const void *per_channel(object x, cnp.ndarray batch) noexcept:
    """Where a number for each channel stands; NULL if x is nothing like that."""
    cdef cnp.ndarray vector
    if not isinstance(x, cnp.ndarray):
        return NULL
    vector = <cnp.ndarray> x
    if (PyArray_NDIM(vector) != 1 or PyArray_DIM(vector, 0) != PyArray_DIM(batch, 1)
            or PyArray_TYPE(vector) != PyArray_TYPE(batch)
            or not cnp.PyArray_ISCARRAY_RO(vector)):
        return NULL
    return PyArray_DATA(vector)


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
        cdef cnp.ndarray batch = read_batch(&t, operands[1]), g, y
        cdef npy_intp shape[1]
        if batch is None or not isinstance(operands[0], cnp.ndarray):
            return None
        g, t.mean = <cnp.ndarray> operands[0], per_channel(operands[2], batch)
        if (t.mean == NULL or PyArray_TYPE(g) != PyArray_TYPE(batch)
                or not side_by_side(g, batch) or not cnp.PyArray_ISCARRAY_RO(g)):
            return None
        shape[0] = t.channels
        t.work, t.g = TAPE_CHANNEL_SUMS, PyArray_DATA(g)
        y = empty(1, shape, PyArray_TYPE(batch))
        run(batch, y, &t)
        return y


cdef class ChannelAffine(Kernel):
    """(x - mean) * scale + bias: x (N, C, *s), the others (C), bias may be 0.0 -> y as x."""

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        cdef tape_channels t
        cdef cnp.ndarray batch = read_batch(&t, operands[0]), y
        cdef bint biased
        if batch is None:
            return None
        biased = not (type(operands[3]) is float and operands[3] == 0)
        t.work = TAPE_CHANNEL_AFFINE
        t.mean, t.scale = per_channel(operands[1], batch), per_channel(operands[2], batch)
        if biased:
            t.bias = per_channel(operands[3], batch)
        if t.mean == NULL or t.scale == NULL or biased and t.bias == NULL:
            return None
        y = empty(PyArray_NDIM(batch), cnp.PyArray_DIMS(batch), PyArray_TYPE(batch))
        run(batch, y, &t)
        return y
