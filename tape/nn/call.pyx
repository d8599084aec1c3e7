"""`Called`: what runs a module's forward, and undoes the sizes it inferred if that fails.

Note [Calls of modules]
A training step of a small network takes ten microseconds and calls four modules, so a call must
cost next to nothing: nothing is wrapped around `forward`, there are no hooks, and what only a
failure needs is done when one happens. In C a call takes half of what it takes in Python.

Note [Inferred sizes]
Layers infer sizes in their first call. If that call fails, all that was inferred since the
outermost call began waits again: an input of the wrong layout does not settle the wrong sizes.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.weakref cimport PyWeakref_NewRef

from _thread import _local

from tape._core.provenance cimport tell_running
from tape._core.state cimport State, current
from tape._core.tensor cimport Tensor
from tape._core.trace cimport mark
from tape.errors import TapeError

cdef extern from *:
    """
    typedef struct TapeCall { PyObject *module; struct TapeCall *outer; } TapeCall;
    static _Thread_local TapeCall *tape_calls = NULL;
    static _Thread_local int tape_has_inferred = 0;
    """
    ctypedef struct TapeCall:
        PyObject* module
        TapeCall* outer
    TapeCall* tape_calls
    int tape_has_inferred

cdef extern from "Python.h":
    object PyObject_VectorcallMethod(object, PyObject**, size_t, PyObject*)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    ctypedef struct PyTypeObject:
        void* tp_call
    PyTypeObject* Py_TYPE(object)

cdef object FORWARD = "forward"
journal = _local()  # undo: what takes back the sizes inferred since the outermost call began


@cython.auto_pickle(False)
cdef class Called:
    """Base of Module: a call runs `forward`."""

    cdef object reference
    cdef object __weakref__

    def __getstate__(self):
        """What copies take over: the attributes."""
        return dict(vars(self))

    def __call__(self, *args, **kwargs):
        """Run `forward`; a TapeError that leaves it notes the module for the path it names."""
        if PyTuple_GET_SIZE(args) == 1 and not kwargs:
            return call(self, <object>PyTuple_GET_ITEM(args, 0), None, None)
        return call(self, None, args, kwargs)


cdef object call(object module, object x, tuple args, dict kwargs):
    """module.forward(x), or with args and kwargs where args is not None."""
    global tape_calls
    cdef PyObject* vector[3]
    cdef TapeCall own
    cdef State state = current()
    cdef object outside = state.module
    own.module, own.outer = <PyObject*>module, tape_calls
    tape_calls = &own
    state.module = reference_to(<Called>module)
    try:
        if args is None:
            vector[1], vector[2] = <PyObject*>module, <PyObject*>x
            y = PyObject_VectorcallMethod(
                FORWARD, vector + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL
            )
        else:
            y = module.forward(*args, **kwargs)
    except BaseException as error:
        tape_calls, state.module = own.outer, outside
        if isinstance(error, TapeError):
            error.modules.append(module)
        if tape_calls is NULL and tape_has_inferred:
            end_inference(failed=True)
        raise
    if isinstance(y, Tensor) and (<Tensor>y).node.operands is not None:
        mark((<Tensor>y).node, state.module)
    tape_calls, state.module = own.outer, outside
    if tape_calls is NULL and tape_has_inferred:
        end_inference(failed=False)
    return y


cdef object reference_to(Called module):
    """A weak reference to the module, always the same."""
    if module.reference is None:
        module.reference = PyWeakref_NewRef(module, None)
    return module.reference


def chain(list layers, x):
    """The last layer of ... of the first of x; spares modules the way through Python's call."""
    cdef object layer
    for layer in layers:
        if Py_TYPE(layer).tp_call is Py_TYPE(SAMPLE).tp_call:
            x = call(layer, x, None, None)
        else:
            x = layer(x)
    return x


cdef object SAMPLE = Called()  # what a module is called by unless it says otherwise


cdef list running():
    """The modules that this thread is calling, outermost first."""
    cdef list modules = []
    cdef TapeCall* at = tape_calls
    while at is not NULL:
        modules.append(<object>at.module)
        at = at.outer
    return modules[::-1]


tell_running(running)


def on_failure(undo) -> None:
    """Have `undo()` called if the module call that is running on this thread fails."""
    global tape_has_inferred
    if tape_calls is NULL:
        return
    if not tape_has_inferred:
        journal.undo = []
        tape_has_inferred = True
    journal.undo.append(undo)


cdef int end_inference(bint failed) except -1:
    global tape_has_inferred
    tape_has_inferred = False
    undo, journal.undo = journal.undo, None
    if failed:
        for step in reversed(undo):
            step()
    return 0
