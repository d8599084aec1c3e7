"""Samples and bad calls that many ops share."""

from __future__ import annotations

from tape.errors import DTypeError, ShapeError, TapeError
from tape.op import bad, sample

# Pairs of shapes that every binary op is tried on: equal, row, column, scalar, empty.
PAIRS = [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 3, 1), (4,)), ((), (3,)), ((0, 3), (3,))]
SINGLES = [(3, 4), (), (0, 3)]


def pairs(low=-2.0, high=2.0, **facts):
    """Samples of a binary op over a range."""
    drawn = [sample(*pair, low=low, high=high, **facts) for pair in PAIRS]
    return [*drawn, sample((3,), 1.5, low=low, high=high, **facts)]


def each(low=-2.0, high=2.0, **facts):
    """Samples of a unary op over a range."""
    return [sample(s, low=low, high=high, **facts) for s in SINGLES]


def truths(n):
    """Samples of a logical op of n operands."""
    return [sample(*[(3, 4)] * n, dtypes=["bool"] * n), sample(*[(2,)] * n)]


# What no op takes as its only operand: text, nothing, rows of different lengths.
UNFIT = [
    bad("text", error=DTypeError, match="operand 0 is a str; it takes tensors, arrays and numbers"),
    bad(None, error=DTypeError, match="operand 0 is a NoneType"),
    bad([[1.0], [2.0, 3.0]], error=DTypeError, match=r"is a list; .* tape\.tensor makes of"),
]
# And as one of two.
MISFIT = [
    bad((3, 4), (3,), error=ShapeError, match=r"\(3, 4\) and \(3,\) do not broadcast"),
    bad((3,), "text", error=DTypeError, match="operand 1 is a str"),
]
TRUTHS = bad((2,), dtypes=["bool"], error=DTypeError, match=r"not defined for bool \(2,\)")


def text_for(name, *shapes, **settings):
    """A bad call with text for a setting that is a number."""
    return bad(*shapes, **{**settings, name: "a"}, error=TapeError, match=f"{name}='a'")
