"""Layers that put a frame around images, sequences and volumes, see `tape.pad`."""

from __future__ import annotations

from typing import Any

from tape._core.memory import asarray, lengths
from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.nn.arguments import settings
from tape.nn.module import Module
from tape.ops.pad import pad

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class Pad(Module):
    """x in a frame along its last axes, what the padding layers have in common.

    Args:
        padding: a number for all sides; or two for each axis, before and after, the last axis
            first: (left, right, top, bottom, front, back). Negative ones cut off.

    Shapes: x (N, C, *s) or (C, *s) -> y (N, C, *t) or (C, *t), t = before + s + after

    Raises:
        ValueError: the padding is not an integer, or not two for each axis.
        ShapeError: x has another number of axes, or too few elements for the frame.
    """

    n_axes: int
    mode: str
    value: float = 0.0

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        several = isinstance(padding, (tuple, list))
        sides = tuple(padding) if several else (padding,) * (2 * self.n_axes)
        if len(sides) != 2 * self.n_axes or not all(hasattr(n, "__index__") for n in sides):
            raise ValueError(
                f"{type(self).__name__}: padding is an integer, or {2 * self.n_axes} of them, got "
                f"{padding!r}"
            )
        self.padding = padding
        self.pairs = tuple(zip(sides[-2::-2], sides[::-2], strict=True))

    def forward(self, x: Any) -> Tensor:
        """The result for x."""
        x = asarray(x)
        if x.ndim not in (self.n_axes + 1, self.n_axes + 2):
            n = self.n_axes + 2
            raise ShapeError(f"{type(self).__name__}: x {lengths(x)} has not {n} axes, nor {n - 1}")
        widths = ((0, 0),) * (x.ndim - self.n_axes) + self.pairs
        return pad(x, widths, self.mode, self.value)

    def describe(self) -> str:
        """The padding, and the value where one was given."""
        return settings(self.padding, value=self.value or None)


class ConstantPad(Pad):
    """x in a frame of a value, see `tape.nn.pad.Pad`."""

    mode = "constant"

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = value


class ConstantPad1d(ConstantPad):
    """Sequences in a frame of a value, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, L) -> y, or without N
    """

    n_axes = 1


class ConstantPad2d(ConstantPad):
    """Images in a frame of a value, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, H, W) -> y, or without N
    """

    n_axes = 2


class ConstantPad3d(ConstantPad):
    """Volumes in a frame of a value, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, D, H, W) -> y, or without N
    """

    n_axes = 3


class ZeroPad1d(Pad):
    """Sequences in a frame of zeros, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, L) -> y, or without N
    """

    n_axes, mode = 1, "constant"


class ZeroPad2d(Pad):
    """Images in a frame of zeros, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, H, W) -> y, or without N
    """

    n_axes, mode = 2, "constant"


class ZeroPad3d(Pad):
    """Volumes in a frame of zeros, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, D, H, W) -> y, or without N
    """

    n_axes, mode = 3, "constant"


class ReflectionPad1d(Pad):
    """Sequences mirrored at the first and last elements, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, L) -> y, or without N

    >>> import tape
    >>> from tape import nn
    >>> nn.ReflectionPad1d((2, 0))(tape.tensor([[1.0, 2.0, 3.0]])).tolist()
    [[3.0, 2.0, 1.0, 2.0, 3.0]]
    """

    n_axes, mode = 1, "reflect"


class ReflectionPad2d(Pad):
    """Images mirrored at the first and last elements, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, H, W) -> y, or without N
    """

    n_axes, mode = 2, "reflect"


class ReflectionPad3d(Pad):
    """Volumes mirrored at the first and last elements, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, D, H, W) -> y, or without N
    """

    n_axes, mode = 3, "reflect"


class ReplicationPad1d(Pad):
    """Sequences with the first and last elements repeated, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, L) -> y, or without N
    """

    n_axes, mode = 1, "replicate"


class ReplicationPad2d(Pad):
    """Images with the first and last elements repeated, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, H, W) -> y, or without N
    """

    n_axes, mode = 2, "replicate"


class ReplicationPad3d(Pad):
    """Volumes with the first and last elements repeated, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, D, H, W) -> y, or without N
    """

    n_axes, mode = 3, "replicate"


class CircularPad1d(Pad):
    """Sequences closed to a ring, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, L) -> y, or without N
    """

    n_axes, mode = 1, "circular"


class CircularPad2d(Pad):
    """Images closed to a ring, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, H, W) -> y, or without N
    """

    n_axes, mode = 2, "circular"


class CircularPad3d(Pad):
    """Volumes closed to a ring, see `tape.nn.pad.Pad`.

    Shapes: x (N, C, D, H, W) -> y, or without N
    """

    n_axes, mode = 3, "circular"
