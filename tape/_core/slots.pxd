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
    BACKWARD
    SUM_TO
    CAST
    N_SLOTS


cdef object slot(Slot which)
cdef str slot_name(Slot which)
