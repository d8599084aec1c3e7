"""Modules made of others: `Sequential`, `For`, `Lambda`, `Flatten`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tape._core.tensor import Tensor
from tape.errors import ShapeError
from tape.nn.arguments import count, settings
from tape.nn.call import chain
from tape.nn.module import Module
from tape.nn.parameter import shape_of
from tape.ops.shape import reshape

__all__ = ["Flatten", "For", "Lambda", "Layers", "Sequential", "flat"]

Layer = Callable[..., Any]  # a module, or a function of one tensor


class Layers(Module):
    """Base of modules made of a list of layers, which are named 0, 1, ... and may be functions."""

    layers: list[Layer]

    def attributes(self) -> Iterable[tuple[str, Any]]:
        """The layers by their names; what else was assigned keeps its own."""
        others = [(name, value) for name, value in vars(self).items() if name != "layers"]
        return [*self.named_layers(), *others]

    def listed(self) -> list[tuple[str, Any]]:
        """The layers, functions included, and other children."""
        layers = self.named_layers()
        names = {name for name, _ in layers}
        return [*layers, *(child for child in super().listed() if child[0] not in names)]

    def named_layers(self) -> list[tuple[str, Layer]]:
        """(name, layer) of all."""
        return [(str(i), layer) for i, layer in enumerate(self.layers)]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return self.layers[index]

    def __setitem__(self, index: int, layer: Layer) -> None:
        if isinstance(layer, (list, tuple)):
            raise TypeError(f"{type(self).__name__}: a list of layers cannot take the place of one")
        (self.layers[index],) = flat(type(self).__name__, [layer])

    def __bool__(self) -> bool:
        return True  # an empty one is a module all the same


class Sequential(Layers):
    """Layers one after the other; with none of them, the identity.

    Args:
        *layers: modules, functions of one tensor such as `tape.relu`, and lists of these, nested
            ones too, which stand for what is in them.

    Raises:
        TypeError: something among the layers cannot be called.

    >>> import tape
    >>> from tape import nn
    >>> net = nn.Sequential(nn.Dense(8, 4), tape.tanh, [nn.Dense(2, 8)])
    >>> net(tape.tensor([[1.0, 2.0, 3.0, 4.0]])).shape
    (1, 2)
    >>> list(net.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> net[:2]
    Sequential: 40 parameters
      0: Dense(8): weight (8, 4), bias (8,): 40 parameters
      1: tanh
    """

    is_row = False  # made by >>, which takes it apart again

    def __init__(self, *layers: Layer | Iterable[Any]) -> None:
        self.layers: list[Layer] = list(flat(type(self).__name__, layers))

    def forward(self, x: Any) -> Any:
        """The last layer of ... of the first of x."""
        return chain(self.layers, x)

    def __getitem__(self, index: int | slice) -> Any:
        """Layer number `index`, or a Sequential that shares the layers of a slice."""
        return Sequential(self.layers[index]) if isinstance(index, slice) else self.layers[index]


class For(Sequential):
    """The layers that `constructor` makes, once for each of the items.

    Args:
        items: how often, as in ``range(3)``.
        constructor: makes a layer or a list of layers; called with the item if it needs an
            argument, without one otherwise.

    Raises:
        TypeError: `items` is not iterable; or `constructor` is a layer, which would be one shared
            layer, not several, or needs more than one argument.

    >>> import tape
    >>> from tape import nn
    >>> nn.For(range(2), lambda i: [nn.Dense(2 ** (3 - i)), tape.tanh])
    For: 12+ parameters
      0: Dense(8) (in inferred): weight (8, ?), bias (8,): 8+ parameters
      1: tanh
      2: Dense(4) (in inferred): weight (4, ?), bias (4,): 4+ parameters
      3: tanh
    """

    def __init__(self, items: Iterable[Any], constructor: Callable[..., Any]) -> None:
        if isinstance(constructor, Module) or not callable(constructor):
            raise TypeError(
                f"For: {type(constructor).__name__} is no constructor: give a function that "
                "makes the layer, as in For(range(3), lambda: Dense(50))"
            )
        if not isinstance(items, Iterable):
            raise TypeError(f"For: items must be iterable, such as range(3), got {items!r}")
        takes_item = _required_arguments(constructor)
        if takes_item > 1:
            raise TypeError(f"For: the constructor takes {takes_item} arguments, not 0 or 1")
        super().__init__([constructor(item) if takes_item else constructor() for item in items])


class Lambda(Module):
    """A function as a module; for parameters write a `Module`: those it closes over are not found.

    Args:
        function: of any arguments.

    Raises:
        TypeError: it is a module, or cannot be called.

    >>> import tape
    >>> from tape import nn
    >>> nn.Lambda(lambda x: x * 2)(tape.tensor(3.0)).item()
    6.0
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if isinstance(function, Module) or not callable(function):
            raise TypeError(f"Lambda: takes a function, got {function!r}")
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives."""
        return self.function(*args, **kwargs)

    def describe(self) -> str:
        """The function's name."""
        return settings(self.function)


class Flatten(Module):
    """All axes from `start` on joined into one: (N, C, H, W) becomes (N, C H W).

    Args:
        start: first of the axes that are joined, >= 0.

    Shapes: x (*a, *b), `start` axes in a -> y (*a, prod(b))

    Raises:
        ValueError: start is negative.
        ShapeError: x has fewer axes than start.

    >>> import tape
    >>> from tape import nn
    >>> nn.Flatten()(tape.tensor([[[1.0, 2.0], [3.0, 4.0]]])).shape
    (1, 4)
    """

    def __init__(self, start: int = 1) -> None:
        self.start = count("Flatten", "start", start)

    def forward(self, x: Any) -> Tensor:
        """x with its last axes joined. Shapes: x (*a, *b) -> y (*a, prod(b)), `start` axes in a."""
        shape = shape_of("Flatten", x)
        if len(shape) < self.start:
            raise ShapeError(f"Flatten: x {shape} has fewer than start = {self.start} axes")
        return reshape(x, (*shape[: self.start], math.prod(shape[self.start :])))

    def describe(self) -> str:
        """The first axis that is joined."""
        return "" if self.start == 1 else settings(start=self.start)


def flat(name: str, layers: Iterable[Any]) -> Iterator[Layer]:
    """The layers in nested lists, in order.

    Raises:
        TypeError: something among them cannot be called.
    """
    for layer in layers:
        if isinstance(layer, (list, tuple)):
            yield from flat(name, layer)
        elif not callable(layer) or isinstance(layer, type):
            raise TypeError(f"{name}: takes layers, functions and lists of them, got {layer!r}")
        else:
            yield layer


def _required_arguments(function: Callable[..., Any]) -> int:
    """How many positional arguments a function cannot do without; 1 if it does not say."""
    import inspect  # slow to import

    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some that are written in C
        return 1
    return sum(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )
