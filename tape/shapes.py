"""Shape rules: shapes of the operands in, shape of the result out, or ShapeError.

A rule takes one shape per operand and, by keyword, the settings it names. Where only the operands'
values tell the shape, it returns None.
"""

from __future__ import annotations

from tape.errors import AxisError, ShapeError

Shape = tuple[int, ...]


def same(x: Shape) -> Shape:
    """The shape of the only operand."""
    return x


def broadcast(*xs: Shape) -> Shape:
    """The common shape under NumPy's broadcasting rule."""
    ndim = max(len(x) for x in xs)
    result = [1] * ndim
    for x in xs:
        for i, n in enumerate(x, ndim - len(x)):
            if n != 1 and result[i] != n:
                if result[i] != 1:
                    raise ShapeError(f"shapes {' and '.join(map(str, xs))} do not broadcast")
                result[i] = n
    return tuple(result)


def matmul(a: Shape, b: Shape) -> Shape:
    """(..., m, k) @ (..., k, n) -> (..., m, n); a 1-d operand is a row or column, then dropped."""
    if not a or not b:
        raise ShapeError(f"a 0-d operand has no axis to sum over: {a} @ {b}")
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise ShapeError(f"inner dimensions differ: {a} @ {b} ({a[-1]} and {inner})")
    try:
        batch = broadcast(a[:-2], b[:-2])
    except ShapeError:
        raise ShapeError(f"batch axes do not broadcast: {a} @ {b}") from None
    return batch + a[-2:-1] + (b[-1:] if len(b) > 1 else ())


def axis_of(ndim: int, axis: int) -> int:
    """axis counted from the front, or AxisError."""
    if type(axis) is not int and (isinstance(axis, bool) or not hasattr(axis, "__index__")):
        raise AxisError(f"an axis is an integer, got {axis!r}")
    axis = int(axis)
    if not -ndim <= axis < ndim:
        raise AxisError(f"axis {axis} is out of range for {ndim} axes")
    return axis % ndim


def axes_of(ndim: int, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """All axes meant by `axis` (None: every one), ascending; AxisError if one is given twice."""
    if axis is None:
        return tuple(range(ndim))
    axes = [axis_of(ndim, a) for a in (axis if isinstance(axis, tuple) else (axis,))]
    if len(set(axes)) != len(axes):
        raise AxisError(f"axis {axis} names an axis twice")
    return tuple(sorted(axes))


def line_of(ndim: int, axis: int) -> int:
    """axis_of, where 0-d counts as a line of one element, as in PyTorch: 0 and -1 mean that."""
    if ndim == 0 and hasattr(axis, "__index__") and not isinstance(axis, bool) and -1 <= axis <= 0:
        return 0
    return axis_of(ndim, axis)


def lines_of(ndim: int, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """axes_of, where 0-d counts as a line of one element: there is no axis to reduce, then."""
    if ndim or axis is None:
        return axes_of(ndim, axis)
    if isinstance(axis, tuple) and len(axis) != 1:
        return axes_of(0, axis)
    line_of(0, axis[0] if isinstance(axis, tuple) else axis)
    return ()


def reduce(x: Shape, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Shape:
    """x without the reduced axes, or with length one there."""
    if axis is None:
        return (1,) * len(x) if keepdims else ()
    if not x:
        return lines_of(0, axis)
    axes = (axis_of(len(x), axis),) if isinstance(axis, int) else axes_of(len(x), axis)
    if keepdims:
        return tuple([1 if i in axes else n for i, n in enumerate(x)])
    return tuple([n for i, n in enumerate(x) if i not in axes])


def from_values(*xs: Shape) -> None:
    """Only the operands' values tell the shape."""
    return None
