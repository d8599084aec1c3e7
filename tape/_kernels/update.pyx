"""Optimizer updates of many parameters in one call, in place.

Everything is checked before the first number is written. The arithmetic is PyTorch's, operation for
operation, in the dtype of the parameter; settings are combined in float64 and rounded once.
"""

from cython cimport floating
from libc.math cimport pow, sqrt, sqrtf

from tape._kernels.batch cimport Arrays, Batch, read_batch
from tape._kernels.lanes cimport spread
from tape._kernels.strides cimport RELEASE_ABOVE

cimport numpy as cnp

cnp.import_array()

__all__ = ["adam", "rmsprop", "scale", "sgd", "sum_squares"]


cdef struct Settings:   # of all optimizers; each reads its own
    double lr, weight_decay, momentum, dampening, eps, beta1, beta2, correction1, correction2, alpha
    double factor
    bint nesterov, first, decoupled


ctypedef void (*FloatStep)(float *, const Arrays *, const Settings *) noexcept nogil
ctypedef void (*DoubleStep)(double *, const Arrays *, const Settings *) noexcept nogil


cdef void walk(
    const Batch *batch, const Settings *s, FloatStep float_step, DoubleStep double_step
) noexcept nogil:
    """Take the step for every parameter."""
    cdef Py_ssize_t i
    cdef const Arrays *a
    for i in range(batch.count):
        a = batch.item + i
        if a.kind == cnp.NPY_FLOAT:
            float_step(<float *> a.data[0], a, s)
        else:
            double_step(<double *> a.data[0], a, s)


cdef void run(
    const Batch *batch, const Settings *s, FloatStep float_step, DoubleStep double_step
) noexcept:
    """Walk beside other threads if there is much to do."""
    if batch.numbers > RELEASE_ABOVE:
        with nogil:
            walk(batch, s, float_step, double_step)
    else:
        walk(batch, s, float_step, double_step)


# Note [Vector steps]: a loop with a store under a branch does not become vector code, so a step
# with optional parts is an inline loop whose `bint` arguments are constants at each call. Branches
# around arithmetic alone are left to the compiler, which makes two loops of them.


cdef inline floating root(floating x) noexcept nogil:
    return sqrtf(x) if floating is float else sqrt(x)


cdef inline floating lerp(floating x, floating end, floating weight) noexcept nogil:
    """x + weight * (end - x), reckoned from the nearer end."""
    return x + weight * (end - x) if weight < 0.5 else end - (1 - weight) * (end - x)


cdef void sgd_step(floating *p, const Arrays *a, const Settings *s) noexcept nogil:
    cdef const floating *g = <const floating *> a.data[1]
    cdef floating *buf = <floating *> a.data[2]
    cdef floating d, moved, rate = <floating> -s.lr, decay = <floating> s.weight_decay
    cdef floating momentum = <floating> s.momentum, fresh = <floating> (1 - s.dampening)
    cdef bint first = s.first, nesterov = s.nesterov, decays = s.weight_decay != 0
    cdef Py_ssize_t i
    if s.momentum == 0:
        for i in range(a.size):
            d = g[i] + decay * p[i]
            p[i] += rate * (d if decays else g[i])
        return
    for i in range(a.size):
        d = g[i] + decay * p[i]
        d = d if decays else g[i]
        moved = buf[i] * momentum + fresh * d
        buf[i] = moved = d if first else moved
        d += momentum * moved
        p[i] += rate * (d if nesterov else moved)


cdef inline void adam_loop(
    floating *p, const Arrays *a, const Settings *s, bint tracks
) noexcept nogil:
    """The step of Adam; see Note [Vector steps] for `tracks`."""
    cdef const floating *g = <const floating *> a.data[1]
    cdef floating *m = <floating *> a.data[2]
    cdef floating *v = <floating *> a.data[3]
    cdef floating *top = <floating *> a.data[4]
    cdef floating d, size, rate = <floating> (-s.lr / s.correction1)
    cdef floating scale = <floating> (1 / sqrt(s.correction2)), eps = <floating> s.eps
    cdef floating fresh1 = <floating> (1 - s.beta1)
    cdef floating beta2 = <floating> s.beta2, fresh2 = <floating> (1 - s.beta2)
    cdef floating decay = <floating> s.weight_decay
    cdef floating keep = <floating> (1 - s.lr * s.weight_decay if s.decoupled else 1)
    cdef bint decays = s.weight_decay != 0 and not s.decoupled
    cdef Py_ssize_t i, n = a.size
    for i in range(n):
        d = g[i] + decay * p[i] if decays else g[i]
        m[i] = lerp(m[i], d, fresh1)
        v[i] = size = v[i] * beta2 + fresh2 * d * d
        if tracks:
            top[i] = size = size if (size > top[i]) | (size != size) else top[i]
        p[i] = p[i] * keep + rate * m[i] / (root(size) * scale + eps)


cdef void adam_step(floating *p, const Arrays *a, const Settings *s) noexcept nogil:
    if a.data[4] == NULL:
        adam_loop(p, a, s, False)
    else:
        adam_loop(p, a, s, True)


cdef inline void rmsprop_loop(
    floating *p, const Arrays *a, const Settings *s, bint centres, bint moves
) noexcept nogil:
    """The step of RMSprop; see Note [Vector steps] for `centres` and `moves`."""
    cdef const floating *g = <const floating *> a.data[1]
    cdef floating *square = <floating *> a.data[2]
    cdef floating *mean = <floating *> a.data[3]
    cdef floating *buf = <floating *> a.data[4]
    cdef floating d, size, rate = <floating> -s.lr, decay = <floating> s.weight_decay
    cdef floating alpha = <floating> s.alpha, fresh = <floating> (1 - s.alpha)
    cdef floating eps = <floating> s.eps, momentum = <floating> s.momentum
    cdef bint decays = s.weight_decay != 0
    cdef Py_ssize_t i, n = a.size
    for i in range(n):
        d = g[i] + decay * p[i] if decays else g[i]
        square[i] = size = square[i] * alpha + fresh * d * d
        if centres:
            mean[i] = lerp(mean[i], d, fresh)
            size = size - mean[i] * mean[i]
        size = root(size) + eps
        if moves:
            buf[i] = buf[i] * momentum + d / size
            p[i] += rate * buf[i]
        else:
            p[i] += rate * d / size


cdef void rmsprop_step(floating *p, const Arrays *a, const Settings *s) noexcept nogil:
    cdef bint moves = s.momentum != 0
    if a.data[3] == NULL:
        if moves:
            rmsprop_loop(p, a, s, False, True)
        else:
            rmsprop_loop(p, a, s, False, False)
    elif moves:
        rmsprop_loop(p, a, s, True, True)
    else:
        rmsprop_loop(p, a, s, True, False)


cdef void scale_step(floating *x, const Arrays *a, const Settings *s) noexcept nogil:
    cdef floating factor = <floating> s.factor
    cdef Py_ssize_t i, n = a.size
    for i in range(n):
        x[i] *= factor


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
    cdef Settings s
    if momentum != 0 and moments is None:
        raise ValueError(f"sgd: momentum {momentum} needs moments")
    _alive = read_batch(
        &batch, "sgd", ("params", "grads", "moments"), (params, grads, moments), True)
    s.lr, s.momentum, s.dampening, s.weight_decay = lr, momentum, dampening, weight_decay
    s.nesterov, s.first = nesterov, first
    run(&batch, &s, sgd_step[float], sgd_step[double])


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
    cdef Settings s
    if not step >= 1:
        raise ValueError(f"adam: step is {step}, expected a number from 1")
    _alive = read_batch(
        &batch, "adam", ("params", "grads", "m", "v", "vmax"), (params, grads, m, v, vmax), True)
    s.lr, s.eps, s.weight_decay, s.decoupled = lr, eps, weight_decay, decoupled
    s.beta1, s.beta2 = beta1, beta2
    s.correction1, s.correction2 = 1 - pow(beta1, step), 1 - pow(beta2, step)
    run(&batch, &s, adam_step[float], adam_step[double])


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
    cdef Settings s
    if momentum != 0 and moments is None:
        raise ValueError(f"rmsprop: momentum {momentum} needs moments")
    _alive = read_batch(
        &batch, "rmsprop", ("params", "grads", "square_avg", "grad_avg", "moments"),
        (params, grads, square_avg, grad_avg, moments), True)
    s.lr, s.alpha, s.eps, s.weight_decay, s.momentum = lr, alpha, eps, weight_decay, momentum
    run(&batch, &s, rmsprop_step[float], rmsprop_step[double])


def scale(arrays, double factor):
    """Multiply every number of the arrays by `factor`, in place.

    Raises:
        TypeError: an array is not of float32 or float64.
        ValueError: an array is not C-contiguous, or read-only.
    """
    cdef Batch batch
    cdef Settings s
    _alive = read_batch(&batch, "scale", ("arrays",), (arrays,), True)
    s.factor = factor
    run(&batch, &s, scale_step[float], scale_step[double])


cdef double batch_squares(const Batch *batch) noexcept nogil:
    cdef double whole = 0
    cdef Py_ssize_t i
    cdef const Arrays *a
    for i in range(batch.count):
        a = batch.item + i
        if a.kind == cnp.NPY_FLOAT:
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
