from libc.stdint cimport uint64_t


cdef object frozen(setting)
cdef bint same_setting(a, b) except -1
cdef uint64_t digest(setting) except? 0
cdef uint64_t digest_of(str op, tuple names, tuple settings) except? 0
cdef inline uint64_t mix(uint64_t h, uint64_t word) noexcept:
    h = (h ^ word) * 0x9E3779B97F4A7C15u
    return h ^ (h >> 29)
