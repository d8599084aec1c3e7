"""Functions of the rows of a matrix: softmax and what is made of it, and normalisation.

Operands are checked here; the loops are those of softmax.h and norm.h.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

cimport numpy as cnp
from numpy cimport PyArray_DATA, PyArray_DIM, PyArray_NDIM, PyArray_SIZE, PyArray_TYPE, npy_intp

from tape._kernels.arrays cimport float_array, in_order
from tape._kernels.dispatch cimport Kernel, is_float
from tape._kernels.freelist cimport empty
from tape._kernels.lanes cimport total
from tape._kernels.strides cimport MAX_DIMS, RELEASE_ABOVE
from tape._kernels.table cimport (
    TAPE_CROSS_ENTROPY, TAPE_CROSS_ENTROPY_GRAD, TAPE_LAYER_NORM, TAPE_LAYER_NORM_GRAD,
    TAPE_LAYER_NORM_SUMS, TAPE_LOG_SOFTMAX, TAPE_LOG_SOFTMAX_GRAD, TAPE_LOGSUMEXP,
    TAPE_LOGSUMEXP_GRAD, TAPE_NORM_BLOCK, TAPE_SOFTMAX, TAPE_SOFTMAX_GRAD, kernels, tape_rows,
)

cnp.import_array()

__all__ = [
    "LOG_SOFTMAX", "LOG_SOFTMAX_GRAD", "SOFTMAX", "SOFTMAX_GRAD", "CrossEntropy",
    "CrossEntropyGrad", "LogSumExpGrad", "Normal", "NormalSlope", "NormalSums", "RowWise",
    "cross_entropy_rows", "cross_entropy_rows_grad", "log_softmax", "logsumexp", "softmax",
]


cdef void run(int kind, const tape_rows *t) noexcept:
    """Work through all rows, without the GIL if they are many."""
    cdef int real = 0 if kind == cnp.NPY_FLOAT else 1
    if t.rows > RELEASE_ABOVE // max(t.columns, 1):
        with nogil:
            kernels().run_rows[real](t)
    else:
        kernels().run_rows[real](t)


cdef tape_rows rows_of(int work, cnp.ndarray x, int n_axes):
    """The array's last axes as columns, the others as rows."""
    cdef tape_rows t
    cdef int axis, ndim = PyArray_NDIM(x)
    memset(&t, 0, sizeof(t))
    t.work, t.rows, t.columns, t.x = work, 1, 1, PyArray_DATA(x)
    for axis in range(ndim):
        if axis < ndim - n_axes:
            t.rows *= PyArray_DIM(x, axis)
        else:
            t.columns *= PyArray_DIM(x, axis)
    return t


cdef cnp.ndarray label_array(object labels, Py_ssize_t rows, Py_ssize_t columns, str op):
    """`labels` in C order, each one checked to name a column."""
    cdef Py_ssize_t row
    cdef int flags = cnp.NPY_ARRAY_CARRAY_RO
    if not cnp.PyArray_Check(labels) or not cnp.PyArray_EquivTypenums(
        cnp.PyArray_TYPE(<cnp.ndarray> labels), cnp.NPY_INT64
    ):
        raise TypeError(f"{op}: labels is not an array of int64")
    if (cnp.PyArray_NDIM(<cnp.ndarray> labels) != 1
            or cnp.PyArray_DIM(<cnp.ndarray> labels, 0) != rows):
        raise ValueError(f"{op}: labels has shape {labels.shape}, expected {(rows,)}, one a row")
    if rows > RELEASE_ABOVE // max(columns, 1):
        flags |= cnp.NPY_ARRAY_ENSURECOPY       # without the GIL others may write to labels
    cdef cnp.ndarray array = cnp.PyArray_FROM_OTF(labels, cnp.NPY_INT64, flags)
    cdef const int64_t *label = <const int64_t *> PyArray_DATA(array)
    for row in range(rows):
        if not 0 <= label[row] < columns:
            raise ValueError(
                f"{op}: label {label[row]} in row {row} is outside of {columns} classes"
            )
    return array


cdef cnp.ndarray apply(str op, int work, object x, object labels=None, object scale=None):
    """Check the operands, make the result and run."""
    cdef cnp.ndarray matrix = float_array(x, 2, op, "x"), y, label, factor
    cdef tape_rows t = rows_of(work, matrix, 1)
    cdef int kind = PyArray_TYPE(matrix)
    if labels is not None:
        label = label_array(labels, t.rows, t.columns, op)
        t.labels = <const int64_t *> PyArray_DATA(label)
    if scale is not None:
        t.scale_step = PyArray_NDIM(<cnp.ndarray?> scale)
        factor = float_array(scale, min(t.scale_step, 1), op, "scale")
        if t.scale_step and factor.shape[0] != t.rows or PyArray_TYPE(factor) != kind:
            raise ValueError(
                f"{op}: scale is {scale.dtype} of shape {scale.shape}, expected {x.dtype} of "
                f"{(t.rows,)}, one a row, or of ()"
            )
        t.scale = PyArray_DATA(factor)
    y = empty(
        1 if work == TAPE_LOGSUMEXP or work == TAPE_CROSS_ENTROPY else 2, matrix.shape, kind)
    t.y = PyArray_DATA(y)
    run(kind, &t)
    return y


def softmax(x):
    """exp(x) of every row, divided by its sum.

    A row that holds NaN or +inf, or nothing but -inf, becomes NaN.

    Shapes: x (m, n) -> y (m, n)

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: x is not a matrix.
    """
    return apply("softmax", TAPE_SOFTMAX, x)


def log_softmax(x):
    """log(softmax(x)) of every row, without the rounding of small probabilities to 0.

    A row that holds NaN or +inf, or nothing but -inf, becomes NaN.

    Shapes: x (m, n) -> y (m, n)

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: x is not a matrix.
    """
    return apply("log_softmax", TAPE_LOG_SOFTMAX, x)


def logsumexp(x):
    """log(sum(exp(x))) of every row; -inf for a row of -inf and for a row of no numbers.

    Shapes: x (m, n) -> y (m)

    >>> import numpy as np
    >>> logsumexp(np.array([[1000.0, 1000.0], [0.0, -np.inf]]))
    array([1000.69314718,    0.        ])

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: x is not a matrix.
    """
    return apply("logsumexp", TAPE_LOGSUMEXP, x)


def cross_entropy_rows(x, labels):
    """-log_softmax(x)[i, labels[i]] for every row i.

    Shapes: x (m, n), labels (m) of int64 -> loss (m)

    Raises:
        TypeError: x is not an array of float32 or float64, or labels not one of int64.
        ValueError: x is not a matrix, labels does not have one label a row, or a label is not in
            [0, n).
    """
    return apply("cross_entropy_rows", TAPE_CROSS_ENTROPY, x, labels)


def cross_entropy_rows_grad(x, labels, scale):
    """(softmax(x) - onehot(labels)) * scale[:, None]: the gradient of sum(scale * loss) along x.

    Shapes: x (m, n), labels (m) of int64, scale (m) or () of x's dtype -> dx (m, n)

    Raises:
        TypeError: x or scale is not an array of float32 or float64, or labels not one of int64.
        ValueError: as `cross_entropy_rows`, or scale does not fit x in length and dtype.
    """
    return apply("cross_entropy_rows_grad", TAPE_CROSS_ENTROPY_GRAD, x, labels, scale)


cdef class CrossEntropy(Kernel):
    """cross_entropy_rows as the kernel of an op that has the setting `reduction`.

    What it refuses, the op says in its own words.
    """

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        cdef cnp.ndarray y, whole
        cdef double sum
        cdef Py_ssize_t m
        try:
            y = apply("cross_entropy", TAPE_CROSS_ENTROPY, operands[0], operands[1])
        except (TypeError, ValueError):
            return None
        if settings[0] == "none":
            return y
        m = y.shape[0]
        whole = empty(0, NULL, cnp.PyArray_TYPE(y))
        if cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT:
            sum = total(<const float *> PyArray_DATA(y), m)
        else:
            sum = total(<const double *> PyArray_DATA(y), m)
        if settings[0] == "mean":
            sum /= m
        elif settings[0] != "sum":
            return None
        if cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT:
            (<float *> PyArray_DATA(whole))[0] = <float> sum
        else:
            (<double *> PyArray_DATA(whole))[0] = sum
        return whole


cdef class CrossEntropyGrad(Kernel):
    """cross_entropy_rows_grad as the kernel of an op."""

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        try:
            return apply(
                "cross_entropy", TAPE_CROSS_ENTROPY_GRAD, operands[0], operands[1], operands[2])
        except (TypeError, ValueError):
            return None


cdef class RowWise(Kernel):
    """Softmax or its logarithm, of x, or a gradient of one, of (g, result), along the last axis."""

    cdef int work

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        cdef cnp.ndarray g, x, y
        cdef tape_rows t
        for operand in operands:
            if not isinstance(operand, cnp.ndarray):
                return None
        g, x = <cnp.ndarray> operands[0], <cnp.ndarray> operands[len(operands) - 1]
        if (not is_float(PyArray_TYPE(x)) or trailing(settings[0], PyArray_NDIM(x)) != 1
                or not alike(g, x)):
            return None
        x = in_order(x)
        t = rows_of(self.work, x, 1)
        if len(operands) == 2:
            g = in_order(g)
            t.g = PyArray_DATA(g)
        y = empty(PyArray_NDIM(x), cnp.PyArray_DIMS(x), PyArray_TYPE(x))
        t.y = PyArray_DATA(y)
        run(PyArray_TYPE(x), &t)
        return y


cdef class LogSumExpGrad(Kernel):
    """g * exp(x - y), y being logsumexp(x) over the last axis; g and y one number a row."""

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        cdef cnp.ndarray x, y, g, out
        cdef tape_rows t
        for operand in operands:
            if not isinstance(operand, cnp.ndarray):
                return None
        g, x, y = <cnp.ndarray> operands[0], <cnp.ndarray> operands[1], <cnp.ndarray> operands[2]
        if (not is_float(PyArray_TYPE(x)) or not alike(g, y)
                or PyArray_TYPE(g) != PyArray_TYPE(x) or PyArray_NDIM(x) == 0
                or trailing(settings[0], PyArray_NDIM(x)) != 1):
            return None
        g, x, y = in_order(g), in_order(x), in_order(y)
        t = rows_of(TAPE_LOGSUMEXP_GRAD, x, 1)
        if PyArray_SIZE(g) != t.rows:
            return None
        out = empty(PyArray_NDIM(x), cnp.PyArray_DIMS(x), PyArray_TYPE(x))
        t.scale, t.scale_step, t.sums = PyArray_DATA(g), 1, PyArray_DATA(y)
        t.y = PyArray_DATA(out)
        run(PyArray_TYPE(x), &t)
        return out


cdef bint alike(cnp.ndarray x, cnp.ndarray y) noexcept:
    """Whether both have one shape and dtype."""
    return PyArray_TYPE(x) == PyArray_TYPE(y) and cnp.PyArray_SAMESHAPE(x, y)


cdef int trailing(axis, int ndim):
    """How many axes are meant, if they are the last ones in order; else 0."""
    cdef int i, n
    if type(axis) is not tuple:
        return 1 if type(axis) is int and ndim and (axis == -1 or axis == ndim - 1) else 0
    n = len(<tuple> axis)
    for i in range(n):
        one = (<tuple> axis)[i]
        if n > ndim or type(one) is not int or one != i - n and one != ndim + i - n:
            return 0
    return n


cdef class Normal(Kernel):
    """x with mean 0 and variance 1 along its last axes; with operands weight, bias that in turn.

    Settings: axis, eps.
    """

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        return normalised(TAPE_LAYER_NORM, None, operands[0], operands[1:], settings)


cdef class NormalSlope(Kernel):
    """The gradient of `Normal` by x, of operands g, x and the weight, or 1.0 in its place."""

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        cdef list weight = [] if type(operands[2]) is float and operands[2] == 1 else operands[2:]
        return normalised(TAPE_LAYER_NORM_GRAD, operands[0], operands[1], weight, settings)


cdef class NormalSums(Kernel):
    """The gradients of `Normal` by weight and bias, one above the other, of operands g and x."""

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        return normalised(TAPE_LAYER_NORM_SUMS, operands[0], operands[1], [], settings)


cdef cnp.ndarray normalised(int work, object g, object x, list affine, tuple settings):
    """The result of a work of norm.h, or None where it does not apply."""
    cdef cnp.ndarray matrix, y, blocks, cotangent, vector, weight, bias
    cdef tape_rows t
    cdef npy_intp shape[MAX_DIMS + 1]
    cdef npy_intp room
    cdef int i, kind, n_axes, ndim
    if not isinstance(x, cnp.ndarray) or type(settings[1]) not in (float, int):
        return None
    matrix = <cnp.ndarray> x
    kind, ndim = PyArray_TYPE(matrix), PyArray_NDIM(matrix)
    n_axes = trailing(settings[0], ndim)
    if not is_float(kind) or not n_axes or PyArray_SIZE(matrix) == 0:
        return None
    matrix = in_order(matrix)
    t = rows_of(work, matrix, n_axes)
    t.eps = settings[1]
    if g is not None:
        if not isinstance(g, cnp.ndarray) or not alike(<cnp.ndarray> g, matrix):
            return None
        cotangent = in_order(<cnp.ndarray> g)
        t.g = PyArray_DATA(cotangent)
    for i in range(len(affine)):
        if not isinstance(affine[i], cnp.ndarray):
            return None
        vector = <cnp.ndarray> affine[i]
        if (PyArray_TYPE(vector) != kind or PyArray_SIZE(vector) != t.columns
                or PyArray_NDIM(vector) != n_axes):
            return None
        if i == 0:
            weight = in_order(vector)
            t.weight = PyArray_DATA(weight)
        else:
            bias = in_order(vector)
            t.bias = PyArray_DATA(bias)
    if work == TAPE_LAYER_NORM_SUMS:
        shape[0] = 2
        memcpy(shape + 1, cnp.PyArray_DIMS(matrix) + ndim - n_axes, n_axes * sizeof(npy_intp))
        y = empty(n_axes + 1, shape, kind)
        room = (t.rows + TAPE_NORM_BLOCK - 1) // TAPE_NORM_BLOCK * 2 * t.columns
        blocks = empty(1, &room, kind)
        t.blocks = PyArray_DATA(blocks)
    else:
        y = empty(ndim, cnp.PyArray_DIMS(matrix), kind)
    t.y = PyArray_DATA(y)
    run(kind, &t)
    return y


cdef RowWise row_wise(int work):
    cdef RowWise kernel = RowWise.__new__(RowWise)
    kernel.work = work
    return kernel


SOFTMAX = row_wise(TAPE_SOFTMAX)
SOFTMAX_GRAD = row_wise(TAPE_SOFTMAX_GRAD)
LOG_SOFTMAX = row_wise(TAPE_LOG_SOFTMAX)
LOG_SOFTMAX_GRAD = row_wise(TAPE_LOG_SOFTMAX_GRAD)
