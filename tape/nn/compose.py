"""Modules side by side and around each other: `Parallel`, `Residual`, `combine`, and ``f >> g``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tape._core.memory import lengths
from tape._core.state import is_reusing, reuse
from tape._core.tensor import Tensor
from tape.errors import ShapeError, nearest
from tape.nn.arguments import settings
from tape.nn.container import Layer, Layers, Sequential, flat
from tape.nn.module import Module

__all__ = ["Combined", "Parallel", "Residual", "combine", "then"]


class Parallel(Layers):
    """What several branches give for the same arguments, side by side.

    ``f >> (g, h)`` is f, then `Parallel` of g and h. What follows a `Parallel` without `join` gets
    its outputs as arguments, in ``f >> (g, h) >> k`` as k(g(y), h(y)) with y = f(x), and a tuple of
    as many parts continues each branch: ``(g, h) >> (k, m)`` is ``(g >> k, h >> m)``.

    Args:
        *branches: modules or functions; one that is there twice is shared, and gives two outputs.
        join: module or function that is called with all outputs; None leaves them a tuple.

    Raises:
        TypeError: a branch or `join` cannot be called.
        ValueError: there are no branches.

    >>> import tape
    >>> from tape import nn
    >>> both = nn.Parallel(tape.exp, tape.negative, join=tape.add)
    >>> both(tape.tensor(0.0)).item()
    1.0
    >>> [y.item() for y in nn.Parallel(tape.exp, tape.negative)(tape.tensor(0.0))]
    [1.0, -0.0]
    """

    def __init__(self, *branches: Layer, join: Callable[..., Any] | None = None) -> None:
        name = type(self).__name__
        if not branches:
            raise ValueError(f"{name}: takes one branch at least")
        for branch in branches:
            if isinstance(branch, (list, tuple)):
                raise TypeError(
                    f"{name}: a branch is one layer, got a {type(branch).__name__}: give branches "
                    "one by one, and several layers as a Sequential"
                )
        self.layers = list(flat(name, branches))
        self.join = None if join is None else next(flat(name, [join]))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """All outputs as a tuple, or what `join` makes of them."""
        outputs = tuple([branch(*args, **kwargs) for branch in self.layers])
        return outputs if self.join is None else self.join(*outputs)

    def again(self, branches: list[Layer], join: Callable[..., Any] | None) -> Parallel:
        """One like this with other branches."""
        return Parallel(*branches, join=join)

    def describe(self) -> str:
        """The function that joins."""
        return settings(join=None if isinstance(self.join, Module) else self.join)


class Residual(Sequential):
    """x + layers(x), the layers one after the other; with `shortcut`, shortcut(x) + layers(x).

    Shapes: x (*s) -> y (*s), as layers and shortcut have it

    Args:
        *layers: as those of `Sequential`.
        shortcut: module or function on the other way, for a change of shape; None is the identity.

    Raises:
        TypeError: a layer or `shortcut` cannot be called.
        ShapeError: what is added has different shapes.

    Source: He et al. 2016, section 3.

    >>> import tape
    >>> from tape import nn
    >>> nn.Residual(tape.square)(tape.tensor([1.0, 3.0])).tolist()
    [2.0, 12.0]
    """

    def __init__(self, *layers: Any, shortcut: Callable[..., Any] | None = None) -> None:
        super().__init__(*layers)
        self.shortcut = None if shortcut is None else next(flat("Residual", [shortcut]))

    def forward(self, x: Any) -> Any:
        """The sum of both ways."""
        y = super().forward(x)
        along = x if self.shortcut is None else self.shortcut(x)
        shapes = [
            lengths(part) if isinstance(part, (Tensor, np.ndarray)) else type(part).__name__
            for part in (y, along)
        ]
        if shapes[0] != shapes[1]:
            other = "x is" if self.shortcut is None else "the shortcut gives"
            raise ShapeError(
                f"Residual: the layers give {shapes[0]} and {other} {shapes[1]}: they must "
                "agree, which a shortcut can see to"
            )
        return along + y

    def describe(self) -> str:
        """The function on the other way."""
        return settings(shortcut=None if isinstance(self.shortcut, Module) else self.shortcut)


class Combined(Parallel):
    """What `combine` gives; ``net["label"]`` is the branch of that name."""

    names: tuple[str, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """All outputs as a tuple or dictionary, or what `join` makes of them."""
        with reuse(is_reusing()):
            outputs = [branch(*args, **kwargs) for branch in self.layers]
            if self.names:
                named = dict(zip(self.names, outputs, strict=True))
                return named if self.join is None else self.join(**named)
            return tuple(outputs) if self.join is None else self.join(*outputs)

    def __getitem__(self, index: Any) -> Any:
        """An output's branch, by its number or name."""
        return self.layers[self._number(index)]

    def __setitem__(self, index: Any, layer: Layer) -> None:
        super().__setitem__(self._number(index), layer)

    def _number(self, index: Any) -> Any:
        """The number of a branch that is named; others as they are."""
        if not isinstance(index, str):
            return index
        if index not in self.names:
            raise KeyError(f"{index!r} is no output{nearest(index, list(self.names), 3)}")
        return self.names.index(index)

    def again(self, branches: list[Layer], join: Callable[..., Any] | None) -> Combined:
        """One like this with other branches, by the same names."""
        made = Combined(*branches, join=join)
        made.names = self.names
        return made

    def named_layers(self) -> list[tuple[str, Layer]]:
        """(name, layer), numbers if they were given without names."""
        if not self.names:
            return super().named_layers()
        return list(zip(self.names, self.layers, strict=True))


def combine(*outputs: Layer, **named: Layer) -> Combined:
    """One module that gives what several modules give for the same arguments.

    It runs them in one `tape.reuse` scope: a trunk that they share, called with the same tensor,
    runs once in inference as well, and what it gives is kept until all are done. What a call does
    beside that, such as moving running statistics, happens for each output, and dropout draws anew
    unless it is ``shared=True``.

    Args:
        *outputs: modules or functions, for a tuple of what they give; the same may come twice.
        **named: instead of `outputs`, for a dictionary with these names.

    Raises:
        TypeError: both kinds are given, or one cannot be called.
        ValueError: none is given.

    >>> import tape
    >>> from tape import nn
    >>> trunk = nn.Dense(4, 3, activation=tape.tanh)
    >>> net = nn.combine(label=trunk >> nn.Dense(2, 4), size=trunk >> nn.Dense(1, 4))
    >>> with tape.no_grad(), tape.Tape() as t:
    ...     y = net(tape.ones((1, 3)))
    >>> y["label"].shape, y["size"].shape, t.hits
    ((1, 2), (1, 1), 1)
    """
    if outputs and named:
        raise TypeError("combine: takes outputs, or named ones, not both")
    if not outputs and not named:
        raise ValueError("combine: takes one output at least")
    made = Combined(*outputs, *named.values())
    made.names = tuple(named)
    return made


def then(left: Any, right: Any) -> Any:
    """``left >> right``: layers, or tuples of branches.

    Both ``(f >> g) >> h`` and ``f >> (g >> h)`` are three layers in a row, but a `Sequential` that
    was made by its name stays the one layer it is.
    """
    if not all(callable(part) or isinstance(part, tuple) for part in (left, right)):
        return NotImplemented
    layers = row(left)
    for layer in row(right):
        last = layers[-1]
        if not isinstance(last, Parallel) or last.join is not None:
            layers.append(layer)
        elif type(layer) is Parallel and layer.join is None and isinstance(right, tuple):
            if len(layer) != len(last):
                raise ValueError(
                    f">>: {len(last)} branches cannot go on in {len(layer)} parts, one for each"
                )
            pairs = zip(last, layer, strict=True)
            layers[-1] = last.again([chained([*row(a), *row(b)]) for a, b in pairs], None)
        else:
            layers[-1] = last.again(last.layers, layer)
    return chained(layers)


def row(part: Any) -> list[Any]:
    """The layers that one side of >> stands for."""
    if isinstance(part, tuple):
        return [Parallel(*[chained(row(branch)) for branch in part])]
    return list(part.layers) if getattr(part, "is_row", False) else [part]


def chained(layers: list[Any]) -> Any:
    """One layer for several."""
    if len(layers) == 1:
        return layers[0]
    made = Sequential(*layers)
    made.is_row = True
    return made
