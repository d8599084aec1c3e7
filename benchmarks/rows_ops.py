"""Rows about single ops and chains of small ops: what recording and reuse cost."""

from __future__ import annotations

import numpy as np

from .row import Contender, TimedRow, cost_over, faster_than

rng = np.random.default_rng(0)
LEFT, RIGHT = (rng.uniform(-0.9, 0.9, (8, 8)).astype(np.float32) for _ in range(2))
ONES = np.ones((8, 8), np.float32)


def operands(library: str) -> dict[str, object]:
    """`a` and `b`, two 8x8 float32 leaves that need a gradient, and `tanh`, in that library."""
    if library == "numpy":
        return {"a": LEFT, "b": RIGHT, "tanh": np.tanh}
    if library == "torch":
        import torch

        a, b = (torch.tensor(data, requires_grad=True) for data in (LEFT, RIGHT))
        return {"a": a, "b": b, "tanh": torch.tanh}
    import tape

    a, b = (tape.tensor(data, requires_grad=True) for data in (LEFT, RIGHT))
    return {"a": a, "b": b, "tanh": tape.tanh}


def everywhere(expression: str) -> dict:
    """The expression in tape and PyTorch, recorded, and in bare NumPy.

    The value of one evaluation is dropped before the next, so no live node can be reused.
    """
    return {
        "tape": lambda: Contender(expression, operands("tape")),
        "numpy": lambda: Contender(expression, operands("numpy")),
        "torch": lambda: Contender(expression, operands("torch")),
    }


def reuse_hit() -> Contender:
    """The same sum again while an earlier one is alive."""
    names = operands("tape")
    alive = names["a"] + names["b"]
    return Contender("a + b", names | {"alive": alive})


class Noted:
    """A scope in which results note where they are made, or do not."""

    def __init__(self, flag: bool) -> None:
        self.flag = flag

    def __enter__(self) -> None:
        from tape._core.provenance import set_provenance

        self.before = set_provenance(self.flag)

    def __exit__(self, *error: object) -> None:
        from tape._core.provenance import set_provenance

        set_provenance(self.before)


def noted(flag: bool) -> Contender:
    """A recorded sum, which notes where it is made, or does not."""
    return Contender("a + b", operands("tape"), scope=lambda: Noted(flag))


def chain(library: str) -> Contender:
    """x = x * b + a a hundred times, then the gradients of a and b."""
    names = operands(library)
    a, b = names["a"], names["b"]
    if library == "torch":
        import torch

        grad, ones = torch.autograd.grad, torch.tensor(ONES)
    else:
        import tape

        grad, ones = tape.grad, tape.tensor(ONES)

    def forward_and_backward():
        x = a
        for _ in range(100):
            x = x * b + a
        return grad(x, [a, b], ones)

    return Contender("forward_and_backward()", {"forward_and_backward": forward_and_backward})


def scalar_graph(library: str) -> Contender:
    """A graph of 150 ops on scalars, as one writes them in a scalar-valued engine."""
    if library == "torch":
        import torch

        make, tanh, grad = torch.tensor, torch.tanh, torch.autograd.grad
    else:
        import tape

        make, tanh, grad = tape.tensor, tape.tanh, tape.grad
    a, b = make(0.7, requires_grad=True), make(-0.4, requires_grad=True)

    def forward_and_backward():
        c, d = a + b, a * b
        for _ in range(24):
            c = tanh(c * b + d)
            d = tanh(d * a - c)
        return grad((c + d) * (c - d) / b, [a, b])

    return Contender("forward_and_backward()", {"forward_and_backward": forward_and_backward})


ROWS = [
    TimedRow(
        "recorded add, 8x8 float32",
        everywhere("a + b"),
        [faster_than("torch", 6), faster_than("numpy", 1)],
    ),
    TimedRow(
        "recorded multiply, 8x8 float32",
        everywhere("a * b"),
        [faster_than("torch", 6), faster_than("numpy", 1)],
    ),
    TimedRow(
        "recorded tanh, 8x8 float32",
        everywhere("tanh(a)"),
        [faster_than("torch", 3), faster_than("numpy")],
    ),
    TimedRow(
        "reuse hit, 8x8 float32 add",
        {"hit": reuse_hit, "a recorded add": lambda: Contender("a + b", operands("tape"))},
        [cost_over("a recorded add", 0.75)],
    ),
    TimedRow(
        "provenance, recorded add",  # at most 30 ns of some 150
        {"noted": lambda: noted(True), "TAPE_PROVENANCE=0": lambda: noted(False)},
        [cost_over("TAPE_PROVENANCE=0", 1.2)],
    ),
    TimedRow(
        "chain of 200 ops, forward + backward",
        {"tape": lambda: chain("tape"), "torch": lambda: chain("torch")},
        [faster_than("torch", 8)],
    ),
    TimedRow(
        "scalar graph of 150 ops, forward + backward",
        {"tape": lambda: scalar_graph("tape"), "torch": lambda: scalar_graph("torch")},
        [faster_than("torch", 6)],
    ),
]
