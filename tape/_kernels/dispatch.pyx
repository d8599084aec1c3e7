"""The typed door to the loops: dtype and shape are settled here, then one C function runs.

Behind the door stand, for now, NumPy's own compiled inner loops: each ufunc publishes them (with
the SIMD variant NumPy chose for this machine), and calling one costs nanoseconds where calling the
ufunc costs a quarter of a microsecond. They neither warn nor touch NumPy's error state. A kernel of
our own takes a loop's place in the table without anybody noticing.
"""

cimport numpy as cnp
from libc.string cimport memcpy, memset
from numpy cimport (
    NPY_BOOL, NPY_DOUBLE, NPY_FLOAT, NPY_INT64, NPY_UINT64, PyArray_BYTES, PyArray_DIM,
    PyArray_DIMS, PyArray_NDIM, PyArray_SIZE, PyArray_STRIDES, PyArray_TYPE,
    ndarray, npy_intp, ufunc,
)

import numpy as np

from tape._kernels.freelist cimport empty
from tape._kernels.strides cimport (
    MAX_DIMS, RELEASE_ABOVE, InnerLoop, Strides, broadcast, check_loop, run, same_dims,
    strides_under,
)

cnp.import_array()
cnp.import_ufunc()

cdef extern from "numpy/arrayobject.h":
    object PyArray_Cast(ndarray, int)


cdef bint side_by_side(ndarray x, ndarray y) noexcept:
    """Whether the elements of both lie in the same order without gaps."""
    return (PyArray_NDIM(x) == PyArray_NDIM(y)
            and same_dims(PyArray_DIMS(x), PyArray_DIMS(y), PyArray_NDIM(x))
            and cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_IS_C_CONTIGUOUS(y))


cdef bint is_float(int typenum) noexcept:
    return typenum == NPY_FLOAT or typenum == NPY_DOUBLE


cdef ndarray cast(ndarray x, int typenum):
    """x itself if it has that dtype, else a converted copy."""
    return x if PyArray_TYPE(x) == typenum else <ndarray>PyArray_Cast(x, typenum)


cdef bint scalar_bits(scalar, int typenum, char* bits) except -1:
    """Write a Python number as one element of the dtype; False if it does not fit."""
    cdef ndarray element
    try:
        if typenum == NPY_FLOAT:
            (<float*>bits)[0] = <float><double>scalar
        elif typenum == NPY_DOUBLE:
            (<double*>bits)[0] = <double>scalar
        else:
            element = np.asarray(scalar, dtype=cnp.PyArray_DescrFromType(typenum))
            memcpy(bits, PyArray_BYTES(element), cnp.PyArray_ITEMSIZE(element))
    except OverflowError:
        return False
    return True


cdef class Kernel:
    """What an op may run instead of its Python body: arrays (and numbers) in, a new array out.

    Each returns None when shapes, dtypes or settings are not its own: the body then runs, or finds
    the right words. `unary` and `binary` serve ops of one and two operands without settings.
    """

    cdef ndarray unary(self, ndarray x):
        return None

    cdef ndarray binary(self, a, b):
        return None

    cdef ndarray settled(self, list operands, tuple settings):
        return None


cdef bint in_floats(x) noexcept:
    return is_float(PyArray_TYPE(<ndarray>x)) if isinstance(x, ndarray) else type(x) is float


cdef class Loop(Kernel):
    """The inner loops of one ufunc, by dtype: arrays (or an array and a number) in, array out.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: no loop takes the dtype.
    """

    def __cinit__(self, ufunc function):
        cdef int i, typenum
        cdef int n = function.nin + function.nout
        self.ufunc = function
        self.nin = function.nin
        self.identity = 0 if function is np.add else 1 if function is np.multiply else -1
        for i in range(24):
            self.inner[i] = NULL
            self.out_type[i] = -1
        # As "dd->d": the C fields of the same name went from one NumPy to the next.
        loops = [text.replace("->", "") for text in (<object>function).types]
        for i in range(len(loops)):
            typenum = np.dtype(loops[i][0]).num
            if typenum >= 24 or (self.nin == 2 and loops[i][1] != loops[i][0]):
                continue
            if self.inner[typenum] == NULL and function.functions[i] != NULL:
                self.inner[typenum] = <InnerLoop><void*>function.functions[i]
                self.data[typenum] = function.data[i]
                self.out_type[typenum] = np.dtype(loops[i][n - 1]).num
                if cnp.PyTypeNum_ISINTEGER(typenum):
                    self.on_integers = True

    def __call__(self, *operands):
        if len(operands) != self.nin:
            raise TypeError(f"{self!r} takes {self.nin} operands, got {len(operands)}")
        cdef ndarray y
        if self.nin == 1:
            y = self.unary(operands[0])
        else:
            y = self.binary(operands[0], operands[1])
        if y is not None:
            return y
        np.broadcast_shapes(*(np.shape(x) for x in operands))
        raise TypeError(f"{self!r} has no loop for {[np.result_type(x).name for x in operands]}")

    def __repr__(self):
        return f"Loop({self.ufunc.__name__})"

    cdef int usable(self, int typenum) noexcept:
        """The dtype to compute in: the operands' own, float64 for integers, or -1 for none."""
        if typenum < 24 and self.inner[typenum] != NULL:
            return typenum
        if not self.on_integers and not is_float(typenum) and self.inner[<int>NPY_DOUBLE] != NULL:
            return NPY_DOUBLE
        return -1

    cdef ndarray flat(self, int typenum, ndarray like, char* a, npy_intp step_a, char* b,
                      npy_intp step_b):
        """f over one run of elements, operands contiguous or one element; shaped as `like`.

        What nearly every call is; it skips the general walk. `b` is NULL for a unary loop.
        """
        cdef ndarray out = empty(PyArray_NDIM(like), PyArray_DIMS(like), self.out_type[typenum])
        cdef npy_intp n = PyArray_SIZE(like)
        cdef char* args[3]
        cdef npy_intp steps[3]
        cdef int last = 1 if b is NULL else 2
        args[0], args[1], args[last] = a, b, PyArray_BYTES(out)
        steps[0], steps[1], steps[last] = step_a, step_b, cnp.PyArray_ITEMSIZE(out)
        if n > RELEASE_ABOVE:
            with nogil:
                self.inner[typenum](args, &n, steps, self.data[typenum])
        elif n:
            self.inner[typenum](args, &n, steps, self.data[typenum])
        if self.on_integers:
            check_loop()
        return out

    cdef ndarray unary(self, ndarray x):
        """f(x), or None if there is no loop for the dtype."""
        cdef int typenum = self.usable(PyArray_TYPE(x))
        cdef Strides w
        cdef ndarray y
        if typenum < 0:
            return None
        x = cast(x, typenum)
        if cnp.PyArray_IS_C_CONTIGUOUS(x):
            return self.flat(typenum, x, PyArray_BYTES(x), cnp.PyArray_ITEMSIZE(x), NULL, 0)
        w.ndim = PyArray_NDIM(x)
        w.n_operands = 2
        y = empty(w.ndim, PyArray_DIMS(x), self.out_type[typenum])
        w.start[0], w.start[1] = PyArray_BYTES(x), PyArray_BYTES(y)
        memcpy(w.dims, PyArray_DIMS(x), w.ndim * sizeof(npy_intp))
        memcpy(w.strides[0], PyArray_STRIDES(x), w.ndim * sizeof(npy_intp))
        memcpy(w.strides[1], PyArray_STRIDES(y), w.ndim * sizeof(npy_intp))
        run(&w, self.inner[typenum], self.data[typenum], PyArray_SIZE(y))
        return y

    cdef ndarray binary(self, a, b):
        """f(a, b), or None if the shapes do not broadcast or there is no loop for the dtypes."""
        cdef ndarray x, y, out
        cdef int typenum
        cdef Strides w
        cdef char bits[16]
        if not isinstance(a, ndarray):
            if not isinstance(b, ndarray):
                a = np.asarray(a, np.float32 if type(a) is float else None)
                return self.binary(a, b)
            y = <ndarray>b
            typenum = self.weak(a, y)
            if typenum < 0:
                return None
            y = cast(y, typenum)
            if not scalar_bits(a, typenum, bits):
                return None
            if cnp.PyArray_IS_C_CONTIGUOUS(y):
                return self.flat(typenum, y, bits, 0, PyArray_BYTES(y), cnp.PyArray_ITEMSIZE(y))
            w.ndim = PyArray_NDIM(y)
            memcpy(w.dims, PyArray_DIMS(y), w.ndim * sizeof(npy_intp))
            memset(w.strides[0], 0, w.ndim * sizeof(npy_intp))
            memcpy(w.strides[1], PyArray_STRIDES(y), w.ndim * sizeof(npy_intp))
            w.start[0], w.start[1] = bits, PyArray_BYTES(y)
        elif not isinstance(b, ndarray):
            x = <ndarray>a
            typenum = self.weak(b, x)
            if typenum < 0:
                return None
            x = cast(x, typenum)
            if not scalar_bits(b, typenum, bits):
                return None
            if cnp.PyArray_IS_C_CONTIGUOUS(x):
                return self.flat(typenum, x, PyArray_BYTES(x), cnp.PyArray_ITEMSIZE(x), bits, 0)
            w.ndim = PyArray_NDIM(x)
            memcpy(w.dims, PyArray_DIMS(x), w.ndim * sizeof(npy_intp))
            memcpy(w.strides[0], PyArray_STRIDES(x), w.ndim * sizeof(npy_intp))
            memset(w.strides[1], 0, w.ndim * sizeof(npy_intp))
            w.start[0], w.start[1] = PyArray_BYTES(x), bits
        else:
            x, y = <ndarray>a, <ndarray>b
            typenum = PyArray_TYPE(x)
            if typenum != PyArray_TYPE(y):
                typenum = np.promote_types(x.dtype, y.dtype).num
            typenum = self.usable(typenum)
            if typenum < 0:
                return None
            x, y = cast(x, typenum), cast(y, typenum)
            if side_by_side(x, y):
                return self.flat(typenum, x, PyArray_BYTES(x), cnp.PyArray_ITEMSIZE(x),
                                 PyArray_BYTES(y), cnp.PyArray_ITEMSIZE(y))
            w.ndim = broadcast(x, y, 0, w.dims)
            if w.ndim < 0:
                return None
            strides_under(x, 0, w.ndim, w.strides[0])
            strides_under(y, 0, w.ndim, w.strides[1])
            w.start[0], w.start[1] = PyArray_BYTES(x), PyArray_BYTES(y)
        out = empty(w.ndim, w.dims, self.out_type[typenum])
        w.n_operands = 3
        w.start[2] = PyArray_BYTES(out)
        memcpy(w.strides[2], PyArray_STRIDES(out), w.ndim * sizeof(npy_intp))
        run(&w, self.inner[typenum], self.data[typenum], PyArray_SIZE(out))
        return out

    cdef int weak(self, scalar, ndarray x) except -2:
        """dtype of f(x, scalar): a Python number only raises the kind, never the width (NEP 50)."""
        cdef int typenum = PyArray_TYPE(x)
        if type(scalar) is float:
            if not is_float(typenum):
                typenum = NPY_DOUBLE
        elif typenum == NPY_BOOL and type(scalar) is not bool:
            typenum = NPY_INT64
        return self.usable(typenum)

    cdef ndarray reduce(self, ndarray x, unsigned long axes, bint keepdims):
        """Fold a binary loop over the axes whose bits are set; add starts at 0, multiply at 1.

        Other loops start at the first element, of which f(a, a) = a must hold; their caller refuses
        empty axes. None if no loop takes the dtype.
        """
        cdef int typenum = PyArray_TYPE(x), axis, n_kept = 0, ndim = PyArray_NDIM(x)
        cdef npy_intp kept[MAX_DIMS]
        cdef npy_intp full[MAX_DIMS]
        cdef Strides w
        cdef ndarray y
        if self.identity >= 0 and not is_float(typenum):
            typenum = NPY_UINT64 if cnp.PyTypeNum_ISUNSIGNED(typenum) else NPY_INT64
        typenum = self.usable(typenum)
        if typenum < 0:
            return None
        x = cast(x, typenum)
        w.ndim, w.n_operands = ndim, 3
        for axis in range(ndim):
            w.dims[axis] = PyArray_DIM(x, axis)
            w.strides[1][axis] = PyArray_STRIDES(x)[axis]
            full[axis] = 1 if axes >> axis & 1 else w.dims[axis]
            if not axes >> axis & 1:
                kept[n_kept] = w.dims[axis]
                n_kept += 1
        if keepdims:
            y = empty(ndim, full, typenum)
        else:
            y = empty(n_kept, kept, typenum)
        n_kept = 0
        for axis in range(ndim):
            if axes >> axis & 1:
                w.strides[0][axis] = 0
            else:
                w.strides[0][axis] = PyArray_STRIDES(y)[axis if keepdims else n_kept]
                n_kept += 1
            w.strides[2][axis] = w.strides[0][axis]
        w.start[0] = w.start[2] = PyArray_BYTES(y)
        w.start[1] = PyArray_BYTES(x)
        if self.identity == 0:
            memset(PyArray_BYTES(y), 0, cnp.PyArray_NBYTES(y))
        elif self.identity == 1:
            cnp.PyArray_FillWithScalar(y, 1)
        else:
            self.copy_first(&w, full, typenum)
        run(&w, self.inner[typenum], self.data[typenum], PyArray_SIZE(x))
        return y

    cdef int copy_first(self, const Strides* w, const npy_intp* full, int typenum) except -1:
        """Write f(a, a) = a to the result of a fold, a being the first element along its axes."""
        cdef Strides first = w[0]
        memcpy(first.dims, full, w.ndim * sizeof(npy_intp))
        memcpy(first.strides[0], w.strides[1], w.ndim * sizeof(npy_intp))
        first.start[0] = w.start[1]
        return run(&first, self.inner[typenum], self.data[typenum], 0)

    cdef int accumulate(self, ndarray into, ndarray x) except -1:
        """into = f(into, x) in place; both of one dtype, x broadcasts to the shape of `into`."""
        cdef int typenum = PyArray_TYPE(into)
        cdef npy_intp n = PyArray_SIZE(into)
        cdef npy_intp steps[3]
        cdef char* args[3]
        cdef Strides w
        if n <= RELEASE_ABOVE and side_by_side(into, x):
            args[0] = args[2] = PyArray_BYTES(into)
            args[1] = PyArray_BYTES(x)
            steps[0] = steps[1] = steps[2] = cnp.PyArray_ITEMSIZE(into)
            self.inner[typenum](args, &n, steps, self.data[typenum])
            return check_loop()
        w.ndim, w.n_operands = PyArray_NDIM(into), 3
        memcpy(w.dims, PyArray_DIMS(into), w.ndim * sizeof(npy_intp))
        memcpy(w.strides[0], PyArray_STRIDES(into), w.ndim * sizeof(npy_intp))
        strides_under(x, 0, w.ndim, w.strides[1])
        memcpy(w.strides[2], PyArray_STRIDES(into), w.ndim * sizeof(npy_intp))
        w.start[0] = w.start[2] = PyArray_BYTES(into)
        w.start[1] = PyArray_BYTES(x)
        run(&w, self.inner[typenum], self.data[typenum], PyArray_SIZE(into))
        return 0

    def apply(self, ndarray into not None, x):
        """into = f(into, x) in place, into being a new array in C order that nobody else has seen.

        Args:
            x: a number, or an array of into's dtype that broadcasts to its shape.

        Returns:
            into.

        Raises:
            ValueError: the dtypes differ, x does not broadcast, or into is not in C order.
        """
        cdef int typenum = PyArray_TYPE(into)
        cdef npy_intp n = PyArray_SIZE(into)
        cdef npy_intp dims[MAX_DIMS]
        cdef npy_intp steps[3]
        cdef char bits[16]
        cdef char* args[3]
        if (self.nin != 2 or self.usable(typenum) != typenum or self.out_type[typenum] != typenum
                or not cnp.PyArray_ISCARRAY(into)):
            raise ValueError(f"{self!r}: not in place on {into.dtype} {(<object>into).strides}")
        if not isinstance(x, ndarray):
            if not scalar_bits(x, typenum, bits):
                raise ValueError(f"{self!r}: {x} does not fit {into.dtype}")
            args[0], args[1], args[2] = PyArray_BYTES(into), bits, PyArray_BYTES(into)
            steps[0], steps[1], steps[2] = cnp.PyArray_ITEMSIZE(into), 0, cnp.PyArray_ITEMSIZE(into)
            self.inner[typenum](args, &n, steps, self.data[typenum])
            check_loop()
            return into
        if (PyArray_TYPE(<ndarray>x) != typenum
                or broadcast(into, <ndarray>x, 0, dims) != PyArray_NDIM(into)
                or not same_dims(dims, PyArray_DIMS(into), PyArray_NDIM(into))):
            raise ValueError(f"{self!r}: {x.dtype} {x.shape} does not fit {(<object>into).shape}")
        self.accumulate(into, <ndarray>x)
        return into


cdef class FloatLoop(Loop):
    """A Loop for operands of which one is floating point: those of integers are the op's."""

    cdef ndarray binary(self, a, b):
        return Loop.binary(self, a, b) if in_floats(a) or in_floats(b) else None
