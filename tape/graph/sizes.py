"""Sizes of a section that may be others when it runs again, and those that may not.

Note [Sizes]
An op takes operands of any sizes that fit. What may not change is a size that the program has made
a number of: one that its own code has asked for, or one that a number of a step may come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from tape import shapes
from tape._core.memory import lengths
from tape._core.tensor import Tensor
from tape.errors import GuardError
from tape.graph.section import Ref, Section, Step, told

__all__ = ["changed_sizes", "check_counted", "fit", "refuse_sizes", "resized", "shape_of"]

# Settings that no size of a tensor goes into.
FREE = {
    *("axis", "axes", "axis1", "axis2", "keepdims", "stride", "padding", "dilation", "groups"),
    *("activation", "dtype", "descending", "stable", "causal", "eps", "momentum", "training"),
    *("correction", "offset"),
}
RESHAPES = {"reshape", "broadcast_to"}
BROADCASTING = {"set_item", "where"}  # ops that broadcast by a shape rule of their own


def numbers_of(step: Step) -> Iterator[Any]:
    """The numbers among the operands and settings of a step that sizes or values may go into."""
    for x in step.operands:
        if not isinstance(x, (Ref, bool)):
            yield x
    for name, setting in step.settings.items():
        if name not in FREE:
            yield from numbers_in(setting)


def numbers_in(setting: Any) -> Iterator[Any]:
    """The numbers in a setting, however deep."""
    if isinstance(setting, (int, float)) and not isinstance(setting, bool):
        yield setting
    elif isinstance(setting, slice):
        yield from numbers_in((setting.start, setting.stop, setting.step))
    elif isinstance(setting, (tuple, list)):
        for part in setting:
            yield from numbers_in(part)


def changed_sizes(section: Section, i: int, x: Tensor) -> dict[int, int]:
    """The sizes of input i that are not as recorded: old and new.

    Raises:
        GuardError: x has another number of axes, or another dtype.
    """
    old = section.inputs[i]
    if x.dtype != old.dtype:
        raise GuardError(f"input {i} is {x.dtype}, recorded was {told(old)}: give it that dtype")
    before, now = lengths(old), lengths(x)
    if len(now) != len(before):
        raise GuardError(f"input {i} has {len(now)} axes {now}, recorded was {told(old)}")
    return {n: m for n, m in zip(before, now, strict=True) if n != m}


def check_counted(section: Section, serial: int, t: Tensor) -> None:
    """Raise GuardError if a size is another than recorded, and tape's code has counted on it."""
    if serial not in section.counted:
        return
    (before, axes), now = section.counted[serial], lengths(t)
    for axis, (n, m) in enumerate(zip(before, now, strict=True)):
        if n != m and axes >> axis % 32 & 1:
            users = [
                str(step)
                for step in section.steps
                if any(isinstance(x, Ref) and x.serial == serial for x in step.operands)
            ]
            raise GuardError(
                f"a size was {n} and is {m}, along axis {axis} of {before}, and what {users[0]} "
                "computes was made for the former: record the section with that size"
                if users
                else f"a size was {n} and is {m}, along axis {axis} of {before}: record the "
                "section with that size"
            )


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a tensor; () for a number."""
    return lengths(x) if isinstance(x, Tensor) else ()


def refuse_sizes(section: Section, changed: dict[int, int], asked: str) -> None:
    """Raise GuardError if a number of the section may come from a size that is another now.

    Args:
        section: what is to run.
        changed: sizes as recorded, and what they are now.
        asked: where the program has asked for a size, or "".
    """
    n, m = next(iter(changed.items()))
    if asked:
        raise GuardError(
            f"a size was {n} and is {m}, and the program asked for sizes at {asked}: record the "
            "section with that size, or without asking (reshape takes -1, nn.Flatten none)"
        )
    for step in section.steps:
        if (step.op is not None and step.op.name in RESHAPES) or is_of_layer(step.layer):
            continue
        for x in numbers_of(step):
            for n in changed:
                if suspicious(x, n, step):
                    raise GuardError(
                        f"a size was {n} and is {changed[n]}, and the number {x} of {step} may "
                        "come from it: record the section with that size, or with one that is no "
                        "number of the program"
                    )


def is_of_layer(module: Any) -> bool:
    """Whether a module takes all its numbers from its settings: one of tape's, no other's code."""
    if module is None or not type(module).__module__.startswith("tape.nn."):
        return False
    held = [x for v in vars(module).values() for x in (v if type(v) in (list, tuple) else [v])]
    return all(str(x.__module__).startswith("tape.") for x in held if callable(x))


def suspicious(x: float, n: int, step: Step) -> bool:
    """Whether a number may have been computed from a size."""
    indexing = step.op is not None and "item" in step.op.name
    if n <= 1:  # a number of almost every program: only where places are counted
        return indexing and not isinstance(x, float) and x in (-1, 0, 1)
    near = (n, n - 1) if n > 3 or indexing else (n,)
    return any(x == m or (m and math.isclose(x, 1 / m, rel_tol=1e-6)) for m in near)


def fit(step: Step, operands: list[Any]) -> None:
    """Raise GuardError if sizes that were equal differ, and the op takes that for broadcasting."""
    if step.op.shape is not shapes.broadcast and step.op.name not in BROADCASTING:
        return
    now = [shape_of(x) for x in operands]
    for a, b in combinations(range(len(now)), 2):
        aligned = [s[::-1] for s in (step.shapes[a], step.shapes[b], now[a], now[b])]
        pairs = zip(*aligned, strict=False)
        for n, m, n_now, m_now in pairs:
            if n == m != 1 and n_now != m_now:
                raise GuardError(
                    f"{step}: a size was {n} in both of {step.shapes[a]} and {step.shapes[b]}, now "
                    f"they are {now[a]} and {now[b]}"
                )


def resized(step: Step, now: tuple[int, ...]) -> dict[str, Any]:
    """The settings of a step, for an operand of other sizes.

    A reshape keeps what it joins and splits: (N, C, H, W) to (N, C H W) holds for any of them.
    """
    settings, before = step.settings, (step.shapes or (now,))[0]
    if step.op is None or step.op.name != "reshape" or before == now:
        return settings
    target = tuple(settings["shape"])
    found = [reshaped(before, now, target, step)]
    if -1 in target or math.prod(now) == math.prod(before):
        found.append(made(now, target))
    if -1 not in target:  # lengths of 1 stand anywhere: seen from the end
        found.append(reshaped(before[::-1], now[::-1], target[::-1], step)[::-1])
    if any(made(now, shape) != made(now, found[0]) for shape in found):
        raise GuardError(
            f"{step}: {before} became {target}: of {now} that may be "
            + " or ".join(map(str, dict.fromkeys(found)))
        )
    return {**settings, "shape": found[0]}


def made(now: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that sizes with a -1 in them mean."""
    known = math.prod(n for n in target if n != -1)
    return tuple(math.prod(now) // known if n == -1 and known else n for n in target)


def reshaped(
    before: tuple[int, ...], now: tuple[int, ...], target: tuple[int, ...], step: Step
) -> tuple[int, ...]:
    """What the sizes in a reshape become: those of the groups of axes that belong together."""
    free = [place for place, n in enumerate(target) if n == -1]
    target = made(before, target)
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
        mine = [place - end for place in free if end <= place < j]
        result.extend(regrouped(before[start:i], now[start:i], target[end:j], mine, step))
    return tuple(result)


def regrouped(
    before: tuple[int, ...],
    now: tuple[int, ...],
    target: tuple[int, ...],
    free: Sequence[int],
    step: Step,
) -> tuple[int, ...]:
    """What one such group becomes.

    Args:
        before, now: the sizes that are joined or split, as recorded and now.
        target: what they became.
        free: the place in `target` that was left open by a -1, if it is in this group.
        step: the reshape, for the error.

    Raises:
        GuardError: several sizes were made, by numbers that may each have been another now.
    """
    if before == now:
        return target
    places = free or [place for place, n in enumerate(target) if n != 1] or range(len(target))[-1:]
    size, rest = math.prod(now), 0
    if len(places) == 1:
        rest = math.prod([n for place, n in enumerate(target) if place != places[0]])
    if rest == 0 or size % rest:
        raise GuardError(
            f"{step}: {before} became {target}, which does not tell what {now} does: record the "
            "section with that size, or leave one open, as reshape with a -1 does"
        )
    return (*target[: places[0]], size // rest, *target[places[0] + 1 :])
