"""`Tensor`: the handle a user holds on a node."""

cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from numpy cimport ndarray

import numpy as np

from tape._core.convert cimport numbers, owned_array
from tape._core.node cimport Anchor, Node, leaf, same_shape, value_of
from tape._core.provenance cimport stamp
from tape._core.slots cimport *
from tape._core.state cimport current
from tape._core.trace cimport length, note_read, note_size
from tape._core.text import not_a_number, summary
from tape.errors import DTypeError, GradError, ShapeError

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)


# What a handle stands on before __init__: a subclass that forgets to call it gets no crash.
cdef Node EMPTY = leaf(np.zeros(0, np.float32), False)


cdef Tensor wrap(Node node):
    """A new handle."""
    cdef Tensor t = Tensor.__new__(Tensor)
    t.node = node
    node.holders += 1
    return t


cdef object binary(Slot which, a, b):
    cdef PyObject* args[2]
    if not (isinstance(b, Tensor) or is_operand(b)) or not (isinstance(a, Tensor) or is_operand(a)):
        if LESS <= which <= GREATER_EQUAL and isinstance(b, (list, tuple)):
            return compared(which, <Tensor>a, b)
        return NotImplemented
    args[0], args[1] = <PyObject*>a, <PyObject*>b
    return call_slot(which, args, 2)


cdef object unary(Slot which, a):
    cdef PyObject* args[1]
    args[0] = <PyObject*>a
    return call_slot(which, args, 1)


cdef object compared(Slot which, Tensor a, b):
    """a compared with a list, elementwise; its floats are weak, as a number would be."""
    cdef ndarray array = numbers(b)
    if array.dtype.kind not in "biuf":
        return NotImplemented
    return binary(which, a, array.astype(a.dtype) if a.dtype.kind == "f" else array)


cdef bint is_operand(x) noexcept:
    return (isinstance(x, float) or isinstance(x, int) or isinstance(x, ndarray)
            or isinstance(x, cnp.generic))


cdef object inplace(Slot which, Tensor a, b):
    """a <- op(a, b): the handle moves on, other holders keep the old value."""
    a._refuse_on_recorded_leaf(slot_name(which))
    y = binary(which, a, b)
    if y is NotImplemented:
        return y
    a._become(y, slot_name(which))
    return a


@cython.no_gc
@cython.freelist(256)
@cython.c_api_binop_methods(True)
cdef class Tensor:
    """An array that remembers how it was made, so that gradients can be asked for.

    Create one with `tape.tensor`; ops on tensors give tensors. See the README for a tour.
    """

    __array_priority__ = 1000

    def __cinit__(self):
        self.node = EMPTY

    def __init__(self, data=(), dtype=None, requires_grad=False):
        self.point_to(leaf(owned_array(data, dtype), False))
        if requires_grad:
            self.requires_grad_()
        stamp(self.node)

    def __dealloc__(self):
        if self.anchor is not None:
            self.anchor.tensor = NULL
        if self.node is not EMPTY:
            self.node.release()

    @property
    def shape(self) -> tuple:
        """The length of every axis."""
        note_size(self.node, "shape", type(self) is Tensor)
        return self.node.shape()

    @property
    def ndim(self) -> int:
        """How many axes."""
        return self.node.ndim

    @property
    def size(self) -> int:
        """How many elements."""
        note_size(self.node, "size", type(self) is Tensor)
        return cnp.PyArray_MultiplyList(self.node.dims, self.node.ndim)

    @property
    def nbytes(self) -> int:
        """How many bytes the elements take."""
        return self.size * self.dtype.itemsize

    @property
    def dtype(self) -> np.dtype:
        """What the elements are, as NumPy's dtype."""
        return cnp.PyArray_DescrFromType(self.node.typenum)

    @property
    def device(self) -> str:
        """Where the elements are: "cpu"."""
        return "cpu"

    @property
    def name(self):
        """A string that the repr shows, or None; setting another thing is a TypeError."""
        return self._name

    @name.setter
    def name(self, value):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"name: a string or None, got {type(value).__name__}")
        self._name = value

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is wanted, or flows through; set, as requires_grad_() does."""
        return self.node.requires_grad

    @requires_grad.setter
    def requires_grad(self, flag):
        self.requires_grad_(flag)

    @property
    def is_leaf(self) -> bool:
        """Whether no graph leads here: data, a parameter, what was computed under no_grad."""
        return not self.node.requires_grad or self.node.anchor is not None

    @property
    def op(self):
        """The op that made the value, None for data."""
        return self.node.op

    @property
    def serial(self) -> int:
        """Serial number of the node behind the handle: equal only for handles on one node."""
        return self.node.serial

    @property
    def grad(self):
        """The gradient that backward() accumulated, or None."""
        return self._grad

    @grad.setter
    def grad(self, g):
        if g is None:
            self._grad = None
            return
        if not isinstance(g, Tensor):
            raise TypeError(f"grad: a tensor or None, got {type(g).__name__}")
        if not same_shape((<Tensor>g).node, self.node):
            raise ShapeError(f"grad: a gradient of shape {g.shape} for a tensor {self.shape}")
        if (<Tensor>g).node.typenum != self.node.typenum:
            raise DTypeError(f"grad: a {g.dtype} gradient for a {self.dtype} tensor")
        if g is self:
            raise GradError("grad: a tensor cannot be its own gradient; assign a detach() of it")
        self._grad = g

    @grad.deleter
    def grad(self):
        self._grad = None

    @property
    def T(self) -> Tensor:
        """All axes in reverse order."""
        return slot(PERMUTE)(self, tuple(range(self.node.ndim - 1, -1, -1)))

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return unary(MATRIX_TRANSPOSE, self)

    def numpy(self) -> np.ndarray:
        """The value as a read-only view; np.array(t) copies."""
        cdef ndarray view = value_of(self.node).view()
        note_read(self.node, "array", None)
        cnp.PyArray_CLEARFLAGS(view, cnp.NPY_ARRAY_WRITEABLE)
        return view

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        cdef Py_buffer view
        PyObject_GetBuffer(self.numpy(), &view, flags)  # whose owner is the read-only view
        Py_DECREF(None)  # Cython put it into buffer.obj
        buffer[0] = view

    def item(self):
        """The only element, as a Python number; ShapeError if there is not just one."""
        return self.read("item").item()

    def tolist(self):
        """Nested lists of Python numbers."""
        note_read(self.node, "array", None)
        return value_of(self.node).tolist()

    cdef Tensor bare(self):
        """The value as a leaf that knows nothing of where it comes from."""
        return wrap(leaf(value_of(self.node), self.node.borrowed))

    def requires_grad_(self, flag: bool = True) -> Tensor:
        """Say whether gradients for this leaf are wanted; returns the tensor itself.

        Raises:
            DTypeError: the tensor does not hold floating-point numbers.
            GradError: it is not a leaf, and `flag` is False: use detach().
        """
        cdef Node old = self.node, node
        if bool(flag) == old.requires_grad:
            return self
        if old.requires_grad and old.anchor is None:
            raise GradError("requires_grad_: a computed tensor; detach() it to cut the graph")
        if flag and not cnp.PyTypeNum_ISFLOAT(old.typenum):
            raise DTypeError(f"requires_grad_: only for floating point, this one is {self.dtype}")
        # A borrowed buffer may be written to by its owner: the graph gets values that stay.
        node = leaf(value_of(old).copy() if old.borrowed and flag else value_of(old), False)
        node.comes_from(old)
        node.requires_grad = bool(flag)
        if flag:
            if self.anchor is None:
                self.anchor = Anchor.__new__(Anchor)
                self.anchor.tensor, self.anchor.first = <PyObject*>self, old.serial
            node.anchor = self.anchor
        self.point_to(node)
        return self

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self._grad = None

    cdef ndarray read(self, str what):
        """The value of one element, which leaves the tape; see Note [Reads]."""
        cdef ndarray value = self.single(what)
        note_read(self.node, what, value.item())
        return value

    cdef ndarray single(self, str what):
        """The value, if it is of one element."""
        cdef ndarray value = value_of(self.node)
        if cnp.PyArray_SIZE(value) != 1:
            raise not_a_number(value, what)
        return value

    cdef void point_to(self, Node node) noexcept:
        cdef Node old = self.node
        node.holders += 1
        self.node = node
        if old is not EMPTY:
            old.release()

    cdef bint is_sole_owner(self) noexcept:
        cdef PyObject* node = <PyObject*>self.node
        cdef PyObject* array = <PyObject*>self.node.array
        return (Py_REFCNT(node) == 1 and self.node.holders == 1 and Py_REFCNT(array) == 1
                and not self.node.borrowed and self.node.operands is None
                and self.node.array is not None
                and cnp.PyArray_BASE(self.node.array) is NULL
                and cnp.PyArray_CHKFLAGS(self.node.array, cnp.NPY_ARRAY_OWNDATA))

    def _refuse_on_recorded_leaf(self, what: str) -> None:
        """Raise GradError if changing this tensor in place now would lose its gradient."""
        if self.node.anchor is not None and current().recording:
            raise GradError(
                f"{what}: a leaf that requires a gradient cannot be changed while recording; "
                "do it under tape.no_grad()"
            )

    def _become(self, Tensor y, what: str) -> None:
        """Point this handle at y's value: what an in-place operation means here.

        Raises:
            ShapeError, DTypeError: y has another shape, or a dtype this one cannot take.
        """
        cdef Node node
        if not same_shape(self.node, y.node):
            raise ShapeError(f"{what}: {y.shape} in place does not fit the tensor {self.shape}")
        if y.node.typenum != self.node.typenum:
            if not np.can_cast(y.dtype, self.dtype, "same_kind"):
                raise DTypeError(f"{what}: {y.dtype} in place does not fit a {self.dtype} tensor")
            y = slot(CAST)(y, self.dtype)
        if self.node.anchor is not None:
            # A borrowed buffer may be written to by its owner: the graph gets values that stay.
            node = leaf(value_of(y.node).copy() if y.node.borrowed else value_of(y.node), False)
            node.requires_grad, node.anchor, self.anchor.moved = True, self.anchor, True
            self.point_to(node)
        else:
            self.point_to(y.node)

    def __add__(a, b): return binary(ADD, a, b)
    def __sub__(a, b): return binary(SUBTRACT, a, b)
    def __mul__(a, b): return binary(MULTIPLY, a, b)
    def __truediv__(a, b): return binary(DIVIDE, a, b)
    def __floordiv__(a, b): return binary(FLOOR_DIVIDE, a, b)
    def __mod__(a, b): return binary(REMAINDER, a, b)
    def __divmod__(a, b): return binary(FLOOR_DIVIDE, a, b), binary(REMAINDER, a, b)
    def __matmul__(a, b): return binary(MATMUL, a, b)
    def __and__(a, b): return binary(AND, a, b)
    def __or__(a, b): return binary(OR, a, b)
    def __xor__(a, b): return binary(XOR, a, b)
    def __lshift__(a, b): return binary(LEFT_SHIFT, a, b)
    def __rshift__(a, b): return binary(RIGHT_SHIFT, a, b)
    def __neg__(self): return unary(NEGATIVE, self)
    def __pos__(self): return unary(POSITIVE, self)
    def __abs__(self): return unary(ABS, self)
    def __invert__(self): return unary(INVERT, self)
    def __lt__(self, b): return binary(LESS, self, b)
    def __le__(self, b): return binary(LESS_EQUAL, self, b)
    def __eq__(self, b): return binary(EQUAL, self, b)
    def __ne__(self, b): return binary(NOT_EQUAL, self, b)
    def __gt__(self, b): return binary(GREATER, self, b)
    def __ge__(self, b): return binary(GREATER_EQUAL, self, b)
    def __iadd__(self, b): return inplace(ADD, self, b)
    def __isub__(self, b): return inplace(SUBTRACT, self, b)
    def __imul__(self, b): return inplace(MULTIPLY, self, b)
    def __itruediv__(self, b): return inplace(DIVIDE, self, b)
    def __ifloordiv__(self, b): return inplace(FLOOR_DIVIDE, self, b)
    def __imod__(self, b): return inplace(REMAINDER, self, b)
    def __imatmul__(self, b): return inplace(MATMUL, self, b)
    def __iand__(self, b): return inplace(AND, self, b)
    def __ior__(self, b): return inplace(OR, self, b)
    def __ixor__(self, b): return inplace(XOR, self, b)
    def __ilshift__(self, b): return inplace(LEFT_SHIFT, self, b)
    def __irshift__(self, b): return inplace(RIGHT_SHIFT, self, b)

    def __pow__(a, b, modulo):
        return binary(POWER, a, b) if modulo is None else NotImplemented

    def __ipow__(self, b, modulo): return inplace(POWER, self, b)

    def __getitem__(self, key): return slot(GET_ITEM)(self, key)
    def __setitem__(self, key, value): slot(SET_ITEM)(self, key, value)

    def __delitem__(self, key):
        raise TypeError(f"no element of a tensor {self.shape} can be deleted")

    def __hash__(self): return <Py_ssize_t><PyObject*>self >> 4

    def __len__(self): return length(self.node, "len() of")

    def __iter__(self):
        n = length(self.node, "iteration over")
        return (self[i] for i in range(n))

    def __bool__(self): return bool(self.read("bool"))
    def __float__(self): return float(self.read("float").item())
    def __int__(self): return int(self.read("int").item())

    def __index__(self):
        if self.node.ndim or not cnp.PyTypeNum_ISINTEGER(self.node.typenum):
            raise not_a_number(value_of(self.node), "index")
        return self.read("index").__index__()

    def __format__(self, spec):
        if spec and self.node.ndim == 0:
            return format(self.item(), spec)
        try:
            return format(str(self), spec)
        except ValueError:
            raise TypeError(f"format: {spec!r} is for one number, not {self.shape}") from None

    def __reduce__(self):
        raise TypeError("a tensor is not pickled: tape.save writes tensors and modules")

    def __repr__(self):
        note_read(self.node, "array", None)
        return summary(value_of(self.node), self._name, self.node.op, self.node.requires_grad)
