"""What the core calls without knowing it: the ops behind operators, summing and casting.

Tensors have ops for operators, ops are made of tensors: that circle is cut here.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from types import MethodDescriptorType

cdef extern from "Python.h":
    void PyType_Modified(type)
    object PyInstanceMethod_New(object)
    ctypedef struct PyTypeObject:
        PyObject* tp_dict
    ctypedef struct PyMethodDef:
        const char* ml_doc
    ctypedef struct PyMethodDescrObject:
        PyMethodDef* d_method

cdef PyObject* bound[N_SLOTS]
cdef Door opened = NULL

cdef tuple SLOT_NAMES = (
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power", "matmul",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
    "negative", "positive", "abs", "bitwise_invert", "less", "less_equal", "equal", "not_equal",
    "greater", "greater_equal", "get_item", "set_item", "permute_dims", "matrix_transpose",
    "sum_to", "astype",
)


# Where inspect.signature looks for the signature of what is compiled.
cdef list BINARY = [
    (name, f"{name}($self, other, /)\n--\n\n".encode()) for name in (
        "__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__matmul__",
        "__divmod__", "__and__", "__or__", "__xor__", "__lshift__", "__rshift__",
    )
]


def bind_operators(type tensor, dict operators, dict methods):
    """Fill the slots of these names, give the tensor type its methods; called once, by `ops`."""
    cdef dict namespace = <dict>(<PyTypeObject*>tensor).tp_dict
    for i, name in enumerate(SLOT_NAMES):
        if name in operators:
            Py_INCREF(operators[name])
            bound[i] = <PyObject*>operators[name]
    for name, signature in BINARY:
        if isinstance(namespace[name], MethodDescriptorType):
            (<PyMethodDescrObject*><PyObject*>namespace[name]).d_method.ml_doc = <bytes>signature
    for name, op in methods.items():
        namespace[name] = PyInstanceMethod_New(op)
    PyType_Modified(tensor)


cdef str slot_name(Slot which):
    return SLOT_NAMES[<int>which]


cdef object slot(Slot which):
    if bound[<int>which] is NULL:
        raise NotImplementedError(f"no op is bound to {SLOT_NAMES[<int>which]}")
    return <object>bound[<int>which]


cdef void open_door(Door function) noexcept:
    """Say what calling an op does; `door` does, which is made of tensors itself."""
    global opened
    opened = function


cdef Door door() noexcept:
    """What calling an op does."""
    return opened


cdef object call_slot(Slot which, PyObject** args, size_t n):
    """The op of an operator, called straight away."""
    return opened(slot(which), args, n, NULL)
