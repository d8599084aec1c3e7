from numpy cimport ndarray


cdef ndarray admit(data, bint* fresh)
cdef ndarray owned_array(data, dtype)
cdef object numbers(data)
cdef object real_number(data)
