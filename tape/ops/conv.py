"""Convolution over images, N C H W, and its two gradients, each an op with rules of its own.

With w fixed, convolution and its input gradient are adjoint; with x fixed, convolution and its
weight gradient are. So the three ops are each other's rules, at any order.
"""

from __future__ import annotations

import numpy as np

from tape._core.memory import asarray
from tape._kernels import conv as kernels
from tape._kernels.window import unfold
from tape.errors import DTypeError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.activated import FUSED, function_of, fused_name, slope
from tape.ops.channels import channel_sum
from tape.ops.geometry import Geometry, batched, known_float, padding_pairs, pair, windows
from tape.ops.shape import squeeze

PLAIN = Geometry()
SAME = Geometry(padding=((1, 1), (1, 1)))


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, activation=None):
    """Convolution (cross-correlation, as all of the field calls it) of images with a kernel.

    y[n, o, i, j] = b[o] + sum over c, r, s of
                    x[n, c, i * stride + r * dilation - top, j * ...] * w[o, c, r, s]

    Shapes: x (N, C, H, W), w (C_out, C / groups, R, S), b (C_out) -> y (N, C_out, Ho, Wo) with
    Ho = (H + top + bottom - dilation * (R - 1) - 1) // stride + 1; a single image x (C, H, W) gives
    y (C_out, Ho, Wo)

    Args:
        stride, dilation: an integer of at least 1, or a pair for H and W.
        padding: zeros around the image: an integer, a pair, ((top, bottom), (left, right)), "valid"
            for none, or "same" for as many as keep H and W (stride 1 only).
        groups: channels are split into so many groups that do not see each other.
        activation: a function of the result, such as `tape.relu`, its name, or None. With relu,
            leaky_relu, tanh and sigmoid everything is one node; and with gelu where no gradient is
            asked for.

    Raises:
        ShapeError: channels do not match, groups do not divide, or no window fits.
        ValueError: the activation is neither a function nor the name of one.

    >>> import tape
    >>> x, w = tape.ones((1, 3, 5, 5)), tape.ones((2, 3, 3, 3))
    >>> tape.conv2d(x, w, padding=1).shape
    (1, 2, 5, 5)
    """
    w = asarray(w)
    try:
        geometry = geometry_of(w.shape, stride, padding, dilation, groups)
    except TapeError as error:
        error.op = "conv2d"
        raise
    if b is not None:
        b = asarray(b)
        if b.shape != (w.shape[0],):
            raise ShapeError(
                f"conv2d: b has shape {b.shape}, w {w.shape} makes {w.shape[0]} channels"
            )
    images, alone = batched(x)
    activation = function_of(activation, "conv2d")
    fused = fused_name(activation, images, w, b)
    b = 0 if b is None else b
    if fused is None:
        y = correlate2d(images, w, b, geometry=geometry)
        y = y if activation is None else activation(y)
    else:
        y = activated(images, w, b, geometry=geometry, activation=fused)
    return squeeze(y, 0) if alone else y


def geometry_of(w, stride, padding, dilation, groups):
    """The settings of conv2d in pairs, for a weight of shape w."""
    if len(w) != 4:
        raise ShapeError(f"w must be (C_out, C / groups, R, S), got {w}")
    if not hasattr(groups, "__index__"):
        raise ShapeError(f"groups is an integer, got {groups!r}")
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    pairs = padding_pairs(padding, w[2:], stride, dilation)
    return Geometry(stride, pairs, dilation, int(groups))


def correlated(x, w, b=(), *, geometry):
    """Shape rule: (N, C, H, W), (C_out, C / groups, R, S), () or (C_out) -> (N, C_out, Ho, Wo)."""
    groups = geometry.groups
    if len(x) != 4 or len(w) != 4:
        raise ShapeError(
            f"x must be (N, C, H, W) or (C, H, W) and w (C_out, C / groups, R, S), got {x} and {w}"
        )
    if groups < 1 or w[0] % groups:
        raise ShapeError(f"groups = {groups} does not divide the {w[0]} output channels of w {w}")
    if x[1] != w[1] * groups:
        of = f" in {groups} groups" if groups > 1 else ""
        raise ShapeError(f"x has {x[1]} channels, w expects {w[1] * groups}{of} (x {x}, w {w})")
    if b not in ((), (w[0],)):
        raise ShapeError(f"b {b} does not fit the {w[0]} output channels of w {w}")
    return (x[0], w[0], *windows(x[2:], w[2:], geometry))


def columns(x, window, geometry):
    """The windows of images as columns (N, groups, C / groups * R * S, Ho * Wo)."""
    N, C, H, W = x.shape
    if window == (1, 1) and geometry.stride == (1, 1) and geometry.padding == PLAIN.padding:
        cols = x.reshape(N, C, H * W)
    else:
        cols = unfold(x, window, geometry.stride, geometry.padding, geometry.dilation)
    rows = C // geometry.groups * window[0] * window[1]
    return cols.reshape(N, geometry.groups, rows, cols.shape[2])


FORMS = [
    ((2, 3, 6, 5), (4, 3, 3, 2), PLAIN),
    ((2, 4, 7, 6), (6, 2, 3, 3), Geometry(stride=(2, 1), padding=((1, 0), (2, 1)), groups=2)),
    ((1, 2, 7, 7), (2, 1, 2, 3), Geometry(padding=((1, 1), (1, 1)), dilation=(2, 2), groups=2)),
    ((2, 3, 4, 4), (2, 3, 1, 1), PLAIN),
    ((0, 3, 4, 4), (2, 3, 3, 3), PLAIN),
]


def refused(x, w, match, geometry=PLAIN, b=0, **more):
    """Shapes that conv2d must refuse."""
    return bad(x, w, b, geometry=geometry, error=ShapeError, match=match, **more)


def by_columns(x, w, b, *, geometry):
    """What correlate2d gives, by writing every window out."""
    groups, C_out = geometry.groups, w.shape[0]
    cols = columns(x, w.shape[2:], geometry)
    weight = w.reshape(groups, C_out // groups, cols.shape[2])
    Ho, Wo = windows(x.shape[2:], w.shape[2:], geometry)
    y = np.matmul(weight, cols).reshape(x.shape[0], C_out, Ho, Wo)
    return y + b.reshape(-1, 1, 1) if np.ndim(b) else y


@op(
    name="conv2d",
    shape=correlated,
    saves="x w x.shape w.shape",
    ref=by_columns,
    samples=[
        *[sample(x, w, 0, geometry=geometry) for x, w, geometry in FORMS],
        *[sample(x, w, (w[0],), geometry=geometry) for x, w, geometry in FORMS[:2]],
        sample((1, 20, 5, 17), (33, 20, 3, 3), (33,), geometry=SAME),
    ],
    errors=[
        refused((8, 3, 9, 9), (16, 4, 3, 3), "x has 3 channels, w expects 4"),
        refused((3, 9, 9), (16, 3, 3, 3), r"must be \(N, C, H, W\)"),
        refused((1, 3, 2, 2), (1, 3, 3, 3), "does not fit the image"),
        refused((1, 3, 4, 4), (4, 1, 3, 3), "does not divide", Geometry(groups=3)),
        refused((1, 1, 4, 4), (1, 1, 3, 3), "at least 1", Geometry(stride=(0, 1))),
        refused((1, 1, 4, 4), (2, 1, 3, 3), r"b \(3,\) does not fit the 2", b=(3,)),
        bad(
            np.ones((1, 1, 4, 4), np.int64),
            (1, 1, 3, 3),
            0,
            geometry=PLAIN,
            error=DTypeError,
            match="x is int64, expected float32 or float64",
        ),
    ],
)
def correlate2d(x, w, b, /, *, geometry):
    """conv2d, its settings in pairs; b is 0 for none.

    Shapes: x (N, C, H, W), w (C_out, C / groups, R, S), b (C_out) -> y (N, C_out, Ho, Wo)
    """
    return convolved(x, w, b, geometry, None)


def convolved(x, w, b, geometry, activation):
    """The arrays through the kernel, which applies the activation while a block is in the cache."""
    stride, padding, dilation, groups, _ = geometry
    bias = b if getattr(b, "ndim", 0) else None
    x = known_float(x)
    return kernels.conv2d(x, w, stride, padding, dilation, groups, bias, activation)


def by_columns_activated(x, w, b, *, geometry, activation):
    """What `activated` gives, one step after another."""
    return FUSED[activation].forward(by_columns(x, w, b, geometry=geometry))


@op(
    name="activated_conv2d",
    shape=correlated,
    saves="x w y x.shape w.shape",
    ref=by_columns_activated,
    samples=[
        sample(x, w, (w[0],), geometry=geometry, activation=activation, smooth=smooth)
        for (x, w, geometry), activation, smooth in zip(
            FORMS, ["tanh", "relu", "leaky_relu", "sigmoid", "tanh"], [1, 0, 0, 1, 1], strict=True
        )
    ],
    errors=[refused((1, 3, 2, 2), (1, 3, 3, 3), "does not fit the image", activation="relu")],
)
def activated(x, w, b, /, *, geometry, activation):
    """An activation of conv2d, as one node.

    Shapes: x (N, C, H, W), w (C_out, C / groups, R, S), b (C_out) -> y (N, C_out, Ho, Wo)
    """
    return convolved(x, w, b, geometry, activation)


def of_result(dy, x, w, geometry):
    """x and w, if conv2d makes a result of dy's shape of them."""
    if correlated(x, w, geometry=geometry) != dy:
        raise ShapeError(f"dy {dy} is not what x {x} and w {w} give")
    return x, w


def image_of(dy, w, *, image, geometry):
    """Shape rule of the input gradient: the image that dy is the result for."""
    if len(dy) != 4 or len(w) != 4:
        raise ShapeError(f"dy and w must have four axes, got {dy} and {w}")
    return of_result(dy, (dy[0], w[1] * geometry.groups, *image), w, geometry)[0]


@op(
    shape=image_of,
    saves="dy w w.shape",
    samples=[sample(correlated(x, w, geometry=g), w, image=x[2:], geometry=g) for x, w, g in FORMS],
    errors=[
        bad((2, 4), (4, 3, 3, 2), image=(6, 5), geometry=PLAIN, error=ShapeError, match="four"),
        bad(
            *((2, 4, 4, 5), (4, 3, 3, 2)),
            image=(6, 5),
            geometry=PLAIN,
            error=ShapeError,
            match=r"dy \(2, 4, 4, 5\) is not what x \(2, 3, 6, 5\) and w \(4, 3, 3, 2\) give",
        ),
    ],
)
def conv2d_input_grad(dy, w, /, *, image, geometry):
    """Gradient of conv2d for its image: each window's share added back to where it came from.

    Shapes: dy (N, C_out, Ho, Wo), w (C_out, C / groups, R, S) -> dx (N, C, H, W)
    """
    stride, padding, dilation, groups, _ = geometry
    return kernels.conv2d_image(dy, w, *image, stride, padding, dilation, groups)


def kernel_of(dy, x, *, window, geometry):
    """Shape rule of the weight gradient: the kernel that dy is the result for."""
    if len(dy) != 4 or len(x) != 4:
        raise ShapeError(f"dy and x must have four axes, got {dy} and {x}")
    return of_result(dy, x, (dy[1], x[1] // geometry.groups, *window), geometry)[1]


@op(
    shape=kernel_of,
    saves="dy x x.shape",
    samples=[
        sample(correlated(x, w, geometry=g), x, window=w[2:], geometry=g) for x, w, g in FORMS
    ],
    errors=[
        bad((2, 4), (2, 3, 6, 5), window=(3, 2), geometry=PLAIN, error=ShapeError, match="four"),
        bad(
            *((2, 4, 4, 5), (2, 3, 6, 5)),
            window=(3, 2),
            geometry=PLAIN,
            error=ShapeError,
            match=r"dy \(2, 4, 4, 5\) is not what x \(2, 3, 6, 5\) and w \(4, 3, 3, 2\) give",
        ),
    ],
)
def conv2d_weight_grad(dy, x, /, *, window, geometry):
    """Gradient of conv2d for its weight: every window times what came back from it.

    Shapes: dy (N, C_out, Ho, Wo), x (N, C, H, W) -> dw (C_out, C / groups, R, S)
    """
    stride, padding, dilation, groups, _ = geometry
    return kernels.conv2d_window(dy, x, *window, stride, padding, dilation, groups)


@activated.defouter
def activated_outer(g, y, activation):
    return slope(g, y, activation)


@activated.defvjp("x")
@correlate2d.defvjp("x")
def correlate2d_vjp_x(g, w, x_shape, geometry):
    return conv2d_input_grad(g, w, image=x_shape[2:], geometry=geometry)


@activated.defvjp("w")
@correlate2d.defvjp("w")
def correlate2d_vjp_w(g, x, w_shape, geometry):
    return conv2d_weight_grad(g, x, window=w_shape[2:], geometry=geometry)


@activated.defvjp("b")
@correlate2d.defvjp("b")
def correlate2d_vjp_b(g):
    return channel_sum(g)


@correlate2d.defjvp
def correlate2d_jvp(dx, dw, db, x, w, geometry):
    return correlate2d(dx, w, db, geometry=geometry) + correlate2d(x, dw, 0, geometry=geometry)


@activated.defjvp
def activated_jvp(dx, dw, db, x, w, y, geometry, activation):
    inner = correlate2d(dx, w, db, geometry=geometry) + correlate2d(x, dw, 0, geometry=geometry)
    return slope(inner, y, activation)


@conv2d_input_grad.defvjp("dy")
def conv2d_input_grad_vjp_dy(g, w, geometry):
    return correlate2d(g, w, 0, geometry=geometry)


@conv2d_input_grad.defvjp("w")
def conv2d_input_grad_vjp_w(g, dy, w_shape, geometry):
    return conv2d_weight_grad(dy, g, window=w_shape[2:], geometry=geometry)


@conv2d_input_grad.defjvp
def conv2d_input_grad_jvp(ddy, dw, dy, w, image, geometry):
    a = conv2d_input_grad(ddy, w, image=image, geometry=geometry)
    return a + conv2d_input_grad(dy, dw, image=image, geometry=geometry)


@conv2d_weight_grad.defvjp("dy")
def conv2d_weight_grad_vjp_dy(g, x, geometry):
    return correlate2d(x, g, 0, geometry=geometry)


@conv2d_weight_grad.defvjp("x")
def conv2d_weight_grad_vjp_x(g, dy, x_shape, geometry):
    return conv2d_input_grad(dy, g, image=x_shape[2:], geometry=geometry)


@conv2d_weight_grad.defjvp
def conv2d_weight_grad_jvp(ddy, dx, dy, x, window, geometry):
    a = conv2d_weight_grad(ddy, x, window=window, geometry=geometry)
    return a + conv2d_weight_grad(dy, dx, window=window, geometry=geometry)
