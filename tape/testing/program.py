"""Random programs: expressions with sharing, views, changes in place and `no_grad` islands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from tape._core.state import no_grad, reuse
from tape._core.tensor import Tensor
from tape.grad import grad
from tape.ops import activation, arithmetic, elementwise, linalg, logic, reduce, shape
from tape.testing.closeness import assert_close

__all__ = ["Program", "programs"]

SIDE = 3  # all values are (3, 3), so that any may be combined with any
STEP, ALLOWED = 1e-5, 1e-6


def _into_row(x: Tensor, y: Tensor) -> Tensor:
    """x moved on: its first row is y's, on the same handle."""
    x[0] = y[0]
    return x


def _add_in_place(x: Tensor, y: Tensor) -> Tensor:
    x += y
    return x


def _scale_in_place(x: Tensor, y: Tensor) -> Tensor:
    x *= 0.5
    return x


def _island(x: Tensor, y: Tensor) -> Tensor:
    with no_grad():
        return elementwise.tanh(x + y)


# What a step does with two values; all keep numbers small and are smooth.
STEPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x + y": arithmetic.add,
    "x - y": arithmetic.subtract,
    "tanh(x * y)": lambda x, y: elementwise.tanh(x * y),
    "x / (y * y + 1)": lambda x, y: x / (y * y + 1.0),
    "sin(x)": lambda x, y: elementwise.sin(x),
    "sigmoid(x)": lambda x, y: activation.sigmoid(x),
    "exp(sin(x)) * 0.3": lambda x, y: elementwise.exp(elementwise.sin(x)) * 0.3,
    "tanh(x @ y)": lambda x, y: elementwise.tanh(linalg.matmul(x, y)),
    "x * y.mean(axis=0, keepdims=True)": lambda x, y: (
        elementwise.tanh(x) * reduce.mean(y, axis=0, keepdims=True)
    ),
    "x.sum() * 0.1 + y": lambda x, y: reduce.sum(x) * 0.1 + y,
    "x.T": lambda x, y: shape.permute_dims(x, (1, 0)),
    "x[::-1]": lambda x, y: x[::-1],
    "x[1] + y": lambda x, y: x[1] + y,
    "x.reshape(9)[:3] + y": lambda x, y: shape.reshape(x, (SIDE * SIDE,))[:SIDE] + y,
    "where(y > 0.1, x, y)": lambda x, y: logic.where(y.detach() > 0.1, x, sin_of(y)),
    "x += y": _add_in_place,
    "x *= 0.5": _scale_in_place,
    "x[0] = y[0]": _into_row,
    "no_grad: tanh(x + y)": _island,
    "x.detach()": lambda x, y: x.detach(),
}
IN_PLACE = ("x += y", "x *= 0.5", "x[0] = y[0]")
CUTS = ("no_grad: tanh(x + y)", "x.detach()", "where(y > 0.1, x, y)")


def sin_of(y: Tensor) -> Tensor:
    """The other branch of a choice."""
    return elementwise.sin(y)


class Step(NamedTuple):
    """One step: what is done, and with which of the values known by then."""

    name: str
    x: int
    y: int


class Program:
    """Leaves, steps on them, and the loss: the sum of the squares of some values.

    Attributes:
        leaves: float64 arrays (3, 3) that the gradients are for.
        steps: what is computed, one value each.
        ends: the values whose squares are the loss.
    """

    def __init__(self, leaves: list[np.ndarray], steps: list[Step], ends: list[int]) -> None:
        self.leaves, self.steps, self.ends = leaves, steps, ends

    def __repr__(self) -> str:
        n = len(self.leaves)
        lines = [f"v{i} = leaf({x.tolist()})" for i, x in enumerate(self.leaves)]
        for i, (name, x, y) in enumerate(self.steps, n):
            words = name.replace("x", "$").replace("y", f"v{y}").replace("e$p", "exp")
            lines.append(f"v{i} = [{words.replace('$', f'v{x}')}]")
        sums = " + ".join(f"(v{i} ** 2).sum()" for i in self.ends)
        return "; ".join([*lines, f"loss = {sums}"])

    def run(self, leaves: list[Tensor], fixed: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """The loss, and what was cut out of the gradient on the way.

        Args:
            leaves: the tensors to start from.
            fixed: values to put in the place of what is cut out: as constants they are no part of
                the derivative, so a difference must not move them.
        """
        values: list[Tensor] = [x * 1.0 for x in leaves]  # results, which may change in place
        cut: list[Any] = []
        for name, i, j in self.steps:
            x, y = values[i], values[j]
            if name in CUTS:
                given = None if fixed is None else fixed[len(cut)]
                z, kept = self.cut(name, x, y, given)
                cut.append(kept)
            elif name in IN_PLACE:
                z = x * 1.0
                view = z[:]  # somebody else who holds the old value
                z = STEPS[name](z, y) + view * 0.1
            else:
                z = STEPS[name](x, y)
            values.append(z)
        loss = None
        for i in self.ends:
            part = reduce.sum(values[i] * values[i])
            loss = part if loss is None else loss + part
        assert loss is not None
        return loss, cut

    @staticmethod
    def cut(name: str, x: Tensor, y: Tensor, given: Any) -> tuple[Tensor, Any]:
        """A step that no gradient goes through, and what is constant in it."""
        if name.startswith("where"):
            choice = (y.detach() > 0.1).numpy() if given is None else given
            return logic.where(choice, x, sin_of(y)), choice
        z = STEPS[name](x, y) if given is None else Tensor(given)
        return z, np.array(z)

    def gradients(self, separate: bool = False, write: bool = False) -> list[np.ndarray]:
        """The loss and its gradients, by one call or by one for each leaf.

        With `write` the leaves are overwritten between the recording and the gradients.
        """
        leaves = [Tensor(x, requires_grad=True) for x in self.leaves]
        loss, _ = self.run(leaves)
        if not loss.requires_grad:
            return [np.array(loss), *[np.zeros_like(x) for x in self.leaves]]
        if write:
            with no_grad():
                for x in leaves:
                    x += 1.0
        if separate:
            found = [grad(loss, x, unused="zeros") for x in leaves[::-1]][::-1]
        else:
            found = grad(loss, leaves, unused="zeros")
        return [np.array(loss), *map(np.array, found)]

    def accumulated(self) -> list[np.ndarray]:
        """The gradients as `backward` leaves them."""
        leaves = [Tensor(x, requires_grad=True) for x in self.leaves]
        loss, _ = self.run(leaves)
        if loss.requires_grad:
            loss.backward()
        return [np.zeros(x.shape) if x.grad is None else np.array(x.grad) for x in leaves]

    def check(self) -> None:
        """AssertionError unless the gradients are right, however one asks for them.

        The bits are the same with reuse and without, jointly and one after the other, by
        `backward`, and after the leaves were overwritten; and they are what central differences
        show.
        """
        together = self.gradients()
        with reuse(False):
            alone = self.gradients()
        others = {
            "without reuse": alone,
            "separate calls": self.gradients(separate=True),
            "leaves overwritten": self.gradients(write=True),
            "backward": [together[0], *self.accumulated()],
        }
        for name, found in others.items():
            for k, (a, b) in enumerate(zip(found, together, strict=True)):
                # Without reuse what was one sum may be two that are added in another order.
                allowed = 1e-12 if name == "without reuse" else 0.0
                assert_close(a, b, allowed, f"{name}, {f'leaf {k - 1}' if k else 'loss'}, {self}")
        rng = np.random.default_rng(0)
        us = [rng.standard_normal(x.shape) for x in self.leaves]
        _, cut = self.run([Tensor(x) for x in self.leaves])
        sides = []
        for step in (STEP, -STEP):
            moved = [Tensor(x + step * u) for x, u in zip(self.leaves, us, strict=True)]
            sides.append(self.run(moved, cut)[0].item())
        slope = sum(float(np.sum(dx * u)) for dx, u in zip(together[1:], us, strict=True))
        difference = (sides[0] - sides[1]) / (2 * STEP)
        assert_close(slope, difference, ALLOWED, f"slope beside differences, {self}")


@st.composite
def programs(pick: Any, max_leaves: int = 3, max_steps: int = 12) -> Program:
    """Random programs, see `Program`; `Program.check` says whether their gradients are right.

    Args:
        max_leaves, max_steps: how many at most.
    """
    n = pick(st.integers(1, max_leaves))
    numbers = st.integers(-6, 6).map(lambda k: k / 4 + 0.1)
    size = SIDE * SIDE
    leaves = [
        np.array(pick(st.lists(numbers, min_size=size, max_size=size))).reshape(SIDE, SIDE)
        for _ in range(n)
    ]
    steps = []
    for k in range(pick(st.integers(1, max_steps))):
        known = st.integers(0, n + k - 1)
        steps.append(Step(pick(st.sampled_from(sorted(STEPS))), pick(known), pick(known)))
    last = n + len(steps) - 1
    ends = sorted({last, *pick(st.lists(st.integers(0, last), max_size=2))})
    return Program(leaves, steps, ends)
