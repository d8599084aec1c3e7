"""The layer of gated recurrent units over a whole sequence; see Note [Recurrent layers]."""

from __future__ import annotations

import numpy as np

from tape._core.state import is_recording
from tape._kernels import sequence as kernels
from tape._kernels.activation import SIGMOID
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.activation import sigmoid_slope
from tape.ops.elementwise import tanh_slope, zeros_like
from tape.ops.join import concat, stack
from tape.ops.linalg import matmul, outer_sum
from tape.ops.linear import affine
from tape.ops.recurrent import before, in_time, parts_of, planes, sequence, start, steps
from tape.ops.reduce import sum_to
from tape.ops.shape import reshape

GRU_PLANES = 5


def gru_planes(x, h0, w, b):
    """Shape rule of gru_states."""
    if b != w[:1]:
        raise ShapeError(f"b {b} does not fit the rows of w {w}")
    return (GRU_PLANES, *sequence(3, x, w, h0=h0))


def gru_grads(g, y, h0, w):
    """Shape rule of gru_grad."""
    T, B, H = planes(g, y, w, 3, GRU_PLANES, h0=h0)
    return ((6 * T + 1) * B * H,)


@op(
    shape=gru_grads,
    kernel=kernels.GRU_GRAD,
    differentiable=False,
    samples=[
        sample((5, 3, 2, 4), (5, 3, 2, 4), (2, 4), (12, 4), reverse=False),
        sample((5, 3, 2, 3), (5, 3, 2, 3), (2, 3), (9, 3), reverse=True),
        sample((5, 3, 2, 3), (5, 3, 2, 3), 0, (9, 3), reverse=True),
    ],
    errors=[
        bad(
            (5, 3, 2, 4),
            (5, 3, 2, 4),
            (2, 3),
            (12, 4),
            reverse=False,
            error=ShapeError,
            match=r"h0 \(2, 3\)",
        )
    ],
)
def gru_grad(g, y, h0, w, /, *, reverse):
    """The gradients of gru_states by h @ w.T + b of every step, by x, and by h0, flat.

    Shapes: g, y (5, T, B, H), h0 (B, H), w (3 H, H) -> d (2 T B 3 H + B H)
    """
    _, T, B, H = y.shape
    d = np.empty((2, T, B, 3 * H), np.result_type(g, y, h0, w))
    h0, dh = np.broadcast_to(h0, (B, H)), np.zeros((B, H), d.dtype)
    for k, t in enumerate(steps(T, not reverse)):
        r, z, n, m, _ = y[:, t]
        last = y[4, t + 1 if reverse else t - 1] if k < T - 1 else h0
        dh = dh + g[4, t]
        dn = (dh * (1 - z) + g[2, t]) * (1 - n * n)
        d[:, t, :, :H] = (dn * m + g[0, t]) * r * (1 - r)
        d[:, t, :, H : 2 * H] = (dh * (last - n) + g[1, t]) * z * (1 - z)
        d[0, t, :, 2 * H :], d[1, t, :, 2 * H :] = dn * r + g[3, t], dn
        dh = d[0, t] @ w + dh * z
    return np.concatenate([d.ravel(), dh.ravel()])


@op(
    shape=gru_planes,
    saves="h0 w y b.shape",
    kernel=kernels.GRU,
    samples=[
        sample((3, 2, 12), (2, 4), (12, 4), (12,), reverse=False),
        sample((3, 2, 9), (2, 3), (9, 3), (9,), reverse=True),
        sample((1, 1, 6), (1, 2), (6, 2), (6,), reverse=False),
        sample((2, 0, 6), (0, 2), (6, 2), (6,), reverse=True),
        sample((3, 2, 9), 0, (9, 3), (9,), reverse=True),
    ],
    errors=[
        bad((3, 2, 12), (2, 4), (12, 4), (4,), reverse=False, error=ShapeError, match=r"b \(4,\)"),
        bad((3, 2, 8), (2, 4), (12, 4), (12,), reverse=False, error=ShapeError, match="3 H"),
    ],
)
def gru_states(x, h0, w, b, /, *, reverse):
    """Gates r, z, the candidate n, what it saw of h, m, and states h of all steps of a GRU.

    r, z = sigmoid(split(x[t] + h[t - 1] @ w.T + b)), m the rest of h[t - 1] @ w.T + b
    n = tanh(x[t]'s rest + r * m),  h[t] = (1 - z) * n + z * h[t - 1],  h[-1] = h0

    Shapes: x (T, B, 3 H), h0 (B, H) or (), w (3 H, H), b (3 H) -> y (5, T, B, H)

    Source: Cho et al. 2014 (arXiv 1406.1078), with r after the product.
    """
    (T, B), H = x.shape[:2], w.shape[1]
    y = np.empty((GRU_PLANES, T, B, H), np.result_type(x, h0, w, b))
    h = np.broadcast_to(h0, (B, H))
    for t in steps(T, reverse):
        u, v = x[t].reshape(B, 3, H), (h @ w.T + b).reshape(B, 3, H)
        r, z, m = SIGMOID(u[:, 0] + v[:, 0]), SIGMOID(u[:, 1] + v[:, 1]), v[:, 2]
        n = np.tanh(u[:, 2] + r * m)
        h = (h - n) * z + n
        y[:, t] = r, z, n, m, h
    return y


@gru_states.defvjp
def gru_states_vjp(g, h0, w, y, b_shape, reverse):
    T, B, H = y.shape[1:]
    h0 = start(h0, y[4, 0])
    if is_recording():
        d, dx, dh = gru_back(g, h0, w, y, reverse)
    else:
        flat = gru_grad(g, y, h0, w, reverse=reverse)
        d, dx, dh = parts_of(flat, (T, B, 3 * H), (T, B, 3 * H), (B, H))
    return dx, dh, outer_sum(d, before(y[4], h0, reverse)), sum_to(d, b_shape)


def gru_back(g, h0, w, y, reverse):
    """gru_grad made of ops."""
    dh, ds, dxs = zeros_like(h0), [], []
    last = before(y[4], h0, reverse)
    for t in steps(y.shape[1], not reverse):
        r, z, n, m = y[0, t], y[1, t], y[2, t], y[3, t]
        dh = dh + g[4, t]
        dn = tanh_slope(dh * (1 - z) + g[2, t], n)
        dr, dz = sigmoid_slope(dn * m + g[0, t], r), sigmoid_slope(dh * (last[t] - n) + g[1, t], z)
        ds.append(concat(dr, dz, dn * r + g[3, t], axis=-1))
        dxs.append(concat(dr, dz, dn, axis=-1))
        dh = matmul(ds[-1], w) + dh * z
    return in_time(ds, not reverse), in_time(dxs, not reverse), dh


@gru_states.defjvp
def gru_states_jvp(dx, dh0, dw, db, h0, w, y, reverse):
    _, T, B, H = y.shape
    last = before(y[4], start(h0, y[4, 0]), reverse)
    dv = affine(last, dw, db)
    dh, dys = start(dh0, y[4, 0]), []
    for t in steps(T, reverse):
        r, z, n, m = y[0, t], y[1, t], y[2, t], y[3, t]
        du, dw_h = reshape(dx[t], (B, 3, H)), reshape(dv[t] + affine(dh, w, 0), (B, 3, H))
        dr = sigmoid_slope(du[:, 0] + dw_h[:, 0], r)
        dz = sigmoid_slope(du[:, 1] + dw_h[:, 1], z)
        dm = dw_h[:, 2]
        dn = tanh_slope(du[:, 2] + dr * m + r * dm, n)
        dh = (dh - dn) * z + (last[t] - n) * dz + dn
        dys.append(stack(dr, dz, dn, dm, dh))
    return stack(*(dys[::-1] if reverse else dys), axis=1)
