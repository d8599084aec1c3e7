"""`Op`, and the one door every op goes through.
"""

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from numpy cimport ndarray

import numpy as np

from tape._core.convert cimport admit
from tape._core.node cimport Node, leaf, new_node, next_serial, set_reviver, value_of
from tape._core.record cimport STACK_WORDS, is_node, record, spell
from tape._core.rule cimport MAX_ARGS, Rule
from tape._core.settings cimport digest_of, frozen, mix
from tape._core.state cimport State, current
from tape._core.tensor cimport Tensor, wrap
from tape.errors import DTypeError, TapeError

cnp.import_array()

cdef extern from "Python.h":
    object PyObject_Vectorcall(object, PyObject**, size_t, PyObject*)
    Py_ssize_t PyVectorcall_NARGS(size_t)
    object PyVectorcall_Call(object, object, object)
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1
    void PyType_Modified(type)
    PyTypeObject* Py_TYPE(object)
    PyObject* PyList_GET_ITEM(list, Py_ssize_t)
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
        self.vectorcall = <void*>call_op

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
            return self.run_forward(state, operands, settings)
        if PyTuple_GET_SIZE(settings) or self.n_operands > 2:
            y = self.kernel.settled(values_of(operands), settings)
        else:
            at = PyTuple_GET_ITEM(operands, 0)
            a = <object>(<Node>at).array if is_node(at) else <object>at
            if self.n_operands == 1:
                if not isinstance(a, ndarray):
                    a = np.asarray(a, np.float32 if type(a) is float else None)
                y = self.kernel.unary(a)
            else:
                at = PyTuple_GET_ITEM(operands, 1)
                y = self.kernel.binary(a, <object>(<Node>at).array if is_node(at) else <object>at)
        if y is None:
            try:
                y = self.run_forward(state, operands, settings)
            except TypeError as error:
                if isinstance(error, TapeError):
                    raise
                raise DTypeError(
                    f"not defined for {', '.join([described(x) for x in operands])}"
                ) from error
        return y

    cdef int check_shapes(self, tuple operands, tuple settings) except -1:
        """Ask the op's shape rule, which refuses operands that do not fit."""
        cdef PyObject* vector[MAX_ARGS]
        cdef Py_ssize_t i, n = PyTuple_GET_SIZE(operands), n_named = len(self.shape_settings)
        cdef list shapes = []
        for i in range(n):
            slot = <object>PyTuple_GET_ITEM(operands, i)
            shapes.append((<Node>slot).shape() if isinstance(slot, Node) else ())
        if n + n_named > MAX_ARGS:
            self.shape(*shapes, **{k: settings[self.setting_names.index(k)]
                                   for k in self.shape_settings})
            return 0
        for i in range(n):
            vector[i] = <PyObject*>shapes[i]
        for i in range(n_named):
            vector[n + i] = PyTuple_GET_ITEM(settings, self.shape_positions[i])
        PyObject_Vectorcall(
            self.shape, vector, n, <PyObject*>self.shape_settings if n_named else NULL
        )
        return 0

    cdef ndarray run_forward(self, State state, tuple operands, tuple settings):
        cdef list args = values_of(operands)
        cdef PyObject* vector[MAX_ARGS]
        cdef Py_ssize_t i, n = len(args)
        cdef bint was_quiet = state.is_quiet
        cdef object y
        self.check_shapes(operands, settings)
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
        return y if type(y) is np.ndarray else np.asarray(y)


cdef list values_of(tuple operands):
    """The operands as arrays and numbers."""
    return [(<Node>x).array if isinstance(x, Node) else x for x in operands]


cdef str described(slot):
    if isinstance(slot, Node):
        return f"{(<Node>slot).array.dtype} {(<Node>slot).shape()}"
    return f"the number {slot!r}"


cdef object call_op(object self, PyObject** args, size_t flags, PyObject* kwnames):
    """Op.__call__ by vectorcall: operands come first, the rest are settings."""
    cdef Op op = <Op>self
    cdef Py_ssize_t n = PyVectorcall_NARGS(flags), n_operands = op.n_operands
    cdef tuple settings, sequence
    if n_operands < 0:
        if n == 0 or not isinstance(<object>args[0], (list, tuple)):
            sequence = tuple([<object>args[i] for i in range(n)])
            settings = op.settle(args + n, 0, args + n, kwnames)
        else:
            sequence = tuple(<object>args[0])
            settings = op.settle(args + 1, n - 1, args + n, kwnames)
        if PyTuple_GET_SIZE(sequence) < len(op.vjps):
            least = len(op.vjps)
            raise TypeError(f"{op.name}: takes {least} operands or more, got {len(sequence)}")
        return apply(op, items(sequence), PyTuple_GET_SIZE(sequence), settings)
    if n < n_operands:
        raise TypeError(f"{op.name}: takes {n_operands} operands, got {n}")
    if n == n_operands and kwnames is NULL and PyTuple_GET_SIZE(op.setting_names) == 0:
        return apply(op, args, n, ())
    settings = op.settle(args + n_operands, n - n_operands, args + n, kwnames)
    return apply(op, args, n_operands, settings)


cdef PyObject** items(tuple sequence) noexcept:
    return &(<PyTupleObject*>sequence).ob_item[0]


cdef extern from "Python.h":
    ctypedef struct PyTupleObject:
        PyObject* ob_item[1]


cdef void use_vectorcall() noexcept:
    """Let Python call an Op without building a tuple and a dictionary first."""
    cdef Op sample = Op.__new__(Op)
    cdef PyTypeObject* kind = <PyTypeObject*>Op
    kind.tp_vectorcall_offset = <char*>&sample.vectorcall - <char*><PyObject*>sample
    kind.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL
    kind.tp_call = <void*>PyVectorcall_Call
    PyType_Modified(Op)


use_vectorcall()


cdef Tensor apply(Op op, PyObject** args, Py_ssize_t n, tuple settings):
    """The door: reuse a live node, or compute, record and hand out a new one."""
    try:
        return through(op, args, n, settings)
    except TapeError as error:
        if not error.op:
            error.op = op.name
        raise


cdef Tensor through(Op op, PyObject** args, Py_ssize_t n, tuple settings):
    cdef State state = current()
    cdef tuple operands = PyTuple_New(n)
    cdef bint needs = False, listed = op.reuse and state.reusing, any_borrowed = False, fresh, graph
    cdef bint spent = False
    cdef uint64_t stack[STACK_WORDS]
    cdef uint64_t* words = stack
    cdef uint64_t hash = 0
    cdef int n_words = 0, k
    cdef PyObject* found
    cdef PyObject* at
    cdef object x
    cdef Node node
    cdef ndarray array
    cdef Py_ssize_t i
    for i in range(n):
        if isinstance(<object>args[i], Tensor):
            at = <PyObject*>(<Tensor>args[i]).node
            needs |= (<Node>at).requires_grad
            any_borrowed |= (<Node>at).borrowed
            spent |= (<Node>at).array is None
            Py_INCREF(<object>at)
            PyTuple_SET_ITEM(operands, i, <object>at)
            continue
        x = <object>args[i]
        if isinstance(x, ndarray) or isinstance(x, cnp.generic):
            array = admit(x, &fresh)
            node = leaf(array, not fresh)
            any_borrowed |= node.borrowed
            x = node
        elif not (type(x) is float or type(x) is int or type(x) is bool):
            x = number(x, i)
        Py_INCREF(x)
        PyTuple_SET_ITEM(operands, i, x)
    graph = needs and state.recording and op.differentiable
    listed = listed and not any_borrowed
    if listed:
        words = spell(operands, stack, &n_words)
        listed = n_words >= 0
    if listed:
        try:
            hash = mix(op.serial, graph)
            for k in range(n_words):
                hash = mix(hash, words[k])
            if PyTuple_GET_SIZE(settings):
                hash = mix(hash, digest_of(op.name, op.setting_names, settings))
            found = state.ledger.table.find(hash, op, words, n_words, settings, graph)
            if found is not NULL:
                state.ledger.hits += 1
                node = <Node>found
                if node.array is None and node.recipe is None:
                    node.remember(operands)
                return wrap(node)
            if spent:
                revive_all(operands)
            node = made(op, state, operands, settings, graph, any_borrowed)
            node.key(hash, words, n_words)
        finally:
            if words is not stack:
                free(words)
        if node.requires_grad == graph:
            state.ledger.table.insert(node)
    else:
        if words is not stack:
            free(words)
        if spent:
            revive_all(operands)
        node = made(op, state, operands, settings, graph, any_borrowed)
        if state.ledger.lists_all:
            node.key(node.serial, &node.serial, 1)
            state.ledger.table.insert(node)
    if state.kept is not None:
        kept = wrap(node)
        state.kept.append(kept)
    return wrap(node)


cdef int revive_all(tuple operands) except -1:
    for x in operands:
        if isinstance(x, Node):
            value_of(<Node>x)
    return 0


cdef int revive(Node node) except -1:
    """Compute a spent node, and what it needs, by their recipes; see Note [Spent nodes]."""
    cdef State state = current()
    cdef list stack = [node]
    cdef Py_ssize_t depth
    cdef ndarray array
    cdef Node top
    while stack:
        depth = len(stack)
        top = stack[depth - 1]
        if top.array is None:
            stack.extend([x for x in top.recipe if isinstance(x, Node) and (<Node>x).array is None])
            if len(stack) > depth:
                continue
            array = (<Op>top.op).evaluate(state, top.recipe, top.settings)
            state.ledger.evaluations += 1
            cnp.PyArray_CLEARFLAGS(array, cnp.NPY_ARRAY_WRITEABLE)
            top.array = array
            top.forget_recipe()
        stack.pop()
    return 0


set_reviver(revive)


cdef object number(x, Py_ssize_t i):
    """A number of a class of its own, such as an IntEnum, as the plain number."""
    if isinstance(x, float):
        return float(x)
    if isinstance(x, int):
        return int(x)
    raise DTypeError(f"operand {i} is a {type(x).__name__}; it takes tensors, arrays and numbers")


cdef Node made(Op op, State state, tuple operands, tuple settings, bint graph, bint any_borrowed):
    """Compute a node and record what its gradient will need."""
    cdef ndarray array = op.evaluate(state, operands, settings)
    cdef bint borrowed = any_borrowed and cnp.PyArray_BASE(array) is not NULL
    cdef Node node
    graph = graph and cnp.PyTypeNum_ISFLOAT(cnp.PyArray_TYPE(array))
    if borrowed and graph:
        array, borrowed = array.copy(), False  # the graph gets values that stay
    node = new_node(array)
    state.ledger.evaluations += 1
    node.op, node.settings, node.borrowed = op, settings, borrowed
    cnp.PyArray_CLEARFLAGS(array, cnp.NPY_ARRAY_WRITEABLE)
    if graph:
        record(node, operands, op.joint, op.vjps, op.jvp if state.saving_all else None)
    return node
