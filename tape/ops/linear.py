"""Linear layers as one node each: a product with a weight, a bias, and what may follow them."""

from __future__ import annotations

import numpy as np

from tape._core.rule import unchanged
from tape._kernels.product import Linear
from tape.errors import ShapeError
from tape.op import bad, op, sample
from tape.ops.activated import FUSED, by_steps, function_of, fused_name, slope
from tape.ops.linalg import PRODUCT, matmul, outer_sum
from tape.ops.reduce import sum_to


def features(x, w, b):
    """Shape rule of affine: as many features as w has columns, one bias a row of w."""
    if not x or len(w) != 2:
        raise ShapeError(f"takes x (..., n_in) and w (n_out, n_in), got x {x} and w {w}")
    if x[-1] != w[1]:
        raise ShapeError(f"x {x} has {x[-1]} features, w {w} takes {w[1]}")
    if b and b != w[:1]:
        raise ShapeError(f"b {b} does not fit the {w[0]} rows of w {w}")
    return (*x[:-1], w[0])


@op(
    name="linear",
    shape=features,
    saves="x w b.shape",
    kernel=Linear(),
    ref=by_steps,
    samples=[
        sample((3, 4), (2, 4), (2,)),
        sample((2, 3, 4), (2, 4), (2,)),
        sample((4,), (2, 4), (2,)),
        sample((3, 4), (2, 4), 0),
        sample((3, 4), (2, 4), ()),
        sample((3, 4), (2, 4), 1.5),
        sample((0, 4), (2, 4), (2,)),
        sample((3, 0), (2, 0), (2,)),
        sample((3, 4), (2, 4), (2,), dtypes=["float32", "float32", "float64"]),
    ],
    errors=[
        bad((3, 5), (2, 4), (2,), error=ShapeError, match=r"x \(3, 5\) has 5 features, w \(2, 4\)"),
        bad((3, 4), (2, 4), (3,), error=ShapeError, match=r"b \(3,\) .* 2 rows of w \(2, 4\)"),
        bad((), (2, 4), (2,), error=ShapeError, match=r"got x \(\) and w \(2, 4\)"),
    ],
)
def affine(x, w, b, /):
    """x @ w.T + b as one node; a bias of 0 costs nothing. See `linear`.

    Shapes: x (..., n_in), w (n_out, n_in), b (n_out) or () -> y (..., n_out)
    """
    return np.add(PRODUCT(x, w.T), b)


@op(
    name="activated_linear",
    shape=features,
    saves="x w b.shape y",
    kernel=Linear(),
    ref=by_steps,
    samples=[
        sample((3, 4), (2, 4), (2,), activation="relu", smooth=False),
        sample((2, 3, 4), (2, 4), (2,), activation="leaky_relu", smooth=False),
        sample((3, 4), (2, 4), (2,), activation="tanh"),
        sample((3, 4), (2, 4), 0, activation="sigmoid"),
        sample((4,), (20, 4), 1.5, activation="tanh"),
        sample((0, 4), (2, 4), (2,), activation="tanh"),
    ],
    errors=[
        bad(
            (3, 5),
            (2, 4),
            (2,),
            activation="tanh",
            error=ShapeError,
            match=r"x \(3, 5\) has 5 features, w \(2, 4\)",
        ),
    ],
)
def activated(x, w, b, /, *, activation):
    """An activation of x @ w.T + b as one node. See `linear`.

    Shapes: x (..., n_in), w (n_out, n_in), b (n_out) or () -> y (..., n_out)
    """
    return FUSED[activation].forward(affine.forward(x, w, b))


def features_onto(x, w, b, r):
    """Shape rule of affine_onto: that of affine, to which r broadcasts."""
    y = features(x, w, b)
    if len(r) > len(y) or any(n not in (1, m) for n, m in zip(r[::-1], y[::-1], strict=False)):
        raise ShapeError(f"residual {r} does not broadcast to the result {y} of x {x} and w {w}")
    return y


@op(
    name="residual_linear",
    shape=features_onto,
    saves="x w b.shape",
    kernel=Linear(),
    ref=by_steps,
    samples=[
        sample((3, 4), (2, 4), (2,), (3, 2)),
        sample((2, 3, 4), (5, 4), 0, (2, 3, 5)),
        sample((2, 3, 4), (2, 4), (2,), (3, 1)),
        sample((4,), (2, 4), (2,), (2,)),
        sample((3, 4), (2, 4), 1.5, ()),
        sample((0, 4), (2, 4), (2,), (0, 2)),
        sample((3, 0), (2, 0), (2,), (3, 2)),
        sample((3, 4), (2, 4), (2,), (3, 2), dtypes=["float32", "float32", "float32", "float64"]),
    ],
    errors=[
        bad(
            (3, 4),
            (2, 4),
            (2,),
            (4, 2),
            error=ShapeError,
            match=r"residual \(4, 2\) does not broadcast to the result \(3, 2\)",
        ),
        bad((3, 4), (2, 4), (2,), (1, 3, 2), error=ShapeError, match=r"residual \(1, 3, 2\)"),
    ],
)
def affine_onto(x, w, b, r, /):
    """x @ w.T + b + r as one node. See `linear`.

    Shapes: x (..., n_in), w (n_out, n_in), b (n_out) or (), r (..., n_out) -> y (..., n_out)
    """
    return np.add(affine.forward(x, w, b), r)


@op(
    name="activated_residual_linear",
    shape=features_onto,
    saves="x w b.shape y",
    kernel=Linear(),
    ref=by_steps,
    samples=[
        sample((3, 4), (2, 4), (2,), (3, 2), activation="relu", smooth=False),
        sample((2, 3, 4), (2, 4), 0, (2, 3, 2), activation="leaky_relu", smooth=False),
        sample((3, 4), (20, 4), (20,), (20,), activation="tanh"),
        sample((0, 4), (2, 4), (2,), (0, 2), activation="sigmoid"),
    ],
    errors=[
        bad(
            (3, 4),
            (2, 4),
            (2,),
            (4, 2),
            activation="tanh",
            error=ShapeError,
            match=r"residual \(4, 2\) does not broadcast",
        ),
    ],
)
def activated_onto(x, w, b, r, /, *, activation):
    """An activation of x @ w.T + b + r as one node. See `linear`.

    Shapes: x (..., n_in), w (n_out, n_in), b (n_out) or (), r (..., n_out) -> y (..., n_out)
    """
    return FUSED[activation].forward(affine_onto.forward(x, w, b, r))


@activated_onto.defouter
@activated.defouter
def activated_outer(g, y, activation):
    return slope(g, y, activation)


@activated_onto.defvjp("x")
@affine_onto.defvjp("x")
@activated.defvjp("x")
@affine.defvjp("x")
def affine_vjp_x(g, w):
    return matmul(g, w)


@activated_onto.defvjp("w")
@affine_onto.defvjp("w")
@activated.defvjp("w")
@affine.defvjp("w")
def affine_vjp_w(g, x):
    return outer_sum(g, x)


@activated_onto.defvjp("b")
@affine_onto.defvjp("b")
@activated.defvjp("b")
@affine.defvjp("b")
def affine_vjp_b(g, b_shape):
    return sum_to(g, b_shape)


affine_onto.defvjp("r")(unchanged)
activated_onto.defvjp("r")(unchanged)


@activated.defjvp
def activated_jvp(dx, dw, db, x, w, y, activation):
    return slope(affine(dx, w, db) + affine(x, dw, 0), y, activation)


@affine.defjvp
def affine_jvp(dx, dw, db, x, w):
    return affine(dx, w, db) + affine(x, dw, 0)


@affine_onto.defjvp
def affine_onto_jvp(dx, dw, db, dr, x, w):
    return affine(dx, w, db) + affine_onto(x, dw, 0, dr)


@activated_onto.defjvp
def activated_onto_jvp(dx, dw, db, dr, x, w, y, activation):
    return slope(affine(dx, w, db) + affine_onto(x, dw, 0, dr), y, activation)


def linear(x, w, b=None, /, activation=None, residual=None):
    """A linear layer applied to every row: activation(x @ w.T + b + residual).

    Args:
        w: the weight, one row a result, as PyTorch keeps it.
        b: the bias, None for none.
        activation: a function of the result, such as `tape.relu`, its name, or None. With relu,
            leaky_relu, tanh and sigmoid everything is one node, computed in one pass; and with gelu
            where no gradient is asked for, as gelu's needs what it was applied to.
        residual: what is added before the activation, of a shape that broadcasts to the result's.

    Shapes: x (..., n_in), w (n_out, n_in), b (n_out) -> y (..., n_out)

    Raises:
        ShapeError: x has another number of features than w takes, or b or residual does not fit.
        ValueError: there is no such activation.

    >>> import tape
    >>> w, b = tape.tensor([[1.0, 0.0], [1.0, 1.0]]), tape.tensor([0.0, 5.0])
    >>> tape.linear(tape.tensor([1.0, 2.0]), w, b).tolist()
    [1.0, 8.0]
    >>> tape.linear(tape.tensor([1.0, 2.0]), w, b, "relu", tape.tensor([-3.0, 1.0])).tolist()
    [0.0, 9.0]
    """
    b = 0 if b is None else b
    if activation is not None:
        activation = function_of(activation, "linear")
        fused = fused_name(activation, x, w, b, residual)
        if fused is not None and residual is None:
            return activated(x, w, b, activation=fused)
        if fused is not None:
            return activated_onto(x, w, b, residual, activation=fused)
    y = affine(x, w, b) if residual is None else affine_onto(x, w, b, residual)
    return y if activation is None else activation(y)
