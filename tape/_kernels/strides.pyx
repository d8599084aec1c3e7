"""Walking strided operands of any shape with a loop that knows one axis."""

cimport numpy as cnp
from cpython.exc cimport PyErr_Occurred
from libc.string cimport memcpy
from numpy cimport PyArray_DIM, PyArray_NDIM, PyArray_STRIDES, ndarray, npy_intp

cnp.import_array()


cdef void coalesce(Strides* w) noexcept nogil:
    """Merge neighbouring axes that all operands step through evenly, drop axes of length one."""
    cdef int axis, i, last = -1
    cdef bint even
    for axis in range(w.ndim):
        if w.dims[axis] == 1:
            continue
        even = last >= 0
        if even:
            for i in range(w.n_operands):
                if w.strides[i][last] != w.strides[i][axis] * w.dims[axis]:
                    even = False
                    break
        if not even:
            last += 1
            w.dims[last] = w.dims[axis]
        else:
            w.dims[last] *= w.dims[axis]
        for i in range(w.n_operands):
            w.strides[i][last] = w.strides[i][axis]
    w.ndim = last + 1


cdef void walk(Strides* w, InnerLoop inner, void* data) noexcept nogil:
    """Call `inner` along the last axis for every position of the others."""
    cdef npy_intp position[MAX_DIMS]
    cdef npy_intp steps[MAX_OPERANDS + 6]
    cdef npy_intp lengths[4]
    cdef char* at[MAX_OPERANDS]
    cdef char* args[MAX_OPERANDS]
    cdef int axis, i
    for axis in range(w.ndim):
        if w.dims[axis] == 0:
            return
        position[axis] = 0
    coalesce(w)
    for i in range(w.n_operands):
        at[i] = w.start[i]
        steps[i] = w.strides[i][w.ndim - 1] if w.ndim else 0
    lengths[0] = w.dims[w.ndim - 1] if w.ndim else 1
    memcpy(lengths + 1, w.core_dims, sizeof(w.core_dims))
    memcpy(steps + MAX_OPERANDS, w.core_steps, sizeof(w.core_steps))
    while True:
        for i in range(w.n_operands):
            args[i] = at[i]
        inner(args, lengths, steps, data)
        axis = w.ndim - 2
        while axis >= 0:
            position[axis] += 1
            for i in range(w.n_operands):
                at[i] += w.strides[i][axis]
            if position[axis] < w.dims[axis]:
                break
            position[axis] = 0
            for i in range(w.n_operands):
                at[i] -= w.strides[i][axis] * w.dims[axis]
            axis -= 1
        if axis < 0:
            return


cdef int check_loop() except -1:
    """Let an exception that an integer loop has set (a negative power) propagate."""
    return -1 if PyErr_Occurred() is not NULL else 0


cdef int run(Strides* w, InnerLoop inner, void* data, npy_intp size) except -1:
    if size > RELEASE_ABOVE:
        with nogil:
            walk(w, inner, data)
    else:
        walk(w, inner, data)
    return check_loop()


cdef void strides_under(ndarray x, int core, int ndim, npy_intp* strides) noexcept:
    """Strides of x read as `ndim` axes (its last `core` aside); 0 along a stretched axis."""
    cdef int n = PyArray_NDIM(x) - core, axis
    for axis in range(ndim - n):
        strides[axis] = 0
    for axis in range(n):
        strides[ndim - n + axis] = 0 if PyArray_DIM(x, axis) == 1 else PyArray_STRIDES(x)[axis]


cdef int broadcast(ndarray a, ndarray b, int core, npy_intp* dims) noexcept:
    """Number of axes (the last `core` aside) of a and b broadcast together, or -1; fills dims."""
    cdef int na = PyArray_NDIM(a) - core, nb = PyArray_NDIM(b) - core, axis
    cdef int ndim = na if na > nb else nb
    cdef npy_intp da, db
    for axis in range(ndim):
        da = PyArray_DIM(a, axis - ndim + na) if axis >= ndim - na else 1
        db = PyArray_DIM(b, axis - ndim + nb) if axis >= ndim - nb else 1
        if da != db and da != 1 and db != 1:
            return -1
        dims[axis] = db if da == 1 else da
    return ndim
