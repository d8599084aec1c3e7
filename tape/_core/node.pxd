from cpython.object cimport PyObject, PyTypeObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from numpy cimport ndarray, npy_intp

cdef extern from "Python.h":
    PyTypeObject* Py_TYPE(PyObject*)

cdef enum:
    INLINE_DIMS = 4
    INLINE_WORDS = 4
    COPY = 1
    WRITTEN = 2


cdef class Table:
    cdef uint64_t* hashes
    cdef PyObject** nodes
    cdef Py_ssize_t capacity, used

    cdef PyObject* find(self, uint64_t hash, op, uint64_t* words, int n_words, tuple settings,
                        bint graph, bint recorded) except? NULL
    cdef int insert(self, Node node) except -1
    cdef void remove(self, Node node) noexcept
    cdef void place(self, uint64_t hash, PyObject* node) noexcept
    cdef bint resize(self, Py_ssize_t capacity) noexcept


cdef class Anchor:
    cdef PyObject* tensor
    cdef object hooks
    cdef uint64_t first  # serial number of the value from which on a gradient was wanted
    cdef bint moved  # whether the tensor has had other values since


cdef class Node:
    cdef ndarray array
    cdef object op
    cdef tuple operands
    cdef tuple settings
    cdef tuple recipe
    cdef Anchor anchor
    cdef object adjoints
    cdef object module  # a weak reference to the module that made it, see Note [Marks]
    cdef object marks
    cdef object trace  # see Note [Traces]
    cdef Table table
    cdef uint64_t serial, hash
    cdef uint64_t held
    cdef uint64_t* words
    cdef uint64_t inline_words[INLINE_WORDS]
    cdef npy_intp* dims
    cdef npy_intp inline_dims[INLINE_DIMS]
    cdef PyObject* origin  # a code object, or one in a tuple: see Note [Provenance]
    cdef PyObject* hooks  # a list, see Note [Hooks]
    cdef int n_words, ndim, typenum, holders, n_uses, lasti
    cdef bint requires_grad, borrowed, keeps_own, consumed
    cdef bint used  # by an op that recorded nothing, since nobody had asked for it
    cdef uint32_t counted  # axes on whose lengths tape's own code counted, see Note [Reads]
    cdef int made  # of a leaf: COPY of what was computed, WRITTEN into
    cdef float seconds  # that it took to compute, on a tape of one's own
    cdef Py_ssize_t mark

    cdef tuple shape(self)
    cdef void release(self) noexcept
    cdef void remember(self, tuple operands) noexcept
    cdef void forget_recipe(self) noexcept
    cdef void forget_origin(self) noexcept
    cdef void forget_hooks(self) noexcept
    cdef void unlist(self) noexcept
    cdef void consume(self) noexcept
    cdef void let_go(self) noexcept
    cdef void become_leaf(self) noexcept
    cdef void comes_from(self, Node source) noexcept
    cdef int key(self, uint64_t hash, uint64_t* words, int n_words) except -1


cdef inline bint is_node(PyObject* x) noexcept:
    return Py_TYPE(x) is <PyTypeObject*>Node


cdef inline bint hold_all(tuple operands) noexcept:
    """Hold the operands' values; whether one of them has none, see Note [Spent nodes]."""
    cdef Py_ssize_t i
    cdef PyObject* at
    cdef bint some_spent = False
    for i in range(PyTuple_GET_SIZE(operands)):
        at = PyTuple_GET_ITEM(operands, i)
        if is_node(at):
            (<Node>at).holders += 1
            some_spent |= (<Node>at).array is None
    return some_spent


cdef inline void release_all(tuple operands) noexcept:
    cdef Py_ssize_t i
    cdef PyObject* at
    for i in range(PyTuple_GET_SIZE(operands)):
        at = PyTuple_GET_ITEM(operands, i)
        if is_node(at):
            if (<Node>at).holders > 1:
                (<Node>at).holders -= 1
            else:
                (<Node>at).release()


ctypedef int (*Reviver)(Node) except -1

cdef void set_reviver(Reviver function) noexcept
cdef ndarray revived(Node node)
cdef inline ndarray value_of(Node node):
    """The value of a node that a handle stands on; see Note [Spent nodes]."""
    return node.array if node.array is not None else revived(node)


cdef Node leaf(ndarray array, bint borrowed)
cdef Node new_node(ndarray array)
cdef uint64_t next_serial() noexcept
cdef bint same_shape(Node a, Node b) noexcept
