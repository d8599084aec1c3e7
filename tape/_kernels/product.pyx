"""Matrix products: of floats by the C kernels, of integers by NumPy's loops."""

cimport numpy as cnp
from libc.string cimport memcpy, memset
from numpy cimport (
    PyArray_BYTES, PyArray_DIM, PyArray_DIMS, PyArray_ITEMSIZE, PyArray_NDIM, PyArray_SIZE,
    PyArray_STRIDES, PyArray_TYPE, ndarray, npy_intp,
)

import numpy as np

from tape._kernels.arrays cimport in_order, product
from tape._kernels.dispatch cimport Kernel, Loop, cast, is_float
from tape._kernels.ending cimport end_in
from tape._kernels.freelist cimport empty
from tape._kernels.strides cimport MAX_DIMS, Strides, broadcast, run, same_dims, strides_under
from tape._kernels.table cimport TAPE_DOUBLE, TAPE_FLOAT, kernels, tape_product

cnp.import_array()


cdef enum:
    A_LIKE_AN_ELEMENT = 100  # multiply-adds that take as long as a number of an elementwise loop


cdef void multiply(char** args, npy_intp* lengths, npy_intp* steps, void* data) noexcept nogil:
    """A stack of products of floats, called as NumPy calls its loop for np.matmul."""
    cdef Fused* fused = <Fused*>data
    cdef npy_intp size = 4 if fused.kind == TAPE_FLOAT else 8
    cdef tape_product* p = &fused.product
    p.m, p.k, p.n = lengths[1], lengths[2], lengths[3]
    p.a, p.b, p.c = args[0], args[1], args[2]
    p.a_row, p.a_col = steps[3] // size, steps[4] // size
    p.b_row, p.b_col = steps[5] // size, steps[6] // size
    p.c_row = steps[7] // size
    fused.failed |= kernels().multiply[fused.kind](
        p, lengths[0], steps[0] // size, steps[1] // size, steps[2] // size)


cdef class MatrixProduct(Kernel):
    """a @ b as np.matmul defines it, stacks of matrices broadcast, 1-d operands included."""

    def __cinit__(self):
        self.loop = Loop(np.matmul)

    def __call__(self, a, b):
        return self.binary(a, b)

    cdef bint takes(self, ndarray x, ndarray y) noexcept:
        """Whether there is a loop for the dtype of both."""
        return PyArray_TYPE(x) == PyArray_TYPE(y) and self.loop.inner[PyArray_TYPE(x)] != NULL

    cdef ndarray binary(self, a, b):
        cdef ndarray x, y, out
        cdef Strides w
        cdef int typenum, axis, nx, ny
        if not isinstance(a, ndarray) or not isinstance(b, ndarray):
            return None
        x, y = plain(<ndarray>a), plain(<ndarray>b)
        nx, ny = PyArray_NDIM(x), PyArray_NDIM(y)
        typenum = PyArray_TYPE(x)
        if typenum != PyArray_TYPE(y) and (is_float(typenum) or is_float(PyArray_TYPE(y))):
            typenum = np.promote_types(x.dtype, y.dtype).num
            x, y = cast(x, typenum), cast(y, typenum)
        if not nx or not ny or not self.takes(x, y):
            return by_numpy(x, y)
        if nx == 1 or ny == 1:
            return self.with_vector(x, y) if is_float(typenum) else by_numpy(x, y)
        if PyArray_DIM(x, nx - 1) != PyArray_DIM(y, ny - 2):
            return None
        if ny == 2 and (nx == 2 or cnp.PyArray_IS_C_CONTIGUOUS(x)):
            return self.tall(x, y, PyArray_STRIDES(y)[0], PyArray_STRIDES(y)[1], PyArray_DIM(y, 1),
                             None, None, None)
        w.ndim = broadcast(x, y, 2, w.dims)
        if w.ndim < 0:
            return None
        w.core_dims[0] = PyArray_DIM(x, nx - 2)
        w.core_dims[1] = PyArray_DIM(x, nx - 1)
        w.core_dims[2] = PyArray_DIM(y, ny - 1)
        w.dims[w.ndim], w.dims[w.ndim + 1] = w.core_dims[0], w.core_dims[2]
        out = result("matmul", w.ndim + 2, w.dims, self.loop.out_type[typenum])
        strides_under(x, 2, w.ndim, w.strides[0])
        strides_under(y, 2, w.ndim, w.strides[1])
        strides_under(out, 2, w.ndim, w.strides[2])
        for axis in range(2):
            w.core_steps[axis] = PyArray_STRIDES(x)[nx - 2 + axis]
            w.core_steps[2 + axis] = PyArray_STRIDES(y)[ny - 2 + axis]
        self.into(out, &w, x, y, None, None, None)
        return out

    cdef ndarray with_vector(self, ndarray x, ndarray y):
        """x @ y of floats, of which at least one has one axis: x is then a row, y a column."""
        cdef int nx = PyArray_NDIM(x), ny = PyArray_NDIM(y), ndim = 0, axis
        cdef npy_intp dims[MAX_DIMS]
        cdef Strides w
        cdef ndarray out
        w.ndim = 0
        w.core_dims[0], w.core_dims[1], w.core_dims[2] = 1, PyArray_DIM(x, nx - 1), 1
        if w.core_dims[1] != PyArray_DIM(y, 0 if ny == 1 else ny - 2):
            return None
        w.core_steps[0], w.core_steps[1] = 0, PyArray_STRIDES(x)[nx - 1]
        w.core_steps[2], w.core_steps[3] = PyArray_STRIDES(y)[0], PyArray_ITEMSIZE(y)
        if nx > 1 and cnp.PyArray_IS_C_CONTIGUOUS(x):
            for ndim in range(nx - 1):  # all rows are those of one matrix
                dims[ndim] = PyArray_DIM(x, ndim)
                w.core_dims[0] *= dims[ndim]
            ndim = nx - 1
            row_steps(x, w.core_steps)
            memset(w.strides, 0, sizeof(w.strides))
        else:
            w.ndim = max(nx, ny) - 2 if nx > 1 or ny > 1 else 0
            for axis in range(w.ndim):
                dims[axis] = w.dims[axis] = PyArray_DIM(x if nx > 1 else y, axis)
            ndim = w.ndim
            if nx > 1:
                w.core_dims[0] = dims[ndim] = PyArray_DIM(x, nx - 2)
                w.core_steps[0] = PyArray_STRIDES(x)[nx - 2]
                ndim += 1
            if ny > 1:
                w.core_dims[2] = dims[ndim] = PyArray_DIM(y, ny - 1)
                w.core_steps[2], w.core_steps[3] = (
                    PyArray_STRIDES(y)[ny - 2], PyArray_STRIDES(y)[ny - 1])
                ndim += 1
            strides_under(x, min(nx, 2), w.ndim, w.strides[0])
            strides_under(y, min(ny, 2), w.ndim, w.strides[1])
        out = result("matmul", ndim, dims, PyArray_TYPE(x))
        if w.ndim:
            strides_under(out, 1, w.ndim, w.strides[2])
        self.into(out, &w, x, y, None, None, None)
        return out

    cdef int into(self, ndarray out, Strides* w, ndarray x, ndarray y, ndarray b, ndarray r,
                  activation) except -1:
        """Run the loop; `w` says how to step through x and y.

        If given, b is added to every row and r, whose rows are contiguous, to the result.
        """
        cdef int typenum = PyArray_TYPE(x)
        cdef Fused fused
        cdef npy_intp size = PyArray_SIZE(out) * (1 + w.core_dims[1] // A_LIKE_AN_ELEMENT)
        w.n_operands = 3
        w.start[0], w.start[1] = PyArray_BYTES(x), PyArray_BYTES(y)
        w.start[2] = PyArray_BYTES(out)
        w.core_steps[4] = PyArray_ITEMSIZE(out) * w.core_dims[2]
        w.core_steps[5] = PyArray_ITEMSIZE(out)
        if not is_float(typenum):
            return run(w, self.loop.inner[typenum], self.loop.data[typenum], size)
        memset(&fused, 0, sizeof(Fused))
        fused.kind = TAPE_FLOAT if typenum == cnp.NPY_FLOAT else TAPE_DOUBLE
        if b is not None:
            fused.product.column_bias = PyArray_BYTES(b)
        if r is not None:
            fused.product.residual = PyArray_BYTES(r)
            fused.product.residual_row = PyArray_DIM(r, PyArray_NDIM(r) - 1)
        if activation is not None:
            end_in(activation, fused.kind, &fused.ending)
            fused.product.activation = fused.ending.activation
            fused.product.slope = fused.ending.slope
            fused.product.row_work = fused.ending.row_work
            fused.product.row_context = &fused.ending
        run(w, multiply, &fused, size)
        if fused.failed:
            raise MemoryError
        return 0

    cdef ndarray tall(self, ndarray x, ndarray y, npy_intp down, npy_intp right, npy_intp n,
                      ndarray b, ndarray r, activation):
        """x (..., k) times one matrix y (k, n), whose steps are given, in one, plus b and r.

        x is a matrix, or a stack in C order, whose rows are those of one tall matrix.
        """
        cdef Strides w
        cdef npy_intp dims[MAX_DIMS]
        cdef int ndim = PyArray_NDIM(x), axis
        cdef ndarray out
        memcpy(dims, PyArray_DIMS(x), ndim * sizeof(npy_intp))
        dims[ndim - 1] = n
        w.ndim = 0
        w.core_dims[0], w.core_dims[1], w.core_dims[2] = 1, PyArray_DIM(x, ndim - 1), n
        for axis in range(ndim - 1):
            w.core_dims[0] *= dims[axis]
        row_steps(x, w.core_steps)
        w.core_steps[2], w.core_steps[3] = down, right
        out = result("matmul", ndim, dims, self.loop.out_type[PyArray_TYPE(x)])
        if r is not None:
            r = stretched(r, out)
            if r is None:
                return None
        self.into(out, &w, x, y, b, r, activation)
        return out


cdef class Linear(MatrixProduct):
    """x (..., k) @ w (n, k).T + b (n), or 0 for b, and the activation that the first setting names.

    A fourth operand is added before the activation. Other operands are left to the op.
    """

    def __call__(self, x, w, b):
        """The product, or None if it is left to the op."""
        return self.settled([x, w, b], ())

    cdef ndarray settled(self, list operands, tuple settings):
        cdef ndarray x, w, b = None, r = None
        cdef object bias = operands[2]
        cdef bint biased = isinstance(bias, ndarray)
        cdef npy_intp n
        if (not isinstance(operands[0], ndarray) or not isinstance(operands[1], ndarray)
                or not (biased or (type(bias) is int and bias == 0))):
            return None
        x, w = plain(<ndarray>operands[0]), plain(<ndarray>operands[1])
        n = PyArray_NDIM(x)
        if (n < 1 or PyArray_NDIM(w) != 2 or PyArray_DIM(x, n - 1) != PyArray_DIM(w, 1)
                or not self.takes(x, w) or len(settings) and not is_float(PyArray_TYPE(x))):
            return None
        if biased:
            b = <ndarray>bias
            if (PyArray_NDIM(b) != 1 or PyArray_DIM(b, 0) != PyArray_DIM(w, 0)
                    or PyArray_TYPE(b) != PyArray_TYPE(x) or not is_float(PyArray_TYPE(x))):
                return None
            b = cnp.PyArray_GETCONTIGUOUS(plain(b))
        if len(operands) > 3:
            if not isinstance(operands[3], ndarray):
                return None
            r = plain(<ndarray>operands[3])
            if PyArray_TYPE(r) != PyArray_TYPE(x) or not is_float(PyArray_TYPE(x)):
                return None
        if n > 2:
            x = cnp.PyArray_GETCONTIGUOUS(x)
        return self.tall(x, w, PyArray_STRIDES(w)[1], PyArray_STRIDES(w)[0], PyArray_DIM(w, 0), b,
                         r, settings[0] if len(settings) else None)


cdef class OuterSum(MatrixProduct):
    """The outer products a[r] b[r].T, summed over all rows r; mixed dtypes are left to the op."""

    cdef ndarray binary(self, a, b):
        cdef Strides w
        cdef npy_intp dims[2]
        cdef npy_intp steps[2]
        cdef ndarray x, y, out
        cdef int n, axis
        if not isinstance(a, ndarray) or not isinstance(b, ndarray):
            return None
        x, y = plain(<ndarray>a), plain(<ndarray>b)
        n = PyArray_NDIM(x)
        if n < 1 or n != PyArray_NDIM(y) or not self.takes(x, y):
            return None
        w.ndim = 0
        w.core_dims[1] = 1
        for axis in range(n - 1):
            if PyArray_DIM(x, axis) != PyArray_DIM(y, axis):
                return None
            w.core_dims[1] *= PyArray_DIM(x, axis)
        if n > 2:
            x, y = cnp.PyArray_GETCONTIGUOUS(x), cnp.PyArray_GETCONTIGUOUS(y)
        w.core_dims[0] = dims[0] = PyArray_DIM(x, n - 1)
        w.core_dims[2] = dims[1] = PyArray_DIM(y, n - 1)
        row_steps(x, steps)
        w.core_steps[0], w.core_steps[1] = steps[1], steps[0]
        row_steps(y, w.core_steps + 2)
        out = result("outer_sum", 2, dims, self.loop.out_type[PyArray_TYPE(x)])
        self.into(out, &w, x, y, None, None, None)
        return out


cdef inline ndarray plain(ndarray x):
    """x, or a copy of it, that C can read: aligned and of the machine's byte order."""
    return x if cnp.PyArray_ISBEHAVED_RO(x) else in_order(x)


cdef void row_steps(ndarray x, npy_intp* steps) noexcept:
    """Steps from row to row and along a row of x (...., k), a matrix or in C order."""
    cdef int n = PyArray_NDIM(x)
    steps[0] = PyArray_DIM(x, n - 1) * PyArray_ITEMSIZE(x)
    steps[1] = PyArray_ITEMSIZE(x)
    if n <= 2:
        steps[1] = PyArray_STRIDES(x)[n - 1]
    if n == 2:
        steps[0] = PyArray_STRIDES(x)[0]


cdef ndarray stretched(ndarray r, ndarray like):
    """r in C order and of the shape of `like`; None if it does not broadcast to it."""
    if (PyArray_NDIM(r) != PyArray_NDIM(like)
            or not same_dims(PyArray_DIMS(r), PyArray_DIMS(like), PyArray_NDIM(r))):
        try:
            r = np.broadcast_to(r, (<object>like).shape)
        except ValueError:
            return None
    return cnp.PyArray_GETCONTIGUOUS(r)


cdef ndarray result(str op, int ndim, npy_intp* dims, int typenum):
    """A new array for a result.

    Raises:
        ValueError: no memory could hold so many elements.
    """
    cdef npy_intp bytes = 8
    cdef int axis
    for axis in range(ndim):
        bytes = product(dims[axis], bytes, op)
    return empty(ndim, dims, typenum)


cdef ndarray by_numpy(ndarray x, ndarray y):
    """np.matmul where no loop takes both; None where it refuses the shapes."""
    try:
        return np.asarray(np.matmul(x, y))
    except ValueError:
        return None
