"""Gradients of a result: into the leaves (`backward`), or handed out (`gradients`).

Note [Commit]
Until the end a walk changes nothing that anybody else can see. Then gradients are handed over and
the graph is freed, in steps that cannot fail.
"""

cimport numpy as cnp
from cpython.object cimport PyObject
from libc.string cimport memset

import numpy as np

from tape._core.cotangent cimport is_fresh
from tape._core.hooks cimport Hooks, hooked, hooks_version
from tape._core.node cimport Node, leaf, same_shape, value_of
from tape._core.op cimport Op
from tape._core.slots cimport ADD, CAST, slot
from tape._core.tensor cimport Tensor, wrap
from tape._core.trace cimport DERIVED
from tape._core.walk cimport Walk
from tape.errors import GradError, ShapeError

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)


# The seeds of losses: always the same nodes, so that reuse finds what follows from them.
cdef Tensor ONE32 = Tensor(1.0, "float32"), ONE64 = Tensor(1.0, "float64")


cdef str reason(Node node):
    """Why a tensor has no gradient."""
    if not cnp.PyTypeNum_ISFLOAT(node.typenum):
        dtype = cnp.PyArray_DescrFromType(node.typenum)
        return f"holds {dtype} numbers, which have no gradient: only float32 and float64 do"
    if node.op is not None and not (<Op>node.op).differentiable:
        return f"was made by {node.op.name}, through which no gradient goes"
    return (
        "depends on nothing that requires a gradient (a leaf without requires_grad, computed under "
        "no_grad or from integers and comparisons only, or is a gradient taken without "
        "create_graph=True)"
    )


def check_results(str who, list outputs, bint whole_too=False):
    """That a function gave tensors, of which one holds numbers that have a gradient.

    Raises:
        TypeError: a result is no tensor.
        GradError: all hold integers or bools, and `whole_too` is not set.
    """
    cdef Tensor y
    for part in outputs:
        if not isinstance(part, Tensor):
            raise TypeError(f"{who}: the function must return tensors, got a {type(part).__name__}")
    if outputs and not whole_too:
        for y in outputs:
            if cnp.PyTypeNum_ISFLOAT(y.node.typenum):
                return
        y = outputs[0]
        raise GradError(f"{who}: the function's result {y.shape} {reason(y.node)}")


cdef Tensor seed_for(Tensor y, g, str what):
    """The cotangent a walk starts from, checked."""
    if not y.node.requires_grad:
        raise GradError(f"{what}: this tensor {y.shape} {reason(y.node)}")
    if g is None:
        if y.size != 1:
            raise ShapeError(
                f"{what}: a tensor of shape {y.shape} needs a cotangent g; only one of a single "
                "element goes without"
            )
        if y.node.ndim == 0:
            return wrap(ONE32.node if y.node.typenum == cnp.NPY_FLOAT else ONE64.node)
        return wrap(leaf(np.ones(y.shape, y.dtype), False))
    if not isinstance(g, Tensor):
        g = Tensor(g, dtype=y.dtype)
    if not same_shape((<Tensor>g).node, y.node):
        raise ShapeError(f"{what}: cotangent g has shape {g.shape}, the tensor {y.shape}")
    if (<Tensor>g).node.typenum != y.node.typenum:
        g = slot(CAST)(g, y.dtype)
    return g


cdef Tensor private_copy(Tensor g):
    """A handle of its own on a contiguous buffer of its own."""
    cdef Node node = leaf(np.array(value_of(g.node), order="C", copy=True), False)
    node.trace = DERIVED
    return wrap(node)


def backward(Tensor y, g=None, create_graph=False):
    """Add d(self)/d(leaf) to `grad` of every leaf, and free the graph that was used.

    Either all gradients are added or, after an error, none: see Note [Commit].

    Args:
        g: cotangent of the tensor's own shape; may be left out for a tensor of one element.
        create_graph: record the gradient's own computation, and keep the graph.

    Raises:
        GradError: no gradient is needed here, the graph was already used, or an op in it has no
            vjp rule.
        ShapeError: `g` is missing or has another shape.
    """
    cdef Tensor seed = seed_for(y, g, "backward"), x, part
    cdef Walk walk = Walk.__new__(Walk)
    cdef Py_ssize_t i
    cdef Node node, root = y.node  # held: a rule may move the handle
    cdef bint again = create_graph
    cdef dict position = {}
    cdef list leaves = [], parts = []
    walk.build(root)
    memset(walk.wanted, 1, walk.n)
    walk.adjoints[0] = seed
    g = seed = None
    walk.sweep(again, False)
    for i in range(walk.n):
        node = <Node>walk.nodes[i]
        if node.anchor is None or walk.adjoints[i] is None:
            continue
        # Without a reference it is dying: this runs in a callback of a weak one.
        if node.anchor.tensor is NULL or Py_REFCNT(node.anchor.tensor) == 0:
            continue
        x, part = <Tensor>node.anchor.tensor, walk.adjoints[i]
        walk.adjoints[i] = None
        if not x.node.requires_grad:  # not any more: frozen since
            continue
        at = position.setdefault(node.anchor, len(leaves))
        if at < len(leaves):
            parts[at] = slot(ADD)(parts[at], part)
            continue
        leaves.append(x)
        # Two leaves may be given one tensor (x + z), and a rule may hand on a saved value.
        if again:
            part = wrap(part.node)
        elif Py_REFCNT(<PyObject*>part) > 1 or not is_fresh(part):
            part = private_copy(part)
        elif part.node.trace is None:
            part.node.trace = DERIVED
        parts.append(part)
    for i in range(len(leaves)):
        hooks = (<Tensor>leaves[i]).anchor.hooks  # a hook may freeze a leaf
        if hooks is not None:
            part = hooked(<Hooks>hooks, parts[i], again)
            parts[i] = part if again or part is parts[i] else private_copy(part)
    x = part = None
    while not commit(leaves, parts):
        pass
    if not again:
        for i in range(walk.n):
            node = <Node>walk.nodes[i]
            # What another live result was made of stays: reuse may have shared it unasked.
            if node.operands is not None and node.n_uses == 0:
                node.consume()


cdef bint commit(list leaves, list parts) except -1:
    """Add the parts to the leaves' gradients; False if another thread changed one meanwhile."""
    cdef list known = [(<Tensor>x)._grad for x in leaves], ready = []
    cdef Py_ssize_t i
    for i in range(len(leaves)):
        ready.append(parts[i] if known[i] is None else slot(ADD)(known[i], parts[i]))
    for i in range(len(leaves)):
        if (<Tensor>leaves[i])._grad is not known[i]:
            return False
    for i in range(len(leaves)):
        (<Tensor>leaves[i])._grad = ready[i]
    return True


def gradients(Tensor y, list xs, g=None, create_graph=False, since=0):
    """Adjoints of y with respect to xs, None where y does not depend on x; see Note [Sweep].

    With `since` a serial number, nodes up to it are taken for leaves, and the hooks of leaves do
    not run: they will, in the walk that this is a step of.
    """
    cdef Tensor seed = seed_for(y, g, "grad"), x
    cdef Node root = y.node  # held: a rule may move the handle
    cdef Walk walk = None
    cdef bint again = create_graph
    cdef list result
    given = (<Tensor>g).node.serial if isinstance(g, Tensor) else None if g is None \
        else seed.node.serial
    if not again and root.adjoints is not None and (<Walk>root.adjoints).seed == given \
            and (<Walk>root.adjoints).hooks_version == hooks_version:
        walk = <Walk>root.adjoints
        root.adjoints = None  # ours alone; put back below, unless there is an error
    else:
        if not again:
            seed = seed.bare()  # kept with the root: with a graph of its own it could be a cycle
        walk = Walk.__new__(Walk)
        walk.oldest = since
        walk.build(root)
        walk.adjoints[0], walk.seed = seed, given
    memset(walk.wanted, 0, walk.n)
    reached = [bool(walk.find(x)) for x in xs]
    walk.mark_paths()
    walk.sweep(again, True)
    result = [
        final(x, walk.adjoint_of(x), again, since) if there else None
        for x, there in zip(xs, reached)
    ]
    if again:
        return [None if part is None else wrap((<Tensor>part).node) for part in result]
    root.adjoints = walk
    return [None if part is None else private_copy(part) for part in result]


cdef object final(Tensor x, part, bint again, since):
    """The gradient for x from its adjoint: what the hooks of a leaf make of it."""
    if part is None or since or x.node.anchor is None or x.node.anchor.hooks is None:
        return part
    return hooked(<Hooks>x.node.anchor.hooks, part, again)


def depends_beyond(Tensor y, list xs):
    """Whether y depends on a leaf that requires a gradient and is none of xs."""
    cdef Walk walk
    cdef Py_ssize_t i
    cdef Node node
    if not y.node.requires_grad:
        return False
    known = {(<Tensor>x).node.serial for x in xs}
    walk = Walk.__new__(Walk)
    walk.build(y.node)
    for i in range(walk.n):
        node = <Node>walk.nodes[i]
        if node.operands is None and node.serial not in known:
            return True
    return False
