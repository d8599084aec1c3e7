"""What running a function a second time needs: what it depends on, as it was the first time.

Note [Replay]
A checkpointed function runs with a reuse table of its own, both times: what was made outside stands
in for nothing inside, so both runs record the same graph. In the second run leaves that have moved
on since, by an optimizer's step, stand on the values they had; they move back afterwards unless
somebody else has moved them meanwhile.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from tape._core.node cimport Node, next_serial
from tape._core.state cimport Ledger, State, current
from tape._core.tensor cimport Tensor, wrap

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)


def mark() -> int:
    """A serial number that all nodes from now on are above."""
    return next_serial()


def is_tracing_jvp() -> bool:
    """Whether what is recorded now will be walked forwards."""
    return current().saving_all


def is_recomputing() -> bool:
    """Whether this thread runs a checkpointed function for its gradient, not for its value."""
    return current().recomputing


class apart:
    """Under it ops are recorded, with a reuse table of their own, looked at or not."""

    def __init__(self, recomputing: bool, reusing: bool, checking: bool):
        self.now = recomputing, reusing, checking

    def __enter__(self):
        cdef State state = current()
        self.before = (
            *(state.ledger, state.kept, state.recording),
            *(state.recomputing, state.reusing, state.checking),
        )
        state.ledger, state.kept, state.recording = Ledger(), None, True
        state.recomputing, state.reusing, state.checking = self.now

    def __exit__(self, *error):
        cdef State state = current()
        (state.ledger, state.kept, state.recording,
         state.recomputing, state.reusing, state.checking) = self.before


def switches() -> tuple[bool, bool]:
    """Whether ops are reused now, and looked at by check_numerics."""
    return current().reusing, current().checking


def boundary(list ys, list xs, uint64_t since) -> list[Tensor]:
    """What ys depend on that was there before `since`, and leaves of later; but not xs."""
    cdef set seen = {(<Tensor>x).node.serial for x in xs}
    cdef list stack = [(<Tensor>y).node for y in ys], found = []
    cdef Node node
    while stack:
        node = stack.pop()
        if not node.requires_grad or node.serial in seen:
            continue
        seen.add(node.serial)
        if node.serial <= since:
            found.append(wrap(node))
        elif node.operands is None:
            if node.anchor is not None and node.anchor.tensor is not NULL:
                found.append(wrap(node))
        else:
            stack.extend([x for x in node.operands if isinstance(x, Node)])
    return found


class as_recorded:
    """Under it the leaves of these nodes stand on them again; see Note [Replay]."""

    def __init__(self, list held):
        self.held, self.moved = held, []

    def __enter__(self):
        cdef Tensor x, t
        for t in self.held:
            if t.node.anchor is None or t.node.anchor.tensor is NULL:
                continue
            if Py_REFCNT(t.node.anchor.tensor) == 0:
                continue
            x = <Tensor>t.node.anchor.tensor
            if x.node is not t.node:
                self.moved.append((x, t, wrap(x.node)))
                x.point_to(t.node)

    def __exit__(self, *error):
        cdef Tensor x, t, now
        for x, t, now in self.moved:
            if x.node is t.node:
                x.point_to(now.node)
