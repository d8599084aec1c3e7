"""Derivatives of recorded results and of functions, built on the core's two walks.

The functional forms take functions of tensors. Each argument becomes a node of its own, so nested
derivatives never confuse two variables that hold the same tensor; and a result is itself
differentiable whenever the function depends on anything outside that requires a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tape._core.backward import check_results, depends_beyond, gradients
from tape._core.forward import tangents, tracing_jvp
from tape._core.memory import asarray
from tape._core.state import enable_grad, is_recording, no_grad
from tape._core.tensor import Tensor
from tape.errors import DTypeError, GradError, ShapeError
from tape.ops.arithmetic import alias
from tape.ops.join import stack
from tape.ops.shape import reshape

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]


def grad(
    y: Any,
    xs: Any = None,
    g: Any = None,
    create_graph: bool = False,
    unused: str = "raise",
) -> Any:
    """Gradients of y with respect to xs; the graph is kept while y lives.

    Adjoints are shared: asking for w1 and then for w2 costs what asking for both at once costs, and
    gives the same bits.

    Args:
        y: a recorded tensor; or a function, then the result is the function of its gradient, see
            `value_and_grad`.
        xs: a tensor, or a list or tuple of them: the result has the same form. Of a function the
            numbers of its arguments, by default 0.
        g: cotangent of y's shape; may be left out if y has one element. Not for a function.
        create_graph: record the gradient's own computation, so that it can be differentiated. Not
            for a function, whose gradient is recorded if what it depends on requires one.
        unused: what to do about an x that y does not depend on: "raise", or give "zeros"; of a
            tensor y also "none": give None.

    Raises:
        GradError: y needs no gradient, its graph was freed, or it does not depend on an x.
        ShapeError: g is missing or has another shape.

    >>> import tape
    >>> w = tape.tensor([1.0, 2.0], requires_grad=True)
    >>> loss = (w * w).sum()
    >>> tape.grad(loss, w).tolist()
    [2.0, 4.0]
    >>> tape.grad(lambda w: (w**3).sum())(w).tolist()
    [3.0, 12.0]
    """
    if callable(y) and not isinstance(y, Tensor):
        if g is not None or create_graph:
            raise TypeError("grad: a function takes no g and no create_graph, only a tensor does")
        return _slope("grad", y, 0 if xs is None else xs, unused)
    if not isinstance(y, Tensor):
        raise TypeError(f"grad: y is a {type(y).__name__}, not a tensor or a function")
    if unused not in ("raise", "zeros", "none"):
        raise ValueError(f'grad: unused is "raise", "zeros" or "none", not {unused!r}')
    if not isinstance(xs, (Tensor, Iterable)) or isinstance(xs, Mapping):
        what = "missing" if xs is None else f"a {type(xs).__name__}"
        raise TypeError(f"grad: xs is {what}, not a tensor, or a list of tensors")
    targets = [xs] if isinstance(xs, Tensor) else list(xs)
    for i, x in enumerate(targets):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: xs[{i}] is a {type(x).__name__}, not a tensor")
        if not x.requires_grad and unused == "raise":
            raise GradError(f"grad: xs[{i}] {x.shape} does not require a gradient")
    found = gradients(y, targets, g, create_graph)
    named = None if unused == "zeros" else f"grad: y {y.shape} does not depend on xs[{{}}]"
    return _like(xs, found if unused == "none" else _filled(found, targets, named))


def _variable(who: str, number: int, x: Any) -> Tensor:
    """x as a node of its own that a gradient can be asked for."""
    x = asarray(x)
    if x.dtype.kind != "f":
        words = f"argument {number} {x.shape} holds {x.dtype} numbers"
        raise DTypeError(f"{who}: {words}, which have no gradient")
    if x.requires_grad and is_recording():
        return alias(x)
    return x.detach().requires_grad_()


def _trace(
    who: str, function: Callable[..., Any], primals: Sequence[Any], numbers: Sequence[int] = ()
) -> tuple[Any, list[Tensor], bool]:
    """The function's result on variables of its own, and whether it depends on more than them."""
    outer = is_recording()
    numbers = numbers or range(len(primals))
    variables = [_variable(who, i, x) for i, x in zip(numbers, primals, strict=True)]
    with enable_grad():
        y = function(*variables)
    outputs = _several(y)
    check_results(who, outputs, whole_too=who == "jvp")
    return y, variables, outer and any(depends_beyond(out, variables) for out in outputs)


def _several(parts: Any) -> list[Any]:
    """The parts of a list or tuple; anything else is one part."""
    return list(parts) if isinstance(parts, (list, tuple)) else [parts]


def _like(y: Any, values: list[Any]) -> Any:
    """The values in the form of y: a tensor, or a list or tuple of the same type."""
    if isinstance(y, (list, tuple)):
        return type(y)(*values) if hasattr(y, "_fields") else type(y)(values)
    return values[0] if isinstance(y, Tensor) else values


def _filled(
    parts: list[Any], xs: list[Tensor], fault: str | None = None, numbers: Sequence[int] = ()
) -> list[Tensor]:
    """The parts, zeros where one is None; or GradError with the fault and the number of x."""
    for i, x in enumerate(xs):
        if parts[i] is None and fault is not None:
            what = fault.format(numbers[i] if numbers else i)
            raise GradError(f'{what} {x.shape}; pass unused="zeros" if that is meant')
        parts[i] = Tensor(np.zeros(x.shape, x.dtype)) if parts[i] is None else parts[i]
    return parts


def _pull(outputs: list[Tensor], xs: list[Tensor], gs: list[Any], create_graph: bool) -> list[Any]:
    """Cotangents of xs from those of all outputs, None where nothing arrives."""
    total: list[Any] = [None] * len(xs)
    for y, g in zip(outputs, gs, strict=True):
        if not y.requires_grad:
            continue
        for i, part in enumerate(gradients(y, xs, g, create_graph)):
            if part is not None:
                total[i] = part if total[i] is None else total[i] + part
    return total


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, unused: str = "raise"
) -> Callable[..., Any]:
    """A function that gives (value, gradient) of one with a single-element result.

    Args:
        function: of tensors; arguments given by name are handed on to it.
        argnums: which arguments the gradient is for; several give a tuple of gradients.
        unused: what to do about one that the value does not depend on: "raise", or give "zeros".

    Shapes: arguments (*s) -> value as the function gives it, gradients (*s)

    Raises:
        ShapeError: the function's result has not one element.
        GradError: the result does not depend on an argument that the gradient is for.
        TypeError: an argument is missing, or the function returns something that is no tensor.

    >>> import tape
    >>> value, slope = tape.value_and_grad(lambda x: (x * x).sum())(tape.tensor([3.0]))
    >>> value.item(), slope.item()
    (9.0, 6.0)
    """
    return _value_and_grad("value_and_grad", function, argnums, unused)


def _value_and_grad(
    who: str, function: Callable[..., Any], argnums: int | Sequence[int], unused: str
) -> Callable[..., Any]:
    if unused not in ("raise", "zeros"):
        raise ValueError(f'{who}: unused is "raise" or "zeros", not {unused!r}')
    single = not isinstance(argnums, (list, tuple))
    chosen = _several(argnums)
    if not all(isinstance(i, (int, np.integer)) for i in chosen):
        kind = type(argnums).__name__
        raise TypeError(
            f"{who}: a function's arguments are chosen by number, not by a {kind}: "
            f"call {who}(function)(x)"
        )

    def of(*args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        def inner(*primals: Tensor) -> Any:
            filled = list(args)
            for i, x in zip(chosen, primals, strict=True):
                filled[i] = x
            return function(*filled, **kwargs)

        for i in chosen:
            if not -len(args) <= i < len(args):
                raise TypeError(f"{who}: there is no argument {i}, only {len(args)} are given")
        if len({i % len(args) for i in chosen}) < len(chosen):
            raise ValueError(f"{who}: arguments {argnums} name one twice")
        y, xs, beyond = _trace(who, inner, [args[i] for i in chosen], chosen)
        if not isinstance(y, Tensor) or y.size != 1:
            given = getattr(y, "shape", type(y).__name__)
            raise ShapeError(f"{who}: the function must return one number, got {given}")
        named = None if unused == "zeros" else f"{who}: the result does not depend on argument {{}}"
        slopes = _filled(_pull([y], xs, [None], beyond), xs, named, chosen)
        return (y if beyond else y.detach()), (slopes[0] if single else tuple(slopes))

    return of


def _slope(
    who: str, function: Callable[..., Any], argnums: int | Sequence[int], unused: str = "zeros"
) -> Callable[..., Any]:
    """The gradient alone."""
    pair = _value_and_grad(who, function, argnums, unused)
    return lambda *args, **kwargs: pair(*args, **kwargs)[1]


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The function's result, and the map from its cotangent to a tuple of the primals' cotangents.

    Args:
        function: of tensors; gives a tensor, or a list or tuple of them.
        *primals: what it is called with, one after the other.

    Shapes: primals (*s), result (*t) -> the map takes g (*t), one for each of several results in a
    list or tuple, and gives a tuple of (*s), zeros where the result does not depend on a primal

    Raises:
        ShapeError: by the map, if a cotangent is missing or has another shape than its result.
        TypeError: the function returns something that is no tensor.

    >>> import tape
    >>> y, pull = tape.vjp(lambda x: x * 2, tape.tensor([1.0, 2.0]))
    >>> pull(tape.tensor([1.0, 10.0]))[0].tolist()
    [2.0, 20.0]
    """
    y, xs, beyond = _trace("vjp", function, primals)
    outputs = _several(y)

    def pull(g: Any) -> tuple[Tensor, ...]:
        gs = _several(g) if isinstance(y, (list, tuple)) else [g]
        if len(gs) != len(outputs):
            raise ShapeError(f"vjp: results: {len(outputs)}, but cotangents: {len(gs)}")
        for out, part in zip(outputs, gs, strict=True):
            if np.shape(part) != out.shape:
                raise ShapeError(f"vjp: cotangent {np.shape(part)} for a result {out.shape}")
        wanted = beyond or any(isinstance(p, Tensor) and p.requires_grad for p in gs)
        return tuple(_filled(_pull(outputs, xs, gs, wanted and is_recording()), xs))

    return (y if beyond else _like(y, [out.detach() for out in outputs])), pull


def jvp(function: Callable[..., Any], primals: Any, dxs: Any) -> tuple[Any, Any]:
    """The function's result and its tangent: the derivative in the direction of dxs.

    Args:
        function: of tensors; gives a tensor, or a list or tuple of them.
        primals: what it is called with: a tuple or list, or one tensor, array or number.
        dxs: their tangents in the same form.

    Shapes: primals and dxs (*s), result (*t) -> tangent (*t)

    Raises:
        ShapeError: a tangent is missing or has another shape than its primal.
        GradError: an op on the way has no jvp rule.
        TypeError: the function returns something that is no tensor.

    >>> import tape
    >>> y, dy = tape.jvp(lambda x: x * x, (tape.tensor([3.0]),), (tape.tensor([1.0]),))
    >>> dy.item()
    6.0
    """
    primals, dxs = _several(primals), _several(dxs)
    if len(primals) != len(dxs):
        raise ShapeError(f"jvp: primals: {len(primals)}, but tangents: {len(dxs)}")
    directions = []
    for x, dx in zip(primals, dxs, strict=True):
        x, dx = asarray(x), asarray(dx, asarray(x).dtype)
        if x.shape != dx.shape:
            raise ShapeError(f"jvp: tangent {dx.shape} for a primal {x.shape}")
        directions.append(dx)
    with tracing_jvp():
        y, xs, beyond = _trace("jvp", function, primals)
    outputs = _several(y)
    beyond = is_recording() and (beyond or any(dx.requires_grad for dx in directions))
    with enable_grad() if beyond else no_grad():
        found = tangents(outputs, xs, directions)
    dys = _like(y, _filled(list(found), outputs))
    return (y if beyond else _like(y, [out.detach() for out in outputs])), dys


def jacobian(function: Callable[..., Any], *args: Any, mode: str = "reverse") -> Any:
    """All derivatives of a function's result, a tuple for several arguments.

    Args:
        function: of tensors; gives one tensor y.
        *args: what it is called with; without any, the function of the Jacobian is returned.
        mode: "reverse": a backward walk for each element of y; "forward": one for each of x.

    Shapes: each x (*s), y (*t) -> Jacobian (*t, *s)

    Raises:
        TypeError: the function returns something else than one tensor.
        GradError: an op on the way has no jvp rule, in "forward" mode.
        ValueError: there is no such mode.

    >>> import tape
    >>> tape.jacobian(lambda x: x * x, tape.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    if mode not in ("reverse", "forward"):
        raise ValueError(f'jacobian: mode is "reverse" or "forward", not {mode!r}')
    if not args:
        return lambda *late: jacobian(function, *late, mode=mode)

    def single(*primals: Any) -> Tensor:
        y = function(*primals)
        if not isinstance(y, Tensor):
            kind = type(y).__name__
            raise TypeError(f"jacobian: the function must return one tensor, got a {kind}")
        check_results("jacobian", [y])
        return y

    parts = (_jacobian_reverse if mode == "reverse" else _jacobian_forward)(single, args)
    return parts[0] if len(args) == 1 else tuple(parts)


def _unit(like: Tensor, i: int) -> Tensor:
    return Tensor((np.arange(like.size) == i).astype(like.dtype).reshape(like.shape))


def _jacobian_reverse(function: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    y, xs, beyond = _trace("jacobian", function, args)
    units = (_unit(y, i) for i in range(y.size))
    rows = [_filled(_pull([y], xs, [e], beyond), xs) for e in units]
    return [_assemble([row[j] for row in rows], 0, y, x) for j, x in enumerate(xs)]


def _jacobian_forward(function: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    xs = [asarray(x) for x in args]
    zeros = [Tensor(np.zeros(x.shape, x.dtype)) for x in xs]
    parts = []
    for j, x in enumerate(xs):
        others = zeros[:j], zeros[j + 1 :]
        pairs = [jvp(function, xs, [*others[0], _unit(x, i), *others[1]]) for i in range(x.size)]
        y = pairs[-1][0] if pairs else function(*xs)
        parts.append(_assemble([dy for _, dy in pairs], -1, y, x))
    return parts


def _assemble(slices: list[Tensor], axis: int, y: Tensor, x: Tensor) -> Tensor:
    """Jacobian of y by x from its slices along y (axis 0) or x (axis -1)."""
    if not slices:
        return Tensor(np.zeros(y.shape + x.shape, y.dtype))
    return reshape(stack(slices, axis=axis), y.shape + x.shape)


def hessian(function: Callable[..., Any], *args: Any) -> Any:
    """Second derivatives of a function with a single-element result.

    Args:
        function: of tensors; gives one number.
        *args: what it is called with; without any, the function of the Hessian is returned.

    Shapes: x (*s) -> (*s, *s); several x_i (*s_i) -> a tuple of tuples, [i][j] is (*s_i, *s_j)

    Raises:
        ShapeError: the function's result has not one element.

    >>> import tape
    >>> tape.hessian(lambda x: (x**3).sum(), tape.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    if not args:
        return lambda *late: hessian(function, *late)
    rows = [jacobian(_slope("hessian", function, i), *args) for i in range(len(args))]
    return rows[0] if len(args) == 1 else tuple(rows)


def hvp(function: Callable[..., Any], x: Any, v: Any) -> Tensor:
    """Hessian times v, without forming the Hessian: the gradient of <grad f, v>.

    Args:
        function: of one tensor; gives one number.
        x: the tensor that it is called with.
        v: what the Hessian is multiplied by.

    Shapes: x and v (*s) -> (*s)

    Raises:
        ShapeError: v has another shape than x, or the function's result has not one element.

    >>> import tape
    >>> tape.hvp(lambda x: (x**3).sum(), tape.tensor([1.0, 2.0]), tape.tensor([1.0, 1.0])).tolist()
    [6.0, 12.0]
    """
    v = asarray(v)
    if asarray(x).shape != v.shape:
        raise ShapeError(f"hvp: v has shape {v.shape}, x {asarray(x).shape}")
    y, xs, beyond = _trace("hvp", _slope("hvp", function, 0), [x])
    return _filled(_pull([y], xs, [v], beyond), xs)[0]
