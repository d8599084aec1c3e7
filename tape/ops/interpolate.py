"""Images, sequences and volumes made larger or smaller."""

from __future__ import annotations

import math

from tape._core.memory import asarray, count_on, lengths
from tape.errors import ShapeError, TapeError
from tape.ops.naming import named
from tape.ops.resample import Plan, is_real, length, resample

# What is done along each axis, and how many axes behind N and C the mode is for.
MODES = {
    "nearest": ("nearest", (1, 2, 3)),
    "nearest-exact": ("nearest-exact", (1, 2, 3)),
    "linear": ("linear", (1,)),
    "bilinear": ("linear", (2,)),
    "trilinear": ("linear", (3,)),
    "bicubic": ("cubic", (2,)),
    "area": ("mean", (1, 2, 3)),
}
SMOOTH = ("linear", "cubic")


@named
def interpolate(
    x,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=False,
    recompute_scale_factor=False,
    antialias=False,
):
    """x resampled to another size along all axes but N and C.

    Pixels are squares with values at their centres, so element i of the result lies at
    (i + 0.5) * n_in / n_out - 0.5 of x; beyond the outermost centres the border goes on.

    Shapes: x (N, C, *s), s of one to three axes -> y (N, C, *size)

    Args:
        size: length along each axis of s, or one for all.
        scale_factor: instead of size, how many times as long, n_out = floor(n_in * scale_factor); a
            number above 0, or one for each axis. Linear modes copy along an axis that keeps its
            length; so does "nearest" of images, which goes by halves where a length is doubled.
        mode: "nearest" (element floor(i * n_in / n_out)), "nearest-exact" (the one whose square i's
            centre lies in), "linear", "bilinear" and "trilinear" for sequences, images and volumes,
            "bicubic" for images (Keys, a = -0.75), or "area": means, as adaptive_avg_pool.
        align_corners: the outermost centres lie on each other, element i at
            i * (n_in - 1) / (n_out - 1); for linear modes and "bicubic".
        recompute_scale_factor: take n_in / n_out as distances, not 1 / scale_factor.
        antialias: not supported; average first, by `avg_pool2d` or mode "area".

    Raises:
        ShapeError: x has other axes than the mode is for, or a length is 0.
        ValueError: size and scale_factor are given both or neither, or a mode is not known.

    >>> import tape
    >>> x = tape.tensor([[[0.0, 4.0]]])
    >>> tape.interpolate(x, 4).tolist()
    [[[0.0, 0.0, 4.0, 4.0]]]
    >>> tape.interpolate(x, scale_factor=2, mode="linear").tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    x = asarray(x)
    n = x.ndim - 2
    kind, dims = MODES.get(mode, (None, ())) if isinstance(mode, str) else (None, ())
    if kind is None:
        raise ValueError(
            f"interpolate: mode {mode!r} is not known; there are "
            + ", ".join([f'"{known}"' for known in MODES])
        )
    if antialias:
        raise ValueError(
            'interpolate: antialias is not supported; average first, by avg_pool2d or mode "area"'
        )
    if align_corners and kind not in SMOOTH:
        raise ValueError(f'interpolate: align_corners is for linear and cubic modes, not "{mode}"')
    if n not in dims:
        needed = " or ".join([str(d + 2) for d in dims])
        raise ShapeError(f'interpolate: mode "{mode}" takes x of {needed} axes, got {lengths(x)}')
    try:
        count_on(x, *range(2, x.ndim))
        along = list(enumerate(plans(lengths(x), kind, n, size, scale_factor, align_corners), 2))
        # The last axis costs most: it comes after those that shrink and before those that grow.
        along.sort(key=lambda pair: 1 if pair[0] == n + 1 else 2 * (pair[1].n_out > pair[1].n_in))
        for axis, plan in along:
            if recompute_scale_factor:
                plan = plan._replace(scale=stride(plan.n_in, plan.n_out, None, align_corners))
            plan = plan._replace(single=x.dtype == "float32" and kind.startswith("nearest"))
            if plan.n_in != plan.n_out or (kind != "mean" and plan.scale != 1.0):
                x = resample(x, axis=axis, plan=plan, adjoint=False)
    except TapeError as error:
        error.op = "interpolate"
        raise
    return x


def plans(x, kind, n, size, scale_factor, align_corners):
    """How each of the n last axes is resampled."""
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: takes either size or scale_factor, got {size!r} and {scale_factor!r}"
        )
    sizes = spread(size, n, "size")
    factors = spread(scale_factor, n, "scale_factor")
    for n_in, n_out, factor in zip(x[2:], sizes, factors, strict=True):
        if n_out is None and not is_real(factor):
            raise ShapeError(f"scale_factor must be numbers above 0, got {scale_factor!r}")
        m = length(math.floor(n_in * factor) if n_out is None else n_out, "size")
        if n_in < 1 or m < 1:
            raise ShapeError(
                f"lengths must be at least 1, got x {x} and {m} for a length of {n_in}"
            )
        if simple(kind, n, n_in, m):
            factor = None
        yield Plan(kind, n_in, m, stride(n_in, m, factor, align_corners), bool(align_corners))


def simple(kind, n, n_in, n_out):
    """Whether only the lengths count, not the scale they came from, as it is in PyTorch.

    Along an axis that keeps its length a linear mode copies, and so does "nearest" of images, which
    doubles each element where the length is doubled.
    """
    if kind == "nearest":
        return n == 2 and n_out in (n_in, 2 * n_in)
    return kind == "linear" and n_in == n_out


def spread(setting, n, name):
    """A setting for each of n axes."""
    values = tuple(setting) if isinstance(setting, (tuple, list)) else (setting,) * n
    if len(values) != n:
        raise ShapeError(f"{name} is one number or {n} of them, got {setting!r}")
    return values


def stride(n_in, n_out, factor, align_corners):
    """How far neighbours of the result lie apart in x."""
    if align_corners:
        return (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
    return 1.0 / float(factor) if factor is not None else n_in / n_out
