"""NumPy's functions of elements called on tensors: np.exp(t) is tape.exp(t), with its gradient."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tape.ops import (
    arithmetic,
    bitwise,
    elementwise,
    extremes,
    linalg,
    logic,
    reduce,
    rounding,
    scan,
    trig,
)
from tape.ops.einsum import vecdot

# Names that NumPy has for what tape calls otherwise.
RENAMED = {
    "absolute": elementwise.abs,
    "arccos": trig.acos,
    "arccosh": trig.acosh,
    "arcsin": trig.asin,
    "arcsinh": trig.asinh,
    "arctan": trig.atan,
    "arctan2": trig.atan2,
    "arctanh": trig.atanh,
    "conjugate": arithmetic.conj,
    "invert": bitwise.bitwise_invert,
    "left_shift": bitwise.bitwise_left_shift,
    "matmul": linalg.matmul,
    "power": arithmetic.power,
    "right_shift": bitwise.bitwise_right_shift,
    "rint": rounding.round,
    "vecdot": vecdot,
}

# What to write for those that tape has not.
INSTEAD = {
    "cbrt": "tape.sign(x) * tape.abs(x) ** (1 / 3)",
    "deg2rad": "x * (tape.pi / 180)",
    "degrees": "x * (180 / tape.pi)",
    "exp2": "2.0 ** x",
    "expit": "tape.sigmoid(x)",
    "fabs": "tape.abs(x)",
    "float_power": "tape.pow(a, b)",
    "fmax": "tape.maximum(a, b), which hands NaN on",
    "fmin": "tape.minimum(a, b), which hands NaN on",
    "fmod": "a - tape.trunc(a / b) * b",
    "gammaln": "tape.lgamma(x)",
    "ldexp": "a * 2.0 ** b",
    "log_expit": "tape.logsigmoid(x)",
    "matvec": "tape.matmul(a, b[..., None])[..., 0]",
    "modf": "tape.trunc(x) and x - tape.trunc(x)",
    "psi": "tape.digamma(x)",
    "rad2deg": "x * (180 / tape.pi)",
    "radians": "x * (tape.pi / 180)",
    "vecmat": "tape.matmul(a[..., None, :], b)[..., 0, :]",
}


def divmod_of(a: Any, b: Any) -> tuple[Any, Any]:
    """Quotient and remainder."""
    return arithmetic.floor_divide(a, b), arithmetic.remainder(a, b)


def found() -> dict[Any, Any]:
    """NumPy's ufuncs that tape has, by their names."""
    pairs: dict[Any, Any] = {np.divmod: divmod_of}
    for ufunc in vars(np).values():
        if isinstance(ufunc, np.ufunc):
            for family in (bitwise, logic, elementwise, arithmetic, trig, rounding):
                op = RENAMED.get(ufunc.__name__) or getattr(family, ufunc.__name__, None)
                if op is not None:
                    pairs.setdefault(ufunc, op)
    return pairs


FUNCTIONS = found()
REDUCTIONS: dict[Any, Any] = {
    np.add: ("sum", reduce.sum),
    np.multiply: ("prod", reduce.prod),
    np.maximum: ("max", extremes.max),
    np.minimum: ("min", extremes.min),
    np.logical_and: ("all", extremes.all),
    np.logical_or: ("any", extremes.any),
}
ACCUMULATIONS = {np.add: scan.cumulative_sum, np.multiply: scan.cumulative_prod}


def array_ufunc(self: Any, ufunc: np.ufunc, method: str, *operands: Any, **settings: Any) -> Any:
    """What a ufunc of NumPy gives for tensors: the op of tape that computes the same.

    `reduce` and `accumulate` are the reductions and scans that tape has.

    Raises:
        TypeError: tape has no such function or method, or a setting is not what tape takes.
    """
    name = ufunc.__name__
    if settings.pop("out", None) is not None:
        op = FUNCTIONS.get(ufunc)
        result = f"tape.{getattr(op, '__name__', name)}(...)"
        raise TypeError(
            f"np.{name}: out= is not for tensors, nor for what comes of them: take the result of "
            f"{result}, or write x[...] = {result}"
        )
    if settings.get("where") is True:
        del settings["where"]
    no_axis = method == "reduce" and settings.get("axis", 0) is None
    given = {key: value for key, value in settings.items() if value is not None}
    if no_axis:
        given["axis"] = None
    if method == "__call__":
        op = FUNCTIONS.get(ufunc)
        if op is None:
            known = f"tape.{name}(...)" if hasattr(sys.modules["tape"], name) else INSTEAD.get(name)
            raise TypeError(
                f"{name}: a ufunc that tape does not take: "
                + (f"use {known}, or, " if known else "")
                + f"for the value alone, without a gradient, {name}(x.numpy())"
            )
        if given:
            raise TypeError(f"np.{name}: of a tensor it takes no {', '.join(sorted(given))}=")
        return op(*operands)
    if method == "reduce" and ufunc in REDUCTIONS:
        return reduced(ufunc, *operands, **given)
    if method == "accumulate" and ufunc in ACCUMULATIONS:
        given.setdefault("axis", 0)
        return ACCUMULATIONS[ufunc](*operands, **given)
    instead = {"at": "x[key] = value", "outer": "an axis of length one in each operand"}
    known = ", ".join([f"tape.{name}" for name, _ in REDUCTIONS.values()])
    raise TypeError(
        f"np.{name}.{method}: not for tensors; use "
        + instead.get(method, f"{known}, tape.cumulative_sum or tape.cumulative_prod")
    )


def reduced(ufunc: np.ufunc, x: Any, axis: Any = 0, **settings: Any) -> Any:
    """ufunc.reduce(x): along the first axis unless another is given."""
    name, op = REDUCTIONS[ufunc]
    unknown = sorted(set(settings) - {"keepdims", "dtype"})
    if unknown or ("dtype" in settings and name not in ("sum", "prod")):
        raise TypeError(f"np.{ufunc.__name__}.reduce: of a tensor it takes no {unknown or 'dtype'}")
    return op(x, axis=axis, **settings)
