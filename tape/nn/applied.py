"""Functions with their settings as modules: what `activation` and `loss` are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape._core.tensor import Tensor
from tape.nn.arguments import settings
from tape.nn.module import Module

__all__ = ["Applied"]


class Applied(Module):
    """A function of tensors, called with settings that are given once.

    A subclass names the function and its settings, in their order. A setting that is a tensor, such
    as the weights of classes, is a buffer: it is saved with the parameters.

    Raises:
        TypeError: a setting is not known, or given twice.
    """

    function: Any = None
    names: tuple[str, ...] = ()

    def __init__(self, *values: Any, **named: Any) -> None:
        owner = type(self).__name__
        if len(values) > len(self.names):
            raise TypeError(f"{owner}: takes {len(self.names)} settings, got {len(values)}")
        given = dict(zip(self.names, values, strict=False))
        for name, value in named.items():
            if name in given or name not in self.names:
                problem = "is given twice" if name in given else f"is none of {self.names}"
                raise TypeError(f"{owner}: the setting {name!r} {problem}")
            given[name] = value
        self.given = tuple(given)
        for name, value in given.items():
            if isinstance(value, (Tensor, np.ndarray)):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, *operands: Any) -> Tensor:
        """The function of the operands."""
        return self.function(*operands, **{name: getattr(self, name) for name in self.given})

    def describe(self) -> str:
        """The settings that were given, but for tensors."""
        values = {name: getattr(self, name) for name in self.given}
        return settings(**{k: v for k, v in values.items() if not isinstance(v, Tensor)})
