"""`Rule`: a gradient rule, and where each of its arguments comes from."""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM

from tape._core.node cimport Node
from tape._core.tensor cimport wrap
from tape.errors import GradError

cdef extern from "Python.h":
    object PyObject_Vectorcall(object, PyObject**, size_t, PyObject*)

FREED = (
    "the graph was freed by an earlier backward(); use tape.grad, which keeps it, or add the "
    "losses up before one backward()"
)


def unchanged(g):
    """The vjp of an operand that the result follows one to one: the walk just hands g on."""
    return g


@cython.final
cdef class Rule:
    """A gradient rule and where each of its arguments comes from.

    Args:
        function: the rule.
        sources: one (kind, index) for each positional argument, then for each keyword-only one.
        kwnames: names of the keyword-only arguments.
    """

    def __init__(self, function, sources, tuple kwnames):
        if len(sources) > MAX_ARGS:
            raise TypeError(f"{function.__name__}: at most {MAX_ARGS} arguments")
        self.function, self.kwnames, self.n_args = function, kwnames or None, len(sources)
        self.passes_on = function is unchanged
        for i, (kind, index) in enumerate(sources):
            self.kinds[i], self.indices[i] = kind, index
            bits = (~0 << -1 - index if index < 0 else 1 << min(index, 63)) & 0xFFFFFFFFFFFFFFFF
            if kind == OPERAND:
                self.values |= bits
            elif kind == RESULT:
                self.reads_result = True

    cdef object call(self, Node node, g, tangents):
        """Run the rule for a recorded node; index -1 - n stands for all operands from n on.

        An adder is given its total in place of tangents.
        """
        cdef PyObject* args[MAX_ARGS]
        cdef int i, n_owned = 0
        try:
            return self.call_with(node, g, tangents, args, &n_owned)
        finally:
            for i in range(n_owned):
                Py_DECREF(<object>args[i])

    cdef object call_with(self, Node node, g, tangents, PyObject** args, int* n_owned):
        cdef int i, kind, index
        cdef object value
        cdef tuple operands = node.operands
        if operands is None:  # another thread's backward() has used it meanwhile
            raise GradError(FREED)
        for i in range(self.n_args):
            kind, index = self.kinds[i], self.indices[i]
            if kind == COTANGENT:
                value = g
            elif kind == RESULT:
                value = wrap(node)
            elif kind == SETTING:
                value = node.settings[index]
            elif kind == TOTAL:
                value = tangents
            elif kind == TANGENT:
                value = tuple(tangents[-1 - index:]) if index < 0 else tangents[index]
            elif index < 0:
                value = tuple([operand_for_rule(kind, x) for x in operands[-1 - index:]])
            else:
                value = operand_for_rule(kind, <object>PyTuple_GET_ITEM(operands, index))
            Py_INCREF(value)
            args[i] = <PyObject*>value
            n_owned[0] = i + 1
        if self.kwnames is None:
            return PyObject_Vectorcall(self.function, args, self.n_args, NULL)
        return PyObject_Vectorcall(
            self.function, args, self.n_args - len(self.kwnames), <PyObject*>self.kwnames
        )


cdef object operand_for_rule(int kind, slot):
    """What a rule sees of one operand: a handle (or the number it was), or its shape."""
    if isinstance(slot, Node):
        return wrap(<Node>slot) if kind == OPERAND else (<Node>slot).shape()
    return slot if kind == OPERAND else ()
