"""What a program read while a section was recorded, and must find again when it is replayed.

Note [Guards]
A section is the path that the program took once. It holds for other values if the program would
take the same path and compute with the same numbers: so a value that was read before the section
was complete, as a number or to decide a branch, must come out the same; a truth value also if it
was read later, since the branch may have left all as it was, and so a number on a line with a
branch. Other reads of what is complete are taken for looks.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from tape._core import recorded, trace
from tape._core.memory import lengths, look
from tape._core.tensor import Tensor
from tape.errors import GraphError, GuardError
from tape.graph.section import Leaf, Ref, Section, Step, owner_of, told
from tape.nn.parameter import Parameter

__all__ = ["Guard", "asked_sizes", "guards"]


SIZES = ("shape", "like")


class Guard(NamedTuple):
    """A value that must come out as it was recorded."""

    serial: int
    kind: str  # how it was read: "bool", "float", "int", "item", "index"
    value: Any
    place: str

    def check(self, t: Tensor) -> None:
        """Raise GuardError unless the value is the recorded one; a read, if this is recorded."""
        if self.kind in SIZES:
            if lengths(t) != self.value:
                raise GuardError(
                    f"as many elements as values choose were {self.value} and are {lengths(t)}, "
                    f"and the program made a number of that at {self.place}"
                )
            return
        if not recorded.is_recorded(t):
            value = look(t).item()
        else:
            value = bool(t) if self.kind == "bool" else t.item()
        if same(value, self.value):
            return
        raise GuardError(
            f"the recorded path does not hold: {'a branch' if self.kind == 'bool' else 'a number'} "
            f"depends on a value that was {self.value} and is {value}, read at {self.place}"
        )


def same(a: Any, b: Any) -> bool:
    """Whether two numbers are equal, the sign of 0 and NaN too."""
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return bool(a == b)


def guards(section: Section) -> list[Guard]:
    """The guards of a section; what they need is added to its steps and leaves.

    Raises:
        GraphError: a branch or a number depends on what is not known.
    """
    last = max(section.outputs, default=0)
    found: dict[int, Guard] = {}
    refuse_forgotten(section)
    have = {step.serial for step in section.steps}
    for noted in section.traces:
        reached = depending(noted.steps, section)
        for when, serial, kind, value, place in noted.reads:
            if serial not in reached or (when > last and not counts_late(kind, place)):
                continue
            where = trace.read_at(place)
            if kind == "shape" and is_call(place):
                continue
            if kind in SIZES and not chosen(noted.steps, serial):
                continue
            if kind == "error":
                raise GraphError(
                    f"{section.what}: an op refused values that depend on an input, at {where}: "
                    "for others it may not have, so record the section anew without the error"
                )
            if kind == "array":
                raise GraphError(
                    f"{section.what}: values that depend on an input were read as an array at "
                    f"{where}, and what came after may depend on them: compute with tensors, or "
                    "look at them when the section is complete"
                )
            extend(section, noted.steps, serial, have)
            if kind == "check":  # by an op: its step is enough
                continue
            found[when] = Guard(serial, kind, value, where)
    refuse_untraced(section, last)
    section.steps.sort(key=lambda step: step.serial)
    return [guard for _, guard in sorted(found.items())]


def chosen(steps: dict[int, Any], serial: int) -> bool:
    """Whether values decide how many elements there are of what a trace remembers."""
    stack, seen = [serial], set()
    while stack:
        step = steps.get(stack.pop())
        if not isinstance(step, tuple):
            continue
        op, _, operands, *_ = step
        if op is not None and op.name == "argwhere":
            return True
        if op is not None and op.name == "get_item" and len(operands) > 1:
            return True
        fresh = [x for is_tensor, x in operands if is_tensor and x not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return False


def counts_late(kind: str, place: Any) -> bool:
    """Whether a read of a section that is complete may have decided a branch."""
    return kind == "bool" or (kind != "check" and branches(place))


@lru_cache(1024)
def branches(place: Any) -> bool:
    """Whether the line of a read goes on with a branch or a loop, other than an assert."""
    code, lasti = place
    if code is None:
        return True
    lines: dict[int, list[Any]] = {}
    line = here = 0
    for step in dis.get_instructions(code):
        if step.starts_line is not None and step.starts_line is not False:
            line = getattr(step, "line_number", None) or step.starts_line
        lines.setdefault(line, []).append(step)
        if step.offset <= lasti:
            here = line
    rest = [step for step in lines.get(here, ()) if step.offset > lasti]
    if any(s.opname == "LOAD_ASSERTION_ERROR" or s.argval == "AssertionError" for s in rest):
        return False
    return any("_IF_" in step.opname or step.opname == "FOR_ITER" for step in rest)


def refuse_forgotten(section: Section) -> None:
    """Raise GraphError if there were too many reads since an input to remember them."""
    for i, x in enumerate(section.inputs):
        known = recorded.trace(x)
        if known is not None and known.forgotten > x.serial:
            raise GraphError(
                f"{section.what}: more was read of what depends on input {i}, {told(x)}, than is "
                "remembered: record the section with a new tensor, tape.tensor(x.numpy())"
            )


def refuse_untraced(section: Section, last: int) -> None:
    """Raise GraphError if something without a trace was read that may depend on an input."""
    late = [x.serial for x in section.inputs if recorded.is_late(x) or recorded.trace(x) is None]
    since = min(late) if late else min((step.serial for step in section.steps), default=last)
    if late:
        refuse_chosen_sizes(section, since, last)
    for place, _ in overlapping(trace.reads_noted(), section, since, last):
        raise GraphError(
            f"{section.what}: while the section was recorded, a value was read at "
            f"{trace.read_at(place)} that a branch or a number may depend on: give the inputs "
            "names before they are used, x.named(...), and parameters that are read: it becomes a "
            "guard"
        )


def refuse_chosen_sizes(section: Section, since: int, last: int) -> None:
    """Raise GraphError if a size of what values chose was read, that may depend on an input."""
    made = [first for first, final, *_ in trace.choices_noted() if final > since and first <= last]
    if not made:
        return
    for first, final, _, new, kind, _, place in trace.sizes_noted():
        if final <= since or first > last or new < since:
            continue
        if kind != "like" and is_call(place):
            continue
        raise GraphError(
            f"{section.what}: while the section was recorded, values chose elements, and a size "
            f"was read at {trace.read_at(place)}: give the inputs names before they are used, "
            "x.named(...): it becomes a guard"
        )


def overlapping(noted: Any, section: Section, since: int, last: int) -> Iterator[tuple[Any, str]]:
    """The places and kinds of reads of what may depend on an input, between two serial numbers."""
    oldest = min((x.serial for x in section.inputs), default=0)
    apart = unrelated(section)
    if trace.reads_forgotten() > since:
        yield (None, 0), ""
    for first, final, old, new, kind, what, place in noted:
        if final <= (oldest if what == "derived" else since) or (
            first > last and not counts_late(kind, place)
        ):
            continue
        if any(old <= serial <= new for serial in section.start) or (
            new >= oldest and what not in apart
        ):
            yield place, kind


def unrelated(section: Section) -> set[str]:
    """What values without a trace cannot depend on the inputs, nor on what a clone may change."""
    untraced = [x for x in section.inputs if recorded.is_late(x) or recorded.trace(x) is None]
    owners = [leaf.owner for leaf in section.leaves.values() if isinstance(leaf.owner, Parameter)]
    found = {"leaf"}
    if not untraced:
        found.add("traced")  # whose reads are in the traces
    if all(t.requires_grad for t in (*untraced, *owners)):
        found.add("")  # since what depends on these is learned, derived or traced
    return found


def asked_sizes(section: Section) -> str:
    """The place where the program asked for a size that may be one of an input's, or ""."""
    data = [x for x in section.inputs if not isinstance(x, Parameter)]
    since = min((x.serial for x in data or section.inputs), default=0)
    last = max(section.outputs, default=0)
    for noted in section.traces:
        reached = depending(noted.steps, section)
        for when, serial, kind, _, place in noted.reads:
            in_time = when <= last or counts_late(kind, place)
            is_asked = kind == "like" or (kind == "shape" and not is_call(place))
            if is_asked and in_time and serial in reached:
                return trace.read_at(place)
    for place, kind in overlapping(trace.sizes_noted(), section, since, last):
        if kind == "like" or not is_call(place):
            return trace.read_at(place)
    return ""


@lru_cache(1024)
def is_call(place: Any) -> bool:
    """Whether compiled code that was called asked for a size, not the user's own."""
    code, lasti = place
    if code is None or "shape" in code.co_consts:
        return False
    steps = list(dis.get_instructions(code))
    names = {"len", "iter", "list", "tuple", "enumerate", "zip", "sum", "reversed", "map"}
    used = {x.argval for x in steps if x.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")}
    at = [step for step in steps if step.offset == lasti]
    return bool(at) and at[0].opname.startswith("CALL") and not names & used


def depending(steps: dict[int, Any], section: Section) -> set[int]:
    """The values in a trace that depend on inputs of a section, or on its parameters alone."""
    found, outside = set(section.start), set()
    learned = {s for s, leaf in section.leaves.items() if isinstance(leaf.owner, Parameter)}
    alone = set(learned)
    for serial in sorted(steps):
        step = steps[serial]
        if not isinstance(step, tuple):
            if step is None and serial not in found and serial not in alone:
                outside.add(serial)
            continue
        parts = [x for is_tensor, x in step[2] if is_tensor]
        for group in (found, outside, alone):
            if any(x in group for x in parts) and serial not in section.start:
                group.add(serial)
    return found | (alone - outside - learned)


def extend(section: Section, steps: dict[int, Any], serial: int, have: set[int]) -> None:
    """Add to a section what leads to a value that one of its guards looks at; `have` grows too."""
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
            if t is None:
                raise GraphError(
                    f"{section.what}: a branch or a number depends on a tensor that is gone"
                )
            section.leaves[at] = Leaf(at, t, *owner_of(t, None))
            continue
        op, values, operands, shapes, shape, counted = step
        if counted:
            section.counted[at] = shape, counted
        settings = dict(zip(op.setting_names, values, strict=True)) if op is not None else {}
        parts = tuple(Ref(x) if is_tensor else x for is_tensor, x in operands)
        section.steps.append(Step(at, op, parts, settings, shapes, ""))
        stack.extend(x for is_tensor, x in operands if is_tensor)
