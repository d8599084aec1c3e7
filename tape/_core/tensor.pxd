from numpy cimport ndarray

from tape._core.node cimport Anchor, Node


cdef class Tensor:
    cdef Node node
    cdef Anchor anchor
    cdef Tensor _grad
    cdef readonly object _name
    cdef object __weakref__

    cdef Tensor bare(self)
    cdef ndarray read(self, str what)
    cdef ndarray single(self, str what)
    cdef void point_to(self, Node node) noexcept
    cdef bint is_sole_owner(self) noexcept


cdef Tensor wrap(Node node)
