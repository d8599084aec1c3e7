"""Optimizer updates of many parameters in one call, in place.

Everything is checked before the first number is written. The arithmetic is PyTorch's, operation for
operation, in the dtype of the parameter; settings are combined in float64 and rounded once. The
loops are those of update.h.
"""

from libc.math cimport pow

from tape._kernels.batch cimport Batch, read_batch
from tape._kernels.lanes cimport spread
from tape._kernels.strides cimport RELEASE_ABOVE
from tape._kernels.table cimport (
    TAPE_ADAM, TAPE_FLOAT, TAPE_RMSPROP, TAPE_SCALE, TAPE_SGD, kernels, tape_arrays, tape_kernels,
    tape_settings,
)

cimport numpy as cnp

cnp.import_array()

__all__ = ["adam", "rmsprop", "scale", "sgd", "sum_squares"]


cdef void run(int step, const Batch *batch, const tape_settings *s) noexcept:
    """Take the step for every parameter, beside other threads if there is much to do."""
    cdef const tape_kernels *table = kernels()
    if batch.numbers > RELEASE_ABOVE:
        with nogil:
            table.update(step, s, batch.item, batch.count, batch.numbers)
    else:
        table.update(step, s, batch.item, batch.count, batch.numbers)


def sgd(
    params, grads, moments, double lr, double momentum=0, double dampening=0, bint nesterov=False,
    double weight_decay=0, bint first=False,
):
    """Take one step of stochastic gradient descent, in place.

    d = g + weight_decay * p
    b = momentum * b + (1 - dampening) * d,  or b = d at the first step
    p -= lr * (d + momentum * b  if nesterov else  b  if momentum else  d)

    Args:
        params: arrays of float32 or float64, C-contiguous and writable; each list has one array a
            parameter, of its shape and dtype.
        grads: as params, only read.
        moments: the b, as params; may be None, and is left alone, without momentum.
        first: this is the first step: what is in moments does not count.

    Raises:
        TypeError: an array is not of float32 or float64, or not of its parameter's dtype.
        ValueError: lists differ in length or arrays in shape; an array is not contiguous, read-only
            or shares memory with its parameter; momentum without moments.

    Source: as torch.optim.SGD.
    """
    cdef Batch batch
    cdef tape_settings s
    if momentum != 0 and moments is None:
        raise ValueError(f"sgd: momentum {momentum} needs moments")
    _alive = read_batch(
        &batch, "sgd", ("params", "grads", "moments"), (params, grads, moments), True)
    s.lr, s.momentum, s.dampening, s.weight_decay = lr, momentum, dampening, weight_decay
    s.nesterov, s.first = nesterov, first
    run(TAPE_SGD, &batch, &s)


def adam(
    params, grads, m, v, double step, double lr, double beta1=0.9, double beta2=0.999,
    double eps=1e-8, double weight_decay=0, bint decoupled=False, vmax=None,
):
    """Take one step of Adam, AdamW (`decoupled`) or AMSGrad (`vmax`), in place.

    d = g + weight_decay * p,  or d = g and p -= lr * weight_decay * p if decoupled
    m += (1 - beta1) * (d - m)
    v = beta2 * v + (1 - beta2) * d**2
    p -= lr / (1 - beta1**step) * m / (sqrt(v / (1 - beta2**step)) + eps)

    with the largest v so far, kept in vmax, in place of v if vmax is given. The one liberty against
    PyTorch: sqrt(v) is multiplied by 1 / sqrt(1 - beta2**step), not divided by the root.

    Args:
        params: arrays of float32 or float64, C-contiguous and writable; each list has one array a
            parameter, of its shape and dtype.
        grads: as params, only read.
        m, v: the averages, as params; zeros before the first step.
        step: number of this step, from 1.
        vmax: the largest v, as params; zeros before the first step.

    Raises:
        TypeError: an array is not of float32 or float64, or not of its parameter's dtype.
        ValueError: lists differ in length or arrays in shape; an array is not contiguous, read-only
            or shares memory with its parameter; step is less than 1.

    Source: as torch.optim.Adam and AdamW. Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter
        2019, algorithm 2; Reddi et al. 2018, algorithm 2.
    """
    cdef Batch batch
    cdef tape_settings s
    if not step >= 1:
        raise ValueError(f"adam: step is {step}, expected a number from 1")
    _alive = read_batch(
        &batch, "adam", ("params", "grads", "m", "v", "vmax"), (params, grads, m, v, vmax), True)
    s.lr, s.eps, s.weight_decay, s.decoupled = lr, eps, weight_decay, decoupled
    s.beta1, s.beta2 = beta1, beta2
    s.correction1, s.correction2 = 1 - pow(beta1, step), 1 - pow(beta2, step)
    run(TAPE_ADAM, &batch, &s)


def rmsprop(
    params, grads, square_avg, grad_avg, moments, double lr, double alpha=0.99, double eps=1e-8,
    double weight_decay=0, double momentum=0,
):
    """Take one step of RMSprop, centred if `grad_avg` is given, in place.

    d = g + weight_decay * p
    square_avg = alpha * square_avg + (1 - alpha) * d**2
    grad_avg += (1 - alpha) * (d - grad_avg)
    u = d / (sqrt(square_avg - grad_avg**2) + eps)
    moments = momentum * moments + u
    p -= lr * (moments if momentum else u)

    Args:
        params: arrays of float32 or float64, C-contiguous and writable; each list has one array a
            parameter, of its shape and dtype.
        grads: as params, only read.
        square_avg: as params; zeros before the first step.
        grad_avg: as params, zeros before the first step; or None, which counts as zeros.
        moments: as params, zeros before the first step; may be None without momentum.

    Raises:
        TypeError: an array is not of float32 or float64, or not of its parameter's dtype.
        ValueError: lists differ in length or arrays in shape; an array is not contiguous, read-only
            or shares memory with its parameter; momentum without moments.

    Source: as torch.optim.RMSprop. Hinton, lecture 6; centred as in Graves 2013, equation 38.
    """
    cdef Batch batch
    cdef tape_settings s
    if momentum != 0 and moments is None:
        raise ValueError(f"rmsprop: momentum {momentum} needs moments")
    _alive = read_batch(
        &batch, "rmsprop", ("params", "grads", "square_avg", "grad_avg", "moments"),
        (params, grads, square_avg, grad_avg, moments), True)
    s.lr, s.alpha, s.eps, s.weight_decay, s.momentum = lr, alpha, eps, weight_decay, momentum
    run(TAPE_RMSPROP, &batch, &s)


def scale(arrays, double factor):
    """Multiply every number of the arrays by `factor`, in place.

    Raises:
        TypeError: an array is not of float32 or float64.
        ValueError: an array is not C-contiguous, or read-only.
    """
    cdef Batch batch
    cdef tape_settings s
    _alive = read_batch(&batch, "scale", ("arrays",), (arrays,), True)
    s.factor = factor
    run(TAPE_SCALE, &batch, &s)


cdef double batch_squares(const Batch *batch) noexcept nogil:
    cdef double whole = 0
    cdef Py_ssize_t i
    cdef const tape_arrays *a
    for i in range(batch.count):
        a = batch.item + i
        if a.kind == TAPE_FLOAT:
            whole += spread(<const float *> a.data[0], 0, a.size)
        else:
            whole += spread(<const double *> a.data[0], 0, a.size)
    return whole


def sum_squares(arrays):
    """The sum of the squares of all numbers of the arrays, in float64.

    Raises:
        TypeError: an array is not of float32 or float64.
        ValueError: an array is not C-contiguous.
    """
    cdef Batch batch
    cdef double whole
    _alive = read_batch(&batch, "sum_squares", ("arrays",), (arrays,), False)
    if batch.numbers > RELEASE_ABOVE:
        with nogil:
            whole = batch_squares(&batch)
    else:
        whole = batch_squares(&batch)
    return whole
