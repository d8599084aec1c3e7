"""`Channels`: which filters of a model go together, found in what it records of a forward."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tape._core import recorded
from tape._core.state import enable_grad
from tape._core.tensor import Tensor
from tape.graph.walk import walk
from tape.netopt.record import tensors
from tape.netopt.sparsification.channel_rules import Step, axes_of_result
from tape.netopt.sparsification.ties import Axes, Ties, fixed
from tape.nn.group_norm import GroupNorm
from tape.nn.module import Module
from tape.nn.tree import below

__all__ = ["Channels", "Seen", "channels_of"]


PRODUCTS = ("linear", "activated_linear", "conv2d", "activated_conv2d")


class Seen(NamedTuple):
    """One call of an op in a layer's forward: the values of its operands and result."""

    op: str
    xs: list[np.ndarray | None]
    axes: list[Axes | None]
    y: np.ndarray


class Channels:
    """The axes of all parameters and buffers of a model, with numbers for places, see `Ties`.

    Attributes:
        axes: of each parameter and buffer that the forward came to, by its id.
        groups: the axis of groups of each `GroupNorm`, by its id.
        seen: the products and convolutions in the forward of each layer, by its id.
        results: what each module gave, by its id.
        root: the least place that each place is tied to.
        reasons: why those stay that do, by root.
    """

    def __init__(self) -> None:
        self.axes: dict[int, Axes] = {}
        self.groups: dict[int, np.ndarray] = {}
        self.seen: dict[int, list[Seen]] = {}
        self.results: dict[int, list[np.ndarray]] = {}
        self.root: np.ndarray = fixed(1)
        self.reasons: dict[int, str] = {}

    def roots(self, axis: np.ndarray) -> np.ndarray:
        """What the places along an axis are tied to."""
        return self.root[axis]

    def left(self, axis: np.ndarray, removed: np.ndarray) -> np.ndarray:
        """Which places along an axis are left, as booleans, if those with these roots go."""
        return ~np.isin(self.root[axis], removed)


def channels_of(model: Module, x: Any) -> Channels:
    """What there is to know of a model's channels from its forward on x, in evaluation mode.

    The model is not touched: what runs is a copy, whose parameters and buffers have names, so that
    all that depends on them is recorded.
    """
    twin = model.clone().eval()
    paths = {id(module): path for path, module in twin.named_modules()}
    mine = list(below(model))
    original = {id(b): a for a, b in zip(mine, below(twin), strict=True)}
    leaves: dict[int, Any] = {}  # of the model, by the serial number of its copy
    for module, copy in zip(mine, below(twin), strict=True):
        for (_, entry), (name, its) in zip(module.entries(), copy.entries(), strict=True):
            if isinstance(its, Tensor):
                its.named(name)
                leaves[its.serial] = entry
    with enable_grad():
        y = twin(*x) if isinstance(x, tuple) else twin(x)
    ends = tensors(y)
    found, ties = Channels(), Ties()
    known: dict[int, Axes] = {}
    weights: set[int] = set()  # serial numbers of what comes of parameters alone
    for t in operands_first(ends):
        module = recorded.module(t)
        at = paths.get(id(module), "") if module is not None else ""
        if t.serial in leaves:
            entry = leaves[t.serial]
            if id(entry) not in found.axes:
                found.axes[id(entry)] = tuple([ties.fresh(n) for n in t.shape])
            known[t.serial] = found.axes[id(entry)]
            weights.add(t.serial)
            continue
        parts = recorded.operands(t)
        if parts is None or t.op is None:  # data, or a copy
            known[t.serial] = copied(ties, t, [known[part.serial] for part in parts or ()])
            continue
        made_of = [part if isinstance(part, Tensor) else None for part in parts]
        axes = [None if part is None else known[part.serial] for part in made_of]
        is_weight = [part is not None and part.serial in weights for part in made_of]
        what = t.op.name
        why = f"{what} in {at or type(module).__name__}" if module is not None else what
        step = Step(t.op, recorded.settings(t), axes, is_weight, t.shape, f"{why} needs all")
        known[t.serial] = axes_of_result(ties, step)
        if all(w for w, part in zip(is_weight, made_of, strict=True) if part is not None):
            weights.add(t.serial)
        if module is not None and id(module) in original:
            note(found, ties, original[id(module)], t, made_of, step)
        for module in recorded.results_of(t):
            if id(module) in original:
                found.results.setdefault(id(original[id(module)]), []).append(t.numpy())
    for t in ends:
        for axis in known[t.serial]:
            ties.lock(axis, "is what the model gives")
    found.root, found.reasons = ties.settle()
    return found


def operands_first(ends: list[Tensor]) -> list[Tensor]:
    """All recorded tensors that the ends were made of, and these, each after its operands."""
    known = {t.serial: t for t in walk(ends)}
    order: dict[int, Tensor] = {}
    stack = [(t.serial, False) for t in ends]
    while stack:
        serial, is_done = stack.pop()
        if is_done:
            order[serial] = known[serial]
        elif serial not in order:
            stack.append((serial, True))
            parts = recorded.operands(known[serial]) or ()
            stack += [(part.serial, False) for part in parts if isinstance(part, Tensor)]
    return list(order.values())


def copied(ties: Ties, t: Tensor, sources: list[Axes]) -> Axes:
    """The axes of what no op made: those of what it copies, if nothing was written into it."""
    if len(sources) == 1 and recorded.is_copy(t):
        return sources[0]
    for axes in sources:
        for axis in axes:
            ties.lock(axis, "is written over")
    return tuple([fixed(n) for n in t.shape])


def note(
    found: Channels, ties: Ties, layer: Module, t: Tensor, parts: list[Any], step: Step
) -> None:
    """Note what happened in a layer's forward, as far as it matters."""
    if isinstance(layer, GroupNorm) and step.op.name == "standardize":
        groups = step.xs[0]
        assert groups is not None
        before = found.groups.setdefault(id(layer), groups[1])
        ties.tie(before, groups[1], step.why)  # one number of groups for all calls
    if step.op.name in PRODUCTS and len(parts) > 2 and step.is_weight[1]:
        values = [None if part is None else part.numpy() for part in parts]
        found.seen.setdefault(id(layer), []).append(Seen(step.op.name, values, step.xs, t.numpy()))
