"""Recurrent layers over a whole sequence: one node for a layer in one direction.

Note [Recurrent layers]
Such an op gives all states and gates of all steps, as planes (T, B, H) one above the other: the
gradient needs them, and the layer takes the plane of states. What the inputs add to the gates, x,
is one product for all steps and made outside. The gradient comes back in one pass over the steps,
and the weight's is one product over all of them. Where the gradient itself is recorded, for second
order, the pass is made of ops, as the tangents always are.
"""

from __future__ import annotations

import numpy as np

from tape._core.state import is_recording
from tape._core.tensor import Tensor
from tape._kernels import sequence as kernels
from tape._kernels.activation import SIGMOID
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.activation import relu_gate, sigmoid_slope
from tape.ops.elementwise import tanh, tanh_slope, zeros_like
from tape.ops.join import concat, stack
from tape.ops.linalg import matmul, outer_sum
from tape.ops.linear import affine
from tape.ops.logic import where
from tape.ops.shape import expand_dims, reshape

RNN_PLANES, LSTM_PLANES = 1, 6


def steps(T, reverse):
    """The steps in the order in which they are taken."""
    return range(T - 1, -1, -1) if reverse else range(T)


def start(state, like):
    """A first state, where a number stands for a whole one.   Shapes: like (B, H)"""
    return state if isinstance(state, Tensor) and state.ndim else where(True, state, like)


def before(states, first, reverse):
    """The state that every step began with.   Shapes: states (T, B, H), first (B, H)"""
    first = expand_dims(first, axis=0)
    return concat(*([states[1:], first] if reverse else [first, states[:-1]]), axis=0)


def in_time(parts, reverse):
    """What was made step by step, as one: in the order of time."""
    return stack(*(parts[::-1] if reverse else parts), axis=0)


def parts_of(flat, *shapes):
    """A flat tensor as several of these shapes, one after the other."""
    parts, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(reshape(flat[at : at + size], shape))
        at += size
    return parts


def sequence(gates, x, w, **states):
    """ShapeError unless the states and the weight fit a sequence of so many gates."""
    if len(x) != 3 or len(w) != 2 or w[0] != gates * w[1] or x[2] != w[0]:
        raise ShapeError(f"needs x (T, B, {gates} H) and w ({gates} H, H), got x {x} and w {w}")
    if not x[0]:
        raise ShapeError(f"a sequence needs a step at least, x is {x}")
    for name, state in states.items():
        if state and state != (x[1], w[1]):
            raise ShapeError(f"{name} {state} does not fit x {x} and w {w}: {(x[1], w[1])}")
    return (*x[:2], w[1])


def planes(g, y, w, gates, n, **states):
    """ShapeError unless g and y are planes of such a layer; else its (T, B, H)."""
    if g != y or len(y) != 4 - (n == 1) or (n > 1 and y[0] != n):
        raise ShapeError(f"g {g} and y {y} are not {n} planes (T, B, H)")
    T, B, H = y[-3:]
    sequence(gates, (T, B, gates * H), w, **states)
    return T, B, H


def rnn_planes(x, h0, w):
    """Shape rule of rnn_states."""
    return sequence(1, x, w, h0=h0)


def rnn_grads(g, y, w):
    """Shape rule of rnn_grad."""
    T, B, H = planes(g, y, w, 1, RNN_PLANES)
    return ((T + 1) * B * H,)


@op(
    shape=rnn_grads,
    kernel=kernels.RNN_GRAD,
    differentiable=False,
    samples=[
        sample((3, 2, 4), (3, 2, 4), (4, 4), reverse=False),
        sample((3, 2, 4), (3, 2, 4), (4, 4), reverse=True, activation="relu"),
    ],
    errors=[bad((3, 2, 4), (3, 2), (4, 4), reverse=False, error=ShapeError, match="1 planes")],
)
def rnn_grad(g, y, w, /, *, reverse, activation="tanh"):
    """The gradients of rnn_states by x and, after it, by h0, flat.

    Shapes: g, y (T, B, H), w (H, H) -> d (T B H + B H)
    """
    d, dh = np.empty(y.shape, np.result_type(g, y, w)), np.zeros((), y.dtype)
    for t in steps(len(y), not reverse):
        d[t] = (g[t] + dh) * ((y[t] > 0) if activation == "relu" else 1 - y[t] * y[t])
        dh = d[t] @ w
    return np.concatenate([d.ravel(), dh.ravel()])


@op(
    shape=rnn_planes,
    saves="h0 w y",
    kernel=kernels.RNN,
    samples=[
        sample((3, 2, 4), (2, 4), (4, 4), reverse=False),
        sample((3, 2, 4), (2, 4), (4, 4), reverse=True),
        sample((1, 1, 2), (1, 2), (2, 2), reverse=False),
        sample((3, 2, 4), (2, 4), (4, 4), reverse=True, activation="relu", smooth=False),
        sample((3, 0, 4), (0, 4), (4, 4), reverse=False),
        sample((3, 2, 4), 0, (4, 4), reverse=False),
    ],
    errors=[
        bad((3, 2, 4), (2, 3), (4, 4), reverse=False, error=ShapeError, match=r"h0 \(2, 3\)"),
        bad((0, 2, 4), (2, 4), (4, 4), reverse=False, error=ShapeError, match="a step at least"),
        bad((3, 2, 4), (2, 4), (4, 3), reverse=False, error=ShapeError, match=r"w \(1 H, H\)"),
    ],
)
def rnn_states(x, h0, w, /, *, reverse, activation="tanh"):
    """The states h[t] = activation(x[t] + h[t - 1] @ w.T) of all steps, h[-1] = h0.

    Shapes: x (T, B, H), h0 (B, H) or (), w (H, H) -> h (T, B, H)

    Args:
        reverse: whether time runs backwards, from the last step to the first.
        activation: "tanh" or "relu".
    """
    y, h = np.empty(x.shape, np.result_type(x, h0, w)), np.broadcast_to(h0, x.shape[1:])
    for t in steps(len(x), reverse):
        a = x[t] + h @ w.T
        h = y[t] = np.maximum(a, 0) if activation == "relu" else np.tanh(a)
    return y


def rnn_slope(g, y, activation):
    """g times the slope of the activation whose result is y."""
    return relu_gate(g, y) if activation == "relu" else tanh_slope(g, y)


@rnn_states.defvjp
def rnn_states_vjp(g, h0, w, y, reverse, activation):
    h0 = start(h0, y[0])
    if is_recording():
        d, dh = [], zeros_like(h0)
        for t in steps(y.shape[0], not reverse):
            d.append(rnn_slope(g[t] + dh, y[t], activation))
            dh = matmul(d[-1], w)
        d = in_time(d, not reverse)
    else:
        flat = rnn_grad(g, y, w, reverse=reverse, activation=activation)
        d, dh = parts_of(flat, y.shape, h0.shape)
    return d, dh, outer_sum(d, before(y, h0, reverse))


@rnn_states.defjvp
def rnn_states_jvp(dx, dh0, dw, h0, w, y, reverse, activation):
    dx = dx + affine(before(y, start(h0, y[0]), reverse), dw, 0)
    dy, dh = [], start(dh0, y[0])
    for t in steps(y.shape[0], reverse):
        dh = rnn_slope(dx[t] + affine(dh, w, 0), y[t], activation)
        dy.append(dh)
    return in_time(dy, reverse)


def lstm_planes(x, h0, c0, w):
    """Shape rule of lstm_states."""
    return (LSTM_PLANES, *sequence(4, x, w, h0=h0, c0=c0))


def lstm_grads(g, y, c0, w):
    """Shape rule of lstm_grad."""
    T, B, H = planes(g, y, w, 4, LSTM_PLANES, c0=c0)
    return ((4 * T + 2) * B * H,)


@op(
    shape=lstm_grads,
    kernel=kernels.LSTM_GRAD,
    differentiable=False,
    samples=[
        sample((6, 3, 2, 4), (6, 3, 2, 4), (2, 4), (16, 4), reverse=False),
        sample((6, 3, 2, 3), (6, 3, 2, 3), (2, 3), (12, 3), reverse=True),
        sample((6, 3, 2, 3), (6, 3, 2, 3), 0, (12, 3), reverse=True),
    ],
    errors=[
        bad(
            (6, 3, 2, 4),
            (5, 3, 2, 4),
            (2, 4),
            (16, 4),
            reverse=False,
            error=ShapeError,
            match="6 planes",
        )
    ],
)
def lstm_grad(g, y, c0, w, /, *, reverse):
    """The gradients of lstm_states by x and, after it, by h0 and c0, flat.

    Shapes: g, y (6, T, B, H), c0 (B, H), w (4 H, H) -> d (T B 4 H + 2 B H)
    """
    _, T, B, H = y.shape
    d = np.empty((T, B, 4 * H), np.result_type(g, y, c0, w))
    dh, dc = np.zeros((B, H), d.dtype), np.zeros((B, H), d.dtype)
    c0 = np.broadcast_to(c0, (B, H))
    for k, t in enumerate(steps(T, not reverse)):
        i, f, m, o, c, _ = y[:, t]
        last = y[4, t + 1 if reverse else t - 1] if k < T - 1 else c0
        tc, dh = np.tanh(c), dh + g[5, t]
        dc = dc + dh * o * (1 - tc * tc) + g[4, t]
        d[t, :, :H] = (dc * m + g[0, t]) * i * (1 - i)
        d[t, :, H : 2 * H] = (dc * last + g[1, t]) * f * (1 - f)
        d[t, :, 2 * H : 3 * H] = (dc * i + g[2, t]) * (1 - m * m)
        d[t, :, 3 * H :] = (dh * tc + g[3, t]) * o * (1 - o)
        dc, dh = dc * f, d[t] @ w
    return np.concatenate([d.ravel(), dh.ravel(), dc.ravel()])


@op(
    shape=lstm_planes,
    saves="h0 c0 w y",
    kernel=kernels.LSTM,
    samples=[
        sample((3, 2, 16), (2, 4), (2, 4), (16, 4), reverse=False),
        sample((3, 2, 12), (2, 3), (2, 3), (12, 3), reverse=True),
        sample((1, 1, 8), (1, 2), (1, 2), (8, 2), reverse=False),
        sample((2, 0, 8), (0, 2), (0, 2), (8, 2), reverse=False),
        sample((3, 2, 16), 0, 0, (16, 4), reverse=False),
        sample((3, 2, 12), (), (2, 3), (12, 3), reverse=True),
    ],
    errors=[
        bad(
            (3, 2, 16), (2, 4), (3, 4), (16, 4), reverse=False, error=ShapeError, match=r"c0 \(3, 4"
        ),
        bad((3, 2, 12), (2, 4), (2, 4), (16, 4), reverse=False, error=ShapeError, match=r"4 H"),
    ],
)
def lstm_states(x, h0, c0, w, /, *, reverse):
    """Gates i, f, g, o, cells c and states h of all steps of an LSTM, one plane each.

    i, f, g, o = split(x[t] + h[t - 1] @ w.T), then sigmoid, and tanh of g
    c[t] = f * c[t - 1] + i * g,  h[t] = o * tanh(c[t]),  h[-1] = h0, c[-1] = c0

    Shapes: x (T, B, 4 H), h0 and c0 (B, H) or (), w (4 H, H) -> y (6, T, B, H)

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    (T, B), H = x.shape[:2], w.shape[1]
    y = np.empty((LSTM_PLANES, T, B, H), np.result_type(x, h0, c0, w))
    h, c = np.broadcast_to(h0, (B, H)), np.broadcast_to(c0, (B, H))
    for t in steps(T, reverse):
        a = (x[t] + h @ w.T).reshape(B, 4, H)
        i, f, o = SIGMOID(a[:, 0]), SIGMOID(a[:, 1]), SIGMOID(a[:, 3])
        m = np.tanh(a[:, 2])
        c = f * c + i * m
        h = o * np.tanh(c)
        y[:, t] = i, f, m, o, c, h
    return y


@lstm_states.defvjp
def lstm_states_vjp(g, h0, c0, w, y, reverse):
    T, B, H = y.shape[1:]
    h0 = start(h0, y[5, 0])
    if is_recording():
        d, dh, dc = lstm_back(g, start(c0, h0), w, y, reverse)
    else:
        flat = lstm_grad(g, y, c0, w, reverse=reverse)
        d, dh, dc = parts_of(flat, (T, B, 4 * H), (B, H), (B, H))
    return d, dh, dc, outer_sum(d, before(y[5], h0, reverse))


def lstm_back(g, c0, w, y, reverse):
    """lstm_grad made of ops."""
    dh, dc, ds = zeros_like(c0), zeros_like(c0), []
    last = before(y[4], c0, reverse)
    for t in steps(y.shape[1], not reverse):
        i, f, m, o = y[0, t], y[1, t], y[2, t], y[3, t]
        tc, dh = tanh(y[4, t]), dh + g[5, t]
        dc = dc + tanh_slope(dh * o, tc) + g[4, t]
        parts = [
            sigmoid_slope(dc * m + g[0, t], i),
            sigmoid_slope(dc * last[t] + g[1, t], f),
            tanh_slope(dc * i + g[2, t], m),
            sigmoid_slope(dh * tc + g[3, t], o),
        ]
        ds.append(concat(*parts, axis=-1))
        dc, dh = dc * f, matmul(ds[-1], w)
    return in_time(ds, not reverse), dh, dc


@lstm_states.defjvp
def lstm_states_jvp(dx, dh0, dc0, dw, h0, c0, w, y, reverse):
    _, T, B, H = y.shape
    like = y[5, 0]
    dx = dx + affine(before(y[5], start(h0, like), reverse), dw, 0)
    last = before(y[4], start(c0, like), reverse)
    dh, dc, dys = start(dh0, like), start(dc0, like), []
    for t in steps(T, reverse):
        i, f, m, o = y[0, t], y[1, t], y[2, t], y[3, t]
        da = reshape(dx[t] + affine(dh, w, 0), (B, 4, H))
        di, df = sigmoid_slope(da[:, 0], i), sigmoid_slope(da[:, 1], f)
        dm, do = tanh_slope(da[:, 2], m), sigmoid_slope(da[:, 3], o)
        tc = tanh(y[4, t])
        dc = df * last[t] + f * dc + di * m + i * dm
        dh = do * tc + tanh_slope(o * dc, tc)
        dys.append(stack(di, df, dm, do, dc, dh))
    return stack(*(dys[::-1] if reverse else dys), axis=1)
