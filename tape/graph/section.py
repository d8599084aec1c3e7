"""A section of a recorded graph: the steps between some nodes, in an order to run them in.

Note [Unrecorded values]
Without a gradient and without a name above it, a value is computed unrecorded: its operands are
gone. If it is the direct result of an op, the serial numbers of its operands are still its key, so
it can be traced back by one step. Otherwise, if it may depend on an input of the section, it is
refused: taken for a constant it would give wrong numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tape._core import recorded
from tape._core.memory import lengths
from tape._core.tensor import Tensor
from tape.errors import GradError, GraphError
from tape.nn.parameter import Parameter

__all__ = ["Leaf", "Section", "Step", "told"]


class Ref(NamedTuple):
    """A value of the section, by its serial number."""

    serial: int


class Step(NamedTuple):
    """One op of a section: what it is applied to, and what came out when it was recorded.

    Without an op it cuts the gradient, as `detach` does.
    """

    serial: int
    op: Any
    operands: tuple[Any, ...]  # a Ref, or a number
    settings: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]  # of the operands, () for a number
    place: str
    layer: Any = None  # the module in whose forward it was made

    def __str__(self) -> str:
        return f"{self.op.name if self.op else 'detach'} {self.place}".strip()


class Leaf(NamedTuple):
    """What a section reads that none of its steps makes: a constant, or a learned tensor."""

    serial: int
    value: Tensor
    owner: Tensor | None  # the tensor that the program learns, or moves on, if it is still there
    holder: Any  # the module that owner is an attribute of, None if it is none's
    name: str  # of the attribute, or the name it was given


class Section:
    """All steps that lead from the inputs to the outputs, and the leaves they read.

    Args:
        inputs: tensors at which the section starts.
        outputs: tensors at which it ends.
        what: the name of the function in errors.

    Raises:
        GraphError: no output depends on an input; or a value may depend on one in a way that was
            not recorded.
        GradError: backward() has freed the graph.
    """

    def __init__(self, inputs: list[Tensor], outputs: list[Tensor], what: str) -> None:
        self.what = what
        self.inputs = inputs
        self.start = {x.serial: i for i, x in enumerate(inputs)}
        self.first = min(self.start, default=0)
        self.steps: list[Step] = []
        self.leaves: dict[int, Leaf] = {}
        self.traces: list[Any] = []
        self.reached: set[int] = set()
        self.recorded: dict[int, Tensor] = {}
        self.counted: dict[int, tuple[tuple[int, ...], int]] = {}
        self.outputs = [y.serial for y in outputs]
        for x in inputs:
            self.note_trace(x)
        self.collect(outputs)
        self.steps.sort(key=lambda step: step.serial)
        for i, x in enumerate(inputs):
            if i not in self.reached:
                raise GraphError(
                    f"{what}: no output depends on input {i}, {told(x)}"
                    + (
                        ": nothing is recorded from data on unless it has a name, x.named(...)"
                        if recorded.trace(x) is None and not x.requires_grad
                        else ""
                    )
                )
        self.refuse_lost_values()

    def collect(self, outputs: list[Tensor]) -> None:
        """Walk from the outputs up to the inputs."""
        stack, unsettled = list(outputs), []
        modules: dict[int, Any] = {}
        while stack:
            t = stack.pop()
            if t.serial in self.recorded:
                continue
            self.note_trace(t)
            if self.is_input(t):
                continue
            self.recorded[t.serial] = t
            parts = recorded.operands(t)
            if parts is None:
                unsettled.append(t)
                continue
            self.add_step(t, parts)
            tensors = [x for x in parts if isinstance(x, Tensor)]
            for x in tensors:
                modules.setdefault(x.serial, recorded.module(t))
            stack.extend(tensors)
        for t in unsettled:
            self.settle(t, modules.get(t.serial))

    def note_trace(self, t: Tensor) -> None:
        """Remember the trace of a tensor, and the sizes on which what is made of it counts."""
        if recorded.counted(t):
            self.counted[t.serial] = lengths(t), recorded.counted(t)
        trace = recorded.trace(t)
        if trace is not None and not any(trace is other for other in self.traces):
            self.traces.append(trace)

    def is_input(self, t: Tensor) -> bool:
        """Whether t is one of the inputs, or a copy made of it; it is noted as such."""
        at = self.start.get(t.serial)
        if at is None:
            owner = recorded.owner(t)
            at = next(
                (i for i, x in enumerate(self.inputs) if owner is not None and x is owner), at
            )
        if at is None and t.op is None and recorded.operands(t) is None:
            made_of = recorded.key(t) or ()
            if len(made_of) == 1 and not recorded.is_derived(t):
                at = self.start.get(made_of[0][1])
        if at is None:
            return False
        self.start[t.serial] = at
        self.reached.add(at)
        return True

    def add_step(self, t: Tensor, parts: tuple[Any, ...]) -> None:
        """Note how a recorded value was made."""
        if t.op is not None and t.op.name == "checkpoint":
            raise GraphError(f"{self.what}: a checkpoint hides what it computes: record without it")
        self.steps.append(
            Step(
                t.serial,
                t.op,
                tuple(Ref(x.serial) if isinstance(x, Tensor) else x for x in parts),
                recorded.settings(t),
                tuple(lengths(x) if isinstance(x, Tensor) else () for x in parts),
                recorded.place(t),
                recorded.module(t),
            )
        )

    def settle(self, t: Tensor, module: Any) -> None:
        """Note what an unrecorded value is: a leaf, or a step; see Note [Unrecorded values]."""
        if recorded.is_freed(t):
            raise GradError(
                f"{self.what}: backward() has freed the graph of {told(t)}: take the section "
                "before it, or use tape.grad, which keeps the graph"
            )
        made_of = recorded.key(t)
        known = [serial for is_tensor, serial in made_of or () if is_tensor]
        inside = [s for s in known if s in self.start or self.is_inside(s)]
        if inside and recorded.is_copy(t):
            made_of, known = ((True, inside[0]),), inside[:1]
            inside = known
        if inside and len(inside) == len(known) and (t.op is not None or recorded.is_copy(t)):
            self.reached.update(self.start[s] for s in inside if s in self.start)
            parts = tuple(Ref(x) if is_tensor else x for is_tensor, x in made_of or ())
            shapes = tuple(
                self.shape_of(part.serial) if isinstance(part, Ref) else () for part in parts
            )
            place, settings = recorded.place(t), recorded.settings(t)
            self.steps.append(Step(t.serial, t.op, parts, settings, shapes, place))
            return
        may_depend = recorded.is_derived(t) or (
            recorded.is_computed(t) and self.starts_unrecorded()
        )
        older = bool(made_of) and all(serial < self.first for serial in known)
        if (may_depend and not older) or inside:
            raise GraphError(
                f"{self.what}: {told(t)} may depend on an input in a way that is not recorded: "
                "give the inputs names before they are used, x.named(...), and compute what does "
                "not depend on them before that"
                + (
                    "; one that was used already needs a copy, tape.tensor(x.numpy()).named(...)"
                    if self.starts_unrecorded()
                    else ""
                )
            )
        owner, holder, name = owner_of(t, module)
        if recorded.moved_since(t) > self.first and not isinstance(owner, Parameter):
            raise GraphError(
                f"{self.what}: {told(t)} was made after the inputs and has learned since, so it "
                "may depend on them: make it before them, or nn.Parameter(...) of it"
            )
        self.leaves[t.serial] = Leaf(t.serial, t, owner, holder, name)

    def refuse_lost_values(self) -> None:
        """Raise GraphError if a constant's value is gone."""
        for leaf in self.leaves.values():
            if leaf.owner is None and not recorded.has_value(leaf.value):
                raise GraphError(
                    f"{self.what}: the value of {told(leaf.value)} was not kept: hold it (or its "
                    "model), or give the inputs names before they are used, x.named(...)"
                )

    def is_inside(self, serial: int) -> bool:
        """Whether a value was made by a step of the section."""
        t = self.recorded.get(serial)
        return t is not None and (recorded.operands(t) is not None or serial in self.leaves)

    def shape_of(self, serial: int) -> tuple[int, ...]:
        """Shape, when it was recorded, of an input or of a value inside."""
        at = self.start.get(serial)
        return lengths(self.recorded[serial] if at is None else self.inputs[at])

    def starts_unrecorded(self) -> bool:
        """Whether some input was used while nothing that depends on it was recorded."""
        return any(recorded.is_late(x) for x in self.inputs)


def owner_of(t: Tensor, module: Any) -> tuple[Tensor | None, Any, str]:
    """The tensor that stands on a leaf, the module it is an attribute of, and its name there."""
    owner = recorded.owner(t)
    if module is not None:
        for name, entry in module.entries():
            if entry is owner or (isinstance(entry, Tensor) and entry.serial == t.serial):
                return entry, module, name
    named = recorded.names(t)
    return owner, None, named[0] if named else ((owner is not None and owner.name) or "")


def told(t: Tensor) -> str:
    """A tensor in an error: its name, shape, what made it and where."""
    names = recorded.names(t)
    name = f"{names[0]!r} " if names else ""
    made = f", made by {t.op.name}" if t.op is not None else ""
    place = recorded.place(t)
    return f"{name}{t.dtype} {lengths(t)}{made}{place and ' '}{place}"
