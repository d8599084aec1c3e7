"""What surgery on recorded networks needs to know beyond the graph: traces, marks, and reads.

Note [Traces]
A graph has only what gradients need. From a tensor that was given a name on, everything is recorded
that depends on it: comparisons, what is computed without a gradient, and the constants' values. All
that carries the same `Trace`. What depends on a recorded value but is not itself recorded carries
DERIVED: it may not be taken for a constant.

Note [Reads]
A value that leaves the tape as a Python number, or decides a branch, may come back as a constant or
as another path. So reads are noted: in the trace, with the steps that lead to the value, which are
held by serial number since the nodes hold the trace; or, of what is recorded without a trace, in a
short list of the thread.

Note [Marks]
A recorded node refers weakly to the module in whose forward it was made. `marks` has the names it
was given, and weak references to the modules that gave it as their result, innermost first: a name,
a reference, or a tuple of them.
"""

from cpython.object cimport PyObject

from tape._core.node cimport Node, next_serial
from tape._core.provenance cimport folder, place_of, tape_called_by_user, tape_caller
from tape._core.state cimport State, current

cdef enum:
    MAX_READS = 256  # that a thread remembers

DERIVED = Trace()


cdef class Trace:
    """How the values that were read came from the named tensors, see Note [Reads].

    Attributes:
        steps: (op, settings, operands) by serial number; an operand is ``(True, serial number)`` or
            ``(False, number)``. A leaf's node stands for itself, None for a named one.
        reads: (serial number then, of what, kind, value, place in the program) of each.
    """

    def __cinit__(self):
        self.steps, self.reads = {}, []

    def __dealloc__(self):
        if self.steps is not None:
            for step in self.steps.values():
                if isinstance(step, Node):
                    (<Node>step).release()

    cdef int keep(self, Node node) except -1:
        """Note how a value came about, as far as it is not noted yet."""
        cdef list stack = [node]
        cdef Node at
        while stack:
            at = stack.pop()
            if at.serial in self.steps:
                continue
            if at.operands is None:
                if is_traced(at.trace):
                    self.steps[at.serial] = None
                else:
                    at.holders += 1
                    self.steps[at.serial] = at
                continue
            self.steps[at.serial] = (
                at.op, at.settings,
                tuple([(True, (<Node>x).serial) if isinstance(x, Node) else (False, x)
                       for x in at.operands]),
            )
            stack.extend([x for x in at.operands if isinstance(x, Node)])
        return 0


cdef int mark(Node node, object sign) except -1:
    """Add a name, or a weak reference to a module, to a node's marks; see Note [Marks]."""
    cdef tuple before
    if node.marks is None:
        node.marks = sign
        return 0
    before = <tuple>node.marks if type(node.marks) is tuple else (node.marks,)
    if not any([sign is x or type(x) is str and sign == x for x in before]):
        node.marks = (*before, sign)
    return 0


cdef int note_read(Node node, str kind, value) except -1:
    """Remember that the program has read a value; see Note [Reads]."""
    cdef State state
    cdef int lasti = 0
    cdef PyObject* code
    cdef Trace trace
    if node.trace is None and (node.operands is None or not node.requires_grad):
        return 0
    code = tape_caller(&folder, &lasti)
    if code is NULL or kind == "array" and not tape_called_by_user(&folder):
        return 0
    if is_traced(node.trace):
        trace = <Trace>node.trace
        trace.keep(node)
        trace.reads.append((next_serial(), node.serial, kind, value, (<object>code, lasti)))
        return 0
    state = current()
    if state.reads is None:
        state.reads = []
    elif len(state.reads) >= MAX_READS:
        del state.reads[: MAX_READS // 2]
        when, _, place = state.reads[0]
        state.reads[0] = when, "bool", place  # stands for those before it: any of them may count
    state.reads.append((next_serial(), kind, (<object>code, lasti)))
    return 0


def reads_since(first) -> list[tuple[int, str, str]]:
    """(when, kind, place) of the reads on this thread, of what has no trace, from a serial on."""
    reads = current().reads or []
    return [(when, kind, read_at(place)) for when, kind, place in reads if when > first]


def read_at(place) -> str:
    """A place that a read was noted with, as file and line."""
    return place_of(place[0], place[1])
