"""`Work`: what each module of a tree computes in one run, seen from outside."""

from __future__ import annotations

from bisect import bisect
from typing import Any

import numpy as np

from tape._core import recorded
from tape._core.memory import glance, lengths
from tape._core.state import enable_grad, reuse
from tape._core.tape import Tape
from tape._core.tensor import Tensor
from tape.nn.cost import multiply_adds
from tape.nn.tree import places
from tape.ops.random import drawing_aside

__all__ = ["Work"]


class Work:
    """What the modules of a tree computed in one run, by their ids."""

    def __init__(self) -> None:
        self.outputs: dict[int, list[Any]] = {}  # shapes, one entry a call
        self.multiply_adds: dict[int, int] = {}
        self.activation_bytes: dict[int, int] = {}
        self.operands: set[int] = set()  # serial numbers of what anything was computed of
        self.running: list[int] = []
        self.turns: list[tuple[int, int]] = []  # from which serial number on which module computes

    def run(self, root: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Run a tree that nobody else uses, and note what its modules do."""
        modules = list(root.eval().modules())
        held = [g for m in modules for g in vars(m).values() if isinstance(g, np.random.Generator)]
        before = [(rng, rng.bit_generator.state) for rng in {id(g): g for g in held}.values()]
        own = [(vars(module), vars(module).get("forward")) for module in modules]
        try:
            for module in modules:
                vars(module)["forward"] = self.noted(module.forward, id(module))
            args = [stand_in(x) for x in inputs]
            others = {name: stand_in(x) for name, x in named.items()}
            with Tape() as t, reuse(True), enable_grad(), drawing_aside():
                root(*args, **others)
                self.count(t.nodes, [*args, *others.values(), *entries_of(root)])
        finally:
            for attributes, forward in own:  # which would refer to its own module
                attributes.pop("forward", None)
                if forward is not None:
                    attributes["forward"] = forward
            for rng, state in before:
                rng.bit_generator.state = state

    def noted(self, forward: Any, key: int) -> Any:
        """A forward that notes when it runs, and the shapes of what it gives."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.running.append(key)
            self.turns.append((recorded.now(), key))
            try:
                y = forward(*args, **kwargs)
            finally:
                self.running.pop()
                self.turns.append((recorded.now(), self.running[-1] if self.running else key))
            self.outputs.setdefault(key, []).append(shapes_of(y))
            return y

        return watched

    def count(self, nodes: list[Tensor], leaves: list[Any]) -> None:
        """Add up what was computed in each module."""
        buffers = {buffer_of(x)[0] for x in leaves if isinstance(x, Tensor)}
        starts = [serial for serial, _ in self.turns]
        sizes = {x.serial: lengths(x) for x in (*leaves, *nodes) if isinstance(x, Tensor)}
        for t in nodes:
            _, module = self.turns[bisect(starts, t.serial) - 1]
            key, n_bytes = buffer_of(t)
            if key not in buffers:
                buffers.add(key)
                self.activation_bytes[module] = self.activation_bytes.get(module, 0) + n_bytes
            made_of = recorded.key(t) or ()
            self.operands.update([x for is_tensor, x in made_of if is_tensor])
            parts = recorded.operands(t) or ()
            self.operands.update([x.serial for x in parts if isinstance(x, Tensor)])
            shapes = shapes_below(t, sizes)
            if None not in shapes:
                n = multiply_adds(t.op.name, shapes, lengths(t), recorded.settings(t))
                self.multiply_adds[module] = self.multiply_adds.get(module, 0) + n


def stand_in(x: Any) -> Any:
    """An input to run on: what stands for a shape, or a copy of a tensor that marks its uses."""
    if isinstance(x, tuple) and x and all(type(n) is int for n in x):
        x = np.zeros(x, np.float32)
    if isinstance(x, (Tensor, np.ndarray)):
        return Tensor(np.array(x)).named("input")
    if type(x) in (list, tuple):
        return type(x)(stand_in(part) for part in x)
    return {key: stand_in(part) for key, part in x.items()} if type(x) is dict else x


def entries_of(root: Any) -> list[Tensor]:
    """All parameters and buffers."""
    return [entry for _, entry, _, _ in places(root) if isinstance(entry, Tensor)]


def shapes_of(y: Any) -> Any:
    """The shapes of what a module gave, in the form it gave it; None for what has none."""
    if isinstance(y, (tuple, list)):
        return [shapes_of(part) for part in y]
    if isinstance(y, dict):
        return {key: shapes_of(part) for key, part in y.items()}
    return lengths(y) if isinstance(y, (Tensor, np.ndarray)) else None


def shapes_below(t: Tensor, sizes: dict[int, tuple[int, ...]]) -> list[Any]:
    """Shapes of the operands of a value, recorded or not; None for what nothing is known of."""
    parts = recorded.operands(t)
    if parts is not None:
        return [lengths(x) if isinstance(x, Tensor) else () for x in parts]
    made_of = recorded.key(t)
    if made_of is None:
        return [None]
    return [sizes.get(x) if is_tensor else () for is_tensor, x in made_of]


def buffer_of(t: Tensor) -> tuple[int, int]:
    """The id and the bytes of the memory that a value lies in."""
    array: Any = glance(t)
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array), array.nbytes
