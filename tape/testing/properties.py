"""The table of properties every op has, and the decorator that enters them."""

from __future__ import annotations

from collections.abc import Callable

from tape.op import Op, Sample
from tape.testing.operands import Call

__all__ = ["PROPERTIES", "Property", "property_of"]


class Property:
    """One statement about an op on one sample: called, it raises AssertionError if it is wrong.

    Args:
        check: the statement, of a `Call`.
        applies: whether there is anything to say about a call.
    """

    def __init__(self, check: Callable[[Call], None], applies: Callable[[Call], bool]) -> None:
        self.check, self.condition = check, applies
        self.__name__, self.__doc__ = check.__name__, check.__doc__

    def applies(self, op: Op, sample: Sample) -> bool:
        """Whether the property says anything about this op and sample."""
        return self.condition(Call(op, sample))

    def __call__(self, op: Op, sample: Sample) -> None:
        """Draw operands and check."""
        call = Call(op, sample)
        if not self.condition(call):
            return
        try:
            self.check(call)
        except Exception as error:
            text = f"{op.name}, {sample!r}, {self.__name__}: {error}"
            raise AssertionError(text) from error


PROPERTIES: dict[str, Property] = {}
"""Every property by name: a function of an op and one of its samples."""


def property_of(
    applies: Callable[[Call], bool],
) -> Callable[[Callable[[Call], None]], Property]:
    """Enter a check into PROPERTIES, for the calls that `applies` chooses."""

    def enter(check: Callable[[Call], None]) -> Property:
        found = Property(check, applies)
        PROPERTIES[check.__name__] = found
        return found

    return enter


def always(call: Call) -> bool:
    """Every call."""
    return True


def differentiable(call: Call) -> bool:
    """Calls with at least one operand that a gradient can be asked for."""
    return call.is_differentiable


def smooth(call: Call) -> bool:
    """Calls whose derivatives central differences can be compared with."""
    precise = all(call.operands[i].dtype == "float64" for i in call.floats)
    return call.is_differentiable and call.op.smooth and call.sample.smooth and precise


def elementwise(call: Call) -> bool:
    """Calls of ops whose shape rule is `same` or `broadcast`, so that any shapes will do."""
    return call.op.shape.__name__ in ("same", "broadcast") and call.op.shape.__module__ == (
        "tape.shapes"
    )
