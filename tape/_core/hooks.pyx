"""Hooks: functions that see the gradient of a tensor on its way, and may replace it.

Note [Hooks]
The hooks of a computed tensor stand on its node and run when a walk reaches the node, whose adjoint
is then complete: what follows, and what `grad` hands out, is computed from what they return. Those
of a leaf stand on its anchor, so they stay when the leaf moves on to another value, and run on the
sum that `backward` is about to add, or `grad` to hand out. A node with hooks is reused no more.
Adjoints that a loss keeps are dropped when a hook comes or goes anywhere (`hooks_version`). A
handle refers to the hooks weakly: a hook may hold its own handle.
"""

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

import threading
import weakref

from tape._core.node cimport Node, same_shape
from tape._core.slots cimport CAST, slot
from tape._core.tensor cimport Tensor, wrap
from tape.errors import DTypeError, GradError, ShapeError

cnp.import_array()

# How often a hook may run within itself: it may ask for gradients, but has to come to an end.
DEEPEST = 32
nested = threading.local()


@cython.final
@cython.no_gc
cdef class Hooks:
    """The hooks of one tensor, in the order in which they were registered."""


class Handle:
    """What takes a hook away again: by `remove`, or as a with-block at its end."""

    def __init__(self, hooks, entry):
        self._hooks, self._entry = weakref.ref(hooks), entry

    def remove(self) -> None:
        """Take the hook away; a second time nothing happens."""
        global hooks_version
        cdef Hooks hooks = self._hooks()
        hooks_version += 1
        self._hooks, entry, self._entry = nothing, self._entry, None
        if hooks is not None and entry is not None:
            hooks.entries = [one for one in hooks.entries if one is not entry]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.remove()


def nothing() -> None:
    """What a handle refers to when its hook is gone."""


def register_hook(Tensor self, hook) -> Handle:
    """Have ``hook(g)`` called with this tensor's gradient g whenever one is computed.

    What the hook returns takes the gradient's place, None leaves it as it is. Several run in the
    order in which they were registered, each on what the one before made of it. The hooks of
    computed tensors run on the way back, later results first; those of leaves once at the end, on
    the sum of all that arrived, before any `grad` changes: if one fails, nothing has changed. They
    run under `backward` and `tape.grad`, and with ``create_graph=True`` what they do is recorded.

    A hook that refers to its own tensor keeps it alive until it is removed, or until `backward` has
    used up the graph.

    Args:
        hook: a function of a tensor, which gives one of the same shape, or None.

    Returns:
        A handle with `remove()`.

    Raises:
        GradError: this tensor requires no gradient; or by the gradient, if the hook asks for one
            that runs the hook again, and again.
        TypeError: the hook cannot be called, or gave something that is no tensor.
        ShapeError, DTypeError: the hook gave a gradient of another shape, or one of integers.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0], requires_grad=True)
    >>> handle = x.register_hook(lambda g: g * 10)
    >>> (x * x).sum().backward()
    >>> handle.remove()
    >>> x.grad.tolist()
    [20.0, 40.0]
    """
    global hooks_version
    cdef Node node = self.node
    cdef Hooks hooks
    if not node.requires_grad:
        raise GradError(f"register_hook: this tensor {self.shape} requires no gradient")
    if not callable(hook):
        raise TypeError(f"register_hook: a hook is a function, got a {type(hook).__name__}")
    if node.anchor is not None:
        if node.anchor.hooks is None:
            node.anchor.hooks = empty()
        hooks = <Hooks>node.anchor.hooks
    else:
        if node.hooks is NULL:
            hooks = empty()
            Py_INCREF(hooks)
            node.hooks = <PyObject*>hooks
        hooks = <Hooks>node.hooks
        node.unlist()
    entry = (hook,)
    hooks.entries = [*hooks.entries, entry]
    hooks_version += 1
    return Handle(hooks, entry)


cdef Hooks empty():
    cdef Hooks hooks = Hooks.__new__(Hooks)
    hooks.entries = []
    return hooks


cdef Tensor hooked(Hooks hooks, Tensor g, bint create_graph):
    """What the hooks make of a gradient."""
    cdef Tensor y
    for entry in hooks.entries:
        found = called(entry, g)
        if found is None:
            continue
        name = name_of(entry)
        if not isinstance(found, Tensor):
            raise TypeError(
                f"register_hook: the hook {name} must give a tensor or None, got a "
                f"{type(found).__name__}"
            )
        y = <Tensor>found
        if not same_shape(y.node, g.node):
            raise ShapeError(
                f"register_hook: the hook {name} gave a gradient {y.shape}, it was {g.shape}"
            )
        if not cnp.PyTypeNum_ISFLOAT(y.node.typenum):
            raise DTypeError(
                f"register_hook: the hook {name} gave {y.dtype} numbers, a gradient is {g.dtype}"
            )
        if y.node.typenum != g.node.typenum:
            y = slot(CAST)(y, g.dtype)
        if y.node.requires_grad and not create_graph:
            y = y.bare()
        g = y
    return g


cdef object called(tuple entry, Tensor g):
    """What one hook gives; GradError if it has come back to itself too often."""
    cdef list running = nested.__dict__.setdefault("running", [])
    if sum([one is entry for one in running]) == DEEPEST:
        raise GradError(
            f"register_hook: the hook {name_of(entry)} asks for a gradient that runs the hook "
            f"again: {DEEPEST} times within each other"
        )
    running.append(entry)
    try:
        return entry[0](wrap(g.node))
    finally:
        running.pop()


cdef str name_of(tuple entry):
    return getattr(entry[0], "__name__", type(entry[0]).__name__)
