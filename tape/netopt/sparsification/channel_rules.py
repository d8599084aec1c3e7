"""How ops lead channels on: the axes of a result from those of its operands, op by op.

Note [Channels]
What is known of an op is which places of its operands its result's places depend on. If each
depends on those of the same place alone, the places are tied. If a place of an operand only adds to
all results, by way of a weight as in a matrix product, it may be removed along with its weights. If
an op looks at all places of an axis together, as a softmax does, they stay. Ops that are not listed
here are taken to do so with all axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tape import shapes
from tape.netopt.sparsification.ties import Axes, Ties, fixed, reshaped
from tape.ops.pad import frame

__all__ = ["Step", "axes_of_result"]


class Step(NamedTuple):
    """One call of an op.

    Attributes:
        op: that was called.
        settings: by name.
        xs: the axes of each operand, None for numbers.
        is_weight: for each operand, whether it comes of parameters alone.
        shape: of the result.
        why: what is said of places that the op makes stay.
    """

    op: Any
    settings: dict[str, Any]
    xs: list[Axes | None]
    is_weight: list[bool]
    shape: tuple[int, ...]
    why: str


def axes_of_result(ties: Ties, step: Step) -> Axes:
    """The axes of an op's result; notes which places of its operands are tied, and which stay."""
    rule = RULES.get(step.op.name)
    if rule is None and step.op.shape in (shapes.same, shapes.broadcast):
        rule = elementwise
    if rule is not None:
        made = rule(ties, step)
        if made is not None and tuple([len(axis) for axis in made]) == step.shape:
            return made
    for x in step.xs:
        for axis in x or ():
            ties.lock(axis, step.why)
    return tuple([fixed(n) for n in step.shape])


def operands(step: Step) -> list[Axes]:
    """The axes of the operands that are tensors."""
    return [x for x in step.xs if x is not None]


def elementwise(ties: Ties, step: Step) -> Axes:
    """Of operands that broadcast, each number by itself."""
    made = []
    for axis in range(-len(step.shape), 0):
        here = [x[axis] for x in operands(step) if len(x) >= -axis]
        full = [a for a in here if len(a) == step.shape[axis]]
        for a in here:
            if len(a) != step.shape[axis]:
                ties.lock(a, step.why)
        total = full[0] if full else fixed(step.shape[axis])
        for a in full[1:]:
            total = ties.tie(total, a, step.why)
        made.append(total)
    return tuple(made)


def multiplied(ties: Ties, step: Step, x: int, x_axis: int, w: int, w_axis: int) -> None:
    """Operands x and w are multiplied along these axes and added up."""
    a, b = (step.xs[i] or () for i in (x, w))
    if step.is_weight[x] or step.is_weight[w]:
        ties.tie(a[x_axis], b[w_axis], step.why)
    else:
        ties.lock(a[x_axis], step.why)
        ties.lock(b[w_axis], step.why)


def linear(ties: Ties, step: Step) -> Axes | None:
    """x (*s, k), w (n, k), b (n,) and r (*s, n)."""
    x, w = operands(step)[:2]
    if len(w) != 2:
        return None
    multiplied(ties, step, 0, -1, 1, 1)
    return elementwise(ties, step._replace(xs=[(*x[:-1], w[0]), *step.xs[2:]]))


def matmul(ties: Ties, step: Step) -> Axes | None:
    """(*s, m, k) by (*s, k, n), or vectors."""
    a, b = operands(step)
    multiplied(ties, step, 0, -1, 1, max(-2, -len(b)))
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    stack = elementwise(
        ties,
        step._replace(
            xs=[a[:-2], b[:-2]], shape=step.shape[: len(step.shape) - len(rows) - len(columns)]
        ),
    )
    return (*stack, *rows, *columns)


def conv2d(ties: Ties, step: Step) -> Axes:
    """x (N, C, H, W), w (O, C / groups, R, S) and b (O,)."""
    (x, w), groups = operands(step)[:2], step.settings["geometry"].groups
    out = w[0]
    for axis in (*x[2:], *w[2:]):
        ties.lock(axis, step.why)
    if groups == 1:
        multiplied(ties, step, 0, 1, 1, 1)
    elif not step.is_weight[1]:
        return ()
    elif len(w[1]) == 1:  # each channel by itself, and a group with it
        ties.lock(w[1], step.why)
        ties.tie(np.repeat(x[1], len(out) // groups), out, step.why)
    else:  # as many of each group, those of the same number in it
        ties.tie(x[1], np.tile(w[1], groups), step.why)
        ties.tie(out, np.tile(out[: len(out) // groups], groups), step.why)
    if len(step.xs) > 2 and step.xs[2] is not None:
        out = ties.tie(out, step.xs[2][0], step.why)
    return (x[0], out, *map(fixed, step.shape[2:]))


def conv_transpose2d(ties: Ties, step: Step) -> Axes | None:
    """dy (N, O, H, W) and w (O, C, R, S), in one group."""
    dy, w = operands(step)
    if step.settings["geometry"].groups != 1:
        return None
    for axis in (*dy[2:], *w[2:]):
        ties.lock(axis, step.why)
    multiplied(ties, step, 0, 1, 1, 0)
    return (dy[0], w[1], *map(fixed, step.shape[2:]))


def windows(ties: Ties, step: Step) -> Axes:
    """Windows over the last two axes; channels by themselves."""
    parts: list[Axes | None] = [x[:-2] for x in operands(step)]
    for x in operands(step):
        for axis in x[-2:]:
            ties.lock(axis, step.why)
    front = elementwise(ties, step._replace(xs=parts, shape=step.shape[:-2]))
    return (*front, *map(fixed, step.shape[-2:]))


def depth_windows(ties: Ties, step: Step) -> Axes:
    """(N, C, D, H, W) becomes (N Do, C T, H, W)."""
    (x,) = operands(step)
    for axis in (x[0], *x[2:]):
        ties.lock(axis, step.why)
    channels = np.repeat(x[1], step.shape[1] // len(x[1])) if len(x[1]) else fixed(step.shape[1])
    return (fixed(step.shape[0]), channels, *map(fixed, step.shape[2:]))


def volumes_of(ties: Ties, step: Step) -> Axes:
    """(N Do, C, H, W) becomes (N, C, Do, H, W)."""
    (x,) = operands(step)
    ties.lock(x[0], step.why)
    n, _, depth, *_ = step.shape
    return (fixed(n), x[1], fixed(depth), *x[2:])


def channel_affine(ties: Ties, step: Step) -> Axes:
    """x (N, C, *s) and some numbers for each channel."""
    x = operands(step)[0]
    channels = x[1]
    for vector in step.xs[1:]:
        if vector:
            channels = ties.tie(channels, vector[0], step.why)
    return (x[0], channels, *x[2:])


def together(name: str) -> Callable[[Ties, Step], Axes]:
    """The rule of an op that looks at all of the axes that a setting names."""

    def rule(ties: Ties, step: Step) -> Axes:
        x = list(operands(step)[0])
        for axis in shapes.axes_of(len(x), step.settings[name]) if x else ():
            ties.lock(x[axis], step.why)
            x[axis] = fixed(len(x[axis]))
        for other in operands(step)[1:]:  # numbers for these axes
            for places in other:
                ties.lock(places, step.why)
        return tuple(x)

    return rule


def reduce(ties: Ties, step: Step) -> Axes:
    """Sums, means and the like over some axes."""
    (x,) = operands(step)
    gone = shapes.axes_of(len(x), step.settings["axis"]) if x else ()
    for axis in gone:
        ties.lock(x[axis], step.why)
    if step.settings["keepdims"]:
        return tuple([fixed(1) if i in gone else axis for i, axis in enumerate(x)])
    return tuple([axis for i, axis in enumerate(x) if i not in gone])


def concat(ties: Ties, step: Step) -> Axes | None:
    """Side by side along one axis."""
    xs = operands(step)
    if step.settings["axis"] is None:
        return None
    at = step.settings["axis"] % len(step.shape)
    made = []
    for axis in range(len(step.shape)):
        if axis == at:
            made.append(np.concatenate([x[axis] for x in xs]))
            continue
        total = xs[0][axis]
        for x in xs[1:]:
            total = ties.tie(total, x[axis], step.why)
        made.append(total)
    return tuple(made)


def pad(ties: Ties, step: Step) -> Axes:
    """More places at the ends of some axes."""
    (x,) = operands(step)
    made = []
    pairs = frame(len(x), step.settings["widths"])
    for axis, n, widths in zip(x, step.shape, pairs, strict=True):
        if any(widths):
            ties.lock(axis, step.why)
        made.append(fixed(n) if any(widths) else axis)
    return tuple(made)


def resample(ties: Ties, step: Step) -> Axes:
    """Another length of one axis."""
    (x,) = operands(step)
    at = step.settings["axis"] % len(x)
    ties.lock(x[at], step.why)
    return tuple([fixed(step.shape[at]) if i == at else axis for i, axis in enumerate(x)])


def reshape(ties: Ties, step: Step) -> Axes:
    """The same numbers in another shape; axes of length 1 that come and go among them."""
    return reshaped(ties, operands(step)[0], step.shape, step.why)


def permute_dims(ties: Ties, step: Step) -> Axes:
    """The axes in another order."""
    (x,) = operands(step)
    axes = step.settings["axes"]
    return tuple([x[axis] for axis in (axes if isinstance(axes, tuple) else (axes,))])


def matrix_transpose(ties: Ties, step: Step) -> Axes:
    """The last two axes swapped."""
    (x,) = operands(step)
    return (*x[:-2], x[-1], x[-2])


def swapaxes(ties: Ties, step: Step) -> Axes:
    """Two axes swapped."""
    x = list(operands(step)[0])
    a, b = step.settings["axis1"], step.settings["axis2"]
    x[a], x[b] = x[b], x[a]
    return tuple(x)


def moveaxis(ties: Ties, step: Step) -> Axes:
    """Axes moved, found by moving those of an empty array."""
    (x,) = operands(step)
    numbered = np.empty(range(2, len(x) + 2), np.bool_)
    moved = np.moveaxis(numbered, step.settings["source"], step.settings["destination"])
    return tuple([x[n - 2] for n in moved.shape])


def broadcast_to(ties: Ties, step: Step) -> Axes:
    """One operand, repeated."""
    return elementwise(ties, step)


Rule = Callable[[Ties, Step], Axes | None]
LINEAR = ("linear", "activated_linear", "residual_linear", "activated_residual_linear")
REDUCTIONS = ("sum", "mean", "max", "min", "prod", "var", "std", "logsumexp", "any", "all")
ALONG = ("softmax", "log_softmax", "standardize", "standardize_affine", "rms_norm")
RULES: dict[str, Rule] = {
    **dict.fromkeys(LINEAR, linear),
    "matmul": matmul,
    **dict.fromkeys(["conv2d", "activated_conv2d"], conv2d),
    "conv2d_input_grad": conv_transpose2d,
    **dict.fromkeys(["max_pool2d_index", "max_pool2d", "avg_pool2d"], windows),
    "depth_windows": depth_windows,
    "volumes_of": volumes_of,
    "channel_affine": channel_affine,
    **dict.fromkeys(ALONG, together("axis")),
    **dict.fromkeys(REDUCTIONS, reduce),
    "concat": concat,
    "pad": pad,
    "resample": resample,
    **dict.fromkeys(["reshape", "expand_dims", "squeeze"], reshape),
    "permute_dims": permute_dims,
    "matrix_transpose": matrix_transpose,
    "swapaxes": swapaxes,
    "moveaxis": moveaxis,
    "broadcast_to": broadcast_to,
}
