"""The errors of tape: each message names the op, the operands, the numbers and the module path."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = [
    "AxisError",
    "CheckpointError",
    "DTypeError",
    "DataError",
    "GradError",
    "GraphError",
    "GuardError",
    "IndexRangeError",
    "LinAlgError",
    "MaskError",
    "NumericsError",
    "ScopeError",
    "SettingError",
    "ShapeError",
    "SizeError",
    "TapeError",
]


class _Provenance:
    """Whether errors say where in the program they arose: TAPE_PROVENANCE=0 says no."""

    on = os.environ.get("TAPE_PROVENANCE", "1") != "0"


provenance = _Provenance()
FOLDER = os.path.join(os.path.dirname(__file__), "")
LINE = 100  # characters of a line of the program that a message quotes


def users_line() -> str:
    """The file and line of the innermost running call outside of tape's files, "" if none is."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(FOLDER):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def nearest(name: str, known: list[str], n: int = 1) -> str:
    """A hint at the n known names that look most like this one, or nothing."""
    from difflib import get_close_matches  # 3 ms to import, for an error

    found = get_close_matches(name, known, n)
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def path_of(modules: list[Any]) -> str:
    """The path of the last of these modules, each of which is in the one before: Net.features.0."""
    if not modules:
        return ""
    names = [type(modules[0]).__name__]
    for parent, child in pairwise(modules):
        found = (name for name, m in parent.named_children() if m is child)
        names.append(next(found, type(child).__name__))
    return ".".join(names)


class TapeError(Exception):
    """Base of every error that tape raises on purpose.

    While it leaves the modules that were being called, each adds itself to `modules` (innermost
    first), so that the message can name the path of the layer: ``in net.features.conv1``. The lines
    below it say where in the program the call stands, and where its operands were made.

    Attributes:
        op: name of the op that was running, "" outside of any.
        shapes: shapes of its operands, () for a number.
        module: path of the innermost module that raised, "" outside of any.
        created_at: file and line, as "train.py:41", of the call in the user's program; "" with
            TAPE_PROVENANCE=0.
        gradient_of: name of the op whose gradient was being computed, "" if none was.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.op = self.gradient_of = ""  # filled in by the op that was running, and by a walk
        self.shapes: tuple[tuple[int, ...], ...] = ()
        self.modules: list[Any] = []
        self.created_at = users_line() if provenance.on else ""
        self._more: list[tuple[str, str]] = []
        self._path = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied or pickled, an error keeps the path of the module, not the modules."""
        state = {**self.__dict__, "modules": [], "_path": self.module}
        return type(self), self.args, state

    def add(self, title: str, words: str) -> None:
        """One more line for the message."""
        if provenance.on:
            self._more.append((title, words))

    @property
    def module(self) -> str:
        """Path of the innermost module that raised, or "" outside of any module."""
        return path_of(self.modules[::-1]) or self._path

    def __str__(self) -> str:
        message = super().__str__()
        if self.op and not message.startswith(f"{self.op}:"):
            message = f"{self.op}: {message}"
        if self.module:
            message += f", in {self.module}"
        if self.created_at:
            import linecache  # needed by errors alone

            file, _, line = self.created_at.rpartition(":")
            source = linecache.getline(file, int(line)).strip()
            source = source[:LINE] + (" ..." if len(source) > LINE else "")
            message += f"\n  called at    {self.created_at}" + (f"   {source}" if source else "")
        return message + "".join(f"\n  {title:12} {words}" for title, words in self._more)


class ShapeError(TapeError, ValueError):
    """Operands whose shapes do not fit the op, or each other."""


class SizeError(ShapeError, MemoryError):
    """An array of more bytes than there are."""


class SettingError(TapeError, ValueError):
    """A setting, or a value of an operand, that the op does not take."""


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


class GraphError(TapeError, ValueError):
    """A node, name or section that the recorded graph does not have."""


class GuardError(TapeError, RuntimeError):
    """A recorded section that would take another path, or use another number, than recorded."""


class NumericsError(TapeError, FloatingPointError):
    """Finite numbers that an op, or a gradient, turned into NaN or infinity."""


class DataError(TapeError, ValueError):
    """A file or data set that cannot be read as what it should be."""


class ScopeError(TapeError, ValueError):
    """A name that exists, does not exist, stands for something else, or is none."""


class CheckpointError(TapeError, ValueError):
    """A file that is no checkpoint, is damaged, or does not fit what it is loaded into."""
