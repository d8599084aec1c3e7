"""What a node is listed under, and what it keeps for its gradient rules.

Note [Reuse key]
The key of a node is its op, its operands and its settings, spelled as 64-bit words: a tensor is the
serial number of its node, a Python number is a tag and its bits. So 1, 1.0, True, 0.0, -0.0 and NaN
differ, and no address can be mistaken for another. Whether the node carries a graph is part of it.

Note [What a node keeps]
A recorded node keeps a value only if a rule that will be asked for reads it: `x * 2.0` does not
keep x's. The operands' nodes stay: as edges of the graph, for their shapes, and so that reuse finds
them again.
"""

from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from tape._core.node cimport Node, is_node, leaf
from tape._core.rule cimport Rule

cdef extern from "Python.h":
    PyObject* PyList_GET_ITEM(list, Py_ssize_t)
    Py_ssize_t PyList_GET_SIZE(list)

cdef uint64_t TAG = 1ull << 63  # set in no serial number


cdef uint64_t* spell(tuple operands, uint64_t* words, int* n_words) except NULL:
    """Write the operands of a key; see Note [Reuse key]. Longer than STACK_WORDS: malloc'ed.

    A key is never a mere hash: with an integer too long for a word there is none, n_words is -1.
    """
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE(operands)
    cdef int overflow = 0, k = 0
    cdef double x
    cdef PyObject* at
    cdef object slot
    if 2 * n > STACK_WORDS:
        words = <uint64_t*>malloc(2 * n * sizeof(uint64_t))
        if words is NULL:
            raise MemoryError
    for i in range(n):
        at = PyTuple_GET_ITEM(operands, i)
        if is_node(at):
            words[k] = (<Node>at).serial
            k += 1
            continue
        slot = <object>at
        if type(slot) is float:
            x = slot
            words[k] = TAG | 1
            memcpy(words + k + 1, &x, sizeof(double))
        else:
            words[k] = TAG | (2 if type(slot) is bool else 3)
            words[k + 1] = PyLong_AsLongLongAndOverflow(slot, &overflow)
            if overflow:
                n_words[0] = -1
                return words
        k += 2
    n_words[0] = k
    return words


cdef int record(Node node, tuple operands, Rule outer, Rule joint, list vjps,
                Rule jvp, bint graph, bint traced) except -1:
    """Keep edges and values for the rules that will run; see Note [What a node keeps].

    A node with a trace keeps the values of what is not recorded as well; see Note [Traces].
    """
    cdef uint64_t held = 0
    cdef bint own = False, any_borrowed = False, is_held
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE(operands)
    cdef PyObject* at
    cdef PyObject* rule
    for i in range(n):
        at = PyTuple_GET_ITEM(operands, i)
        if is_node(at):
            any_borrowed |= (<Node>at).borrowed
            if traced and (<Node>at).operands is None:
                held |= 1ull << (i if i < 63 else 63)
            if graph and (<Node>at).requires_grad:
                rule = <PyObject*>joint
                if joint is None and i < PyList_GET_SIZE(vjps):
                    rule = PyList_GET_ITEM(vjps, i)
                if rule is not <PyObject*>None:
                    held |= (<Rule>rule).values
                    own |= (<Rule>rule).reads_result
    if graph and outer is not None:
        held |= outer.values
        own |= outer.reads_result
    if graph and jvp is not None:
        held |= jvp.values
        own |= jvp.reads_result
    if held and any_borrowed:
        operands = tuple([
            private(operands[i]) if held >> (i if i < 63 else 63) & 1 else operands[i]
            for i in range(n)
        ])
    for i in range(n):
        at = PyTuple_GET_ITEM(operands, i)
        if is_node(at):
            is_held = held >> (i if i < 63 else 63) & 1
            (<Node>at).n_uses += 1
            (<Node>at).holders += is_held
    node.operands, node.held, node.requires_grad = operands, held, graph
    if own:
        node.keeps_own = True
        node.holders += 1
    return 0


cdef object private(operand):
    """An operand whose value will be read, with a value that stays."""
    cdef Node copy
    if isinstance(operand, Node) and (<Node>operand).borrowed:
        copy = leaf((<Node>operand).array.copy(), False)
        copy.comes_from(<Node>operand)
        return copy
    return operand
