from libc.stdint cimport uint64_t

from tape._core.node cimport Node
from tape._core.rule cimport Rule

cdef enum:
    STACK_WORDS = 32  # a key longer than this is spelled on the heap


cdef uint64_t* spell(tuple operands, uint64_t* words, int* n_words) except NULL
cdef int record(Node node, tuple operands, Rule outer, Rule joint, list vjps,
                Rule jvp, bint graph, bint traced) except -1
