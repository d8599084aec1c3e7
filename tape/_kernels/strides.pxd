from numpy cimport ndarray, npy_intp

ctypedef void (*InnerLoop)(char**, npy_intp*, npy_intp*, void*) noexcept nogil

cdef enum:
    MAX_DIMS = 64
    MAX_OPERANDS = 3
    RELEASE_ABOVE = 32768  # fewer elements are done before releasing the GIL would have paid


cdef struct Strides:
    # A loop over `ndim` axes (the last one innermost) of up to three strided operands. A matrix
    # product adds core axes: their lengths (m, k, n) and two steps for each operand.
    int ndim
    int n_operands
    npy_intp dims[MAX_DIMS]
    npy_intp strides[MAX_OPERANDS][MAX_DIMS]
    char* start[MAX_OPERANDS]
    npy_intp core_dims[3]
    npy_intp core_steps[6]


cdef inline bint same_dims(const npy_intp* a, const npy_intp* b, int ndim) noexcept nogil:
    """Whether two shapes of ndim axes agree."""
    cdef int axis
    for axis in range(ndim):
        if a[axis] != b[axis]:
            return False
    return True


cdef int check_loop() except -1
cdef int run(Strides* w, InnerLoop inner, void* data, npy_intp size) except -1
cdef void strides_under(ndarray x, int core, int ndim, npy_intp* strides) noexcept
cdef int broadcast(ndarray a, ndarray b, int core, npy_intp* dims) noexcept
