"""Where in the user's program a value was made, and what an error says about it.

Note [Provenance]
A node notes the code object and the instruction of the user's call: two words, read off the running
frame in some ten nanoseconds, resolved to a file and a line only when a message is written. A code
object knows no frame and no value, so nothing is kept alive by it. TAPE_PROVENANCE=0 switches it
off. While `check_numerics` looks on, the path of the module that runs is noted beside.
"""

cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

import os

from tape import errors
from tape._core.node cimport Node

cdef extern from *:
    """
    #define TAPE_LINE(code, lasti) PyCode_Addr2Line((PyCodeObject*)(code), lasti)
    """
    int TAPE_LINE(object, int)

cnp.import_array()

cdef bytes folder_name = os.path.join(os.path.dirname(errors.__file__), "").encode()
folder.text, folder.length = folder_name, len(folder_name)
enabled = errors.provenance.on
cdef Running running = NULL


def set_provenance(flag: bool) -> bool:
    """Switch the notes of where values are made on or off; what it was before."""
    global enabled
    before = bool(enabled)
    enabled = errors.provenance.on = bool(flag)
    return before


cdef void tell_running(Running function) noexcept:
    """Say which modules are being called, outermost first; `nn` does, which knows."""
    global running
    running = function


cdef str module_path():
    """The path of the module that is running, "" outside of any."""
    return "" if running is NULL else errors.path_of(running())


cdef int stamp_with_module(Node node) except -1:
    """Note beside the place of the call the path of the module that runs."""
    path = module_path()
    if path:
        code = None if node.origin is NULL else <object>node.origin
        noted = (code, path)
        Py_INCREF(noted)
        if node.origin is not NULL:
            node.forget_origin()
        node.origin = <PyObject*>noted
    return 0


cdef str place_of(object code, int lasti):
    """The file and line of an instruction."""
    return f"{code.co_filename}:{TAPE_LINE(code, lasti)}"


cdef str made_at(Node node):
    """The place in the program where a node was made, "" if it is not known."""
    cdef object code
    if node.origin is NULL:
        return ""
    code, path = <object>node.origin, ""
    if type(code) is tuple:
        code, path = code
    if code is None:
        return f"in {path}"
    place = f"at {place_of(code, node.lasti)}"
    return f"{place}, in {path}" if path else place


cdef str told(str name, x):
    """An operand in words, where it was made among them; "" for what has no such place."""
    cdef Node node
    if not isinstance(x, Node) or not made_at(<Node>x):
        return ""
    node = <Node>x
    dtype = cnp.PyArray_DescrFromType(node.typenum)
    by = node.op.name if node.op is not None else "tensor"
    return f"{name} {node.shape()} {dtype}, made by {by} {made_at(node)}"


cdef int explain(error, op, list operands) except -1:
    """Say in an error of an op what its operands, nodes or else, are and where they were made."""
    error.op, error.shapes = op.name, shapes_of(operands)
    last = len(op.operand_names) - 1
    for i, x in enumerate(operands):
        words = told(op.operand_names[min(i, last)] if last >= 0 else "", x)
        if words:
            error.add("operand", words)
    return 0


cdef tuple shapes_of(list operands):
    return tuple([
        (<Node>x).shape() if isinstance(x, Node) else tuple(getattr(x, "shape", ()))
        for x in operands
    ])


cdef int explain_other(error, op, list operands) except -1:
    """Add to an error of another library, raised in a user's op, a note of which op and where."""
    if not enabled or getattr(error, "__notes__", None) or not hasattr(error, "add_note"):
        return 0
    given = ", ".join([str(shape) for shape in shapes_of(operands)])
    path = module_path()
    error.add_note(
        f"in op {op.name} of {given}{path and ', in '}{path}, called at {errors.users_line()}"
    )
    return 0


cdef int explain_gradient(error, Node node) except -1:
    """Say in an error which result's gradient was being computed."""
    place = made_at(node)
    words = f"{node.op.name} {node.shape()}{place and ', called '}{place}"
    if not isinstance(error, errors.TapeError):
        if enabled and hasattr(error, "add_note"):
            error.add_note(f"in the gradient of {words}")
    elif not error.gradient_of:
        error.gradient_of = node.op.name
        error.add("gradient of", words)
    return 0
