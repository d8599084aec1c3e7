"""Tangents of a result: the forward walk."""

cimport numpy as cnp

import numpy as np

from tape._core.cotangent cimport fitted_tangent
from tape._core.node cimport Node, leaf
from tape._core.numerics cimport inspect_tangent
from tape._core.op cimport Op
from tape._core.provenance cimport explain_gradient
from tape._core.state cimport State, current
from tape._core.tensor cimport Tensor, wrap
from tape._core.walk cimport Walk
from tape.errors import GradError

cnp.import_array()


class tracing_jvp:
    """Under it recorded nodes keep what their jvp rules read, not only their vjp rules."""

    def __enter__(self):
        cdef State state = current()
        self.before = state.saving_all, state.reusing, state.recording
        # A node recorded outside may have kept too little: it must not stand in for a new one.
        state.saving_all, state.reusing, state.recording = True, False, True

    def __exit__(self, *error):
        cdef State state = current()
        state.saving_all, state.reusing, state.recording = self.before


def tangents(list ys, list xs, list dxs):
    """Push tangents of xs forward to ys: one tangent for each y, None where it depends on no x."""
    cdef Walk walk
    cdef Tensor x, y
    cdef dict known = {}
    cdef Py_ssize_t i
    cdef Node node = None
    cdef State state = current()
    cdef bint checking = state.checking
    for x, dx in zip(xs, dxs):
        known[x.node.serial] = dx
    state.checking = False  # a rule is looked at as a whole
    try:
        for y in ys:
            if not y.node.requires_grad:
                continue
            walk = Walk.__new__(Walk)
            walk.build(y.node)
            for i in range(walk.n - 1, -1, -1):
                node = <Node>walk.nodes[i]
                if node.serial not in known and node.operands is not None:
                    known[node.serial] = push(node, known, checking)
    except Exception as error:
        explain_gradient(error, node)
        raise
    finally:
        state.checking = checking
    return [known.get(y.node.serial) for y in ys]


cdef object push(Node node, dict known, bint checking):
    """The tangent of one node from those of its operands, None if all are zero."""
    cdef Op op = <Op>node.op
    cdef list parts = []
    cdef bint any = False
    for s in node.operands:
        part = known.get((<Node>s).serial) if isinstance(s, Node) else None
        any |= part is not None
        parts.append(part)
    if not any:
        return None
    if op.jvp is None and not op.linear:
        raise GradError(f"{op.name} has no jvp rule")
    for i, s in enumerate(node.operands):
        if parts[i] is None:
            parts[i] = zeros_under(s)
    if op.jvp is not None:
        tangent = op.jvp.call(node, None, parts)
    else:
        tangent = op(*parts, **dict(zip(op.setting_names, node.settings)))
    tangent = fitted_tangent(op, tangent, node)
    if checking:
        inspect_tangent(node, parts, tangent)
    return tangent


cdef object zeros_under(s):
    """A zero tangent for an operand that has none; a number stays a number."""
    if not isinstance(s, Node):
        return 0.0
    zero = np.zeros((), cnp.PyArray_DescrFromType((<Node>s).typenum))
    return wrap(leaf(np.broadcast_to(zero, (<Node>s).shape()), False))
