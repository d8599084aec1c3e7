"""Data of any kind as an array that a node can hold."""

cimport numpy as cnp
from numpy cimport ndarray

import numpy as np

from tape.errors import DTypeError, ShapeError

cnp.import_array()

cdef tuple NAMES = (
    "bool", "float32", "float64", "int16", "int32", "int64", "int8", "uint16", "uint32", "uint64",
    "uint8",
)
# By what users call them most: a name, a NumPy type, a dtype.
cdef dict DTYPES = {key: np.dtype(name) for name in NAMES
                    for key in (name, np.dtype(name).type, np.dtype(name))}


def known_dtype(dtype, name):
    """What the user calls a dtype, as one that tape has; DTypeError in the name of an op."""
    found, called = None, repr(dtype)
    try:
        found = DTYPES.get(dtype)
        if found is None and dtype is not None:
            called = np.dtype(dtype).name
            found = DTYPES.get(np.dtype(dtype).newbyteorder("="))
    except (TypeError, ValueError):
        pass
    if found is None:
        raise DTypeError(
            f"{name}: dtype {called} is not supported; take one of {', '.join(NAMES)}"
        )
    return found


cdef int refuse_gradients(data) except -1:
    """DTypeError if a sequence holds tensors that require gradients, which would be lost."""
    for x in data:
        if isinstance(x, (list, tuple)):
            refuse_gradients(x)
        elif type(x) is not float and type(x) is not int and getattr(x, "requires_grad", False):
            raise DTypeError(
                "tensor: a sequence of tensors that require gradients is not data: join them with "
                "tape.stack, or detach() them"
            )
    return 0


cdef object numbers(data):
    """data as NumPy reads it."""
    try:
        array = np.asarray(data)
    except ValueError as error:
        if not isinstance(data, (list, tuple)):
            raise
        raise ShapeError("tensor: the sequences in the data differ in length or depth") from error
    if array.dtype.kind == "f" and isinstance(data, (list, tuple)):
        refuse_gradients(data)
    return array


cdef object whole_numbers(data, dtype):
    """data as integers, those of 64 bits not by way of floating point."""
    array = numbers(data)
    if array.dtype.kind in "iufO" and array.dtype != dtype:
        try:
            return np.asarray(data, dtype)
        except (OverflowError, ValueError) as error:  # infinity, NaN
            raise DTypeError(f"tensor: the numbers do not fit {dtype}: {error}") from None
        except TypeError:
            pass
    return array


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
        array = numbers(data)
        if (array.dtype == np.float64 and isinstance(data, (list, tuple))
                and type(first_element(data)) in (float, int, bool, list, tuple)):
            array = array.astype(np.float32)
    # Anything else may have handed out its own memory: __array__ need not copy.
    fresh[0] = isinstance(data, (list, tuple, float, int, np.generic))
    if array.dtype.name not in DTYPES:
        known_dtype(array.dtype, "tensor")
    if not array.dtype.isnative or not cnp.PyArray_ISALIGNED(array):
        array, fresh[0] = array.astype(array.dtype.newbyteorder("=")), True
    if cnp.PyArray_TYPE(array) in (cnp.NPY_LONGLONG, cnp.NPY_ULONGLONG):
        array = array.view(np.int64 if array.dtype.kind == "i" else np.uint64)
    return array


cdef object real_number(data):
    """data, but the real part of a Python number whose imaginary part is 0."""
    return data.real if type(data) is complex and data.imag == 0 else data


cdef ndarray owned_array(data, dtype):
    """A C-contiguous array with data's values that nobody else has."""
    cdef bint fresh
    data = real_number(data)
    if dtype is not None:
        dtype = known_dtype(dtype, "tensor")
        if isinstance(data, (list, tuple, float, int)):
            # Python's floats are float32 only where nothing else is said.
            data = whole_numbers(data, dtype) if dtype.kind in "iu" else numbers(data)
    cdef ndarray array = admit(data, &fresh)
    if dtype is not None and array.dtype != dtype:
        with np.errstate(all="ignore"):
            array, fresh = array.astype(dtype, order="C"), True
    if not fresh or not cnp.PyArray_IS_C_CONTIGUOUS(array):
        array = np.array(array, order="C", copy=True, subok=False)
    return array
