"""What surgery on recorded networks needs to know beyond the graph: traces, marks, and reads.

Note [Traces]
A graph has only what gradients need. From a tensor that was given a name on, everything is recorded
that depends on it: comparisons, what is computed without a gradient, and the constants' values. All
that carries the same `Trace`. What depends on a recorded value but is not itself recorded carries
DERIVED: it may not be taken for a constant.

Note [Reads]
A value that leaves the tape as a Python number, as an array, or deciding a branch, may come back as
a constant or as another path; so may a size. So reads are noted. What depends on a named tensor is
noted in the trace, with the steps that lead to the value, by serial number since the nodes hold
the trace; where traces meet, in each of them. What has no trace, and sizes that the user's own code
asks for, are noted for the process: for each place in the program, when it read first and last. A
size that tape's own code asks for is noted on the node: what is computed of it holds for that size
alone. What tape itself only looks at, to check or to show it, it takes by `glance` and `lengths`.
What has as many elements as a mask chooses is noted too, since its sizes are values; and so is an
op that refuses some values, since the program may catch the error.

Note [Marks]
A recorded node refers weakly to the module in whose forward it was made. `marks` has the names it
was given, and weak references to the modules that gave it as their result, innermost first: a name,
a reference, or a tuple of them.
"""

from cpython.object cimport PyObject
from cpython.weakref cimport PyWeakref_NewRef
from libc.stdint cimport uint32_t

from tape._core.node cimport Node, next_serial
from tape._core.provenance cimport folder, place_of, tape_called_by_user, tape_caller
from tape._core.state cimport State, current

cdef enum:
    MAX_STEPS = 1 << 17  # that a trace remembers
    MAX_BYTES = 1 << 28  # of constants that it keeps for them
    MAX_PLACES = 1 << 12

DERIVED = Trace()
cdef dict places = {}, sizes = {}, choices = {}
cdef object forgotten = 0


cdef class Trace:
    """How the values that were read came from the named tensors, see Note [Reads].

    Attributes:
        steps: (op, settings, operands, their shapes, shape, axes counted on) by serial number; an
            operand is ``(True, serial number)`` or ``(False, number)``. A constant's node stands
            for itself, the anchor for a leaf that has one, None for a named one.
        reads: (serial number then, of what, kind, value, place in the program) of each.
        forgotten: serial number up to which reads were too many to remember.
    """

    def __cinit__(self):
        self.steps, self.reads, self.met, self.forgotten = {}, [], {}, 0
        self.serial = next_serial()

    def __dealloc__(self):
        if self.steps is not None:
            self.let_go()

    cdef int let_go(self) except -1:
        for step in self.steps.values():
            if isinstance(step, Node):
                (<Node>step).release()
        return 0

    cdef int keep(self, Node node) except -1:
        """Note how a value came about, as far as it is not noted yet."""
        cdef list stack = [node]
        cdef Node at
        cdef Trace met
        while stack:
            at = stack.pop()
            if at.serial in self.steps:
                continue
            if is_traced(at.trace) and at.trace is not self:
                met = <Trace>at.trace
                if met.serial not in self.met:
                    self.met[met.serial] = PyWeakref_NewRef(met, None)
            if at.operands is None:
                if is_traced(at.trace):
                    self.steps[at.serial] = None
                elif at.anchor is not None:
                    self.steps[at.serial] = at.anchor
                else:
                    at.holders += 1
                    self.steps[at.serial] = at
                    self.n_bytes += 0 if at.array is None else at.array.nbytes
                continue
            self.steps[at.serial] = (
                at.op, at.settings,
                tuple([(True, (<Node>x).serial) if isinstance(x, Node) else (False, x)
                       for x in at.operands]),
                tuple([(<Node>x).shape() if isinstance(x, Node) else () for x in at.operands]),
                at.shape(), at.counted,
            )
            stack.extend([x for x in at.operands if isinstance(x, Node)])
        return 0

    cdef int note(self, Node node, tuple read) except -1:
        """Note a read here."""
        if len(self.steps) >= MAX_STEPS or self.n_bytes >= MAX_BYTES:
            self.let_go()
            self.steps, self.reads, self.n_bytes = {}, [], 0
            self.forgotten = next_serial()
            self.met = {key: met for key, met in self.met.items() if met() is not None}
        self.keep(node)
        self.reads.append(read)
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


cdef void follow(Node node, Node source):
    """Note of a new leaf that its value is another node's, from which it is recorded or derived."""
    node.comes_from(source)
    if is_traced(source.trace) or source.operands is None and source.anchor is not None:
        node.operands = (source,)
        source.n_uses += 1
        if node.trace is None:
            node.trace = DERIVED
    elif source.operands is not None:
        node.trace = DERIVED


cdef int note_read(Node node, str kind, value) except -1:
    """Remember that the program has read a value; see Note [Reads]."""
    cdef State state
    if is_traced(node.trace):
        return note_everywhere(
            <Trace>node.trace, node, (next_serial(), node.serial, kind, value, caller())
        )
    what = origin(node)
    if kind == "array":
        state = current()
        matters = state.recording or state.reusing and what != "leaf"
        if not matters and not tape_called_by_user(&folder):
            return 0
    return note_place(places, node, kind, what)


cdef str origin(Node node):
    """What a value depends on, as far as that is known: see `reads_noted`."""
    if is_traced(node.trace):
        return "traced"
    if node.trace is not None:
        return "derived"
    if node.op is None and node.n_words == 0:
        return "leaf"
    return "learned" if node.requires_grad else ""


cdef int note_size(Node node, str kind, bint is_value) except -1:
    """Remember that the program has asked for a size, of a value or of a parameter."""
    if not tape_called_by_user(&folder):
        if not is_value:
            return 0
        if is_traced(node.trace) or current().recording:
            node.counted = ~<uint32_t>0
        return 0
    return note_length(node, kind)


cdef int note_length(Node node, str kind) except -1:
    """Remember that the user's program has made a number of a size."""
    cdef tuple read
    if is_traced(node.trace):
        what = "like" if kind == "like" else "shape"
        read = (next_serial(), node.serial, what, node.shape(), caller())
        note_everywhere(<Trace>node.trace, node, read)
    return note_place(sizes, node, kind, origin(node))


cdef int note_failure(Node node, bint of_sizes) except -1:
    """Remember that an op has refused values, or sizes: the program may catch the error."""
    if of_sizes:
        node.counted = ~<uint32_t>0
        return 0
    return note_read(node, "error", None)


cdef int note_choice(Node node) except -1:
    """Remember that values have decided how many elements there are."""
    return note_place(choices, node, "choice", origin(node))


cdef int note_everywhere(Trace trace, Node node, tuple read) except -1:
    """Note a read in a trace, and in those it has met."""
    trace.note(node, read)
    for reference in list(trace.met.values()):
        other = reference()
        if other is not None:
            (<Trace>other).note(node, read)
    return 0


cdef Py_ssize_t length(Node node, str what) except -1:
    """The length of the first axis, which the program asks for."""
    if node.ndim == 0:
        raise TypeError(f"{what} a 0-d tensor")
    note_size(node, what, True)
    return node.dims[0]


cdef tuple caller():
    """The user's code object that runs, None if there is none, and the instruction."""
    cdef int lasti = 0
    cdef PyObject* code = tape_caller(&folder, &lasti)
    return (None if code is NULL else <object>code, lasti)


cdef int note_place(dict known, Node node, str kind, str what) except -1:
    """Note a read of what has no trace, or of a size."""
    global forgotten
    cdef tuple place = caller()
    cdef object now = next_serial()
    cdef tuple key = (id(place[0]), place[1], kind, what)
    before = known.get(key)
    if before is None and len(known) >= MAX_PLACES:
        known.clear()
        forgotten = now
    first = now if before is None else before[0]
    oldest = node.serial if before is None else min(before[2], node.serial)
    newest = node.serial if before is None else max(before[3], node.serial)
    known[key] = (first, now, oldest, newest, kind, what, place)
    return 0


def reads_noted() -> list[tuple[int, int, int, int, str, str, tuple]]:
    """Reads of what has no trace: (first, last, oldest, newest, kind, what, place) of each place.

    First and last say when, oldest and newest of which values, all as serial numbers. What is
    "leaf" if nothing made them, "derived" if they depend on something recorded and are not,
    "learned" if a gradient flows to what they were made of, "" for others. Sizes and choices are
    noted of what is "traced" too.
    """
    return list(places.values())


def sizes_noted() -> list[tuple[int, int, int, int, str, str, tuple]]:
    """Sizes that the user's code asked for, in the form of `reads_noted`."""
    return list(sizes.values())


def choices_noted() -> list[tuple[int, int, int, int, str, str, tuple]]:
    """What has as many elements as values decide, in the form of `reads_noted`."""
    return list(choices.values())


def reads_forgotten() -> int:
    """Serial number up to which `reads_noted` and the like are not complete."""
    return forgotten


def read_at(place) -> str:
    """A place that a read was noted with, as file and line."""
    return "an unknown place" if place[0] is None else place_of(place[0], place[1])
