"""Rows about kernels: products and convolutions beside their peers and what the core can do."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager

import numpy as np

from .networks import in_each_library
from .row import Claim, Contender, Line, MeasuredRow, TimedRow, faster_than

BOUND = "the multiply-add bound"


def bound(flops: float, dtype: str = "float32") -> Contender:
    """As many multiply-adds as `flops` are, in registers only: no kernel can be faster."""
    from tape._kernels import table

    double = dtype == "float64"
    rounds = max(1, round(flops / table.fma_peak(double, 1)))
    return Contender(f"peak({double}, {rounds})", {"peak": table.fma_peak}, comparable=False)


@contextmanager
def computing():
    """tape and PyTorch compute, they do not record; nothing is handed out a second time."""
    import tape

    with ExitStack() as scopes:
        scopes.enter_context(tape.no_grad())
        scopes.enter_context(tape.reuse(False))
        yield


def arrays(*shapes: tuple[int, ...], dtype: str = "float32") -> list[np.ndarray]:
    """Standard normal numbers."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def everywhere(
    data: list[np.ndarray], ours: str, numpys: str, torchs: str, flops: float
) -> dict[str, Callable[[], Contender]]:
    """An expression over a and b in each library, and the bound."""

    def in_tape() -> Contender:
        import tape

        names = dict(zip("ab", map(tape.tensor, data), strict=True))
        return Contender(ours, {**names, "tape": tape}, scope=computing)

    def in_torch() -> Contender:
        import torch

        names = dict(zip("ab", map(torch.from_numpy, data), strict=True))
        return Contender(torchs, {**names, "torch": torch}, scope=torch.no_grad)

    return {
        "tape": in_tape,
        "numpy": lambda: Contender(numpys, dict(zip("ab", data, strict=True))),
        "torch": in_torch,
        BOUND: lambda: bound(flops, str(data[0].dtype)),
    }


def matmul(n: int, dtype: str, *claims: Claim) -> TimedRow:
    """Square matrices."""
    data = arrays((n, n), (n, n), dtype=dtype)
    return TimedRow(
        f"matmul {n}x{n} {dtype}",
        everywhere(data, "a @ b", "a @ b", "a @ b", 2.0 * n**3),
        claims,
        tolerance=1e-3,
    )


def of_bound(share: float | None = None) -> Claim:
    """A share of the bound."""
    return Claim(BOUND, "faster", share)


def dense(m: int, k: int, n: int) -> TimedRow:
    """Rows times a weight kept as (n_out, n_in)."""
    return TimedRow(
        f"linear {m}x{k} -> {n}",
        everywhere(
            arrays((m, k), (n, k)),
            "tape.linear(a, b)",
            "a @ b.T",
            "torch.nn.functional.linear(a, b)",
            2.0 * m * k * n,
        ),
        [faster_than("numpy", 1), faster_than("torch", 1), of_bound()],
        tolerance=1e-3,
    )


def one_row(k: int, n: int, transposed: bool) -> TimedRow:
    """One row times a matrix, kept as a weight (n, k) or as (k, n)."""
    expressions = ("a @ b", "a @ b", "a @ b")
    if transposed:
        expressions = ("tape.linear(a, b)", "a @ b.T", "torch.nn.functional.linear(a, b)")
    return TimedRow(
        f"one row times {k}x{n}" + (", a weight's transpose" if transposed else ""),
        everywhere(
            arrays((1, k), (n, k) if transposed else (k, n)), *expressions, flops=2.0 * k * n
        ),
        [faster_than("numpy", 0.77 if transposed else 1), faster_than("torch", 1)],
        tolerance=1e-3,
    )


def linear_signs(m: int, k: int, n: int) -> TimedRow:
    """The packed signs of a linear layer, fused, packed afterwards, and as floats in PyTorch."""
    data = arrays((m, k), (n, k))

    def in_tape(expression: str) -> Contender:
        import tape

        names = {"a": tape.tensor(data[0]), "b": tape.tensor(data[1]), "tape": tape}
        return Contender(expression, names, scope=computing, comparable=False)

    def in_torch() -> Contender:
        import torch

        names = {"a": torch.from_numpy(data[0]), "b": torch.from_numpy(data[1]), "torch": torch}
        expression = "torch.sign(torch.nn.functional.linear(a, b))"
        return Contender(expression, names, scope=torch.no_grad, comparable=False)

    return TimedRow(
        f"signs of linear {m}x{k} -> {n}, packed",
        {
            "tape": lambda: in_tape("tape.linear_bits(a, b)"),
            "packed afterwards": lambda: in_tape("tape.pack_bits(tape.linear(a, b), -1)"),
            "torch": in_torch,
        },
        [faster_than("packed afterwards"), faster_than("torch", 1)],
    )


def batched() -> TimedRow:
    """A stack of small matrices."""
    data = arrays((1000, 16, 16), (1000, 16, 16))
    return TimedRow(
        "matmul 1000 times 16x16",
        everywhere(data, "a @ b", "a @ b", "torch.bmm(a, b)", 2000.0 * 16**3),
        [faster_than("numpy", 1.5), faster_than("torch", 2), of_bound()],
        tolerance=1e-3,
    )


def through(
    library: str,
    operands: list[np.ndarray],
    call: Callable,
    result: tuple[int, ...],
    backward: bool,
) -> Contender:
    """call(functions, *operands) in a library; with `backward` the gradients of all operands."""
    if library == "tape":
        import tape as lib

        functions, scope = lib, lambda: lib.reuse(False)
    else:
        import torch as lib

        functions, scope = lib.nn.functional, lib.enable_grad
    given = [lib.tensor(data, requires_grad=backward) for data in operands]
    g = lib.tensor(arrays(result)[0])

    def step():
        y = call(functions, *given)
        if not backward:
            return y
        for x in given:
            x.grad = None
        y.backward(g)
        return [x.grad for x in given]

    return Contender("step()", {"step": step}, scope=scope)


DIRECTIONS = {False: "forward", True: "forward + backward"}


def conv(
    batch: int, channels: int, out: int, size: int, window: int, backward: bool, limit: float | None
) -> TimedRow:
    """A convolution that keeps the size; its gradients for images and weight as well."""
    operands = arrays((batch, channels, size, size), (out, channels, window, window))

    def call(functions, x, w):
        return functions.conv2d(x, w, padding=window // 2)

    def in_library(library: str) -> Contender:
        return through(library, operands, call, (batch, out, size, size), backward)

    flops = 2.0 * operands[0].size * out * window**2 * (3 if backward else 1)
    return TimedRow(
        f"conv {window}x{window} {channels} -> {out} @{size}, batch {batch}, "
        + DIRECTIONS[backward],
        {
            "tape": lambda: in_library("tape"),
            "torch": lambda: in_library("torch"),
            BOUND: lambda: bound(flops),
        },
        [faster_than("torch", limit), of_bound()],
        tolerance=1e-2,
    )


def digits_step(library: str) -> Contender:
    """A training step of the network with three convolutions of the CNTK 103D tutorial."""
    images, labels = arrays((64, 1, 28, 28))[0], np.arange(64) % 10
    if library == "tape":
        import tape
        from tape import nn

        relu = tape.relu
        net = nn.Sequential(
            nn.Conv2d(32, 5, padding=2, activation=relu),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(48, 3, activation=relu),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 3, activation=relu),
            nn.Flatten(),
            nn.Dense(96, activation=relu),
            nn.Dropout(0.5),
            nn.Dense(10),
        )
        net(tape.zeros((1, 1, 28, 28)))
        x, y, cross_entropy = tape.tensor(images), tape.tensor(labels), tape.cross_entropy
        opt = tape.optim.Adam(net.parameters(), lr=1e-3)
    else:
        import torch
        from torch import nn

        net = nn.Sequential(
            *(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(32, 48, 3), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(48, 64, 3), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(576, 96), nn.ReLU(), nn.Dropout(0.5), nn.Linear(96, 10)),
        )
        x, y = torch.from_numpy(images), torch.from_numpy(labels)
        cross_entropy = torch.nn.functional.cross_entropy
        opt = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step():
        opt.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    return Contender("step()", {"step": step}, comparable=False)


WIDE = (784, 1024, 1024, 10)


def wide_step() -> TimedRow:
    """A training step of a network whose time is matrix products."""
    rows = 256
    contenders = in_each_library(WIDE, rows, "relu", "adam")
    sizes = list(itertools.pairwise(WIDE))
    products = [3 * m * n for m, n in sizes]
    products[0] = 2 * WIDE[0] * WIDE[1]  # the images need no gradient
    contenders[BOUND] = lambda: bound(2.0 * rows * sum(products))
    return TimedRow(
        "train step, MLP 784-1024-1024-10, batch 256, Adam",
        contenders,
        [faster_than("torch", 1.1), of_bound(0.85), faster_than("torch, fused optimizer")],
        tolerance=1e-2,
    )


TWO_THREADS = """
import time
import numpy as np
import tape
x = tape.tensor(np.random.default_rng(0).standard_normal(({n}, {n})).astype("float32"))
best = {{1: 1e9, 2: 1e9}}
with tape.no_grad(), tape.reuse(False):
    for _ in range({rounds}):
        for threads in best:
            tape.set_num_threads(threads)
            x @ x
            start = time.perf_counter()
            x @ x
            best[threads] = min(best[threads], time.perf_counter() - start)
print(best[1], best[2])
"""


def on_all_cores(code: str) -> list[float]:
    """The numbers that a program prints, which may use all cores."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    finally:
        os.sched_setaffinity(0, cores)
    return [float(number) for number in done.stdout.split()]


def two_threads(quick: bool) -> list[Line]:
    """Best times on the wall, in a process that may use all cores; needs two that are idle."""
    lines = []
    for n in (512, 1024):
        code = TWO_THREADS.format(n=n, rounds=20 if quick else 60)
        one, two = on_all_cores(code)
        lines.append(
            Line(
                "matmul float32, two threads",
                f"{two * 1e6:.0f} us",
                f"one thread, {n}x{n}",
                f"{one * 1e6:.0f} us",
                f"{one / two:.2f}x the speed",
                target=">= 1.8x",
                met=one / two >= 1.8,
                figures={"one": one, "two": two},
            )
        )
    return lines


SHARES = {64: 0.85, 128: 0.93, 256: 0.93, 512: 0.93, 1024: 0.9, 2048: 0.9}
ROWS = [
    *[
        matmul(n, "float32", faster_than("numpy", 1.5), faster_than("torch", 2))
        for n in (8, 16, 32)
    ],
    *[
        matmul(
            n, "float32", of_bound(share), faster_than("numpy", 1.03), faster_than("torch", 1.03)
        )
        for n, share in SHARES.items()
    ],
    *[
        matmul(n, "float64", of_bound(), faster_than("numpy", 1), faster_than("torch", 1.1))
        for n in (64, 128, 256, 512, 1024)
    ],
    batched(),
    *[dense(*shape) for shape in ((64, 784, 512), (128, 512, 512), (256, 1024, 1024))],
    *[one_row(n, n, transposed) for n in (512, 1024) for transposed in (True, False)],
    linear_signs(4096, 128, 1024),
    *[
        conv(*shape, backward, limit)
        for shape in ((16, 64, 64, 28, 3), (16, 128, 128, 14, 3))
        for backward, limit in ((False, 0.95), (True, 1))
    ],
    *[conv(*shape, True, 1.5) for shape in ((64, 1, 32, 28, 5), (32, 3, 32, 32, 3))],
    TimedRow(
        "train step of the CNTK 103D network, batch 64, Adam",
        {"tape": lambda: digits_step("tape"), "torch": lambda: digits_step("torch")},
        [faster_than("torch", 1.5)],
    ),
    wide_step(),
    MeasuredRow("matmul float32, two threads", two_threads),
]
