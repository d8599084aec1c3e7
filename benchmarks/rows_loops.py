"""Rows about loops over numbers and rows: activations, softmax, normalisation, updates."""

from __future__ import annotations

import numpy as np

from .row import Contender, Line, MeasuredRow, TimedRow, faster_than
from .rows_kernels import on_all_cores

rng = np.random.default_rng(0)

# What tape calls as PyTorch does stands once; of the others, tape's expression first.
ACTIVATIONS = {
    "relu": "f.relu(x)",
    "leaky_relu": "f.leaky_relu(x)",
    "tanh": "f.tanh(x)",
    "exp": "f.exp(x)",
    "sigmoid": "f.sigmoid(x)",
    "silu": "f.silu(x)",
    "gelu": "f.gelu(x)",
    "softplus": "f.softplus(x)",
    "relu6": "f.relu6(x)",
    "hardswish": "f.hardswish(x)",
    "softshrink": "f.softshrink(x)",
    "elu": "f.elu(x)",
    "mish": "f.mish(x)",
}


class Torch:
    """PyTorch's functions of arrays under one name, wherever it keeps them."""

    def __getattr__(self, name: str) -> object:
        import torch

        return getattr(torch.nn.functional, name, None) or getattr(torch, name)


def step(library: str, forward: str, data: dict[str, np.ndarray]) -> Contender:
    """An expression over arrays, and the gradients of those in floating point, all at once."""
    if library == "torch":
        import torch as lib

        f, scope = Torch(), lib.enable_grad
    else:
        import tape as lib

        f, scope = lib, lambda: lib.reuse(False)
    names = {"f": f}
    for name, array in data.items():
        if array.dtype.kind == "f":
            names[name] = lib.tensor(array, requires_grad=True)
        else:
            names[name] = lib.tensor(array)
    leaves = [names[name] for name, array in data.items() if array.dtype.kind == "f"]
    run = eval(f"lambda: {forward}", names)
    g = lib.tensor(np.random.default_rng(1).standard_normal(tuple(run().shape)).astype("f"))

    def forward_and_backward():
        y = run()
        for leaf in leaves:
            leaf.grad = None
        y.backward(g)
        return [y, *[leaf.grad for leaf in leaves]]

    return Contender("step()", {"step": forward_and_backward}, scope=scope)


def loop(
    name: str, data: dict[str, np.ndarray], ours: str, theirs: str = "", limit: float = 1.0
) -> TimedRow:
    """Forward and backward beside PyTorch."""
    return TimedRow(
        f"{name}, forward + backward",
        {
            "tape": lambda: step("tape", ours, data),
            "torch": lambda: step("torch", theirs or ours, data),
        },
        [faster_than("torch", limit)],
        tolerance=1e-3,
    )


def normal(*shape: int) -> np.ndarray:
    """Standard normal numbers."""
    return rng.standard_normal(shape).astype(np.float32)


def rows_of(m: int, n: int) -> list[TimedRow]:
    """Softmax, losses and normalisation of m rows of n numbers."""
    x, labels = normal(m, n), rng.integers(0, n, m)
    affine = {"w": 1 + normal(n) / 10, "b": normal(n)}
    return [
        loop(f"softmax {m}x{n}", {"x": x}, "f.softmax(x)", "f.softmax(x, 1)"),
        loop(f"log_softmax {m}x{n}", {"x": x}, "f.log_softmax(x)", "f.log_softmax(x, 1)"),
        loop(f"logsumexp {m}x{n}", {"x": x}, "f.logsumexp(x, 1)"),
        loop(f"cross_entropy {m}x{n}", {"x": x, "labels": labels}, "f.cross_entropy(x, labels)"),
        loop(
            f"layer_norm {m}x{n}",
            {"x": x, **affine},
            "f.layer_norm(x, w, b)",
            f"f.layer_norm(x, ({n},), w, b)",
        ),
    ]


def batch_norm(*shape: int, training: bool = True) -> TimedRow:
    """Batch normalisation of one batch, with its own statistics or with given ones."""
    C = shape[1]
    data = {"x": normal(*shape), "w": 1 + normal(C) / 10, "b": normal(C)}
    name = f"batch_norm {'x'.join(map(str, shape))}"
    if training:
        return loop(
            name,
            data,
            "f.batch_norm(x, w, b)",
            "f.batch_norm(x, None, None, w, b, True)",
        )
    fixed = {"mean": np.arange(C), "var": np.arange(C) + 1}  # integers: no gradient
    return loop(
        f"{name} by given statistics",
        data | fixed,
        "f.batch_norm(x, w, b, mean.astype('float32'), var.astype('float32'))",
        "f.batch_norm(x, mean.float(), var.float(), w, b)",
    )


BY_TWO = """
import time
import numpy as np
import tape
x = tape.tensor(np.random.default_rng(0).standard_normal({shape}).astype("float32"))
w = tape.tensor(x, requires_grad=True)
w.grad = x
optimizer = tape.optim.Adam([w])
best = {{1: 1e9, 2: 1e9}}
with tape.no_grad(), tape.reuse(False):
    for _ in range({rounds}):
        for threads in best:
            tape.set_num_threads(threads)
            {call}
            start = time.perf_counter()
            {call}
            best[threads] = min(best[threads], time.perf_counter() - start)
print(best[1], best[2])
"""
# Each stands for the loops of a threshold in tape/_kernels: PASS_ABOVE, ROWS_ABOVE, UPDATE_ABOVE.
THRESHOLDS = [
    ("gelu", "tape.gelu(x)", 50_000),
    ("layer_norm", "tape.layer_norm(x)", 30_000),
    ("Adam", "optimizer.step()", 50_000),
]


def loops_by_two_threads(quick: bool) -> list[Line]:
    """Best times on the wall, just above the size from which two threads work, and far above."""
    lines = []
    for name, call, threshold in THRESHOLDS:
        for n, target in ((threshold * 5 // 4, 1.0), (1_000_000, 1.5)):
            shape = (n // 250, 250)
            code = BY_TWO.format(shape=shape, call=call, rounds=100 if quick else 400)
            one, two = on_all_cores(code)
            lines.append(
                Line(
                    f"{name} of {n} numbers, two threads",
                    f"{two * 1e6:.1f} us",
                    "one thread",
                    f"{one * 1e6:.1f} us",
                    f"{one / two:.2f}x the speed",
                    target=f">= {target:g}x",
                    met=one / two >= target,
                    figures={"one": one, "two": two},
                )
            )
    return lines


ROWS = [
    *[
        row
        for shape in [(32, 10), (256, 1000), (512, 512), (4096, 1024)]
        for row in rows_of(*shape)
    ],
    batch_norm(32, 10),
    batch_norm(256, 512),
    batch_norm(64, 32, 28, 28),
    batch_norm(64, 32, 28, 28, training=False),
    *[
        loop(f"{name} of {count}", {"x": normal(n)}, expression)
        for name, expression in ACTIVATIONS.items()
        for n, count in [(1000, "1k"), (1_000_000, "1M")]
    ],
    MeasuredRow("loops, two threads", loops_by_two_threads),
]
