"""What may differ when a section runs again, and what may not.

Note [Guards]
A section is the path that the program took once. It holds for other values if the program would
take the same path and compute with the same numbers: so a value that was read before the section
was complete, as a number or to decide a branch, must come out the same; a truth value also if it
was read later, since the branch may have left all as it was. Sizes may change, but not one that a
number of the section may come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from tape._core import recorded, trace
from tape._core.tensor import Tensor
from tape.errors import GraphError, GuardError
from tape.graph.section import Leaf, Ref, Section, Step, owner_of, told

__all__ = ["Guard", "guards", "refuse_sizes", "resized", "sizes_that_changed"]

# Settings that no size of a tensor goes into.
FREE = {
    *("axis", "axes", "axis1", "axis2", "keepdims", "stride", "padding", "dilation", "groups"),
    *("activation", "dtype", "descending", "stable", "causal", "eps", "momentum", "training"),
    *("correction", "offset"),
}


class Guard(NamedTuple):
    """A value that must come out as it was recorded."""

    serial: int
    kind: str  # how it was read: "bool", "float", "int", "item", "index"
    value: Any
    place: str

    def check(self, t: Tensor) -> None:
        """Raise GuardError unless the value is the recorded one."""
        value = bool(t.numpy()) if self.kind == "bool" else t.numpy().item()
        if value == self.value or (value != value and self.value != self.value):
            return
        raise GuardError(
            f"the recorded path does not hold: {'a branch' if self.kind == 'bool' else 'a number'} "
            f"depends on a value that was {self.value} and is {value}, read at {self.place}"
        )


def guards(section: Section) -> list[Guard]:
    """The guards of a section; what they need is added to its steps and leaves.

    Raises:
        GraphError: a branch or a number depends on what is not known.
    """
    ends = {"bool": recorded.now()}
    last = max(section.outputs, default=0)
    found: dict[int, Guard] = {}
    for noted in section.traces:
        for when, serial, kind, value, place in noted.reads:
            if when > ends.get(kind, last) or not depends(noted.steps, serial, section):
                continue
            where = trace.read_at(place)
            if kind == "array":
                raise GraphError(
                    f"{section.what}: values that depend on an input were read as an array at "
                    f"{where}, and what came after may depend on them: compute with tensors, or "
                    "look at them when the section is complete"
                )
            extend(section, noted.steps, serial)
            found[when] = Guard(serial, kind, value, where)
    if not section.traces and section.steps:
        first = min(step.serial for step in section.steps)
        for when, kind, where in trace.reads_since(first):
            if when < ends.get(kind, last):
                raise GraphError(
                    f"{section.what}: while the section was recorded, a value was read at {where} "
                    "that a branch or a number may depend on: give the inputs names before they "
                    "are used, x.named(...), and it becomes a guard"
                )
    section.steps.sort(key=lambda step: step.serial)
    return [guard for _, guard in sorted(found.items())]


def depends(steps: dict[int, Any], serial: int, section: Section) -> bool:
    """Whether a value depends on an input of the section, by the steps of a trace."""
    stack, seen = [serial], set()
    while stack:
        at = stack.pop()
        if at in section.start:
            return True
        if at in seen:
            continue
        seen.add(at)
        step = steps.get(at)
        if isinstance(step, tuple):
            stack.extend(x for is_tensor, x in step[2] if is_tensor)
    return False


def numbers_of(step: Step) -> Iterator[Any]:
    """The numbers among the operands and settings of a step that sizes or values may go into."""
    for x in step.operands:
        if not isinstance(x, (Ref, bool)):
            yield x
    for name, setting in step.settings.items():
        if name not in FREE:
            yield from numbers_in(setting)


def numbers_in(setting: Any) -> Iterator[Any]:
    if isinstance(setting, (int, float)) and not isinstance(setting, bool):
        yield setting
    elif isinstance(setting, slice):
        yield from numbers_in((setting.start, setting.stop, setting.step))
    elif isinstance(setting, (tuple, list)):
        for part in setting:
            yield from numbers_in(part)


def extend(section: Section, steps: dict[int, Any], serial: int) -> None:
    """Add to a section what leads to a value that one of its guards looks at."""
    have = {step.serial for step in section.steps}
    stack = [serial]
    while stack:
        at = stack.pop()
        if at in have or at in section.leaves or at in section.start:
            continue
        have.add(at)
        step = steps.get(at)
        if step is None:
            raise GraphError(
                f"{section.what}: a branch or a number depends on a named tensor that is not among "
                "the inputs: add it to them"
            )
        if not isinstance(step, tuple):
            t = recorded.of_leaf(step)
            section.leaves[at] = Leaf(at, t, *owner_of(t, None))
            continue
        op, values, operands = step
        settings = dict(zip(op.setting_names, values, strict=True)) if op is not None else {}
        parts = tuple(Ref(x) if is_tensor else x for is_tensor, x in operands)
        section.steps.append(Step(at, op, parts, settings, (), ""))
        stack.extend(x for is_tensor, x in operands if is_tensor)


def sizes_that_changed(section: Section, i: int, x: Tensor) -> dict[int, int]:
    """The sizes of input i that are not as recorded: old and new.

    Raises:
        GuardError: x has another number of axes.
    """
    old = section.inputs[i]
    if len(x.shape) != len(old.shape):
        raise GuardError(f"input {i} has {len(x.shape)} axes {x.shape}, recorded was {told(old)}")
    return {n: m for n, m in zip(old.shape, x.shape, strict=True) if n != m}


def refuse_sizes(section: Section, changed: dict[int, int]) -> None:
    """Raise GuardError if a number of the section may come from a size that is another now."""
    for step in section.steps:
        if step.op is not None and step.op.name in RESHAPES:
            continue
        for x in numbers_of(step):
            for n in changed:
                if n > 1 and suspicious(x, n, step):
                    raise GuardError(
                        f"a size was {n} and is {changed[n]}, and the number {x} of {step} may "
                        "come from it: record the section with that size, or with one that is no "
                        "number of the program"
                    )


def suspicious(x: float, n: int, step: Step) -> bool:
    """Whether a number may have been computed from a size."""
    indexing = step.op is not None and "item" in step.op.name
    near = (n, n - 1) if n > 3 or indexing else (n,)
    return any(x == m or (m and math.isclose(x, 1 / m, rel_tol=1e-6)) for m in near)


RESHAPES = {"reshape", "broadcast_to"}


def resized(step: Step, settings: dict[str, Any], now: tuple[int, ...]) -> dict[str, Any]:
    """The settings of a step, for an operand of other sizes.

    A reshape keeps what it joins and splits: (N, C, H, W) to (N, C H W) holds for any of them.
    """
    before = step.shapes[0] if step.shapes else now
    if step.op is None or step.op.name not in RESHAPES or before == now:
        return settings
    target = tuple(settings["shape"])
    if step.op.name == "broadcast_to":
        lead = len(target) - len(now)
        grown = [m if n == t else t for n, m, t in zip(before, now, target[lead:], strict=True)]
        return {**settings, "shape": (*target[:lead], *grown)}
    return {**settings, "shape": reshaped(before, now, target, step)}


def reshaped(
    before: tuple[int, ...], now: tuple[int, ...], target: tuple[int, ...], step: Step
) -> tuple[int, ...]:
    """What the sizes in a reshape become: those of the groups of axes that belong together."""
    if -1 in target:
        known = math.prod(n for n in target if n != -1)
        target = tuple(math.prod(before) // known if n == -1 and known else n for n in target)
    result: list[int] = []
    i = j = 0
    while i < len(before) or j < len(target):
        start, end = i, j
        left = before[i] if i < len(before) else 1
        right = target[j] if j < len(target) else 1
        i, j = min(i + 1, len(before)), min(j + 1, len(target))
        while left != right:
            if left < right and i < len(before):
                left, i = left * before[i], i + 1
            elif j < len(target):
                right, j = right * target[j], j + 1
            else:
                break
        result.extend(regrouped(before[start:i], now[start:i], target[end:j], step))
    return tuple(result)


def regrouped(
    before: tuple[int, ...], now: tuple[int, ...], target: tuple[int, ...], step: Step
) -> tuple[int, ...]:
    if before == now:
        return target
    size, rest = math.prod(now), math.prod(target[1:])
    if not target or rest == 0 or size % rest:
        raise GuardError(f"{step}: {before} became {target}, which does not tell what {now} does")
    return (size // rest, *target[1:])
