"""Trigonometric and hyperbolic functions beyond sine, cosine and tanh, and their inverses."""

from __future__ import annotations

import numpy as np

from tape import shapes
from tape._kernels.dispatch import Loop
from tape.op import op, sample
from tape.ops.cases import MISFIT, PAIRS, UNFIT, each
from tape.ops.elementwise import sqrt, square
from tape.ops.logic import equal, where


@op(shape=shapes.same, saves="y", kernel=Loop(np.tan), samples=each(-1.2, 1.2), errors=UNFIT)
def tan(x, /):
    """Tangent of radians, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.tan(x)


@tan.defvjp
def tan_vjp(g, y):
    return g * (square(y) + 1)


@tan.defjvp
def tan_jvp(dx, y):
    return dx * (square(y) + 1)


@op(shape=shapes.same, saves="x", kernel=Loop(np.arcsin), samples=each(-0.9, 0.9), errors=UNFIT)
def asin(x, /):
    """Inverse sine in [-pi/2, pi/2], elementwise; NaN outside of [-1, 1].

    Its gradient at -1 and 1 is inf.

    Shapes: x (*s) -> y (*s)
    """
    return np.arcsin(x)


@asin.defvjp
def asin_vjp(g, x):
    return g / sqrt(1 - square(x))


@asin.defjvp
def asin_jvp(dx, x):
    return dx / sqrt(1 - square(x))


@op(shape=shapes.same, saves="x", kernel=Loop(np.arccos), samples=each(-0.9, 0.9), errors=UNFIT)
def acos(x, /):
    """Inverse cosine in [0, pi], elementwise; NaN outside of [-1, 1].

    Its gradient at -1 and 1 is -inf.

    Shapes: x (*s) -> y (*s)
    """
    return np.arccos(x)


@acos.defvjp
def acos_vjp(g, x):
    return -g / sqrt(1 - square(x))


@acos.defjvp
def acos_jvp(dx, x):
    return -dx / sqrt(1 - square(x))


@op(shape=shapes.same, saves="x", kernel=Loop(np.arctan), samples=each(), errors=UNFIT)
def atan(x, /):
    """Inverse tangent in [-pi/2, pi/2], elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.arctan(x)


@atan.defvjp
def atan_vjp(g, x):
    return g / (square(x) + 1)


@atan.defjvp
def atan_jvp(dx, x):
    return dx / (square(x) + 1)


@op(shape=shapes.same, saves="x", kernel=Loop(np.sinh), samples=each(), errors=UNFIT)
def sinh(x, /):
    """Hyperbolic sine, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.sinh(x)


@sinh.defvjp
def sinh_vjp(g, x):
    return g * cosh(x)


@sinh.defjvp
def sinh_jvp(dx, x):
    return dx * cosh(x)


@op(shape=shapes.same, saves="x", kernel=Loop(np.cosh), samples=each(), errors=UNFIT)
def cosh(x, /):
    """Hyperbolic cosine, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.cosh(x)


@cosh.defvjp
def cosh_vjp(g, x):
    return g * sinh(x)


@cosh.defjvp
def cosh_jvp(dx, x):
    return dx * sinh(x)


@op(shape=shapes.same, saves="x", kernel=Loop(np.arcsinh), samples=each(), errors=UNFIT)
def asinh(x, /):
    """Inverse hyperbolic sine, elementwise.   Shapes: x (*s) -> y (*s)"""
    return np.arcsinh(x)


@asinh.defvjp
def asinh_vjp(g, x):
    return g / sqrt(square(x) + 1)


@asinh.defjvp
def asinh_jvp(dx, x):
    return dx / sqrt(square(x) + 1)


@op(shape=shapes.same, saves="x", kernel=Loop(np.arccosh), samples=each(1.1, 3.0), errors=UNFIT)
def acosh(x, /):
    """Inverse hyperbolic cosine, elementwise; NaN below 1; its gradient at 1 is inf.

    Shapes: x (*s) -> y (*s)
    """
    return np.arccosh(x)


@acosh.defvjp
def acosh_vjp(g, x):
    return g / sqrt(square(x) - 1)


@acosh.defjvp
def acosh_jvp(dx, x):
    return dx / sqrt(square(x) - 1)


@op(shape=shapes.same, saves="x", kernel=Loop(np.arctanh), samples=each(-0.9, 0.9), errors=UNFIT)
def atanh(x, /):
    """Inverse hyperbolic tangent, elementwise; infinite at -1 and 1, NaN outside.

    Shapes: x (*s) -> y (*s)
    """
    return np.arctanh(x)


@atanh.defvjp
def atanh_vjp(g, x):
    return g / (1 - square(x))


@atanh.defjvp
def atanh_jvp(dx, x):
    return dx / (1 - square(x))


AWAY_FROM_0 = [sample(*p, low=0.5) for p in PAIRS] + [
    sample((3,), 1.5),
    sample((3, 4), (4,), low=-2.0, high=-0.5),
    sample(np.array([0.0, -1.0]), np.array([0.0, 0.0]), smooth=False),
]


@op(
    shape=shapes.broadcast,
    saves="a b",
    kernel=Loop(np.arctan2),
    samples=AWAY_FROM_0,
    errors=MISFIT,
)
def atan2(a, b, /):
    """The angle in [-pi, pi] of the point (x, y) = (b, a), elementwise; no gradient at (0, 0).

    Shapes: a, b broadcast -> y
    """
    return np.arctan2(a, b)


def turned(x, a, b):
    """x / (a**2 + b**2), and 0 at the origin, as in PyTorch."""
    square_of_radius = a * a + b * b
    at_origin = equal(square_of_radius, 0)
    return where(at_origin, 0.0, x / where(at_origin, 1.0, square_of_radius))


@atan2.defvjp("a")
def atan2_vjp_a(g, a, b):
    return turned(g * b, a, b)


@atan2.defvjp("b")
def atan2_vjp_b(g, a, b):
    return turned(-g * a, a, b)


@atan2.defjvp
def atan2_jvp(da, db, a, b):
    return turned(da * b - db * a, a, b)


@op(
    shape=shapes.broadcast,
    saves="a b y",
    kernel=Loop(np.hypot),
    samples=AWAY_FROM_0[:-1],
    errors=MISFIT,
)
def hypot(a, b, /):
    """sqrt(a**2 + b**2) without overflow on the way, elementwise; its gradient at (0, 0) is NaN.

    Shapes: a, b broadcast -> y
    """
    return np.hypot(a, b)


@hypot.defvjp("a")
def hypot_vjp_a(g, a, y):
    return g * (a / y)


@hypot.defvjp("b")
def hypot_vjp_b(g, b, y):
    return g * (b / y)


@hypot.defjvp
def hypot_jvp(da, db, a, b, y):
    return da * (a / y) + db * (b / y)
