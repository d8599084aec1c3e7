"""The one door every op goes through: it reuses a live node, or computes and records a new one."""

cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from numpy cimport ndarray

from tape._core.convert cimport admit
from tape._core.node cimport (
    Node, hold_all, leaf, new_node, release_all, set_reviver, value_of,
)
from tape._core.numerics cimport inspect
from tape._core.op cimport Op, described_all
from tape._core.provenance cimport explain, explain_other, shapes_of, stamp, stamp_with_module
from tape._core.record cimport STACK_WORDS, record, spell
from tape._core.settings cimport digest_of, mix
from tape._core.slots cimport open_door
from tape._core.state cimport State, Tally, current
from tape._core.tensor cimport Tensor, wrap
from tape._core.trace cimport DERIVED, is_traced, note_failure, note_read
from time import perf_counter

from tape._core.refusal import refused
from tape._core.rule import FREED
from tape.errors import DTypeError, GradError, ShapeError, TapeError

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t PyVectorcall_NARGS(size_t)
    ctypedef struct PyTupleObject:
        PyObject* ob_item[1]


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


cdef Tensor apply(Op op, PyObject** args, Py_ssize_t n, tuple settings):
    """The door: reuse a live node, or compute, record and hand out a new one."""
    try:
        return through(op, args, n, settings)
    except Exception as error:
        failed(op, args, n, settings, error)
        raise


cdef int failed(Op op, PyObject** args, Py_ssize_t n, tuple settings, error) except -1:
    """Say in an error which op it was, with which operands."""
    cdef list operands
    if isinstance(error, TapeError) and error.op:
        return 0
    operands = [known(<object>args[i]) for i in range(n)]
    for x in operands:
        if isinstance(x, Node):
            note_failure(<Node>x, isinstance(error, ShapeError))
    if isinstance(error, TapeError):
        explain(error, op, operands)
        return 0
    if not op.foreign:
        words = described_all(op, tuple(operands), settings)
        told = refused(op, error, shapes_of(operands), widest(operands), words, settings)
        if told is not None:
            explain(told, op, operands)
            raise told from error
    explain_other(error, op, operands)
    return 0


cdef Py_ssize_t widest(list operands):
    """The most bytes that an element of an operand takes."""
    return max([cnp.PyArray_DescrFromType((<Node>x).typenum).itemsize
                for x in operands if isinstance(x, Node)] + [8 if not operands else 1])


cdef object known(x):
    """An operand as an error explains it."""
    return (<Tensor>x).node if isinstance(x, Tensor) else x


cdef Tensor unrecorded(Op op, PyObject** args, Py_ssize_t n):
    """What the kernel makes of one or two operands, for no graph and no table; None if it cannot.

    The short way through the door for gradient rules, which are mostly made of such steps.
    """
    cdef PyObject* values[2]
    cdef bint borrowed = False, derived = False
    cdef Py_ssize_t i
    cdef Node node
    cdef ndarray y
    for i in range(n):
        values[i] = args[i]
        if isinstance(<object>args[i], Tensor):
            node = (<Tensor>args[i]).node
            borrowed |= node.borrowed
            derived |= node.requires_grad or node.trace is not None
            node.used = True
            values[i] = <PyObject*>node.array
        elif not (type(<object>args[i]) is float or type(<object>args[i]) is int):
            return None
        if values[i] is <PyObject*>None or n == 1 and values[i] is args[i]:
            return None
    if n == 1:
        y = op.kernel.unary(<ndarray>values[0])
    else:
        y = op.kernel.binary(<object>values[0], <object>values[1])
    if y is None:
        return None
    node = new_node(y)
    node.op, node.settings = op, ()
    node.borrowed = borrowed and cnp.PyArray_BASE(y) is not NULL
    if derived:
        node.trace = DERIVED
    cnp.PyArray_CLEARFLAGS(y, cnp.NPY_ARRAY_WRITEABLE)
    return wrap(node)


cdef Tensor through(Op op, PyObject** args, Py_ssize_t n, tuple settings):
    cdef State state = current()
    if (0 < n <= 2 and not (state.recording or state.reusing or state.checking
                            or state.ledger.lists_all)
            and n == op.n_operands and op.kernel is not None and not PyTuple_GET_SIZE(settings)
            and state.kept is None):
        made_short = unrecorded(op, args, n)
        if made_short is not None:
            state.ledger.evaluations += 1
            return made_short
    cdef tuple operands = PyTuple_New(n)
    cdef bint needs = False, listed = op.reuse and state.reusing, any_borrowed = False, fresh, graph
    cdef bint recorded
    cdef object trace = None
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
            if (<Node>at).trace is None:
                (<Node>at).used |= not (<Node>at).requires_grad
            elif not is_traced(trace):
                trace = (<Node>at).trace
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
    recorded = graph or (state.recording and is_traced(trace))
    if not recorded and trace is None and needs:
        trace = DERIVED
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
            found = state.ledger.table.find(
                hash, op, words, n_words, settings, graph, recorded
            )
            if found is not NULL:
                state.ledger.hits += 1
                node = <Node>found
                if state.ledger.lists_all:
                    note_hit(state.ledger.tally(op), node)
                if node.array is None and node.recipe is None:
                    node.remember(operands)
                return wrap(node)
            node = made(op, state, operands, settings, graph, recorded, any_borrowed, trace)
            node.key(hash, words, n_words)
        finally:
            if words is not stack:
                free(words)
        if node.requires_grad == graph and (node.operands is not None) == recorded:
            state.ledger.table.insert(node)
    else:
        if words is not stack:
            free(words)
        node = made(op, state, operands, settings, graph, recorded, any_borrowed, trace)
        if state.ledger.lists_all:
            node.key(node.serial, &node.serial, 1)
            state.ledger.table.insert(node)
    if state.kept is not None:
        kept = wrap(node)
        state.kept.append(kept)
    return wrap(node)


cdef int note_hit(Tally tally, Node node) except -1:
    """Count a result that was handed out again, and the time that computing it took."""
    tally.hits += 1
    tally.saved += node.seconds
    return 0


cdef int note_made(Tally tally, Node node, double seconds) except -1:
    """Count a result that was computed, and the time that it took."""
    node.seconds = seconds
    tally.evaluations += 1
    tally.seconds += node.seconds
    return 0


cdef int revive_all(tuple operands) except -1:
    cdef object x
    for x in operands:
        if isinstance(x, Node):
            value_of(<Node>x)
    return 0


NOT_KEPT = (
    "the value was not kept, since no gradient reads it and nobody held it: hold it, or give what "
    "comes before it a name, t.named(...)"
)


cdef int revive(Node node) except -1:
    """Compute a spent node, and what it needs, by their recipes; see Note [Spent nodes]."""
    cdef State state = current()
    cdef list stack = [node]
    cdef Py_ssize_t depth
    cdef ndarray array
    cdef Node top
    cdef Tally tally
    cdef double start
    while stack:
        depth = len(stack)
        top = stack[depth - 1]
        if top.array is None:
            if top.recipe is None and top.operands is not None and top.op is not None:
                top.remember(top.operands)  # found by looking around in the graph
            if top.recipe is None:
                raise GradError(FREED if top.consumed else NOT_KEPT)
            stack.extend([x for x in top.recipe if isinstance(x, Node) and (<Node>x).array is None])
            if len(stack) > depth:
                continue
            start = perf_counter()
            array = (<Op>top.op).evaluate(state, top.recipe, top.settings)
            state.ledger.evaluations += 1
            if state.ledger.lists_all:
                tally = state.ledger.tally(top.op)
                tally.saved -= top.seconds  # which finding it has not saved after all
                note_made(tally, top, perf_counter() - start)
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
    made = ", which tape.tensor makes of sequences" if isinstance(x, (list, tuple)) else ""
    raise DTypeError(
        f"operand {i} is a {type(x).__name__}; it takes tensors, arrays and numbers{made}"
    )


cdef Node made(Op op, State state, tuple operands, tuple settings, bint graph, bint recorded,
               bint any_borrowed, object trace):
    """Compute and record a node. While it is made another thread may move its operands' handles."""
    cdef bint some_spent = hold_all(operands)
    try:
        if some_spent:
            revive_all(operands)
        if state.ledger.lists_all:
            return timed(op, state, operands, settings, graph, recorded, any_borrowed, trace)
        return computed(op, state, operands, settings, graph, recorded, any_borrowed, trace)
    finally:
        release_all(operands)


cdef Node timed(Op op, State state, tuple operands, tuple settings, bint graph, bint recorded,
                bint any_borrowed, object trace):
    """A node as `computed` makes it, counted in the tape's report."""
    cdef double start = perf_counter()
    cdef Node node = computed(
        op, state, operands, settings, graph, recorded, any_borrowed, trace
    )
    note_made(state.ledger.tally(op), node, perf_counter() - start)
    return node


cdef Node computed(Op op, State state, tuple operands, tuple settings, bint graph, bint recorded,
                   bint any_borrowed, object trace):
    """A node with its value, and with what its gradient will need."""
    cdef ndarray array = op.evaluate(state, operands, settings)
    cdef bint borrowed = any_borrowed and cnp.PyArray_BASE(array) is not NULL
    cdef Node node
    cdef bint traced = recorded and is_traced(trace), derived = graph or trace is not None
    graph = graph and cnp.PyTypeNum_ISFLOAT(cnp.PyArray_TYPE(array))
    recorded = graph or traced
    if borrowed and recorded:
        array, borrowed = array.copy(), False  # the graph gets values that stay
    node = new_node(array)
    state.ledger.evaluations += 1
    node.op, node.settings, node.borrowed = op, settings, borrowed
    cnp.PyArray_CLEARFLAGS(array, cnp.NPY_ARRAY_WRITEABLE)
    stamp(node)
    if state.checking:
        stamp_with_module(node)
        inspect(op, operands, settings, array)
    if recorded:
        node.module = state.module
        if traced:
            node.trace = trace
        record(node, operands, op.outer, op.joint, op.vjps,
               op.jvp if state.saving_all else None, graph, traced)
        if traced and op.refuses:
            note_read(node, "check", None)
    elif derived:
        node.trace = DERIVED
    return node


open_door(call_op)
