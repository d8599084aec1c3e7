"""A frame around a tensor: of a value, or of what the tensor holds."""

from __future__ import annotations

import numpy as np

from tape._core.memory import asarray, count_on, lengths
from tape.errors import DTypeError, ShapeError, TapeError
from tape.op import bad, op, sample
from tape.ops.lookup import take
from tape.ops.naming import named

LARGEST = 2**62  # so that no length overflows
SPELLED = {"edge": "replicate", "wrap": "circular", "symmetric": None}  # NumPy's names


def frame(ndim, widths, least=0):
    """(before, after) for every axis, from NumPy's short forms: n, (before, after), one pair."""
    pairs = widths if isinstance(widths, tuple) else (widths, widths)
    if len(pairs) == 2 and not isinstance(pairs[0], tuple) and not isinstance(pairs[1], tuple):
        pairs = (pairs,)
    pairs = pairs * ndim if len(pairs) == 1 else pairs
    if len(pairs) != ndim:
        raise ShapeError(f"widths {widths} are for {len(pairs)} axes, x has {ndim}")
    for pair in pairs:
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        if not is_pair or not all(hasattr(n, "__index__") and n >= least for n in pair):
            which = "integers" if least else "at least 0"
            raise ShapeError(f"widths {widths} must be pairs (before, after) of {which}")
        if max(pair) > LARGEST:
            raise ShapeError(f"widths {widths} must be at most {LARGEST}")
    return pairs


def framed(x, *, widths):
    """Shape rule: what stands before and after added to each length."""
    pairs = frame(len(x), widths)
    return tuple([before + n + after for n, (before, after) in zip(x, pairs, strict=True)])


@op(
    name="pad",
    shape=framed,
    saves="x.shape",
    samples=[
        sample((2, 3), widths=1),
        sample((2, 3), widths=(0, 2), value=1.5),
        sample((2, 3), widths=((1, 0), (2, 1))),
        sample((2, 3), widths=((1, 2),)),
        sample((), widths=2),
        sample((0, 3), widths=1),
    ],
    errors=[
        bad((2, 3), widths=((1, 1),) * 3, error=ShapeError, match="for 3 axes, x has 2"),
        bad((2, 3), widths=-1, error=ShapeError, match="of at least 0"),
        bad((2, 3), widths=((1, 1), 2), error=ShapeError, match="must be pairs"),
    ],
)
def surround(x, /, widths, value=0.0):
    """x in a frame of `value`.   Shapes: x (*s) -> y (before[i] + s[i] + after[i])"""
    y = np.zeros(framed(x.shape, widths=widths), x.dtype)
    if value != 0:
        if x.dtype.kind != "f" and np.asarray(value).astype(x.dtype) != value:
            raise DTypeError(f"value {value!r} does not fit x of {x.dtype}")
        y[...] = value
    y[inside(x.shape, widths)] = x
    return y


def inside(x_shape, widths):
    """The key of x in its frame."""
    pairs = frame(len(x_shape), widths)
    return tuple([slice(before, before + n) for n, (before, _) in zip(x_shape, pairs, strict=True)])


@surround.defvjp
def surround_vjp(g, x_shape, widths):
    return g[inside(x_shape, widths)]


@surround.defjvp
def surround_jvp(dx, widths):
    return surround(dx, widths)


def reflect(n, before, after):
    """Where each element of the result is taken from, the ends standing once."""
    if max(before, after) >= n:
        raise ShapeError(f"reflect takes at most {n - 1} from a length of {n}, got {before, after}")
    away = np.abs(np.arange(-before, n + after))
    return n - 1 - np.abs(n - 1 - away)


def replicate(n, before, after):
    """Where each element of the result is taken from, the ends again and again."""
    if n == 0:
        raise ShapeError("replicate has nothing to repeat along an axis of length 0")
    return np.clip(np.arange(-before, n + after), 0, n - 1)


def circular(n, before, after):
    """Where each element of the result is taken from, the axis closed to a ring."""
    if max(before, after) > n:
        raise ShapeError(f"circular takes at most {n} from a length of {n}, got {before, after}")
    return np.arange(-before, n + after) % n


MODES = {"reflect": reflect, "replicate": replicate, "circular": circular}


@named
def pad(x, /, widths, mode="constant", value=0.0):
    """x in a frame: of a value, or of what stands at x's borders.

    Args:
        x: the tensor.
        widths: ((before, after), ...) for each axis; one pair, or one number, is meant for all;
            negative ones cut off.
        mode: "constant" for `value`; "reflect" for x mirrored at its first and last elements;
            "replicate" for these elements again and again; "circular" for the opposite end of x, or
            of what is left of it.
        value: what stands in a constant frame.

    Shapes: x (*s) -> y (before[i] + s[i] + after[i])

    Raises:
        ShapeError: the widths are not integers, not as many as x has axes, or ask for more than x
            has: reflect for less than its length, circular for at most its length.
        DTypeError: the value does not fit x's dtype.
        ValueError: the mode is not known, or a value is given to another one than "constant".

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0, 3.0])
    >>> tape.pad(x, (1, 2)).tolist()
    [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]
    >>> [tape.pad(x, (1, 2), mode).tolist() for mode in ("reflect", "circular")]
    [[2.0, 1.0, 2.0, 3.0, 2.0, 1.0], [3.0, 1.0, 2.0, 3.0, 1.0, 2.0]]
    """
    places = MODES.get(mode) if isinstance(mode, str) else None
    if places is None and mode != "constant":
        known = SPELLED.get(mode) if isinstance(mode, str) else None
        hint = f'; it is called "{known}"' if known else ""
        raise ValueError(
            f'pad: mode {mode!r} is not known{hint}; there are "constant", '
            + ", ".join(f'"{name}"' for name in MODES)
        )
    if places is not None and value != 0:
        raise ValueError(f'pad: value {value!r} is for mode "constant", got mode {mode!r}')
    x = asarray(x)
    try:
        pairs = frame(x.ndim, plain(widths), -LARGEST)
        check_left(lengths(x), pairs)
        count_on(x, *[axis for axis, pair in enumerate(pairs) if min(pair) < 0])
        if mode in ("constant", "circular"):
            x, pairs = cut(x, pairs)
        if places is None:
            return surround(x, pairs, value)
        count_on(x, *[axis for axis, pair in enumerate(pairs) if any(pair)])
        indices = [
            places(n, *pair) if any(pair) else None
            for n, pair in zip(lengths(x), pairs, strict=True)
        ]
        for axis, index in enumerate(indices):
            x = x if index is None else take(x, index, axis)
    except TapeError as error:
        error.op = "pad"
        raise
    return x


def check_left(x, pairs):
    """ShapeError if cutting leaves less than nothing."""
    for n, (before, after) in zip(x, pairs, strict=True):
        if n + min(before, 0) + min(after, 0) < 0:
            raise ShapeError(f"widths {pairs} cut off more than there is of x {x}")


def cut(x, pairs):
    """x without what negative widths cut off, and the widths that are left."""
    if all(min(pair) >= 0 for pair in pairs):
        return x, pairs
    key = [
        slice(max(0, -before), n + after if after < 0 else None)
        for n, (before, after) in zip(lengths(x), pairs, strict=True)
    ]
    return x[tuple(key)], tuple([(max(0, before), max(0, after)) for before, after in pairs])


def plain(widths):
    """Sequences as tuples, as the settings of an op are."""
    return tuple([plain(w) for w in widths]) if isinstance(widths, (tuple, list)) else widths
