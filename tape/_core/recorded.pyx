"""What is recorded of a tensor, for those who look at graphs: all as handles on nodes."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from tape._core.node cimport WRITTEN, Anchor, Node, next_serial
from tape._core.provenance cimport made_at
from tape._core.tensor cimport Tensor, wrap
from tape._core.trace cimport Trace, is_traced

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)


def operands(Tensor t) -> tuple | None:
    """The operands, tensors and numbers, that a recorded value was made of; None for others."""
    if t.node.operands is None:
        return None
    return tuple([handle(<Node>x) if isinstance(x, Node) else x for x in t.node.operands])


cdef Tensor handle(Node node):
    """A handle on a node, which has the first name that was given to it."""
    cdef Tensor t = wrap(node)
    if node.marks is not None:
        t._name = next(iter(names(t)), None)
    return t


def settings(Tensor t) -> dict:
    """The settings that the op was called with, by name."""
    if t.node.op is None:
        return {}
    return dict(zip(t.node.op.setting_names, t.node.settings or ()))


def key(Tensor t) -> tuple | None:
    """What an unrecorded value was made of, as far as known: numbers, and serial numbers.

    Each is ``(True, serial number)`` of a tensor or ``(False, number)``. None if nothing is known,
    an empty tuple for data.
    """
    cdef Node node = t.node
    cdef list found = []
    cdef int i = 0
    cdef double x
    if node.n_words <= 0 or node.n_words == 1 and node.words[0] == node.serial:
        return () if node.op is None else None
    while i < node.n_words:
        if not node.words[i] >> 63:
            found.append((True, node.words[i]))
            i += 1
            continue
        if node.words[i] & 3 == 1:
            memcpy(&x, node.words + i + 1, sizeof(double))
            found.append((False, x))
        else:
            n = <int64_t>node.words[i + 1]
            found.append((False, bool(n) if node.words[i] & 3 == 2 else n))
        i += 2
    return tuple(found)


def is_late(Tensor t) -> bool:
    """Whether the value was used before anything asked for what depends on it to be recorded."""
    return t.node.used or (t.node.trace is None and not t.node.requires_grad)


def is_computed(Tensor t) -> bool:
    """Whether an op made the value, or it was copied from, or written with, what one made."""
    return t.node.op is not None or t.node.made != 0


def is_copy(Tensor t) -> bool:
    """Whether nothing but another value was copied."""
    return t.node.op is None and t.node.made != WRITTEN and t.node.n_words > 0


def is_derived(Tensor t) -> bool:
    """Whether an unrecorded value depends on a recorded one."""
    return t.node.trace is not None


def trace(Tensor t) -> Trace | None:
    """The trace that the value belongs to, if it depends on a named tensor."""
    return t.node.trace if is_traced(t.node.trace) else None


def is_recorded(Tensor t) -> bool:
    """Whether the value depends on a named tensor, and all of it is recorded."""
    return is_traced(t.node.trace)


def names(Tensor t) -> tuple[str, ...]:
    """The names the value was given."""
    return tuple([x for x in marks(t) if isinstance(x, str)])


def results_of(Tensor t) -> tuple:
    """The modules that gave this value as their result, innermost first."""
    found = [x() for x in marks(t) if not isinstance(x, str)]
    return tuple([m for m in found if m is not None])


cdef tuple marks(Tensor t):
    if t.node.marks is None:
        return ()
    return <tuple>t.node.marks if type(t.node.marks) is tuple else (t.node.marks,)


def module(Tensor t):
    """The module in whose forward the value was made, None outside of any."""
    return None if t.node.module is None else t.node.module()


def owner(Tensor t) -> Tensor | None:
    """The tensor that a gradient for this leaf would go to, if it is still there."""
    if t.node.anchor is None or t.node.anchor.tensor is NULL:
        return None
    if Py_REFCNT(t.node.anchor.tensor) == 0:
        return None
    return <Tensor>t.node.anchor.tensor


def has_value(Tensor t) -> bool:
    """Whether the value is there, or can be computed again."""
    return t.node.array is not None or t.node.recipe is not None


def is_freed(Tensor t) -> bool:
    """Whether backward() has used up how the value was made."""
    return t.node.consumed


def moved_since(Tensor t) -> int:
    """Of a leaf that was learned or assigned to: the serial number of its first value; else 0."""
    cdef Anchor anchor = t.node.anchor
    return anchor.first if anchor is not None and anchor.moved else 0


def counted(Tensor t) -> int:
    """The axes on whose lengths tape's own code counted, a bit for each; see Note [Reads]."""
    return t.node.counted


def place(Tensor t) -> str:
    """Where in the program the value was made, "" if that is not known."""
    return made_at(t.node)


def of_leaf(kept) -> Tensor | None:
    """A leaf that a trace keeps: by its node, or by its anchor, None if its tensor is gone."""
    if isinstance(kept, Node):
        return wrap(<Node>kept)
    cdef PyObject* tensor = (<Anchor?>kept).tensor
    return None if tensor is NULL or Py_REFCNT(tensor) == 0 else <Tensor>tensor


def now() -> int:
    """A serial number between those of all nodes before and after."""
    return next_serial()
