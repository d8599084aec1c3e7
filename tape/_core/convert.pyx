"""Data of any kind as an array that a node can hold."""

cimport numpy as cnp
from numpy cimport ndarray

import numpy as np

from tape.errors import DTypeError

cnp.import_array()

cdef object DTYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split()
)


cdef object first_element(data):
    cdef int _depth
    for _depth in range(64):  # NumPy's most axes; a list may hold itself
        if not isinstance(data, (list, tuple)) or not data:
            break
        data = data[0]
    return data


cdef bint is_plain(data) noexcept:
    """Whether data is an array that needs no second look."""
    cdef int kind
    if not cnp.PyArray_CheckExact(data):
        return False
    kind = cnp.PyArray_TYPE(<ndarray>data)
    return (kind <= cnp.NPY_DOUBLE and kind != cnp.NPY_LONGLONG and kind != cnp.NPY_ULONGLONG
            and cnp.PyArray_ISALIGNED(<ndarray>data) and cnp.PyArray_ISNOTSWAPPED(<ndarray>data))


cdef ndarray admit(data, bint* fresh):
    """data as an aligned native array of a known dtype; `fresh` says whether nobody else has it."""
    cdef ndarray array
    fresh[0] = False
    if is_plain(data):
        return <ndarray>data
    if type(data) is float:
        array = np.asarray(data, np.float32)
    elif isinstance(data, np.ma.MaskedArray):
        raise DTypeError("tensor: masked arrays have no tensor form: call .filled(value) first")
    else:
        array = np.asarray(data)
        if (array.dtype == np.float64 and isinstance(data, (list, tuple))
                and type(first_element(data)) in (float, int, bool, list, tuple)):
            array = array.astype(np.float32)
    # Anything else may have handed out its own memory: __array__ need not copy.
    fresh[0] = isinstance(data, (list, tuple, float, int, np.generic))
    if array.dtype.name not in DTYPES:
        raise DTypeError(
            f"tensor: dtype {array.dtype} is not supported; take one of {', '.join(sorted(DTYPES))}"
        )
    if not array.dtype.isnative or not cnp.PyArray_ISALIGNED(array):
        array, fresh[0] = array.astype(array.dtype.newbyteorder("=")), True
    if cnp.PyArray_TYPE(array) in (cnp.NPY_LONGLONG, cnp.NPY_ULONGLONG):
        array = array.view(np.int64 if array.dtype.kind == "i" else np.uint64)
    return array


cdef ndarray owned_array(data, dtype):
    """A C-contiguous array with data's values that nobody else has."""
    cdef bint fresh
    cdef object head = first_element(data)
    if data is not head and hasattr(head, "requires_grad"):
        raise DTypeError("tensor: a sequence of tensors is not data: join them with tape.stack")
    cdef ndarray array = admit(data, &fresh)
    if dtype is not None and array.dtype != dtype:
        if not np.can_cast(array.dtype, dtype, "unsafe") or np.dtype(dtype).name not in DTYPES:
            raise DTypeError(f"tensor: dtype {np.dtype(dtype)} is not supported")
        with np.errstate(all="ignore"):
            array, fresh = array.astype(dtype, order="C"), True
    if not fresh or not cnp.PyArray_IS_C_CONTIGUOUS(array):
        array = np.array(array, order="C", copy=True, subok=False)
    return array
