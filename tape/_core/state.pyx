"""What a thread remembers between ops: its tape, whether it records, whether it reuses."""

cimport cython
from cpython.object cimport PyObject

import contextvars
import functools
from _thread import _local

import numpy as np

from tape._core.node cimport Table

cdef extern from *:
    """
    static _Thread_local PyObject *tape_state = NULL;
    """
    PyObject* tape_state


cdef class Tally:
    """What a tape of one's own counts of an op: see `Tape.report`."""


cdef class Ledger:
    """The reuse table of one tape and the counts a user may look at."""

    def __cinit__(self):
        self.table = Table()

    cdef Tally tally(self, op):
        """The counts of an op; only a tape that lists all has them."""
        found = self.tallies.get(op)
        if found is None:
            found = self.tallies[op] = Tally()
        return <Tally>found


@cython.final
cdef class State:
    """One per thread; `threads` owns it and it dies with the thread."""

    def __cinit__(self):
        self.ledger = Ledger()
        self.recording = self.reusing = True
        # Forwards run inside this context: NumPy's floating-point warnings are off in it.
        self.quiet = contextvars.copy_context()
        self.quiet.run(np.seterr, all="ignore")

    def __dealloc__(self):
        global tape_state
        if tape_state is <PyObject*>self:
            tape_state = NULL


threads = _local()
GENERATOR = 0x20  # inspect.CO_GENERATOR, whose module is slow to import


cdef State current():
    """The state of this thread."""
    global tape_state
    cdef State state
    if tape_state is NULL:
        state = State()
        threads.state = state
        tape_state = <PyObject*>state
    return <State>tape_state


def is_recording() -> bool:
    """Whether ops on this thread record what a gradient needs."""
    return current().recording


def is_reusing() -> bool:
    """Whether ops on this thread reuse live nodes."""
    return current().reusing


def remembered() -> dict | None:
    """What modules remember until the outermost `reuse` block of this thread ends; None outside."""
    cdef State state = current()
    return state.kept[0] if state.reusing and state.kept is not None else None


class _Switch:
    """A with-block (or decorator) under which this thread records, or does not."""

    recording: bool

    def __enter__(self):
        cdef State state = current()
        self._before = [*getattr(self, "_before", ()), state.recording]
        state.recording = self.recording
        return self

    def __exit__(self, *error):
        current().recording = self._before.pop()

    def __call__(self, function):
        if getattr(getattr(function, "__code__", None), "co_flags", 0) & GENERATOR:
            @functools.wraps(function)
            def stepwise(*args, **kwargs):
                generator = function(*args, **kwargs)
                resume, sent = generator.send, None
                while True:
                    try:
                        with type(self)():
                            value = resume(sent)
                    except StopIteration as stop:
                        return stop.value
                    try:
                        resume, sent = generator.send, (yield value)
                    except BaseException as error:
                        resume, sent = generator.throw, error
            return stepwise

        @functools.wraps(function)
        def switched(*args, **kwargs):
            with type(self)():
                return function(*args, **kwargs)
        return switched


class no_grad(_Switch):
    """Under it nothing is recorded: results need no gradient and keep no operand alive.

    A with-block or a decorator (of generator functions too, step by step); local to the thread.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0], requires_grad=True)
    >>> with tape.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    recording = False


class enable_grad(_Switch):
    """Under it ops record again, inside of a `no_grad` block."""

    recording = True


class reuse:
    """Keep what is computed in a with-block alive until it ends, so that all of it can be reused.

    ``with reuse():`` makes two heads that each call the same trunk compute it once in inference
    too, where nothing else would keep the trunk's result. ``reuse(False)`` switches reuse off for
    this thread, at once; used as a with-block it switches it back at the end. ``reuse(True)``
    switches it on.

    >>> import tape
    >>> x = tape.ones((2, 2))
    >>> with tape.Tape() as t, tape.reuse():
    ...     y, z = tape.exp(x).sum(), tape.exp(x).max()
    >>> t.hits
    1
    """

    def __init__(self, enabled: bool = True):
        cdef State state = current()
        self._enabled = bool(enabled)
        self._outside = state.reusing  # what the first with-block switches back to
        self._before = []
        state.reusing = self._enabled

    def __enter__(self):
        cdef State state = current()
        before = state.reusing if self._outside is None else self._outside
        self._outside = None
        self._before.append((before, state.kept))
        state.reusing = self._enabled
        if state.reusing and state.kept is None:
            state.kept = [{}]
        return self

    def __exit__(self, *error):
        cdef State state = current()
        state.reusing, state.kept = self._before.pop()
