"""Derivatives of recorded results and of functions, built on the core's two walks.

The functional forms take functions of tensors. Each argument becomes a node of its own, so nested
derivatives never confuse two variables that hold the same tensor; and a result is itself
differentiable whenever the function depends on anything outside that requires a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tape._core.backward import depends_beyond, gradients
from tape._core.forward import tangents, tracing_jvp
from tape._core.memory import asarray
from tape._core.state import enable_grad, is_recording, no_grad
from tape._core.tensor import Tensor
from tape.errors import GradError, ShapeError
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
        y: a recorded tensor; or a function, then the result is the function of its gradient.
        xs: a tensor, or a list or tuple of them: the result has the same form.
        g: cotangent of y's shape; may be left out if y has one element.
        create_graph: record the gradient's own computation, so that it can be differentiated.
        unused: what to do about an x that y does not depend on: "raise", or give "zeros".

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
        return _slope(y, 0 if xs is None else xs)
    if unused not in ("raise", "zeros"):
        raise ValueError(f'grad: unused is "raise" or "zeros", not {unused!r}')
    single = isinstance(xs, Tensor)
    targets = [xs] if single else list(xs)
    for i, x in enumerate(targets):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: xs[{i}] is a {type(x).__name__}, not a tensor")
        if not x.requires_grad and unused == "raise":
            raise GradError(f"grad: xs[{i}] {x.shape} does not require a gradient")
    if not isinstance(y, Tensor):
        raise TypeError(f"grad: y is a {type(y).__name__}, not a tensor or a function")
    found = gradients(y, targets, g, create_graph)
    for i, (x, part) in enumerate(zip(targets, found, strict=True)):
        if part is None:
            if unused == "raise":
                raise GradError(
                    f"grad: y {y.shape} does not depend on xs[{i}] {x.shape}; "
                    'pass unused="zeros" if that is meant'
                )
            found[i] = Tensor(np.zeros(x.shape, x.dtype))
    return found[0] if single else type(xs)(found) if isinstance(xs, (list, tuple)) else found


def _variable(x: Any) -> Tensor:
    """x as a node of its own that a gradient can be asked for."""
    x = asarray(x)
    if x.requires_grad and is_recording():
        return alias(x)
    return x.detach().requires_grad_()


def _trace(function: Callable[..., Any], primals: Sequence[Any]) -> tuple[Any, list[Tensor], bool]:
    """The function's result on variables of its own, and whether it depends on more than them."""
    outer = is_recording()
    variables = [_variable(x) for x in primals]
    with enable_grad():
        y = function(*variables)
    outputs = _listed(y)
    return y, variables, outer and any(depends_beyond(out, variables) for out in outputs)


def _listed(y: Any) -> list[Tensor]:
    outputs = list(y) if isinstance(y, (list, tuple)) else [y]
    for out in outputs:
        if not isinstance(out, Tensor):
            raise TypeError(f"the function must return tensors, got a {type(out).__name__}")
    return outputs


def _like(y: Any, values: list[Any]) -> Any:
    return type(y)(values) if isinstance(y, (list, tuple)) else values[0]


def _zeros_if_none(part: Tensor | None, x: Tensor) -> Tensor:
    return Tensor(np.zeros(x.shape, x.dtype)) if part is None else part


def _pull(outputs: list[Tensor], xs: list[Tensor], gs: list[Any], create_graph: bool) -> list[Any]:
    """Cotangents of xs from those of all outputs, zeros where nothing arrives."""
    total: list[Any] = [None] * len(xs)
    for y, g in zip(outputs, gs, strict=True):
        if not y.requires_grad:
            continue
        for i, part in enumerate(gradients(y, xs, g, create_graph)):
            if part is not None:
                total[i] = part if total[i] is None else total[i] + part
    return [_zeros_if_none(part, x) for part, x in zip(total, xs, strict=True)]


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0
) -> Callable[..., Any]:
    """A function that gives (value, gradient) of one with a single-element result.

    Args:
        function: of tensors.
        argnums: which arguments the gradient is for; several give a tuple of gradients.

    >>> import tape
    >>> value, slope = tape.value_and_grad(lambda x: (x * x).sum())(tape.tensor([3.0]))
    >>> value.item(), slope.item()
    (9.0, 6.0)
    """
    single = isinstance(argnums, int)
    chosen = [argnums] if isinstance(argnums, int) else list(argnums)

    def of(*args: Any) -> tuple[Tensor, Any]:
        def inner(*primals: Tensor) -> Any:
            filled = list(args)
            for i, x in zip(chosen, primals, strict=True):
                filled[i] = x
            return function(*filled)

        y, xs, beyond = _trace(inner, [args[i] for i in chosen])
        if not isinstance(y, Tensor) or y.size != 1:
            raise ShapeError(
                f"value_and_grad: the function must return one number, got "
                f"{getattr(y, 'shape', type(y).__name__)}"
            )
        parts = _pull([y], xs, [None], beyond)
        return (y if beyond else y.detach()), (parts[0] if single else tuple(parts))

    return of


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The function's result, and the map from its cotangent to a tuple of the primals' cotangents.

    >>> import tape
    >>> y, pull = tape.vjp(lambda x: x * 2, tape.tensor([1.0, 2.0]))
    >>> pull(tape.tensor([1.0, 10.0]))[0].tolist()
    [2.0, 20.0]
    """
    y, xs, beyond = _trace(function, primals)
    outputs = _listed(y)

    def pull(g: Any) -> tuple[Tensor, ...]:
        gs = list(g) if isinstance(y, (list, tuple)) else [g]
        for out, part in zip(outputs, gs, strict=True):
            if np.shape(part) != out.shape:
                raise ShapeError(f"vjp: cotangent {np.shape(part)} for a result {out.shape}")
        create_graph = beyond or any(isinstance(p, Tensor) and p.requires_grad for p in gs)
        return tuple(_pull(outputs, xs, gs, create_graph))

    return (y if beyond else _like(y, [out.detach() for out in outputs])), pull


def jvp(
    function: Callable[..., Any], primals: Sequence[Any], dxs: Sequence[Any]
) -> tuple[Any, Any]:
    """The function's result and its tangent: the derivative in the direction of dxs.

    Raises:
        ShapeError: a tangent has another shape than its primal.
        GradError: an op on the way has no jvp rule.

    >>> import tape
    >>> y, dy = tape.jvp(lambda x: x * x, (tape.tensor([3.0]),), (tape.tensor([1.0]),))
    >>> dy.item()
    6.0
    """
    directions = []
    for x, dx in zip(primals, dxs, strict=True):
        x, dx = asarray(x), asarray(dx, asarray(x).dtype)
        if x.shape != dx.shape:
            raise ShapeError(f"jvp: tangent {dx.shape} for a primal {x.shape}")
        directions.append(dx)
    with tracing_jvp():
        y, xs, beyond = _trace(function, primals)
    outputs = _listed(y)
    beyond = is_recording() and (beyond or any(dx.requires_grad for dx in directions))
    with enable_grad() if beyond else no_grad():
        found = tangents(outputs, xs, directions)
    dys = [_zeros_if_none(dy, out) for dy, out in zip(found, outputs, strict=True)]
    return (y if beyond else _like(y, [out.detach() for out in outputs])), _like(y, dys)


def jacobian(function: Callable[..., Any], *args: Any, mode: str = "reverse") -> Any:
    """All derivatives of a function's result: shape y.shape + x.shape, a tuple for several x.

    Without `args` the function of the Jacobian is returned. "reverse" runs one backward walk for
    each element of y, "forward" one forward walk for each element of x.

    >>> import tape
    >>> tape.jacobian(lambda x: x * x, tape.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    if mode not in ("reverse", "forward"):
        raise ValueError(f'jacobian: mode is "reverse" or "forward", not {mode!r}')
    if not args:
        return lambda *late: jacobian(function, *late, mode=mode)
    parts = (_jacobian_reverse if mode == "reverse" else _jacobian_forward)(function, args)
    return parts[0] if len(args) == 1 else tuple(parts)


def _unit(shape: tuple[int, ...], dtype: np.dtype, i: int) -> Tensor:
    e = np.zeros(shape, dtype)
    e.reshape(-1)[i] = 1
    return Tensor(e)


def _jacobian_reverse(function: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    y, xs, beyond = _trace(function, args)
    y = _listed(y)[0]
    rows = [_pull([y], xs, [_unit(y.shape, y.dtype, i)], beyond) for i in range(y.size)]
    return [_assemble([row[j] for row in rows], 0, y, x) for j, x in enumerate(xs)]


def _jacobian_forward(function: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    xs = [asarray(x) for x in args]
    zeros = [Tensor(np.zeros(x.shape, x.dtype)) for x in xs]
    parts = []
    for j, x in enumerate(xs):
        columns, y = [], None
        for i in range(x.size):
            dxs = [*zeros[:j], _unit(x.shape, x.dtype, i), *zeros[j + 1 :]]
            y, dy = jvp(function, xs, dxs)
            columns.append(dy)
        y = function(*xs) if y is None else y
        parts.append(_assemble(columns, -1, y, x))
    return parts


def _assemble(slices: list[Tensor], axis: int, y: Tensor, x: Tensor) -> Tensor:
    """Jacobian of y by x from its slices along y (axis 0) or x (axis -1)."""
    if not slices:
        return Tensor(np.zeros(y.shape + x.shape, y.dtype))
    return reshape(stack(slices, axis=axis), y.shape + x.shape)


def hessian(function: Callable[..., Any], *args: Any) -> Any:
    """Second derivatives of a function with a single-element result: shape x.shape + x.shape.

    >>> import tape
    >>> tape.hessian(lambda x: (x**3).sum(), tape.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    if not args:
        return lambda *late: hessian(function, *late)
    rows = [jacobian(_slope(function, i), *args) for i in range(len(args))]
    return rows[0] if len(args) == 1 else tuple(rows)


def _slope(function: Callable[..., Any], argnums: int | Sequence[int]) -> Callable[..., Any]:
    """The gradient alone."""
    pair = value_and_grad(function, argnums)
    return lambda *args: pair(*args)[1]


def hvp(function: Callable[..., Any], x: Any, v: Any) -> Tensor:
    """Hessian times v, without forming the Hessian: the gradient of <grad f, v>.

    >>> import tape
    >>> tape.hvp(lambda x: (x**3).sum(), tape.tensor([1.0, 2.0]), tape.tensor([1.0, 1.0])).tolist()
    [6.0, 12.0]
    """
    v = asarray(v)
    if asarray(x).shape != v.shape:
        raise ShapeError(f"hvp: v has shape {v.shape}, x {asarray(x).shape}")
    y, xs, beyond = _trace(_slope(function, 0), [x])
    return _pull([y], xs, [v], beyond)[0]
