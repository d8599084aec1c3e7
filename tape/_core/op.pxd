from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from numpy cimport ndarray

from tape._core.rule cimport MAX_ARGS, Rule
from tape._core.state cimport State
from tape._kernels.dispatch cimport Kernel

cdef class Op:
    cdef void* vectorcall
    cdef readonly str name
    cdef readonly object forward
    cdef readonly object shape
    cdef readonly tuple shape_settings
    cdef int shape_positions[MAX_ARGS]
    cdef readonly Kernel kernel
    cdef readonly int n_operands
    cdef readonly tuple setting_names
    cdef readonly tuple defaults
    cdef readonly bint differentiable
    cdef readonly bint reuse
    cdef readonly bint linear
    cdef readonly uint64_t serial
    cdef public Rule joint
    cdef public Rule outer
    cdef public list vjps
    cdef public list adders
    cdef public Rule jvp
    cdef public bint foreign
    cdef public bint refuses  # some values, by a LinAlgError
    cdef dict __dict__

    cdef bint has_vjp(self) noexcept
    cdef object ruled_shape(self, tuple operands, tuple settings)
    cdef ndarray checked(self, object y, object ruled, list args)
    cdef ndarray valued(self, State state, tuple operands, tuple settings)
    cdef Rule rule_for(self, Py_ssize_t operand)
    cdef ndarray evaluate(self, State state, tuple operands, tuple settings)
    cdef object run_forward(self, State state, list args, tuple settings)
    cdef tuple settle(self, PyObject** args, Py_ssize_t n_extra, PyObject** named, PyObject* names)


cdef list described_all(Op op, tuple operands, tuple settings)
