"""What stands where a layer was that has become a part of another one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tape.nn.module import Module

__all__ = ["Folded", "factor_and_shift"]


class Folded(Module):
    """Nothing: what it stands for has become a part of a lowered layer; gives x as it is.

    Args:
        what: the name of what it was.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.eval()

    def forward(self, x: Any) -> Any:
        """x itself."""
        return x

    def describe(self) -> str:
        """What it was."""
        return self.what


def factor_and_shift(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm in evaluation mode multiplies by and adds, float64."""
    mean, var = (t.numpy().astype(np.float64) for t in (norm.running_mean, norm.running_var))
    factor = 1 / np.sqrt(var + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight.numpy()
    shift = -mean * factor
    return factor, shift if norm.bias is None else shift + norm.bias.numpy()
