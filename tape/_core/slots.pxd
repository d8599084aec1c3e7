from cpython.object cimport PyObject

cdef enum Slot:
    ADD
    SUBTRACT
    MULTIPLY
    DIVIDE
    FLOOR_DIVIDE
    REMAINDER
    POWER
    MATMUL
    AND
    OR
    XOR
    LEFT_SHIFT
    RIGHT_SHIFT
    NEGATIVE
    POSITIVE
    ABS
    INVERT
    LESS
    LESS_EQUAL
    EQUAL
    NOT_EQUAL
    GREATER
    GREATER_EQUAL
    GET_ITEM
    SET_ITEM
    PERMUTE
    MATRIX_TRANSPOSE
    SUM_TO
    CAST
    N_SLOTS


# What calling an op does: (op, operands and settings, how many, names of the last ones).
ctypedef object (*Door)(object, PyObject**, size_t, PyObject*)

cdef void open_door(Door function) noexcept
cdef Door door() noexcept
cdef object call_slot(Slot which, PyObject** args, size_t n)
cdef object slot(Slot which)
cdef str slot_name(Slot which)
