"""Names for values, and values without their graph."""

from tape._core.node cimport Node, leaf, value_of
from tape._core.tensor cimport Tensor, wrap
from tape._core.trace cimport Trace, follow, is_traced, mark


def named(Tensor self, name) -> Tensor:
    """Give the value a name, and record all that depends on it from now on; the tensor itself.

    By the name `tape.graph.find` finds it again. What is computed from it is recorded even if no
    gradient asks for that, and what the program reads of it is noted, for `tape.clone_function` and
    its kin. A value may have several names. A tensor that shares the memory of an array gets memory
    of its own.

    Raises:
        TypeError, ValueError: the name is no string, or empty.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0]).named("features")
    >>> tape.graph.find((x * 2).sum(), "features").tolist()
    [1.0, 2.0]
    """
    cdef Node node = self.node
    if not isinstance(name, str):
        raise TypeError(f"named: a name is a string, got a {type(name).__name__}")
    if not name:
        raise ValueError("named: the name is empty")
    if node.borrowed:
        self.point_to(leaf(value_of(node).copy(), False))
        node = self.node
    if not is_traced(node.trace):
        node.trace = Trace()
    mark(node, name)
    self._name = name
    return self


def detach(Tensor self) -> Tensor:
    """A new leaf on the same buffer: no gradient flows through it."""
    cdef Node node = leaf(value_of(self.node), self.node.borrowed)
    follow(node, self.node)
    node.marks = None  # which are those of the other value
    return wrap(node)
