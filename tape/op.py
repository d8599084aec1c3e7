"""The one place where an op is declared: `@op`, its rules, its samples, and the table `OPS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tape._core import door  # noqa: F401 - what calling an Op does
from tape._core.op import REQUIRED, Op
from tape._core.rule import Rule
from tape.errors import GradError, LinAlgError

__all__ = ["OPS", "Bad", "Op", "Sample", "bad", "op", "sample"]

OPS: dict[str, Op] = {}
"""Every op of tape by name; ops that users declare are not listed."""

COTANGENT, OPERAND, RESULT, SHAPE, SETTING, TANGENT, TOTAL = range(7)
VAR_POSITIONAL = 0x04  # inspect.CO_VARARGS, whose module is slow to import


class Sample:
    """One call the tests draw operands for.

    Args:
        shapes: shape of each operand; a number stands for itself as a Python number, an array for
            itself as well.
        low, high: range of the values drawn.
        dtypes: dtype of each operand, float where not given.
        settings: the settings of the call.
        smooth: whether the op can be differentiated everywhere in the range.
    """

    def __init__(
        self,
        *shapes: Any,
        low: float = -2.0,
        high: float = 2.0,
        dtypes: Sequence[str | None] | None = None,
        smooth: bool = True,
        **settings: Any,
    ) -> None:
        self.shapes, self.low, self.high = shapes, low, high
        self.dtypes = tuple(dtypes) if dtypes is not None else (None,) * len(shapes)
        self.smooth, self.settings = smooth, settings

    def __repr__(self) -> str:
        parts = [
            (f"array{x.shape}" if hasattr(x, "shape") else repr(x).replace(" ", "")) + (dtype or "")
            for x, dtype in zip(self.shapes, self.dtypes, strict=True)
        ]
        parts += [f"{k}={v!r}".replace(" ", "") for k, v in self.settings.items()]
        if (self.low, self.high) != (-2.0, 2.0):
            parts.append(f"[{self.low:g},{self.high:g}]")
        return "-".join(parts) or "no-operands"


class Bad(Sample):
    """A call that must be refused, and what the message must match."""

    def __init__(self, *shapes: Any, error: type[Exception], match: str, **settings: Any) -> None:
        super().__init__(*shapes, **settings)
        self.error, self.match = error, match


sample = Sample
bad = Bad


class _Signature:
    """Names of a forward's operands and settings, read off its code object.

    Operands come first: everything before ``/`` (or, without one, every positional parameter), then
    ``*xs`` if the op takes any number of them. What follows are settings.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        code = function.__code__
        names = code.co_varnames
        positional = names[: code.co_argcount]
        named = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        self.variadic = bool(code.co_flags & VAR_POSITIONAL)
        n = code.co_posonlyargcount or (0 if self.variadic else len(positional))
        self.n_fixed = n
        self.operands, self.settings = positional[:n], (*positional[n:], *named)
        if self.variadic:
            self.operands += (names[code.co_argcount + code.co_kwonlyargcount],)
        defaults = dict(zip(positional[::-1], (function.__defaults__ or ())[::-1], strict=False))
        defaults.update(function.__kwdefaults__ or {})
        self.defaults = tuple(defaults.get(name, REQUIRED) for name in self.settings)


def op(
    *,
    shape: Callable[..., Any],
    name: str | None = None,
    saves: str = "",
    kernel: Any = None,
    ref: Callable[..., Any] | None = None,
    samples: Sequence[Sample] = (),
    errors: Sequence[Bad] = (),
    reuse: bool = True,
    linear: bool = False,
    differentiable: bool = True,
    smooth: bool = True,
) -> Callable[[Callable[..., Any]], Op]:
    """Declare an op: the decorated function is its forward, on arrays.

    The forward takes its operands first (before ``/`` if there is one) and then its settings; it
    gets read-only arrays (or Python numbers) and returns an array. Then come the rules, written
    with ops on tensors::

        @op(shape=shapes.same, saves="y")
        def tanh(x):
            return np.tanh(x)

        @tanh.defvjp
        def tanh_vjp(g, y):
            return g * (1 - y * y)

        @tanh.defjvp
        def tanh_jvp(dx, y):
            return dx * (1 - y * y)

    A rule is called with what its parameters name: ``g`` the cotangent, ``d<operand>`` a tangent,
    an operand, ``y`` the result, ``<operand>_shape``, or a setting. A vjp of several operands
    returns a tuple with one cotangent each (None for none), or stands once per operand, as
    ``@multiply.defvjp("a")``, which then is asked only for operands that need it. Where a gradient
    is large and mostly zeros, ``@op.defadd("x")`` adds it to what is known already, in place.

    Args:
        shape: shape rule: takes the operands' shapes, and by keyword those settings that it names;
            returns the result's shape, or None if only values tell; raises ShapeError.
        name: what errors, `OPS` and reprs call it; by default the function's name.
        saves: what the rules read, as "x y b.shape": operands, the result, shapes. The rest may be
            freed.
        kernel: a compiled loop that takes the place of the forward where it applies; the forward is
            then its reference.
        ref: slow truth in NumPy, by default the forward.
        samples, errors: calls that the tests draw from, `tape.op.sample(...)`, and calls that must
            be refused, `tape.op.bad(...)`; see `tape.testing.check_op`.
        reuse: False for ops that draw random numbers.
        linear: the op is its own jvp.
        differentiable: False for ops without gradients (comparisons, indices).
        smooth: False if finite differences say nothing about the gradient (kinks, estimators).

    Returns:
        The op: a callable on tensors, arrays and numbers that gives a tensor.

    Raises:
        TypeError: saves is no text, or shape or what is decorated is no function.
        GradError: saves, or a rule, names what the op has not.

    >>> import numpy as np, tape
    >>> from tape import shapes
    >>> @tape.op(shape=shapes.same, saves="x")
    ... def cube(x):
    ...     return x**3
    >>> @cube.defvjp
    ... def cube_vjp(g, x):
    ...     return g * 3 * x * x
    >>> x = tape.tensor([2.0], requires_grad=True)
    >>> tape.grad(cube(x).sum(), x).tolist()
    [12.0]
    """

    if not isinstance(saves, str):
        raise TypeError(f"op: saves is a text such as 'x y x.shape', not a {type(saves).__name__}")
    if not hasattr(shape, "__code__"):
        raise TypeError(f"op: shape is a function of shapes, such as shapes.same, got {shape!r}")

    def declare(forward: Callable[..., Any]) -> Op:
        if not hasattr(forward, "__code__"):
            raise TypeError(f"op: decorates a function, got a {type(forward).__name__}")
        signature = _Signature(forward)
        rule_names = shape.__code__.co_varnames[
            shape.__code__.co_argcount : shape.__code__.co_argcount
            + shape.__code__.co_kwonlyargcount
        ]
        declared = Op(
            name=name or forward.__name__,
            forward=forward,
            shape=shape,
            shape_settings=tuple(name for name in rule_names if name in signature.settings),
            kernel=kernel,
            n_operands=-1 if signature.variadic else signature.n_fixed,
            n_fixed=signature.n_fixed,
            setting_names=signature.settings,
            defaults=signature.defaults,
            differentiable=differentiable,
            reuse=reuse,
            linear=linear,
        )
        declared.operand_names = signature.operands
        declared.saves = _saved(declared, saves)
        declared.ref = ref or forward
        declared.samples, declared.errors, declared.smooth = tuple(samples), tuple(errors), smooth
        declared.__name__ = declared.__qualname__ = declared.name
        declared.__doc__, declared.__module__ = forward.__doc__, forward.__module__
        declared.__wrapped__ = forward
        declared.defvjp = _vjp_decorator(declared)
        declared.defjvp = _jvp_decorator(declared)
        declared.defadd = _add_decorator(declared)
        declared.defouter = _outer_decorator(declared)
        declared.refuses = any(bad.error is LinAlgError for bad in errors)
        declared.foreign = not (forward.__module__ or "").startswith("tape.ops.")
        if not declared.foreign:
            OPS[declared.name] = declared
        return declared

    return declare


op.sample, op.bad = sample, bad  # type: ignore[attr-defined]  # tape.op hides this module


def _sources(
    declared: Op, function: Callable[..., Any], more: dict[str, tuple[int, int, str]] | None = None
) -> tuple[list[tuple[int, int]], tuple]:
    """Where each parameter of a rule comes from; it may read only what the op says it saves."""
    if not hasattr(function, "__code__"):
        raise TypeError(f"{declared.name}: a rule is a function, got a {type(function).__name__}")
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    operands = declared.operand_names
    position = {name: i for i, name in enumerate(operands)}
    if declared.n_operands < 0:
        position[operands[-1]] = -len(operands)  # from there on: see Rule.call
    known: dict[str, tuple[int, int, str]] = {"g": (COTANGENT, 0, ""), **(more or {})}
    known.update({n: (SETTING, i, "") for i, n in enumerate(declared.setting_names)})
    known.update({f"d{n}": (TANGENT, i, "") for n, i in position.items()})
    known.update({f"{n}_shape": (SHAPE, i, f"{n}.shape") for n, i in position.items()})
    known.update({n: (OPERAND, i, n) for n, i in position.items()})
    known["y"] = known.get("y", (RESULT, 0, "y"))
    sources = []
    for name in names:
        kind, index, saved = known.get(name, (None, 0, name))
        if kind is None or (saved and saved not in declared.saves):
            raise GradError(
                f"{declared.name}: the rule {function.__name__} asks for {name!r}; it may name g, "
                f"tangents d<operand>, settings, and what the op saves: {declared.saves}"
            )
        sources.append((kind, index))
    return sources, names[code.co_argcount :]


def _saved(declared: Op, saves: str) -> tuple[str, ...]:
    """The names in `saves`, each of something that the op has."""
    has = [*declared.operand_names, *[f"{n}.shape" for n in declared.operand_names], "y"]
    for name in saves.split():
        if name not in has:
            raise GradError(f"{declared.name}: saves {name!r}, but has {', '.join(has)}")
    return tuple(saves.split())


def _vjp_decorator(declared: Op) -> Callable[..., Any]:
    def defvjp(rule: Any) -> Any:
        """Attach a vjp: of all operands, or, called with an operand's name, of that one."""
        if not isinstance(rule, str):
            declared.joint = Rule(rule, *_sources(declared, rule))
            return rule
        if rule not in declared.operand_names[: len(declared.vjps)]:
            raise GradError(f"{declared.name}: no operand {rule!r} in {declared.operand_names}")

        def attach(function: Callable[..., Any]) -> Callable[..., Any]:
            index = declared.operand_names.index(rule)
            declared.vjps[index] = Rule(function, *_sources(declared, function))
            return function

        return attach

    return defvjp


def _outer_decorator(declared: Op) -> Callable[..., Any]:
    def defouter(rule: Callable[..., Any]) -> Callable[..., Any]:
        """Attach the vjp of what the op ends in, an activation: it runs once, before the others.

        It turns the cotangent of the result into that of what the activation was applied to, and
        the vjps of the operands are given that one as g.
        """
        declared.outer = Rule(rule, *_sources(declared, rule))
        return rule

    return defouter


def _add_decorator(declared: Op) -> Callable[..., Any]:
    def defadd(operand: str) -> Callable[..., Any]:
        """Attach a short cut: adds the vjp of an operand to an array `total`, in place, on arrays.

        It is called, in first-order gradients, when other cotangents of the operand are known: so
        the gradient of a small part costs what the part costs. It returns whether it did it, and
        reads at most what the operand's vjp reads.
        """

        def attach(function: Callable[..., Any]) -> Callable[..., Any]:
            index = declared.operand_names.index(operand)
            vjp = _sources(declared, declared.vjps[index].function)[0]
            sources, names = _sources(declared, function, {"total": (TOTAL, 0, "")})
            reads = {source for source in sources if source[0] in (OPERAND, SHAPE, RESULT)}
            if not reads <= set(vjp):
                raise GradError(f"{declared.name}: {function.__name__} reads more than the vjp")
            declared.adders = declared.adders or [None] * len(declared.vjps)
            declared.adders[index] = Rule(function, sources, names)
            return function

        return attach

    return defadd


def _jvp_decorator(declared: Op) -> Callable[..., Any]:
    def defjvp(rule: Callable[..., Any]) -> Callable[..., Any]:
        """Attach a jvp: the tangent of the result from those of the operands."""
        declared.jvp = Rule(rule, *_sources(declared, rule))
        return rule

    return defjvp
