"""Lists of arrays that belong together, checked once and then walked without Python."""

cimport numpy as cnp

from tape._kernels.table cimport TAPE_DOUBLE, TAPE_FLOAT, tape_arrays


cdef struct Batch:
    Py_ssize_t count, numbers
    tape_arrays *item


cdef inline int read_array(
    tape_arrays *item, str op, str name, Py_ssize_t i, int slot, object array, object param,
    bint written,
) except -1:
    """Check array i of a list and note where its numbers are."""
    cdef cnp.ndarray a
    cdef char *start
    cdef char *other
    cdef Py_ssize_t nbytes
    cdef int k
    if not cnp.PyArray_Check(array):
        raise TypeError(f"{op}: {name}[{i}] is a {type(array).__name__}, expected a NumPy array")
    a = <cnp.ndarray> array
    if slot == 0:
        item.kind = TAPE_FLOAT if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT else TAPE_DOUBLE
        item.size = cnp.PyArray_SIZE(a)
        if item.kind == TAPE_DOUBLE and cnp.PyArray_TYPE(a) != cnp.NPY_DOUBLE:
            raise TypeError(f"{op}: {name}[{i}] is {array.dtype}, expected float32 or float64")
    elif cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(<cnp.ndarray> param):
        raise TypeError(f"{op}: {name}[{i}] is {array.dtype}, its parameter {param.dtype}")
    elif not cnp.PyArray_SAMESHAPE(a, <cnp.ndarray> param):
        raise ValueError(f"{op}: {name}[{i}] has shape {array.shape}, its parameter {param.shape}")
    if written and not cnp.PyArray_ISWRITEABLE(a):
        raise ValueError(f"{op}: {name}[{i}] is read-only")
    if not cnp.PyArray_ISCARRAY_RO(a):
        raise ValueError(f"{op}: {name}[{i}] is not C-contiguous, aligned and in native byte order")
    start = <char *> cnp.PyArray_DATA(a)
    nbytes = cnp.PyArray_NBYTES(a)
    for k in range(slot):
        other = <char *> item.data[k]
        if other != NULL and start < other + nbytes and other < start + nbytes:
            raise ValueError(f"{op}: {name}[{i}] shares memory with its parameter or its state")
    item.data[slot] = start
    return 0


cdef inline tuple read_batch(Batch *batch, str op, tuple names, tuple lists, bint written):
    """Check all arrays; return what has to live as long as `batch` is used.

    The first list holds the parameters; the second is only read; one that is None is absent.
    """
    cdef list columns = [None if x is None else tuple(x) for x in lists]
    cdef tuple params = columns[0], column
    cdef Py_ssize_t i
    cdef int slot
    cdef cnp.npy_intp nbytes
    cdef cnp.ndarray room
    batch.count, batch.numbers = len(params), 0
    nbytes = batch.count * sizeof(tape_arrays)
    room = cnp.PyArray_ZEROS(1, &nbytes, cnp.NPY_UINT8, 0)
    batch.item = <tape_arrays *> cnp.PyArray_DATA(room)
    for slot in range(len(columns)):
        column = columns[slot]
        if column is None:
            continue
        if len(column) != batch.count:
            raise ValueError(
                f"{op}: {batch.count} {names[0]}, but {len(column)} {names[slot]}")
        for i in range(batch.count):
            read_array(
                batch.item + i, op, names[slot], i, slot, column[i], params[i],
                written and slot != 1)
    for i in range(batch.count):
        batch.numbers += batch.item[i].size
    return columns, room
