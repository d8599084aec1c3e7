"""`Parameter`: a tensor that a module learns; `Uninferred`: one that waits for its size."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from tape._core.memory import lengths
from tape._core.tensor import Tensor
from tape.errors import DTypeError, GradError, ShapeError
from tape.nn.init import checked, first_value

__all__ = [
    "Parameter",
    "Uninferred",
    "Wanted",
    "asked_init",
    "fresh",
    "holders_of",
    "innermost",
    "is_parameter",
    "parameter",
    "refuse_uninferred",
    "scopes",
    "shape_of",
    "size_at",
    "written",
]

Shape = tuple  # of int, or None where a size is not known yet
# The open Level of tape/nn/level.py.
scopes: ContextVar[Any] = ContextVar("tape.nn.scope", default=None)


class Parameter(Tensor):
    """A tensor that a module learns: found by `Module.parameters` when it is an attribute.

    Args:
        data: first value; copied.
        requires_grad: False keeps it as it is: a frozen parameter.
        dtype: of the parameter, by default that of `data` (float32 for Python numbers).

    Raises:
        DTypeError: `data` has no supported dtype, or needs a gradient and is not floating-point.

    >>> from tape import nn
    >>> nn.Parameter([1.0, 2.0])
    tensor([1., 2.], shape=(2,), float32, requires_grad)
    """

    __slots__ = ("_holders",)

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None) -> None:
        super().__init__(data, dtype, requires_grad)

    def requires_grad_(self, flag: bool = True) -> Parameter:
        """Say whether it learns; the parameter. Setting `requires_grad` does the same.

        Raises:
            GradError: a frozen module holds it: what is frozen learns again by `unfreeze` alone.
            DTypeError: it does not hold floating-point numbers.
        """
        if flag and not self.requires_grad:
            for module in [at() for at in holders_of(self)]:
                if getattr(module, "is_frozen", False) and any(
                    part is self for _, part in module.entries()
                ):
                    raise GradError(
                        f"requires_grad_: a frozen {type(module).__name__} holds this parameter "
                        f"{self.shape}: unfreeze() the module, or the one above that was frozen"
                    )
        super().requires_grad_(flag)
        return self


class Uninferred:
    """A parameter (or buffer) whose size is not known before its layer's first call.

    It is no tensor, so that nothing can compute with it by mistake. Where two layers share one, the
    layer that is called first makes the parameter, and the other one takes it over.

    Args:
        shape: the sizes, None where not known yet.
        init: ``init(shape, rng, dtype)`` gives the first value, see `tape.nn.init`.
        rng: generator handed to `init`, by default that of `tape.random` at the time.
        dtype: of the value.
        kind: `Parameter`, or `Tensor` for a buffer.
        name: of the tensor, or None.
    """

    __slots__ = ("_holders", "dtype", "init", "kind", "name", "rng", "shape", "value")

    def __init__(
        self,
        shape: Shape,
        init: Callable[..., np.ndarray],
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
        kind: type[Tensor] = Parameter,
        name: str | None = None,
    ) -> None:
        self.shape, self.init, self.rng, self.kind = tuple(shape), init, rng, kind
        self.dtype, self.name = np.dtype(dtype), name
        self.value: Tensor | None = None

    def fits(self, shape: Shape) -> bool:
        """Whether `shape` agrees with the sizes that are known."""
        known = self.shape if self.value is None else self.value.shape
        return len(known) == len(shape) and all(
            n is None or n == m for n, m in zip(known, shape, strict=True)
        )

    def make(self, shape: Shape) -> Tensor:
        """The tensor itself, of the given shape.

        Raises:
            ShapeError: `shape` contradicts the known sizes, or `init` gives another one.
        """
        if not self.fits(shape):
            known = self.shape if self.value is None else self.value.shape
            raise ShapeError(f"a parameter {written(known)} cannot have the shape {shape}")
        if self.value is not None:
            return self.value
        return self.filled(first_value(self.init, shape, self.rng, self.dtype))

    def filled(self, array: np.ndarray) -> Tensor:
        """The tensor with these numbers and the name, frozen if a frozen module waits for it."""
        tensor = self.kind(array)
        tensor.name = self.name
        if holders := holders_of(self):
            tensor.requires_grad_(False)
            tensor._holders = holders  # type: ignore[attr-defined]
        return tensor

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name is not None else ""
        return f"Uninferred({written(self.shape)}, {self.dtype}{name})"


def innermost() -> Any:
    """The scope that is open on this thread, or None; see `tape.nn.scope`."""
    level = scopes.get()
    return None if level is None else level.here()


def asked_init(init: Any, default: Any, n_axes: int) -> Any:
    """The initialiser that is asked for, of this parameter or by its scope; None if none is.

    Where there is a default, that of the scope stands for weights, of two axes or more, only.
    """
    level = innermost() if init is None and (default is None or n_axes > 1) else None
    return init if level is None else level.init


def parameter(
    layer: Any,
    name: str,
    shape: Shape,
    init: Callable[..., np.ndarray] | None = None,
    rng: np.random.Generator | None = None,
    dtype: Any = None,
    kind: type[Tensor] = Parameter,
    default: Callable[..., np.ndarray] | None = None,
) -> Any:
    """A parameter (or a buffer, with `kind` Tensor) of a layer, or an Uninferred if a size is None.

    Inside of a scope it is the one that has the name there, see `tape.nn.scope`.

    Args:
        layer: the module that it belongs to.
        name: of the layer's attribute.
        shape: the sizes, None where not known yet.
        init: what the layer was told to begin with; None for that of the scope, or `default`.
        rng: generator handed to `init`.
        dtype: what the layer was told; None for that of the scope, or float32.
        kind: `Parameter`, or `Tensor` for a buffer.
        default: the layer's own initialiser; for one axis, such as a bias, it goes before that of
            the scope.
    """
    level = innermost()
    if level is not None:
        return level.of_layer(layer, name, Wanted(shape, init, rng, dtype, kind, default))
    first: Any = default if init is None else init
    return fresh(shape, checked(type(layer).__name__, first), rng, dtype, kind)


def fresh(
    shape: Shape,
    init: Callable[..., np.ndarray],
    rng: np.random.Generator | None,
    dtype: Any,
    kind: type[Tensor],
    name: str | None = None,
) -> Any:
    """A new tensor, or an Uninferred if a size is None; float32 if dtype is None."""
    waiting = Uninferred(shape, init, rng, np.float32 if dtype is None else dtype, kind, name)
    return waiting if None in waiting.shape else waiting.make(waiting.shape)


class Wanted(NamedTuple):
    """What a parameter is asked to be; None where it is all the same."""

    shape: Shape | None = None
    init: Callable[..., np.ndarray] | None = None
    rng: np.random.Generator | None = None
    dtype: Any = None
    kind: type[Tensor] = Parameter
    default: Callable[..., np.ndarray] | None = None


def shape_of(layer: str, x: Any) -> tuple[int, ...]:
    """Shape of what a layer is called with.

    Raises:
        DTypeError: x is neither a tensor nor an array.
    """
    shape = lengths(x) if isinstance(x, Tensor) else getattr(x, "shape", None)
    if not isinstance(shape, tuple):
        raise DTypeError(f"{layer}: takes a tensor or an array, got a {type(x).__name__}")
    return shape


def size_at(layer: str, x: Any, axis: int, n_axes: int = 1) -> int:
    """Size of an axis of x, from which a layer infers its own sizes.

    Raises:
        ShapeError: x has fewer than `n_axes` axes.
        DTypeError: x is neither a tensor nor an array.
    """
    shape = shape_of(layer, x)
    if len(shape) < n_axes:
        raise ShapeError(f"{layer}: x {shape} needs at least {n_axes} axes to infer sizes from")
    return shape[axis]


def written(shape: Shape) -> str:
    """A shape as text, with ? for a size that is not known yet."""
    sizes = ["?" if n is None else str(n) for n in shape]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"


def is_parameter(entry: Any) -> bool:
    """Whether an entry is a parameter, with or without a size."""
    return isinstance(entry, Parameter) or (
        isinstance(entry, Uninferred) and issubclass(entry.kind, Parameter)
    )


def holders_of(entry: Any) -> tuple[weakref.ref[Any], ...]:
    """The frozen modules that keep a parameter from training; see Note [Frozen parameters]."""
    return getattr(entry, "_holders", ())


def refuse_uninferred(found: Iterable[tuple[str, Any]], what: str) -> None:
    """Raise ShapeError if any of the (path, entry) has no size yet."""
    waiting = [f"{path} {written(e.shape)}" for path, e in found if isinstance(e, Uninferred)]
    if waiting:
        raise ShapeError(
            f"{what}: no sizes yet for {', '.join(waiting)}: call the model once on an example, "
            "or give the layers their input sizes"
        )
