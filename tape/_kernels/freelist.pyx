"""Arrays of floats kept for the next result of their kind.

Making and deleting a small array costs NumPy a hundred nanoseconds, more than adding 64 numbers
does (benchmarks: "chain of 200 ops"). A large one comes from the system as pages that are not there
yet, and touching them for the first time took a quarter of a training step (benchmarks: "train step
of the CNTK 103D network"). And a training step asks for the same few shapes over and over. So an
array that nobody holds any more waits here until one of its shape and dtype is asked for.
"""

cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t
from numpy cimport (
    NPY_DOUBLE, NPY_FLOAT, PyArray_DIMS, PyArray_EMPTY, PyArray_NDIM, PyArray_TYPE, ndarray,
    npy_intp,
)

from tape._kernels.strides cimport same_dims

cnp.import_array()

cdef enum:
    SMALL = 8192            # bytes; what is larger has stacks of its own
    LARGEST = 16 << 20      # bytes of an array that is kept
    N_STACKS = 64           # of each size; arrays whose shapes and dtypes collide share a stack
    DEPTH = 256             # arrays a stack holds
    SMALL_BUDGET = 2 << 20  # bytes kept altogether
    LARGE_BUDGET = 64 << 20

# A dtype may carry metadata, which must not travel: only arrays of the plain ones are kept.
cdef object FLOAT32 = cnp.PyArray_DescrFromType(NPY_FLOAT)
cdef object FLOAT64 = cnp.PyArray_DescrFromType(NPY_DOUBLE)

cdef PyObject* kept[2 * N_STACKS][DEPTH]
cdef int depth[2 * N_STACKS]
cdef npy_intp[2] n_bytes = [0, 0]  # of small ones, of large ones
cdef int[2] victim = [0, 0]  # the stack that gives way next when the budget is used up

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)
    PyObject** PyObject_GET_WEAKREFS_LISTPTR(object)


cdef inline int stack_of(int ndim, const npy_intp* dims, int typenum, bint large) noexcept:
    cdef uint64_t hash = typenum
    cdef int axis
    for axis in range(ndim):
        hash = (hash + <uint64_t>dims[axis]) * 0x9E3779B97F4A7C15ull
    return N_STACKS * large + (hash >> 58)


cdef inline bint is_kind(ndarray array, int ndim, const npy_intp* dims, int typenum) noexcept:
    return (PyArray_TYPE(array) == typenum and PyArray_NDIM(array) == ndim
            and same_dims(PyArray_DIMS(array), dims, ndim))


cdef void give_up(int stack) noexcept:
    """Free the array on top of a stack, if there is one."""
    if depth[stack]:
        depth[stack] -= 1
        array = <ndarray>kept[stack][depth[stack]]
        n_bytes[stack >= N_STACKS] -= cnp.PyArray_NBYTES(array)
        Py_DECREF(array)


cdef ndarray empty(int ndim, npy_intp* dims, int typenum):
    """A new array in C order, its elements as they happen to be."""
    cdef npy_intp size = 4 if typenum == NPY_FLOAT else 8
    cdef int axis, stack
    cdef ndarray array
    if typenum != NPY_FLOAT and typenum != NPY_DOUBLE:
        return PyArray_EMPTY(ndim, dims, typenum, 0)
    for axis in range(ndim):
        if dims[axis] > LARGEST:  # told before the product, which might wrap around
            return PyArray_EMPTY(ndim, dims, typenum, 0)
        size *= dims[axis]
        if size > LARGEST:
            return PyArray_EMPTY(ndim, dims, typenum, 0)
    stack = stack_of(ndim, dims, typenum, size > SMALL)
    if depth[stack]:
        array = <ndarray>kept[stack][depth[stack] - 1]
        if is_kind(array, ndim, dims, typenum):
            depth[stack] -= 1
            n_bytes[size > SMALL] -= size
            Py_DECREF(array)  # the stack's reference; `array` is another
            cnp.PyArray_ENABLEFLAGS(array, cnp.NPY_ARRAY_WRITEABLE)
            return array
    return PyArray_EMPTY(ndim, dims, typenum, 0)


cdef inline object plain(int typenum):
    return FLOAT32 if typenum == NPY_FLOAT else FLOAT64


cdef void recycle(PyObject* last) noexcept:
    """Keep an array for later, if it is small, its memory its own, and nobody else holds it."""
    if Py_REFCNT(last) != 1:
        return
    cdef ndarray array = <ndarray>last
    cdef int stack, typenum = PyArray_TYPE(array), ndim = PyArray_NDIM(array)
    cdef npy_intp size = cnp.PyArray_NBYTES(array)
    cdef npy_intp* dims = PyArray_DIMS(array)
    cdef bint large
    if (size > LARGEST or size == 0
            or typenum != NPY_FLOAT and typenum != NPY_DOUBLE
            or not cnp.PyArray_CheckExact(array)
            or <object>cnp.PyArray_DESCR(array) is not plain(typenum)
            or not cnp.PyArray_ISCARRAY_RO(array) or cnp.PyArray_BASE(array) is not NULL
            or not cnp.PyArray_CHKFLAGS(array, cnp.NPY_ARRAY_OWNDATA)
            or PyObject_GET_WEAKREFS_LISTPTR(array)[0] is not NULL):
        return
    large = size > SMALL
    stack = stack_of(ndim, dims, typenum, large)
    if depth[stack] == DEPTH:
        if is_kind(<ndarray>kept[stack][DEPTH - 1], ndim, dims, typenum):
            return  # enough of these
        give_up(stack)
    while n_bytes[large] + size > (LARGE_BUDGET if large else SMALL_BUDGET):
        give_up(N_STACKS * large + victim[large])
        victim[large] = (victim[large] + 1) % N_STACKS
    Py_INCREF(array)
    kept[stack][depth[stack]] = last
    depth[stack] += 1
    n_bytes[large] += size
