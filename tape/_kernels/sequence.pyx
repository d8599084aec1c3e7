"""Recurrent layers over a whole sequence: products by the C kernels, gates in planes between them.

Every gate of every step is a plane (batch, hidden) of the result, so a product writes where its
activation then works in place, and what a gradient needs later lies there already.
"""

cimport numpy as cnp
from cython cimport floating
from libc.string cimport memset
from numpy cimport PyArray_DATA, PyArray_DIM, PyArray_NDIM, PyArray_TYPE, ndarray, npy_intp

import numpy as np

from tape._kernels.dispatch cimport Kernel, Loop, is_float
from tape._kernels.freelist cimport empty
from tape._kernels.gates cimport (
    Sequence, add, at, blend, candidate, cell, gru_gates, lstm_gates, plane, scale, slope,
)
from tape._kernels.table cimport (
    TAPE_DOUBLE, TAPE_FLOAT, TAPE_PASS_RELU, TAPE_PASS_SIGMOID, kernels, tape_pass, tape_product,
)

cnp.import_array()

__all__ = ["GRU", "GRU_GRAD", "LSTM", "LSTM_GRAD", "RNN", "RNN_GRAD", "Recurrent"]

cdef Loop TANH = Loop(np.tanh)
cdef enum:
    IS_RNN, IS_RNN_GRAD, IS_LSTM, IS_LSTM_GRAD, IS_GRU, IS_GRU_GRAD

cdef void tanh_of(const Sequence* s, char* x, char* y) noexcept nogil:
    cdef char** args = [x, y]
    cdef npy_intp n = s.B * s.H
    cdef npy_intp* steps = [s.size, s.size]
    cdef int typenum = cnp.NPY_FLOAT if s.real == TAPE_FLOAT else cnp.NPY_DOUBLE
    TANH.inner[typenum](args, &n, steps, TANH.data[typenum])


cdef void pass_of(const Sequence* s, int which, char* x) noexcept nogil:
    cdef tape_pass p
    p.which, p.n, p.x, p.g, p.y, p.a, p.b, p.c = which, s.B * s.H, x, NULL, x, 0, 0, 0
    kernels().run_pass[s.real](&p)


cdef void hidden(
    Sequence* s, char* h, npy_intp gate, npy_intp t, bint onto_x, char* to,
) noexcept nogil:
    """h (B, H) times the block of the weight of a gate, and what the inputs or the bias add."""
    cdef tape_product p
    memset(&p, 0, sizeof(p))
    p.m, p.k, p.n = s.B, s.H, s.H
    p.a, p.a_row, p.a_col = h, s.H, 1
    p.b, p.b_row, p.b_col = s.turned + gate * s.H * s.size, s.gates * s.H, 1
    p.c, p.c_row = to, s.H
    if s.bias != NULL:
        p.column_bias = s.bias + gate * s.H * s.size
    if onto_x:
        p.residual = s.x + (t * s.B * s.gates + gate) * s.H * s.size
        p.residual_row = s.gates * s.H
    s.failed |= kernels().multiply[s.real](&p, 1, 0, 0, 0)


cdef void back(Sequence* s, char* d, char* to) noexcept nogil:
    """d (B, gates * H) times the weight: the cotangent of h, into `to` (B, H)."""
    cdef tape_product p
    memset(&p, 0, sizeof(p))
    p.m, p.k, p.n = s.B, s.gates * s.H, s.H
    p.a, p.a_row, p.a_col = d, s.gates * s.H, 1
    p.b, p.b_row, p.b_col = s.w, s.H, 1
    p.c, p.c_row = to, s.H
    s.failed |= kernels().multiply[s.real](&p, 1, 0, 0, 0)


cdef void rnn(Sequence* s) noexcept nogil:
    cdef npy_intp i, t
    cdef char* h = s.h0
    for i in range(s.T):
        t = at(s, i)
        hidden(s, h, 0, t, True, plane(s, s.y, 0, t))
        h = plane(s, s.y, 0, t)
        if s.relu:
            pass_of(s, TAPE_PASS_RELU, h)
        else:
            tanh_of(s, h, h)


cdef void rnn_grad(Sequence* s, floating _) noexcept nogil:
    cdef npy_intp i, t, n = s.B * s.H
    cdef char* dh = s.d + s.T * n * s.size
    memset(dh, 0, n * s.size)
    for i in range(s.T - 1, -1, -1):
        t = at(s, i)
        slope(<floating*>plane(s, s.g, 0, t), <floating*>dh, <floating*>plane(s, s.y, 0, t),
              <floating*>plane(s, s.d, 0, t), n, s.relu)
        back(s, plane(s, s.d, 0, t), dh)


cdef void lstm(Sequence* s, floating _) noexcept nogil:
    cdef npy_intp i, t, gate, n = s.B * s.H
    cdef char* h = s.h0
    cdef char* c = s.c0
    for i in range(s.T):
        t = at(s, i)
        for gate in range(4):
            hidden(s, h, gate, t, True, plane(s, s.y, gate, t))
            if gate == 2:
                tanh_of(s, plane(s, s.y, 2, t), plane(s, s.y, 2, t))
            else:
                pass_of(s, TAPE_PASS_SIGMOID, plane(s, s.y, gate, t))
        cell(<floating*>plane(s, s.y, 0, t), <floating*>plane(s, s.y, 1, t),
             <floating*>plane(s, s.y, 2, t), <floating*>c, <floating*>plane(s, s.y, 4, t), n)
        c, h = plane(s, s.y, 4, t), plane(s, s.y, 5, t)
        tanh_of(s, c, h)
        scale(<floating*>plane(s, s.y, 3, t), <floating*>h, n)


cdef void lstm_grad(Sequence* s, floating _) noexcept nogil:
    cdef npy_intp i, t, n = s.B * s.H
    cdef char* dh = s.d + s.T * 4 * n * s.size
    cdef char* dc = dh + n * s.size
    cdef char* before
    memset(dh, 0, 2 * n * s.size)
    for i in range(s.T - 1, -1, -1):
        t = at(s, i)
        before = plane(s, s.y, 4, at(s, i - 1)) if i else s.c0
        tanh_of(s, plane(s, s.y, 4, t), s.room)
        lstm_gates(s, t, <floating*>before, <floating*>s.room, <floating*>dh, <floating*>dc)
        back(s, s.d + t * 4 * n * s.size, dh)


cdef void gru(Sequence* s, floating _) noexcept nogil:
    cdef npy_intp i, t, gate, n = s.B * s.H
    cdef char* h = s.h0
    for i in range(s.T):
        t = at(s, i)
        for gate in range(2):
            hidden(s, h, gate, t, True, plane(s, s.y, gate, t))
            pass_of(s, TAPE_PASS_SIGMOID, plane(s, s.y, gate, t))
        hidden(s, h, 2, t, False, plane(s, s.y, 3, t))
        candidate(s, t, <floating*>plane(s, s.y, 0, t), <floating*>plane(s, s.y, 3, t),
                  <floating*>plane(s, s.y, 2, t))
        tanh_of(s, plane(s, s.y, 2, t), plane(s, s.y, 2, t))
        blend(<floating*>plane(s, s.y, 1, t), <floating*>plane(s, s.y, 2, t), <floating*>h,
              <floating*>plane(s, s.y, 4, t), n)
        h = plane(s, s.y, 4, t)


cdef void gru_grad(Sequence* s, floating _) noexcept nogil:
    cdef npy_intp i, t, n = s.B * s.H
    cdef char* dh = s.d + s.T * 6 * n * s.size
    cdef char* before
    memset(dh, 0, n * s.size)
    for i in range(s.T - 1, -1, -1):
        t = at(s, i)
        before = plane(s, s.y, 4, at(s, i - 1)) if i else s.h0
        gru_gates(s, t, <floating*>before, <floating*>dh, <floating*>s.room)
        back(s, s.d + t * 3 * n * s.size, dh)
        add(<floating*>s.room, <floating*>dh, n)


cdef void work(Sequence* s, int which, floating zero) noexcept nogil:
    if which == IS_RNN:
        rnn(s)
    elif which == IS_RNN_GRAD:
        rnn_grad[floating](s, zero)
    elif which == IS_LSTM:
        lstm[floating](s, zero)
    elif which == IS_LSTM_GRAD:
        lstm_grad[floating](s, zero)
    elif which == IS_GRU:
        gru[floating](s, zero)
    else:
        gru_grad[floating](s, zero)


cdef bint is_shaped(ndarray x, npy_intp a, npy_intp b, npy_intp c, npy_intp d) noexcept:
    """Whether x has these lengths; -1 in front stands for axes that are not there."""
    cdef npy_intp* dims = [a, b, c, d]
    cdef int ndim = PyArray_NDIM(x), axis
    for axis in range(4):
        if dims[axis] < 0:
            continue
        if ndim + axis < 4 or PyArray_DIM(x, ndim + axis - 4) != dims[axis]:
            return False
    return ndim == 4 - (a < 0) - (b < 0) - (c < 0)


cdef bint shaped(int which, const Sequence* s, list arrays) noexcept:
    """Whether every operand has the shape that the first one and the weight ask for."""
    cdef npy_intp H = s.H, B = s.B, planes = 6 if which == IS_LSTM_GRAD else 5
    cdef bint fits
    if which == IS_RNN_GRAD:
        planes = -1
    if which in (IS_RNN, IS_LSTM, IS_GRU):
        fits = is_shaped(arrays[0], -1, s.T, B, s.gates * H) and is_shaped(arrays[1], -1, -1, B, H)
    else:
        fits = (is_shaped(arrays[0], planes, s.T, B, H) and is_shaped(arrays[1], planes, s.T, B, H))
    if which in (IS_LSTM, IS_LSTM_GRAD, IS_GRU_GRAD):
        fits = fits and is_shaped(arrays[2], -1, -1, B, H)
    if which == IS_GRU:
        fits = fits and is_shaped(arrays[3], -1, -1, -1, 3 * H)
    return fits and PyArray_DIM(arrays[2 if which in (IS_RNN, IS_RNN_GRAD, IS_GRU) else 3], 0) == (
        s.gates * H)


cdef class Recurrent(Kernel):
    """One of the six: the planes of a layer's states and gates, or its gradient.

    Operands forward: x (T, B, gates H), h0 (B, H), for an LSTM c0 (B, H), w (gates H, H), for a
    GRU b (gates H); of a gradient: g and y (planes, T, B, H), the start that it needs, w. The first
    setting says whether time runs backwards, a second one the activation of an RNN.
    """

    cdef int which

    cdef ndarray settled(self, list operands, tuple settings):
        cdef Sequence s
        cdef ndarray first, w, turned, y, room
        cdef list arrays = []
        cdef npy_intp dims[4]
        cdef int kind, which = self.which
        cdef npy_intp planes
        for x in operands:
            if isinstance(x, ndarray):
                arrays.append(cnp.PyArray_GETCONTIGUOUS(<ndarray>x))
            elif type(x) is int and x == 0:
                arrays.append(None)
            else:
                return None
        for i in (0, len(arrays) - 1, 2 if which == IS_GRU or which == IS_RNN else 0):
            if arrays[i] is None:
                return None
        if which in (IS_RNN_GRAD, IS_LSTM_GRAD, IS_GRU_GRAD) and arrays[1] is None:
            return None
        first, w = <ndarray>arrays[0], <ndarray>arrays[3 if which in (IS_LSTM, IS_LSTM_GRAD) else 2]
        if which == IS_GRU_GRAD:
            w = <ndarray>arrays[3]
        kind = PyArray_TYPE(first)
        if not is_float(kind) or PyArray_NDIM(w) != 2 or PyArray_NDIM(first) < 3:
            return None
        if PyArray_DIM(w, 1) and any([x is None for x in arrays]):
            dims[0] = PyArray_DIM(first, PyArray_NDIM(first) - 2)
            dims[1] = PyArray_DIM(w, 1)
            zeros = cnp.PyArray_ZEROS(2, dims, kind, 0)
            arrays = [zeros if x is None else x for x in arrays]
        for x in arrays:
            if (x is None or PyArray_TYPE(<ndarray>x) != kind
                    or not cnp.PyArray_ISBEHAVED_RO(<ndarray>x)):
                return None
        memset(&s, 0, sizeof(s))
        s.real = TAPE_FLOAT if kind == cnp.NPY_FLOAT else TAPE_DOUBLE
        s.size = 4 if kind == cnp.NPY_FLOAT else 8
        s.reverse = bool(settings[0])
        s.relu = len(settings) > 1 and settings[1] == "relu"
        s.H = PyArray_DIM(w, 1)
        s.gates = 1 if which <= IS_RNN_GRAD else 4 if which <= IS_LSTM_GRAD else 3
        s.T = PyArray_DIM(first, PyArray_NDIM(first) - 3)
        s.B = PyArray_DIM(first, PyArray_NDIM(first) - 2)
        if s.T * s.B * s.H == 0 or not shaped(which, &s, arrays):
            return None
        s.w = <char*>PyArray_DATA(w)
        dims[0], dims[1] = s.H, s.gates * s.H
        if which in (IS_RNN, IS_LSTM, IS_GRU):
            turned = cnp.PyArray_GETCONTIGUOUS(w.T)
            s.turned = <char*>PyArray_DATA(turned)
            s.x = <char*>PyArray_DATA(first)
            s.h0 = <char*>PyArray_DATA(<ndarray>arrays[1])
            s.c0 = <char*>PyArray_DATA(<ndarray>arrays[2])
            if which == IS_GRU:
                s.bias = <char*>PyArray_DATA(<ndarray>arrays[3])
            planes = 1 if which == IS_RNN else 6 if which == IS_LSTM else 5
            dims[0], dims[1], dims[2], dims[3] = planes, s.T, s.B, s.H
            y = empty(3, dims + 1, kind) if planes == 1 else empty(4, dims, kind)
            s.y = <char*>PyArray_DATA(y)
        else:
            s.g = <char*>PyArray_DATA(first)
            s.y = <char*>PyArray_DATA(<ndarray>arrays[1])
            s.h0 = s.c0 = <char*>PyArray_DATA(<ndarray>arrays[2])
            dims[1] = s.T * s.gates * (2 if which == IS_GRU_GRAD else 1)
            dims[0] = (dims[1] + (2 if which == IS_LSTM_GRAD else 1)) * s.B * s.H
            y = empty(1, dims, kind)
            s.d = <char*>PyArray_DATA(y)
            dims[0] = s.B * s.H
            room = empty(1, dims, kind)
            s.room = <char*>PyArray_DATA(room)
        with nogil:
            if s.real == TAPE_FLOAT:
                work[float](&s, which, 0)
            else:
                work[double](&s, which, 0)
        if s.failed:
            raise MemoryError
        return y


cdef Recurrent recurrent(int which):
    cdef Recurrent kernel = Recurrent.__new__(Recurrent)
    kernel.which = which
    return kernel


RNN, RNN_GRAD = recurrent(IS_RNN), recurrent(IS_RNN_GRAD)
LSTM, LSTM_GRAD = recurrent(IS_LSTM), recurrent(IS_LSTM_GRAD)
GRU, GRU_GRAD = recurrent(IS_GRU), recurrent(IS_GRU_GRAD)
