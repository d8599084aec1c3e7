"""The errors of tape: each message names the op, the operands, the numbers and the module path."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

__all__ = [
    "AxisError",
    "DTypeError",
    "DataError",
    "GradError",
    "IndexRangeError",
    "LinAlgError",
    "MaskError",
    "ShapeError",
    "TapeError",
]


class TapeError(Exception):
    """Base of every error that tape raises on purpose.

    While it leaves the modules that were being called, each adds itself to `modules` (innermost
    first), so that the message can end in the path of the layer: ``in net.features.conv1``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.op = ""  # filled in by the op that was running
        self.modules: list[Any] = []

    @property
    def path(self) -> str:
        """Path of the innermost module that raised, or "" outside of any module."""
        if not self.modules:
            return ""
        outer_to_inner = self.modules[::-1]
        names = [type(outer_to_inner[0]).__name__]
        for parent, child in pairwise(outer_to_inner):
            found = (name for name, m in parent.named_children() if m is child)
            names.append(next(found, type(child).__name__))
        return ".".join(names)

    def __str__(self) -> str:
        message = super().__str__()
        if self.op and not message.startswith(f"{self.op}:"):
            message = f"{self.op}: {message}"
        return f"{message}, in {self.path}" if self.modules else message


class ShapeError(TapeError, ValueError):
    """Operands whose shapes do not fit the op, or each other."""


class DTypeError(TapeError, TypeError):
    """An operand of a type or dtype that the op does not take."""


class AxisError(TapeError, ValueError, IndexError):
    """An axis that the operand does not have."""


class MaskError(ShapeError, IndexError):
    """A mask of another shape than the axes that it stands for."""


class IndexRangeError(TapeError, IndexError):
    """An index or label outside of its range."""


class LinAlgError(TapeError, np.linalg.LinAlgError):
    """A matrix without the inverse, the factor or the real eigenvalues asked for."""


class GradError(TapeError, RuntimeError):
    """A gradient that does not exist, or whose graph is gone."""


class DataError(TapeError, ValueError):
    """A file or data set that cannot be read as what it should be."""
