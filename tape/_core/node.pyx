"""Values, how they were made, and the table that finds a live one again.

Note [Lifetimes]
A node is kept alive by handles (tensors) and by the nodes recorded on top of it. Its *value* is
needed by fewer: by handles, by consumers whose gradient rules read it, and by its own rule.
`holders` counts those; at zero the array goes and the node stays as a mere edge of the graph, with
its shape and dtype.
`n_uses` counts the recorded nodes on top: while there are any, backward() through another one does
not free this node.

Note [Spent nodes]
A recorded node without a value stays listed: it is spent. Found again by reuse, it is handed out as
it is, with the operands it was asked for as `recipe`. So a trunk that is called twice is looked up
layer by layer and nothing is computed; only if somebody reads the value of a spent node (or records
something new on it) is it computed again, from the recipe. So is one that `recorded` hands out.

Note [No recursion]
A chain of a million nodes would free itself a million calls deep. So a dying node only hands its
operands to a queue, and the outermost death drains it. Recipes go the same way.
"""

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy
from numpy cimport ndarray, npy_intp

from tape._core.settings cimport same_setting
from tape._kernels.freelist cimport recycle
from tape._kernels.strides cimport same_dims

cnp.import_array()

cdef enum:
    SMALLEST = 1024  # entries a table has room for at least

cdef uint64_t last_serial = 0
cdef Py_ssize_t n_live = 0

# The queue of Note [No recursion]: owned references to tuples of operands. Guarded by the GIL.
# The lowest bit of an entry says that the values of its operands are held too: it was a recipe.
cdef size_t* graveyard = NULL
cdef Py_ssize_t n_buried = 0, graveyard_capacity = 0
cdef bint draining = False


cdef uint64_t next_serial() noexcept:
    """A number that no node ever had."""
    global last_serial
    last_serial += 1
    return last_serial


def live_nodes() -> int:
    """Number of nodes alive in the process, leaves included."""
    return n_live


cdef void bury(tuple operands, bint held) noexcept:
    """Give up a reference to operands without letting one death call the next."""
    global graveyard, n_buried, graveyard_capacity
    cdef size_t* grown
    if n_buried == graveyard_capacity:
        grown = <size_t*>realloc(graveyard, (2 * graveyard_capacity + 64) * sizeof(size_t))
        if grown is NULL:
            if held:
                release_all(operands)
            return  # the caller's own reference dies in the ordinary way
        graveyard, graveyard_capacity = grown, 2 * graveyard_capacity + 64
    Py_INCREF(operands)
    graveyard[n_buried] = <size_t><PyObject*>operands | held
    n_buried += 1


cdef void drain() noexcept:
    global n_buried, draining
    cdef PyObject* dead
    cdef bint held
    if draining:
        return
    draining = True
    while n_buried:
        n_buried -= 1
        held = graveyard[n_buried] & 1
        dead = <PyObject*>(graveyard[n_buried] & ~<size_t>1)
        if held:
            release_all(<tuple>dead)
        Py_DECREF(<object>dead)
    draining = False


@cython.final
@cython.no_gc
cdef class Anchor:
    """Where a leaf's gradient goes: the tensor that owns the leaf, or NULL once that is gone.

    The graph holds the anchor, the tensor holds the gradient, and nothing points back at the tensor
    strongly: so no cycle arises even when the gradient itself carries a graph.
    """


@cython.final
@cython.no_gc
@cython.freelist(512)
cdef class Node:
    """One immutable value and how it was made; see architecture, section 1."""

    def __cinit__(self):
        global n_live
        n_live += 1

    def __dealloc__(self):
        global n_live
        n_live -= 1
        self.unlist()
        if self.words is not NULL and self.words is not self.inline_words:
            free(self.words)
        if self.dims is not self.inline_dims:
            free(self.dims)
        if self.array is not None:
            recycle(<PyObject*>self.array)
        if self.origin is not NULL:
            Py_DECREF(<object>self.origin)
        if self.hooks is not NULL:
            self.forget_hooks()
        self.let_go()
        self.forget_recipe()
        drain()

    cdef void forget_origin(self) noexcept:
        cdef PyObject* origin = self.origin
        self.origin = NULL
        if origin is not NULL:
            Py_DECREF(<object>origin)

    cdef void forget_hooks(self) noexcept:
        cdef PyObject* hooks = self.hooks
        self.hooks = NULL
        if hooks is not NULL:
            Py_DECREF(<object>hooks)

    cdef void let_go(self) noexcept:
        """Drop the operands: their values first, then the references, through the queue."""
        cdef Py_ssize_t i
        cdef PyObject* at
        if self.operands is None:
            return
        for i in range(PyTuple_GET_SIZE(self.operands)):
            at = PyTuple_GET_ITEM(self.operands, i)
            if isinstance(<object>at, Node):
                (<Node>at).n_uses -= 1
                if self.held >> (i if i < 63 else 63) & 1:
                    (<Node>at).release()
        self.held = 0
        bury(self.operands, False)
        self.operands = None

    cdef void consume(self) noexcept:
        """Forget how the value was made: backward() has used it."""
        self.unlist()
        self.adjoints = None
        self.forget_hooks()
        self.consumed = True
        if self.keeps_own:
            self.keeps_own = False
            self.release()
        self.let_go()
        drain()

    cdef void release(self) noexcept:
        self.holders -= 1
        if self.holders == 0:
            if self.array is not None:
                recycle(<PyObject*>self.array)
                self.array = None
            if self.recipe is not None:
                self.forget_recipe()
                drain()

    cdef void remember(self, tuple operands) noexcept:
        """Note how to compute the value, should anybody ask; see Note [Spent nodes]."""
        hold_all(operands)
        self.recipe = operands

    cdef void forget_recipe(self) noexcept:
        if self.recipe is not None:
            bury(self.recipe, True)
            self.recipe = None

    cdef void unlist(self) noexcept:
        if self.table is not None:
            self.table.remove(self)
            self.table = None

    cdef void become_leaf(self) noexcept:
        """The value was overwritten: forget what made the old one, take a fresh serial."""
        self.unlist()
        self.op = self.settings = self.module = self.marks = self.trace = None
        self.n_words = self.made = 0
        self.used, self.counted = False, 0
        if self.anchor is not None:
            self.anchor.moved = True
        self.forget_origin()
        self.serial = next_serial()

    cdef void comes_from(self, Node source) noexcept:
        """Note of a new leaf that its value is another node's: that one's serial is its key.

        And so are those that were the key of that one, if it was made in this way too.
        """
        cdef int i
        self.words, self.n_words = self.inline_words, 1
        self.words[0] = source.serial
        if source.op is not None or source.made:
            self.made = COPY
        if source.op is None and source.made != WRITTEN:
            for i in range(min(source.n_words, INLINE_WORDS - 1)):
                if source.words[i] != source.serial:
                    self.words[self.n_words] = source.words[i]
                    self.n_words += 1
        self.trace, self.marks, self.used = source.trace, source.marks, source.used

    cdef tuple shape(self):
        cdef int axis
        return tuple([self.dims[axis] for axis in range(self.ndim)])

    cdef int key(self, uint64_t hash, uint64_t* words, int n_words) except -1:
        """Remember the words under which the table lists this node."""
        self.hash, self.n_words = hash, n_words
        if n_words <= INLINE_WORDS:
            self.words = self.inline_words
        else:
            self.words = <uint64_t*>malloc(n_words * sizeof(uint64_t))
            if self.words is NULL:
                raise MemoryError
        memcpy(self.words, words, n_words * sizeof(uint64_t))
        return 0


cdef Reviver reviver = NULL


cdef void set_reviver(Reviver function) noexcept:
    """Say what computes a spent node again: `op` does, which this file cannot import."""
    global reviver
    reviver = function


cdef ndarray revived(Node node):
    """The value of a spent node, computed again."""
    cdef Node kept = node  # another thread may move the handle it stands under
    kept.holders += 1
    try:
        reviver(kept)
        return kept.array
    finally:
        kept.release()


cdef Node new_node(ndarray array):
    """A node for a value; its array becomes read-only."""
    cdef int axis
    cdef Node node = Node.__new__(Node)
    node.serial = next_serial()
    node.array = array
    node.typenum = cnp.PyArray_TYPE(array)
    node.ndim = cnp.PyArray_NDIM(array)
    if node.ndim <= INLINE_DIMS:
        node.dims = node.inline_dims
    else:
        node.dims = <npy_intp*>malloc(node.ndim * sizeof(npy_intp))
        if node.dims is NULL:
            raise MemoryError
    for axis in range(node.ndim):
        node.dims[axis] = cnp.PyArray_DIMS(array)[axis]
    return node


cdef Node leaf(ndarray array, bint borrowed):
    """A node that nothing made. A borrowed one shares memory with somebody who may write to it."""
    cdef Node node
    if borrowed:
        array = array.view()  # what tape may not write to; the array itself stays its owner's
    node = new_node(array)
    node.borrowed = borrowed
    cnp.PyArray_CLEARFLAGS(array, cnp.NPY_ARRAY_WRITEABLE)
    return node


cdef bint same_shape(Node a, Node b) noexcept:
    return a.ndim == b.ndim and same_dims(a.dims, b.dims, a.ndim)


@cython.final
@cython.no_gc
cdef class Table:
    """Live nodes by what made them: open addressing over borrowed references.

    A node takes itself out when it dies, so the table never delays a death. A key is made of
    serial numbers and bits (see `op.spell`), never of addresses.
    """

    def __cinit__(self):
        self.capacity = SMALLEST
        self.hashes = <uint64_t*>calloc(self.capacity, sizeof(uint64_t))
        self.nodes = <PyObject**>calloc(self.capacity, sizeof(PyObject*))
        if self.hashes is NULL or self.nodes is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.hashes)
        free(self.nodes)

    cdef PyObject* find(self, uint64_t hash, op, uint64_t* words, int n_words, tuple settings,
                        bint graph, bint recorded) except? NULL:
        """The listed node with this key (a borrowed reference), or NULL."""
        cdef Py_ssize_t at = hash & (self.capacity - 1)
        cdef Node node
        while self.nodes[at] is not NULL:
            if self.hashes[at] == hash:
                node = <Node>self.nodes[at]
                if (node.op is op and node.n_words == n_words and node.requires_grad == graph
                        and (node.operands is not None) == recorded
                        and same_dims(<npy_intp*>node.words, <npy_intp*>words, n_words)
                        and same_setting(node.settings, settings)):
                    return <PyObject*>node
            at = (at + 1) & (self.capacity - 1)
        return NULL

    cdef int insert(self, Node node) except -1:
        """List a node whose key is not listed yet."""
        if 2 * self.used >= self.capacity and not self.resize(2 * self.capacity):
            raise MemoryError
        self.place(node.hash, <PyObject*>node)
        self.used += 1
        node.table = self
        return 0

    cdef void place(self, uint64_t hash, PyObject* node) noexcept:
        cdef Py_ssize_t at = hash & (self.capacity - 1)
        while self.nodes[at] is not NULL:
            at = (at + 1) & (self.capacity - 1)
        self.hashes[at], self.nodes[at] = hash, node

    cdef bint resize(self, Py_ssize_t capacity) noexcept:
        """Move to another capacity, a power of two; False if there is no memory for it."""
        cdef Py_ssize_t i, old_capacity = self.capacity
        cdef uint64_t* old_hashes = self.hashes
        cdef PyObject** old_nodes = self.nodes
        cdef uint64_t* hashes = <uint64_t*>calloc(capacity, sizeof(uint64_t))
        cdef PyObject** nodes = <PyObject**>calloc(capacity, sizeof(PyObject*))
        if hashes is NULL or nodes is NULL:
            free(hashes)
            free(nodes)
            return False
        self.hashes, self.nodes, self.capacity = hashes, nodes, capacity
        for i in range(old_capacity):
            if old_nodes[i] is not NULL:
                self.place(old_hashes[i], old_nodes[i])
        free(old_hashes)
        free(old_nodes)
        return True

    cdef void remove(self, Node node) noexcept:
        """Take a node out and close the gap, so that no search stops short of its goal."""
        cdef Py_ssize_t mask = self.capacity - 1, gap = node.hash & mask, at, home
        while self.nodes[gap] is not <PyObject*>node:
            gap = (gap + 1) & mask
        at = gap
        while True:
            at = (at + 1) & mask
            if self.nodes[at] is NULL:
                break
            home = self.hashes[at] & mask
            # The entry may move into the gap unless its home lies cyclically in (gap, at].
            if (home - gap - 1) & mask >= (at - gap) & mask:
                self.hashes[gap], self.nodes[gap] = self.hashes[at], self.nodes[at]
                gap = at
        self.nodes[gap] = NULL
        self.used -= 1
        if 8 * self.used < self.capacity and self.capacity > SMALLEST:
            self.resize(self.capacity // 2)

    def entries(self) -> list:
        """The listed nodes, spent ones too, oldest first."""
        cdef Py_ssize_t i
        cdef list found = []
        for i in range(self.capacity):
            if self.nodes[i] is not NULL:
                found.append(<Node>self.nodes[i])
        found.sort(key=serial_of)
        return found


def serial_of(Node node):
    return node.serial
