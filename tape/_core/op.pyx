"""`Op`: what is declared of an operation, its settings and its value."""

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from numpy cimport ndarray

import numpy as np

from tape._core.convert cimport admit
from tape._core.node cimport Node, is_node, next_serial
from tape._core.rule cimport MAX_ARGS, Rule
from tape._core.settings cimport frozen
from tape._core.slots cimport door
from tape._core.state cimport State
from tape._core.convert import known_dtype
from tape.errors import DTypeError, ShapeError, TapeError

cnp.import_array()

cdef extern from "Python.h":
    object PyObject_Vectorcall(object, PyObject**, size_t, PyObject*)
    object PyVectorcall_Call(object, object, object)
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1
    void PyType_Modified(type)
    unsigned long Py_TPFLAGS_HAVE_VECTORCALL
    ctypedef struct PyTypeObject:
        Py_ssize_t tp_vectorcall_offset
        unsigned long tp_flags
        void* tp_call

REQUIRED = object()  # the default of a setting that must be given


@cython.final
cdef class Op:
    """One operation: called with tensors (arrays, numbers), it gives a tensor. See `tape.op`."""

    def __cinit__(self):
        self.vectorcall = <void*>door()

    def __init__(self, *, name, forward, shape, shape_settings, kernel, n_operands, setting_names,
                 defaults, differentiable, reuse, linear, n_fixed):
        self.name, self.forward, self.shape, self.kernel = name, forward, shape, kernel
        self.shape_settings = shape_settings
        for i, setting in enumerate(shape_settings):
            self.shape_positions[i] = setting_names.index(setting)
        self.n_operands, self.setting_names, self.defaults = n_operands, setting_names, defaults
        self.differentiable, self.reuse, self.linear = differentiable, reuse, linear
        self.serial = next_serial()
        self.vjps = [None] * n_fixed

    def __call__(self, *args, **kwargs):
        raise AssertionError("replaced by vectorcall below")

    def __repr__(self):
        return f"<op {self.name}>"

    def __reduce__(self):
        return self.name

    cdef Rule rule_for(self, Py_ssize_t operand):
        """The rule that gives this operand's cotangent, or None."""
        if self.joint is not None or operand >= len(self.vjps):
            return self.joint
        return <Rule>self.vjps[operand]

    cdef bint has_vjp(self) noexcept:
        """Whether any operand has a rule for its cotangent."""
        return self.joint is not None or any([rule is not None for rule in self.vjps])

    cdef tuple settle(self, PyObject** args, Py_ssize_t n_extra, PyObject** named, PyObject* names):
        """The settings in declared order: positional ones first, then by name, then defaults."""
        cdef Py_ssize_t i, j, n = len(self.setting_names), n_named = 0
        cdef list values
        if n_extra > n:
            raise TypeError(
                f"{self.name}: takes {max(self.n_operands, 1)} operands and {n} settings, "
                f"got {n_extra - n} positional arguments too many"
            )
        if n == 0 and names is NULL:
            return ()
        values = [frozen(<object>args[i]) for i in range(n_extra)]
        values.extend(self.defaults[n_extra:])
        if names is not NULL:
            n_named = PyTuple_GET_SIZE(<tuple>names)
        for i in range(n_named):
            key = <object>PyTuple_GET_ITEM(<tuple>names, i)
            for j in range(n):
                if self.setting_names[j] == key:
                    break
            else:
                if is_numpys_default(key, <object>named[i]):
                    continue
                raise TypeError(
                    f"{self.name}: no setting {key!r}; it has "
                    f"{', '.join(self.setting_names) or 'none'}"
                )
            if j < n_extra:
                raise TypeError(f"{self.name}: setting {key!r} given twice")
            values[j] = frozen(<object>named[i])
        for j in range(n):
            if values[j] is REQUIRED:
                raise TypeError(f"{self.name}: setting {self.setting_names[j]!r} is missing")
        return tuple(values)

    cdef ndarray evaluate(self, State state, tuple operands, tuple settings):
        """The result's value, by the kernel where it applies, else by the forward."""
        cdef ndarray y = None
        cdef PyObject* at
        cdef object a
        if self.kernel is None:
            return self.valued(state, operands, settings)
        if PyTuple_GET_SIZE(settings) or self.n_operands > 2:
            y = self.kernel.settled(values_of(operands), settings)
        else:
            at = PyTuple_GET_ITEM(operands, 0)
            a = <object>(<Node>at).array if is_node(at) else <object>at
            if self.n_operands == 1:
                y = self.kernel.unary(a if isinstance(a, ndarray) else array_of(a))
            else:
                at = PyTuple_GET_ITEM(operands, 1)
                y = self.kernel.binary(a, <object>(<Node>at).array if is_node(at) else <object>at)
        return self.valued(state, operands, settings) if y is None else y

    cdef ndarray valued(self, State state, tuple operands, tuple settings):
        """The forward's result, of operands that the shape rule lets pass."""
        cdef list args = values_of(operands)
        ruled = self.ruled_shape(operands, settings)
        if len(args) == 1 and not isinstance(args[0], ndarray):
            args[0] = array_of(args[0])
        try:
            y = self.run_forward(state, args, settings)
        except TypeError as error:
            if self.foreign or isinstance(error, TapeError):
                raise
            raise DTypeError(
                f"not defined for {', '.join(described_all(self, operands, settings))}"
            ) from error
        if self.foreign:
            return self.checked(y, ruled, args)
        return y if type(y) is np.ndarray else np.asarray(y)

    cdef ndarray checked(self, object y, object ruled, list args):
        """What a user's forward gave, if its shape is as ruled and its dtype one of ours."""
        cdef ndarray array
        cdef bint _fresh
        if y is None or isinstance(y, (tuple, str, bytes, dict)):
            raise DTypeError(f"its forward must return one array, got a {type(y).__name__}")
        try:
            array = np.asarray(y)
        except ValueError as error:
            raise ShapeError("its forward gave sequences that differ in length or depth") from error
        if ruled is not None:
            if type(ruled) is not tuple:
                raise ShapeError(f"its shape rule gave {ruled!r}, expected a tuple of lengths")
            if ruled != np.shape(array):
                raise ShapeError(f"its shape rule gave {ruled}, its forward {np.shape(array)}")
        known_dtype(array.dtype, self.name)
        array = admit(array, &_fresh)
        return array.view() if any([array is x for x in args]) else array

    cdef object ruled_shape(self, tuple operands, tuple settings):
        """What the op's shape rule says; it refuses operands that do not fit."""
        cdef PyObject* vector[MAX_ARGS]
        cdef Py_ssize_t i, n = PyTuple_GET_SIZE(operands), n_named = len(self.shape_settings)
        cdef list shapes = []
        for i in range(n):
            slot = <object>PyTuple_GET_ITEM(operands, i)
            shapes.append((<Node>slot).shape() if isinstance(slot, Node) else ())
        if n + n_named > MAX_ARGS:
            return self.shape(*shapes, **{k: settings[self.setting_names.index(k)]
                                          for k in self.shape_settings})
        for i in range(n):
            vector[i] = <PyObject*>shapes[i]
        for i in range(n_named):
            vector[n + i] = PyTuple_GET_ITEM(settings, self.shape_positions[i])
        return PyObject_Vectorcall(
            self.shape, vector, n, <PyObject*>self.shape_settings if n_named else NULL
        )

    cdef object run_forward(self, State state, list args, tuple settings):
        cdef PyObject* vector[MAX_ARGS]
        cdef Py_ssize_t i, n = len(args)
        cdef bint was_quiet = state.is_quiet
        cdef object y
        if not was_quiet:
            PyContext_Enter(state.quiet)
            state.is_quiet = True
        try:
            if n + len(settings) > MAX_ARGS:
                y = self.forward(*args, **dict(zip(self.setting_names, settings)))
            else:
                for i in range(n):
                    vector[i] = <PyObject*>args[i]
                for i in range(PyTuple_GET_SIZE(settings)):
                    vector[n + i] = PyTuple_GET_ITEM(settings, i)
                y = PyObject_Vectorcall(
                    self.forward, vector, n, <PyObject*>self.setting_names if settings else NULL
                )
        finally:
            if not was_quiet:
                state.is_quiet = False
                PyContext_Exit(state.quiet)
        return y


cdef ndarray array_of(number):
    """A Python number as a 0-d array; floats become float32."""
    return np.asarray(number, np.float32 if type(number) is float else None)


cdef bint is_numpys_default(key, value):
    """Whether a NumPy function hands this on unasked: np.mean(t) calls t.mean(out=None, ...)."""
    return value is None if key in ("out", "dtype") else key == "ddof" and value == 0


cdef list values_of(tuple operands):
    """The operands as arrays and numbers."""
    return [(<Node>x).array if isinstance(x, Node) else x for x in operands]


cdef str described(slot):
    if isinstance(slot, Node):
        return f"{cnp.PyArray_DescrFromType((<Node>slot).typenum)} {(<Node>slot).shape()}"
    if isinstance(slot, ndarray):
        return f"{slot.dtype} {slot.shape}"
    return f"the number {slot!r}"


cdef list described_all(Op op, tuple operands, tuple settings):
    """Operands and settings in words."""
    words = [described(x) for x in operands]
    words += [f"{k}={v!r}" for k, v in zip(op.setting_names, settings)]
    return words


cdef void use_vectorcall() noexcept:
    """Let Python call an Op without building a tuple and a dictionary first."""
    cdef Op sample = Op.__new__(Op)
    cdef PyTypeObject* kind = <PyTypeObject*>Op
    kind.tp_vectorcall_offset = <char*>&sample.vectorcall - <char*><PyObject*>sample
    kind.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL
    kind.tp_call = <void*>PyVectorcall_Call
    PyType_Modified(Op)


use_vectorcall()
