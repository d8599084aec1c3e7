"""Fused loops over the rows of a matrix: softmax and what is made of it, and normalisation.

A row is shifted by its maximum, so nothing overflows. The exponentials of many short rows are taken
in one call of NumPy's own exp loop.
"""

from cython cimport floating
from libc.math cimport isinf, log, sqrt
from libc.stdint cimport int64_t

cimport numpy as cnp
from numpy cimport PyArray_DATA, npy_intp

from tape._kernels.arrays cimport float_array
from tape._kernels.dispatch cimport Kernel
from tape._kernels.exponential cimport take_exp
from tape._kernels.freelist cimport empty
from tape._kernels.lanes cimport largest, spread, total
from tape._kernels.strides cimport RELEASE_ABOVE

cnp.import_array()

__all__ = [
    "CrossEntropy", "CrossEntropyGrad", "cross_entropy_rows", "cross_entropy_rows_grad",
    "layer_norm_rows", "log_softmax", "logsumexp", "softmax",
]

cdef enum Result:
    SOFTMAX, LOG_SOFTMAX, LOGSUMEXP, CROSS_ENTROPY, CROSS_ENTROPY_GRAD


cdef enum:
    GROUP = 512         # numbers per call of the exp loop


cdef struct Task:
    Result result
    int kind
    Py_ssize_t rows, columns
    const void *x
    void *y
    void *scratch           # exponentials, where they are not the result
    const int64_t *labels
    const void *scale
    Py_ssize_t scale_step   # 0 for one scale of all rows


cdef inline void finish_row(
    const Task *t, Py_ssize_t row, const floating *x, floating *e, floating top
) noexcept nogil:
    """From x, its maximum and e = exp(x - top), one row of the result."""
    cdef Py_ssize_t i, n = t.columns
    cdef floating *y = <floating *> t.y
    cdef double whole = total(e, n)
    cdef floating factor
    if t.result == SOFTMAX:
        factor = <floating> whole
        for i in range(n):
            e[i] /= factor
    elif t.result == LOG_SOFTMAX:
        factor = <floating> log(whole)
        y += row * n
        for i in range(n):
            y[i] = (x[i] - top) - factor
    elif t.result == LOGSUMEXP:
        y[row] = <floating> (top + log(whole))
    elif t.result == CROSS_ENTROPY:
        y[row] = <floating> (log(whole) - (<double> x[t.labels[row]] - top))
    else:
        factor = (<const floating *> t.scale)[row * t.scale_step]
        # In float64, (e - whole) / whole keeps digits that softmax - 1 loses in float32.
        top = <floating> ((e[t.labels[row]] - whole) / whole * factor)
        factor = <floating> (factor / whole)
        for i in range(n):
            e[i] *= factor
        e[t.labels[row]] = top


cdef void run_rows(const Task *t, const floating *x, floating *e) noexcept nogil:
    """All rows, as many at a time as one call of the exp loop should see."""
    cdef floating[GROUP] tops
    cdef Py_ssize_t row = 0, i, k, count, n = t.columns
    cdef bint keep = t.result == SOFTMAX or t.result == CROSS_ENTROPY_GRAD
    while row < t.rows:
        count = min(t.rows - row, max(1, GROUP // max(n, 1)))
        for k in range(count):
            tops[k] = largest(x + k * n, n)
            if t.result == LOGSUMEXP and isinf(tops[k]):
                tops[k] = 0     # exp(-inf) and exp(inf) are right as they are; inf - inf is not
            for i in range(k * n, k * n + n):
                e[i] = x[i] - tops[k]
        take_exp(e, count * n)
        for k in range(count):
            finish_row(t, row + k, x + k * n, e + k * n, tops[k])
        row += count
        x += count * n
        if keep:
            e += count * n


cdef void run(const Task *t) noexcept nogil:
    if t.kind == cnp.NPY_FLOAT:
        run_rows(t, <const float *> t.x, <float *> t.scratch)
    else:
        run_rows(t, <const double *> t.x, <double *> t.scratch)


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


cdef cnp.ndarray apply(str op, Result result, object x, object labels=None, object scale=None):
    """Check the operands, make the result and run."""
    cdef cnp.ndarray matrix = float_array(x, 2, op, "x"), y, scratch, label, factor
    cdef npy_intp shape[2]
    cdef Task t
    t.result = result
    t.kind = cnp.PyArray_TYPE(matrix)
    t.rows, t.columns = matrix.shape[0], matrix.shape[1]
    t.x = PyArray_DATA(matrix)
    if labels is not None:
        label = label_array(labels, t.rows, t.columns, op)
        t.labels = <const int64_t *> PyArray_DATA(label)
    if scale is not None:
        t.scale_step = cnp.PyArray_NDIM(<cnp.ndarray?> scale)
        factor = float_array(scale, min(t.scale_step, 1), op, "scale")
        if t.scale_step and factor.shape[0] != t.rows or cnp.PyArray_TYPE(factor) != t.kind:
            raise ValueError(
                f"{op}: scale is {scale.dtype} of shape {scale.shape}, expected {x.dtype} of "
                f"{(t.rows,)}, one a row, or of ()"
            )
        t.scale = PyArray_DATA(factor)
    shape[0], shape[1] = t.rows, t.columns
    y = empty(1 if result in (LOGSUMEXP, CROSS_ENTROPY) else 2, shape, t.kind)
    t.y = t.scratch = PyArray_DATA(y)
    if result != SOFTMAX and result != CROSS_ENTROPY_GRAD:
        shape[0] = max(GROUP, t.columns)
        scratch = empty(1, shape, t.kind)
        t.scratch = PyArray_DATA(scratch)
    if cnp.PyArray_SIZE(matrix) > RELEASE_ABOVE:
        with nogil:
            run(&t)
    else:
        run(&t)
    return y


def softmax(x):
    """exp(x) of every row, divided by its sum.

    A row that holds NaN or +inf, or nothing but -inf, becomes NaN.

    Shapes: x (m, n) -> y (m, n)

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: x is not a matrix.
    """
    return apply("softmax", SOFTMAX, x)


def log_softmax(x):
    """log(softmax(x)) of every row, without the rounding of small probabilities to 0.

    A row that holds NaN or +inf, or nothing but -inf, becomes NaN.

    Shapes: x (m, n) -> y (m, n)

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: x is not a matrix.
    """
    return apply("log_softmax", LOG_SOFTMAX, x)


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
    return apply("logsumexp", LOGSUMEXP, x)


def cross_entropy_rows(x, labels):
    """-log_softmax(x)[i, labels[i]] for every row i.

    Shapes: x (m, n), labels (m) of int64 -> loss (m)

    Raises:
        TypeError: x is not an array of float32 or float64, or labels not one of int64.
        ValueError: x is not a matrix, labels does not have one label a row, or a label is not in
            [0, n).
    """
    return apply("cross_entropy_rows", CROSS_ENTROPY, x, labels)


def cross_entropy_rows_grad(x, labels, scale):
    """(softmax(x) - onehot(labels)) * scale[:, None]: the gradient of sum(scale * loss) along x.

    Shapes: x (m, n), labels (m) of int64, scale (m) or () of x's dtype -> dx (m, n)

    Raises:
        TypeError: x or scale is not an array of float32 or float64, or labels not one of int64.
        ValueError: as `cross_entropy_rows`, or scale does not fit x in length and dtype.
    """
    return apply("cross_entropy_rows_grad", CROSS_ENTROPY_GRAD, x, labels, scale)


cdef class CrossEntropy(Kernel):
    """cross_entropy_rows as the kernel of an op that has the setting `reduction`.

    What it refuses, the op says in its own words.
    """

    cdef cnp.ndarray settled(self, list operands, tuple settings):
        cdef cnp.ndarray y, whole
        cdef double sum
        cdef Py_ssize_t m
        try:
            y = apply("cross_entropy", CROSS_ENTROPY, operands[0], operands[1])
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
            return apply("cross_entropy", CROSS_ENTROPY_GRAD, operands[0], operands[1], operands[2])
        except (TypeError, ValueError):
            return None


cdef void normalise(
    const floating *x, floating *y, floating *means, floating *rstds, double eps,
    Py_ssize_t rows, Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t row, i
    cdef double mean, rstd
    for row in range(rows):
        mean = total(x, n) / n
        rstd = 1 / sqrt(spread(x, mean, n) / n + eps)
        means[row] = <floating> mean
        rstds[row] = <floating> rstd
        for i in range(n):
            y[i] = <floating> ((x[i] - mean) * rstd)
        x += n
        y += n


def layer_norm_rows(x, double eps):
    """Every row with its mean taken off, divided by its deviation: (xhat, mean, rstd).

    rstd = 1 / sqrt(mean((x - mean)**2) + eps),  xhat = (x - mean) * rstd

    The sums are taken in float64, the deviation in a second pass. A row of no numbers has NaN for
    mean and rstd.

    Shapes: x (m, n) -> xhat (m, n), mean (m), rstd (m)

    Raises:
        TypeError: x is not an array of float32 or float64.
        ValueError: x is not a matrix.
    """
    cdef cnp.ndarray matrix = float_array(x, 2, "layer_norm_rows", "x"), y, means, rstds
    cdef Py_ssize_t rows = matrix.shape[0], n = matrix.shape[1]
    cdef int kind = cnp.PyArray_TYPE(matrix)
    y = empty(2, matrix.shape, kind)
    means = empty(1, matrix.shape, kind)
    rstds = empty(1, matrix.shape, kind)
    with nogil:
        if kind == cnp.NPY_FLOAT:
            normalise(
                <const float *> PyArray_DATA(matrix), <float *> PyArray_DATA(y),
                <float *> PyArray_DATA(means), <float *> PyArray_DATA(rstds), eps, rows, n)
        else:
            normalise(
                <const double *> PyArray_DATA(matrix), <double *> PyArray_DATA(y),
                <double *> PyArray_DATA(means), <double *> PyArray_DATA(rstds), eps, rows, n)
    return y, means, rstds
