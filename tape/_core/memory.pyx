"""Tensors and the memory of arrays: sharing it, and writing to it in place.

Note [Copy on write]
A buffer is written to only by its sole owner: one handle on the node, no consumer, nobody else on
the array. Otherwise the handle is pointed at a new node and whoever held the old value keeps it.
Either way the leaf gets a serial number that no reuse key has ever seen.
"""

cimport numpy as cnp
from libc.stdint cimport uint32_t
from numpy cimport ndarray

import numpy as np

from tape._core.convert cimport admit, owned_array, real_number
from tape._core.node cimport INLINE_WORDS, WRITTEN, Node, leaf, value_of
from tape._core.slots cimport CAST, slot
from tape._core.state cimport current
from tape._core.tensor cimport Tensor, wrap
from tape._core.trace cimport (
    DERIVED, follow, note_choice, note_failure, note_length, note_read,
)

from tape._core.convert import known_dtype
from tape.errors import DTypeError, GradError, TapeError

cnp.import_array()


def asarray(data, dtype=None, *, device=None, copy=None) -> Tensor:
    """A tensor on data: tensors pass through with their gradient, arrays share their memory.

    What depends directly on an array shared this way is computed anew each time, since somebody may
    write to the array; `tensor` copies instead.

    Args:
        data: a tensor, an array, an object with a buffer or `__array__`, numbers nested in lists;
            a complex number whose imaginary part is 0 is the real number.
        dtype: dtype of the tensor, by default that of data, float32 for Python's floats.
        device: None or "cpu".
        copy: True for memory of its own, False for an error where data's cannot be shared.

    Raises:
        DTypeError: data has no supported dtype (objects, strings, complex numbers, float16), tape
            has no such dtype, numbers do not fit it, or a list holds tensors with gradients.
        ShapeError: sequences in the data differ in length.
        ValueError: a copy is needed, which `copy` forbids; device is neither None nor "cpu".

    >>> import numpy as np, tape
    >>> a = np.zeros(2)
    >>> t = tape.asarray(a)
    >>> a[0] = 5
    >>> t.tolist()
    [5.0, 0.0]
    """
    cdef bint fresh
    cdef ndarray array
    if dtype is not None:
        dtype = known_dtype(dtype, "asarray")
    if device is not None and device != "cpu":
        raise ValueError(f"asarray: device: {device!r} is not there, only None or 'cpu'")
    if isinstance(data, Tensor):
        if not copy and (dtype is None or data.dtype == dtype):
            return data
        if copy is False:
            raise ValueError(f"asarray: a {data.dtype} tensor cannot become {dtype} uncopied")
        return slot(CAST)(data, data.dtype if dtype is None else dtype)
    data = real_number(data)
    if copy:
        return wrap(leaf(owned_array(data, dtype), False))
    if dtype is not None and isinstance(data, (list, tuple, float, int)):
        array, fresh = owned_array(data, dtype), True
    else:
        array = admit(data, &fresh)
        if dtype is not None and array.dtype != dtype:
            array, fresh = owned_array(array, dtype), True
    if fresh and copy is False:
        raise ValueError(f"asarray: a {type(data).__name__} cannot become {array.dtype} uncopied")
    return wrap(leaf(array, not fresh))


def operand(data, str name) -> Tensor:
    """asarray(data), whose errors are in the name of the function that takes it."""
    if isinstance(data, Tensor):
        return data
    try:
        return asarray(data)
    except TapeError as error:
        error.op = error.op or name
        raise


def assign(Tensor x, value) -> Tensor:
    """Replace the value, keeping shape, dtype and whether a gradient is wanted.

    Raises:
        ShapeError, DTypeError: value does not fit.
    """
    array = owned_array(value, None)
    if not np.can_cast(array.dtype, x.dtype, "same_kind"):
        raise DTypeError(f"assign: {array.dtype} values do not fit a {x.dtype} tensor")
    with np.errstate(all="ignore"):
        x._become(wrap(leaf(array.astype(x.dtype, copy=False), False)), "assign")
    return x


def copied(Tensor self, memo=None) -> Tensor:
    """A leaf of its own, its gradient too; buffers are shared until somebody writes."""
    if self.node.requires_grad and self.node.anchor is None:
        raise GradError("copy: only leaves can be copied; detach() a computed tensor first")
    cdef Tensor copy = type(self).__new__(type(self))
    cdef ndarray array = value_of(self.node)
    copy.point_to(leaf(array.copy() if self.node.borrowed else array, False))
    if self.node.trace is not None or self.node.anchor is None:
        follow(copy.node, self.node)
    copy._name = self._name
    copy._grad = None if self._grad is None else self._grad.bare()
    return copy.requires_grad_(self.node.requires_grad)


def adopt(ndarray array) -> Tensor:
    """A leaf on a new array that nobody else holds: nothing is copied."""
    cdef int kind = cnp.PyArray_TYPE(array)
    cdef bint _fresh
    if kind != cnp.NPY_FLOAT and kind != cnp.NPY_DOUBLE and kind != cnp.NPY_BOOL:
        array = admit(array, &_fresh)
    return wrap(leaf(array, False))


def glance(Tensor t) -> ndarray:
    """The value as a read-only view, for a look on which nothing that is computed depends."""
    return value_of(t.node).view()


def lengths(x) -> tuple:
    """The shape of a tensor or array, for checks and for what holds for any other lengths too."""
    return (<Tensor>x).node.shape() if isinstance(x, Tensor) else x.shape


def count_on(x, *axes) -> None:
    """Note that what is computed next of a tensor holds for the lengths of these axes alone.

    A recorded section that contains it is not replayed for others. Of arrays nothing is noted.
    """
    cdef Node node
    if isinstance(x, Tensor):
        node = (<Tensor>x).node
        for axis in axes:
            node.counted |= <uint32_t>1 << (axis % node.ndim % 32)


def count_as_read(Tensor t) -> Tensor:
    """Note that lengths of a tensor become numbers, or another tensor's; the tensor."""
    note_length(t.node, "like")
    return t


def refuse_values(Tensor t) -> None:
    """Note that an error is due to a tensor's values: the program may catch it."""
    note_failure(t.node, False)


def look(Tensor t) -> ndarray:
    """The value as a read-only view, for a check that raises and leaves all else as it was."""
    note_read(t.node, "check", None)
    return value_of(t.node).view()


def choose(Tensor t) -> Tensor:
    """Note that values have decided how many elements a result has; the result."""
    note_choice(t.node)
    return t


def unchanged(dict attributes, list views) -> bool:
    """Whether tensors still have the values that they had when `numpy` gave the views.

    Who holds a view keeps its memory from being written to, see Note [Copy on write]. While nothing
    is recorded and the value has no trace this is a glance: the view was a read.

    Args:
        attributes: tensors by name, and others.
        views: (name, what `numpy` gave) of some of them.
    """
    cdef Node node
    cdef ndarray view
    cdef bint recording = current().recording
    for name, view in views:
        held = attributes.get(name)
        if not isinstance(held, Tensor):
            return False
        node = (<Tensor>held).node
        if node.array is None or cnp.PyArray_DATA(node.array) != cnp.PyArray_DATA(view):
            return False
        if recording or node.trace is not None:
            note_read(node, "array", None)
    return True


def origin_of(list sources) -> tuple:
    """Serial numbers of tensors, and whether what comes of them may not be taken for a constant."""
    cdef Tensor t
    cdef bint derived = False
    for t in sources:
        derived |= t.node.trace is not None or t.node.requires_grad
    return [(<Tensor>source).node.serial for source in sources], derived


def written_from(Tensor x, tuple origin) -> None:
    """Note of a leaf that was written to what its value was made of, by `origin_of`."""
    cdef Node node = x.node
    cdef Py_ssize_t i
    serials, derived = origin
    if node.words is NULL:
        node.words = node.inline_words
    node.n_words, node.made = min(len(serials), INLINE_WORDS), WRITTEN
    for i in range(node.n_words):
        node.words[i] = serials[i]
    if derived:
        node.trace = DERIVED


def overwrite(list tensors, update, *args):
    """Run ``update(arrays, *args)`` on the tensors' values as writable arrays.

    The update must check everything before it writes: where a value has other holders it gets a
    copy, and only after it has returned do the handles move. See Note [Copy on write].
    """
    cdef list arrays = [], moved = []
    cdef Tensor t
    cdef ndarray array
    cdef Py_ssize_t i
    try:
        for t in tensors:
            if t.is_sole_owner() and cnp.PyArray_IS_C_CONTIGUOUS(t.node.array):
                array = t.node.array
                moved.append(None)
                arrays.append(array)
                cnp.PyArray_ENABLEFLAGS(array, cnp.NPY_ARRAY_WRITEABLE)
            else:
                array = np.array(value_of(t.node), order="C", copy=True)
                moved.append(array)
                arrays.append(array)
        update(arrays, *args)
    finally:
        for i in range(len(arrays)):  # fewer than there are tensors if memory is short
            if moved[i] is None:
                cnp.PyArray_CLEARFLAGS(<ndarray>arrays[i], cnp.NPY_ARRAY_WRITEABLE)
                (<Tensor>tensors[i]).node.become_leaf()
    for i in range(len(tensors)):
        if moved[i] is not None:
            renew(<Tensor>tensors[i], <ndarray>moved[i])


def gradient_arrays(list tensors) -> tuple[list, int]:
    """The gradients as read-only arrays in C order, or None, and how many there are.

    One that is left from before its tensor was frozen does not count.
    """
    cdef list arrays = []
    cdef Py_ssize_t n = 0
    cdef Tensor t
    for t in tensors:
        if t._grad is None or not t.node.requires_grad:
            arrays.append(None)
        else:
            arrays.append(cnp.PyArray_GETCONTIGUOUS(value_of(t._grad.node)))
            n += 1
    return arrays, n


cdef int renew(Tensor t, ndarray array) except -1:
    """Point t at a new leaf on array that wants a gradient if t did."""
    cdef Node node = leaf(array, False)
    node.requires_grad, node.anchor = t.node.anchor is not None, t.node.anchor
    if node.anchor is not None:
        node.anchor.moved = True
    t.point_to(node)
    return 0
