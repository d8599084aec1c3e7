"""What gradients flow through: `checkpoint` computes twice to save memory, `stop_gradient` cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tape._core.backward import gradients
from tape._core.memory import asarray, glance
from tape._core.replay import apart, as_recorded, boundary, is_tracing_jvp, mark, switches
from tape._core.state import is_recording
from tape._core.tensor import Tensor
from tape.errors import GradError
from tape.op import op
from tape.ops.arithmetic import alias
from tape.ops.dtype import astype
from tape.ops.join import concat
from tape.ops.random import drawing, drawn_again
from tape.ops.shape import reshape

__all__ = ["checkpoint", "stop_gradient"]


def stop_gradient(x: Any) -> Tensor:
    """The same numbers as a leaf: no gradient flows through.   Shapes: x (*s) -> y (*s)

    >>> import tape
    >>> x = tape.tensor([3.0], requires_grad=True)
    >>> tape.grad((x * tape.stop_gradient(x)).sum(), x).tolist()
    [3.0]
    """
    return asarray(x).detach()


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, of which only arguments and results are kept.

    What is computed in between is forgotten and, when a gradient needs it, computed again: memory
    of one function's inner results at a time, for a third more work. The second run sees what the
    first one saw: the values that parameters had, the same random numbers (drawn by tape's
    functions), and it moves no running statistics. Gradients reach tensors among the arguments and
    all that the function reads: parameters of modules, or what its closure holds. They are the bits
    that they are without `checkpoint`, second order included; checkpoints may be nested.

    Args:
        function: of tensors; gives tensors. It must do the same each time it is called.
        *args, **kwargs: what it is called with; tensors may lie in lists, tuples and dictionaries.

    Shapes: as the function's

    Returns:
        What the function gives, in the same form.

    Raises:
        GradError: by the gradient, if the second run depends on other tensors than the first one,
            or gives results of other shapes.
        TypeError: it is no function.

    >>> import tape
    >>> w = tape.tensor([1.0, 2.0], requires_grad=True)
    >>> y = tape.checkpoint(lambda x: (tape.exp(x) * w).sum(), tape.tensor([0.0, 0.0]))
    >>> tape.grad(y, w).tolist()
    [1.0, 1.0]
    """
    if not callable(function):
        raise TypeError(f"checkpoint: takes a function, got a {type(function).__name__}")
    if not is_recording() or is_tracing_jvp():
        return function(*args, **kwargs)
    tensors: list[Tensor] = []
    segment = _Segment(function, _parted((args, kwargs), tensors), len(tensors))
    result, y, held = segment.first(tensors)
    if y is None:
        return result
    segment.value = glance(y)
    y = None  # and with it what was recorded
    return segment.shared(_replay(*tensors, *held, segment=segment))


class _Place:
    """Where a tensor was in a tree."""

    def __init__(self, index: int) -> None:
        self.index = index


def _parted(tree: Any, tensors: list[Tensor]) -> Any:
    """The tree with a `_Place` for each tensor, which is appended to the list."""
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return _Place(len(tensors) - 1)
    return _rebuilt(tree, lambda part: _parted(part, tensors))


def _joined(tree: Any, tensors: list[Any]) -> Any:
    """The tree with the tensors at their places."""
    if isinstance(tree, _Place):
        return tensors[tree.index]
    return _rebuilt(tree, lambda part: _joined(part, tensors))


def _rebuilt(tree: Any, of: Callable[[Any], Any]) -> Any:
    if isinstance(tree, (list, tuple)):
        parts = [of(part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if type(tree) is dict:
        return {key: of(part) for key, part in tree.items()}
    return tree


def _bundle(parts: list[Tensor]) -> Tensor:
    """Several tensors as one vector; one as it is."""
    if len(parts) == 1:
        return parts[0]
    widest = max((p.dtype for p in parts), key=lambda dtype: dtype.itemsize)
    return concat([reshape(p if p.dtype == widest else astype(p, widest), (-1,)) for p in parts])


class _Segment:
    """A function, how it is called, and what its results look like."""

    def __init__(self, function: Callable[..., Any], form: Any, n: int) -> None:
        self.function, self.form, self.n = function, form, n
        self.value: np.ndarray | None = None
        self.result: Any = None
        self.kinds: list[tuple[tuple[int, ...], Any]] = []
        self.log: dict[Any, Any] = {}
        self.switches = switches()

    def run(self, xs: list[Tensor]) -> tuple[Any, list[Tensor]]:
        """What the function gives, and the tensors in it that need a gradient."""
        args, kwargs = _joined(self.form, xs)
        outputs: list[Tensor] = []
        form = _parted(self.function(*args, **kwargs), outputs)
        flowing = [y for y in outputs if y.requires_grad]
        self.result = form, [None if y.requires_grad else y for y in outputs]
        return _joined(form, outputs), flowing

    def first(self, tensors: list[Tensor]) -> tuple[Any, Tensor | None, list[Tensor]]:
        """The result; as one tensor what needs a gradient; and what it depends on beyond xs."""
        since = mark()
        xs = [x.detach().requires_grad_() if x.requires_grad else x for x in tensors]
        with apart(False, *self.switches), drawing() as self.log:
            result, flowing = self.run(xs)
            if not flowing:
                return result, None, []
            self.kinds = [(y.shape, y.dtype) for y in flowing]
            return result, _bundle(flowing), boundary(flowing, xs, since)

    def shared(self, y: Tensor) -> Any:
        """The result in its form, with those that need a gradient taken from y."""
        form, outputs = self.result
        self.result = None
        pieces, at = [], 0
        for shape, dtype in self.kinds:
            if len(self.kinds) == 1:
                pieces = [y]
                break
            size = int(np.prod(shape))
            piece = reshape(y[at : at + size], shape)
            pieces.append(piece if piece.dtype == dtype else astype(piece, dtype))
            at += size
        rest = iter(pieces)
        return _joined(form, [next(rest) if out is None else out for out in outputs])

    def pull(self, g: Tensor, operands: tuple[Tensor, ...]) -> list[Tensor | None]:
        """Cotangents of all operands, by running the function again."""
        create_graph = is_recording()
        xs, held = list(operands[: self.n]), list(operands[self.n :])
        xs = [_variable(x, create_graph) if x.requires_grad else x for x in xs]
        since = mark()
        with apart(True, *self.switches), as_recorded(held), drawn_again(self.log):
            _, flowing = self.run(xs)
            self.result = None
            self.refuse_another(flowing, boundary(flowing, xs, since), held)
            y = _bundle(flowing)
        wanted = [x for x in [*xs, *held] if x.requires_grad]
        with apart(True, *self.switches):
            found = iter(gradients(y, wanted, g, create_graph, since))
        return [next(found) if x.requires_grad else None for x in [*xs, *held]]

    def refuse_another(
        self, flowing: list[Tensor], depends: list[Tensor], held: list[Tensor]
    ) -> None:
        """GradError unless the second run gave what the first one gave."""
        kinds = [(y.shape, y.dtype) for y in flowing]
        if kinds != self.kinds:
            raise GradError(f"checkpoint: results of {self.kinds}, run again they are {kinds}")
        known = {x.serial for x in held}
        for x in depends:
            if x.serial not in known:
                raise GradError(
                    f"checkpoint: run again the function depends on another tensor {x.shape}: it "
                    "must do the same each time"
                )


def _variable(x: Tensor, create_graph: bool) -> Tensor:
    return alias(x) if create_graph else x.detach().requires_grad_()


def _shape_of(*xs: Any, segment: _Segment) -> None:
    """Only the values tell."""


@op(shape=_shape_of, name="checkpoint", saves="xs", reuse=False)
def _replay(*xs: Any, segment: _Segment) -> Any:
    """What the function has given."""
    value, segment.value = segment.value, None
    return value


@_replay.defvjp
def _replay_vjp(g: Tensor, xs: tuple[Tensor, ...], segment: _Segment) -> list[Tensor | None]:
    return segment.pull(g, xs)
