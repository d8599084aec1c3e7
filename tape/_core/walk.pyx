"""`Walk`: what a result depends on, in order, and the adjoints found on the way back.

Note [Sweep]
Nodes are visited in falling order of their serial numbers, so every consumer of a node comes before
it and its adjoint is complete when its turn comes. Only nodes on a path to a target are visited.
`grad` keeps the adjoints with the root: a later call for other targets computes only the missing
terms, in the same order, so separate calls cost what one joint call costs and give the same bits.
"""

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memset
from numpy cimport ndarray

from tape._core.cotangent cimport fitted, is_fresh, split
from tape._core.hooks cimport Hooks, hooked, hooks_version
from tape._core.node cimport Node, value_of
from tape._core.numerics cimport inspect_cotangent
from tape._core.op cimport Op, Rule
from tape._core.provenance cimport explain_gradient
from tape._core.state cimport State, current
from tape._core.slots cimport ADD, slot
from tape._core.tensor cimport Tensor
from tape._kernels.dispatch cimport Loop

from tape._core.rule import FREED
from tape.errors import GradError

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)
    int PyErr_CheckSignals() except -1


cdef int falling(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<NodeAt*>a).serial, y = (<NodeAt*>b).serial
    return (x < y) - (x > y)


cdef struct NodeAt:
    uint64_t serial
    PyObject* node


@cython.final
@cython.no_gc
cdef class Walk:
    """The nodes a root depends on, newest first, then the leaves; edges; the adjoints known so far.

    The root itself is a borrowed reference: the walk may be kept on it.
    """

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(1, self.n):
            Py_DECREF(<object>self.nodes[i])
        free(self.nodes)
        free(self.first)
        free(self.target)
        free(self.wanted)
        free(self.complete)

    cdef int build(self, Node root) except -1:
        """Collect and order the graph. Runs no Python code, so `mark` is ours for the while.

        Nodes up to the serial number `oldest` are taken for leaves.
        """
        cdef NodeAt* found = NULL
        cdef PyObject** stack = NULL
        cdef uint64_t above = <uint64_t>-1
        cdef Py_ssize_t n = 0, capacity = 0, depth = 0, room = 0, n_edges = 0, n_leaves = 0, i, j, k
        cdef bint sorted = True, freed = False, starved = False
        cdef PyObject* at
        cdef Node node
        stack = <PyObject**>malloc(64 * sizeof(PyObject*))
        starved = stack is NULL
        if not starved:
            room, depth, stack[0] = 64, 1, <PyObject*>root
        while depth and not starved:
            depth -= 1
            at = stack[depth]
            node = <Node>at
            if node.mark:
                continue
            if n == capacity:
                capacity = 2 * capacity + 64
                starved = grow(<void**>&found, capacity * sizeof(NodeAt))
                if starved:
                    break
            node.mark = 1
            found[n].serial, found[n].node = node.serial, at
            n += 1
            if node.operands is None or node.serial <= self.oldest:
                freed = freed or node.consumed
                n_leaves += 1
                found[n - 1].serial = 0
                continue
            sorted = sorted and above > node.serial
            above = node.serial
            k = PyTuple_GET_SIZE(node.operands)
            n_edges += k
            if depth + k > room:
                room = 2 * (depth + k)
                starved = grow(<void**>&stack, room * sizeof(PyObject*))
                if starved:
                    break
            for j in range(k):
                at = PyTuple_GET_ITEM(node.operands, j)
                if isinstance(<object>at, Node) and (<Node>at).requires_grad:
                    stack[depth] = at
                    depth += 1
        free(stack)
        if not starved and not freed:
            starved = self.allocate(n, n_edges)
        if not starved and not freed:
            if not sorted:
                qsort(found, n, sizeof(NodeAt), falling)
            j, k = 0, n - n_leaves
            for i in range(n):
                at = found[i].node
                if found[i].serial == 0:
                    self.nodes[k] = at
                    k += 1
                    (<Node>at).mark = k
                else:
                    self.nodes[j] = at
                    j += 1
                    (<Node>at).mark = j
                if at is not <PyObject*>root:
                    Py_INCREF(<object>at)
            self.n = n
            self.link()
        for i in range(n):
            (<Node>found[i].node).mark = 0
        free(found)
        if starved:
            raise MemoryError
        if freed:
            raise GradError(FREED)
        self.adjoints = [None] * n
        self.hooks_version = hooks_version
        return 0

    cdef bint allocate(self, Py_ssize_t n, Py_ssize_t n_edges) noexcept:
        self.nodes = <PyObject**>malloc((n + 1) * sizeof(PyObject*))
        self.first = <Py_ssize_t*>malloc((n + 1) * sizeof(Py_ssize_t))
        self.target = <Py_ssize_t*>malloc((n_edges + 1) * sizeof(Py_ssize_t))
        self.wanted = <char*>malloc(n + 1)
        self.complete = <char*>malloc(n + 1)
        if (self.nodes is NULL or self.first is NULL or self.target is NULL
                or self.wanted is NULL or self.complete is NULL):
            return True
        memset(self.complete, 0, n + 1)
        return False

    cdef void link(self) noexcept:
        """Write each node's operands as positions in `nodes`, -1 where no gradient goes."""
        cdef Py_ssize_t i, j, edge = 0
        cdef PyObject* at
        cdef Node node
        for i in range(self.n):
            self.first[i] = edge
            node = <Node>self.nodes[i]
            if node.operands is None or node.serial <= self.oldest:
                continue
            for j in range(PyTuple_GET_SIZE(node.operands)):
                at = PyTuple_GET_ITEM(node.operands, j)
                self.target[edge] = -1
                if isinstance(<object>at, Node) and (<Node>at).requires_grad:
                    self.target[edge] = (<Node>at).mark - 1
                edge += 1
        self.first[self.n] = edge

    cdef void mark_paths(self) noexcept:
        """Extend `wanted` from the targets to everything between them and the root."""
        cdef Py_ssize_t i, edge
        for i in range(self.n - 1, -1, -1):
            edge = self.first[i]
            while not self.wanted[i] and edge < self.first[i + 1]:
                if self.target[edge] >= 0 and self.wanted[self.target[edge]]:
                    self.wanted[i] = True
                edge += 1

    cdef int find(self, Tensor x) except -1:
        """Mark x's node, or all nodes its leaf ever stood on, as wanted; whether there is any."""
        cdef Py_ssize_t i
        cdef Node node
        cdef bint any = False
        for i in range(self.n):
            node = <Node>self.nodes[i]
            if node is x.node or (x.node.anchor is not None and node.anchor is x.node.anchor):
                self.wanted[i] = any = True
        return any

    cdef object adjoint_of(self, Tensor x):
        """The adjoint of x after a sweep, None if nothing reached it."""
        cdef Py_ssize_t i
        cdef Node node
        total = None
        for i in range(self.n):
            node = <Node>self.nodes[i]
            if node is x.node or (x.node.anchor is not None and node.anchor is x.node.anchor):
                if self.adjoints[i] is not None:
                    part = self.adjoints[i]
                    total = part if total is None else slot(ADD)(total, part)
        return total

    cdef int sweep(self, bint create_graph, bint keep) except -1:
        """Complete the adjoints of all wanted nodes; inner ones are dropped without `keep`."""
        cdef State state = current()
        cdef bint recording = state.recording, reusing = state.reusing, checking = state.checking
        cdef list kept = state.kept
        cdef Py_ssize_t i
        cdef Node node = None
        if not create_graph:
            state.kept = None  # a `reuse` block around keeps no cotangents, so sums stay in place
        state.recording = create_graph
        state.reusing = create_graph and reusing
        self.checks, state.checking = checking, False
        try:
            for i in range(self.n):
                if not self.wanted[i]:
                    continue
                node = <Node>self.nodes[i]
                if self.first[i + 1] > self.first[i] and self.adjoints[i] is not None:
                    if node.hooks is not NULL and not self.complete[i]:
                        state.checking = checking  # a hook's ops are the program's, no rule's
                        self.adjoints[i] = hooked(
                            <Hooks>node.hooks, self.adjoints[i], create_graph
                        )
                        state.checking = False
                    self.visit(i, node, create_graph)
                    if not keep:
                        self.adjoints[i] = None
                if i & 1023 == 1023:
                    PyErr_CheckSignals()
            for i in range(self.n):
                self.complete[i] |= self.wanted[i]
        except Exception as error:
            if node is not None and node.op is not None:
                explain_gradient(error, node)
            raise
        finally:
            state.recording, state.reusing, state.checking = recording, reusing, checking
            state.kept = kept
        return 0

    cdef int visit(self, Py_ssize_t i, Node node, bint create_graph) except -1:
        """Hand the adjoint of node i on to its operands."""
        cdef Op op = <Op>node.op
        cdef Py_ssize_t first = self.first[i], n = self.first[i + 1] - first, j, t
        cdef Rule rule
        cdef object g = self.adjoints[i], parts = None
        cdef bint entered = False
        for j in range(n):
            t = self.target[first + j]
            if t < 0 or not self.wanted[t] or self.complete[t]:
                continue
            if op.outer is not None and not entered:
                g, entered = op.outer.call(node, g, None), True
            if op.joint is not None:
                if parts is None:
                    parts = split(op, op.joint.call(node, g, None), n)
                part = parts[j]
            else:
                if (op.adders is not None and not create_graph and not self.checks
                        and self.added(op, j, node, g, t)):
                    continue
                rule = op.rule_for(j)
                if rule is None and not op.has_vjp():
                    raise GradError(f"{op.name} has no vjp rule")
                part = None if rule is None else g if rule.passes_on else rule.call(node, g, None)
            if part is not None:
                part = fitted(op, j, part, <Node>self.nodes[t])
                if self.checks:
                    inspect_cotangent(node, j, g, part, self.adjoints[t])
                self.add(t, part, create_graph)
        return 0

    cdef bint added(self, Op op, Py_ssize_t j, Node node, g, Py_ssize_t t) except -1:
        """Whether the op itself has added operand j's cotangent to adjoints[t]; see `defadd`."""
        cdef object known
        cdef Rule adder
        cdef ndarray total
        known = self.adjoints[t]
        if known is None or j >= len(op.adders) or op.adders[j] is None:
            return False
        if Py_REFCNT(<PyObject*>known) != 2 or not is_fresh(<Tensor>known):
            return False
        adder, total = <Rule>op.adders[j], (<Tensor>known).node.array
        cnp.PyArray_ENABLEFLAGS(total, cnp.NPY_ARRAY_WRITEABLE)
        try:
            return adder.call(node, g, total)
        finally:
            cnp.PyArray_CLEARFLAGS(total, cnp.NPY_ARRAY_WRITEABLE)

    cdef int add(self, Py_ssize_t t, Tensor part, bint create_graph) except -1:
        """adjoints[t] += part; in place once the sum is a buffer of our own."""
        cdef object known = self.adjoints[t]
        cdef Loop loop
        if not create_graph and part.node.requires_grad:
            part = part.bare()  # a rule handed on a saved value: its graph is not ours to keep
        if known is None:
            self.adjoints[t] = part
            return 0
        if (not create_graph and Py_REFCNT(<PyObject*>known) == 2
                and is_fresh(<Tensor>known)):
            loop = <Loop>(<Op>slot(ADD)).kernel
            loop.accumulate((<Tensor>known).node.array, value_of(part.node))
        else:
            self.adjoints[t] = slot(ADD)(known, part)
        return 0


cdef bint grow(void** block, size_t size) noexcept:
    cdef void* grown = realloc(block[0], size)
    if grown is NULL:
        return True
    block[0] = grown
    return False
