"""Rows about signs of one bit: against the loop that bounds them, and against floats in PyTorch.

Images and filters are packed beforehand where a row says bits, and the filters always: packing
filters is done once. "Bits to bits" ends in the signs that the next layer takes.
"""

from __future__ import annotations

import numpy as np

from .isa import using
from .row import Contender, TimedRow, faster_than

SHAPES = [(64, 56), (128, 28), (256, 14)]
BORDER = (1, 1, 1, 1)
BOUND = "the popcount bound"


def popcount_bound(macs: float) -> Contender:
    """The counting of so many products of signs and nothing else, without memory."""
    from tape._kernels.bit_filters import popcount_peak

    rounds = max(1, round(macs / popcount_peak(1)))
    return Contender("peak(n)", {"peak": popcount_peak, "n": rounds}, comparable=False)


def images(channels: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One image and as many filters 3 x 3 as it has channels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, channels, size, size)).astype(np.float32)
    return x, rng.standard_normal((channels, channels, 3, 3)).astype(np.float32)


def convolution(channels: int, size: int, what: str, isa: str = "") -> Contender:
    """A binary convolution 3 x 3 with padding 1; `what` goes in and comes out."""
    import tape

    x, w = images(channels, size)
    least = np.zeros(channels, np.int32)
    options = {"least": least} if what == "bits" else {}
    filters = tape.BitFilters(tape.pack_bits(w), (1, 1), ((1, 1), (1, 1)), **options)
    names = {"filters": filters, "border": BORDER, "x": x, "pack": tape.pack_bits}
    if what == "bits":
        names["x"] = tape.pack_bits(x, border=BORDER)
    expression = {
        "bits": "filters.signs(x, border)",
        "floats": "filters.scaled(pack(x, None, False, border))",
    }[what]
    scope = {"scope": using(isa)} if isa else {}
    return Contender(expression, names, comparable=False, **scope)


def torch_convolution(channels: int, size: int, layout: str) -> Contender:
    """The convolution of floats in PyTorch, in the better of the memory layouts by name."""
    import torch

    x, w = (torch.from_numpy(a) for a in images(channels, size))
    if layout == "channels last":
        x, w = (a.to(memory_format=torch.channels_last) for a in (x, w))
    names = {"conv2d": torch.nn.functional.conv2d, "x": x, "w": w, "no_grad": torch.no_grad}
    return Contender("conv2d(x, w, padding=1)", names, scope=torch.no_grad, comparable=False)


def dense(rows: int, isa: str = "") -> Contender:
    """Floats (rows, 4096) to floats through 4096 x 4096 signs, packing of the rows included."""
    import tape

    x, w = matrices(rows)
    filters = tape.BitFilters(tape.pack_bits(w.T.reshape(4096, 4096, 1, 1)))
    names = {"filters": filters, "x": x.T[None, :, None, :], "pack": tape.pack_bits}
    scope = {"scope": using(isa)} if isa else {}
    return Contender(
        "filters.scaled(pack(x), channels_last=True)", names, comparable=False, **scope
    )


def matrices(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Operands of a product with 4096 x 4096 weights."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((n, 4096)).astype(np.float32) for n in (rows, 4096))


def torch_linear(rows: int) -> Contender:
    """The product of floats in PyTorch."""
    import torch

    x, w = (torch.from_numpy(a) for a in matrices(rows))
    names = {"linear": torch.nn.functional.linear, "x": x, "w": w}
    return Contender("linear(x, w)", names, scope=torch.no_grad, comparable=False)


TRAINED = (16, 64, 16, 10)  # images, channels, their size, classes


def training_data() -> tuple[np.ndarray, ...]:
    """Images, labels, the kernels of two binary convolutions and the weight of a dense layer."""
    rng = np.random.default_rng(0)
    n, channels, size, classes = TRAINED
    shapes = (n, channels, size, size), *[(channels, channels, 3, 3)] * 2, (channels, classes)
    x, *weights = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes)
    return x, rng.integers(0, classes, n), *weights


def tape_training() -> Contender:
    """One step: two binary convolutions, each scaled, a dense layer, loss, gradients, SGD."""
    import tape

    x, labels, *weights = training_data()
    params = [tape.nn.Parameter(w) for w in weights]
    optimizer = tape.optim.SGD(params, 0.01)
    images, scale = tape.tensor(x), 1 / 24

    def step():
        optimizer.zero_grad()
        y = tape.binary_conv2d(images, params[0], padding=1) * scale
        y = tape.binary_conv2d(y, params[1], padding=1) * scale
        loss = tape.cross_entropy(tape.mean(y, (2, 3)) @ params[2], labels)
        loss.backward()
        optimizer.step()
        return loss

    return Contender("step()", {"step": step}, comparable=False)


def torch_training() -> Contender:
    """The same in PyTorch: the signs are floats, with the straight-through gradient by hand."""
    import torch

    class Sign(torch.autograd.Function):
        """The sign whose gradient is that of the identity where |x| <= 1."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.where(x < 0, -1.0, 1.0)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * (x.abs() <= 1)

    x, labels, *weights = training_data()
    params = [torch.nn.Parameter(torch.from_numpy(w)) for w in weights]
    optimizer = torch.optim.SGD(params, 0.01)
    images, targets, scale = torch.from_numpy(x), torch.from_numpy(labels), 1 / 24
    conv2d, sign = torch.nn.functional.conv2d, Sign.apply

    def step():
        optimizer.zero_grad()
        y = conv2d(sign(images), sign(params[0]), padding=1) * scale
        y = conv2d(sign(y), sign(params[1]), padding=1) * scale
        loss = torch.nn.functional.cross_entropy(y.mean((2, 3)) @ params[2], targets)
        loss.backward()
        optimizer.step()
        return loss

    return Contender("step()", {"step": step}, comparable=False)


def training_row() -> TimedRow:
    """A step of training, whose gradients are those of float convolutions."""
    return TimedRow(
        "training step, two binary conv 3x3, 16 x 64 at 16",
        {"tape": tape_training, "torch": torch_training},
        [faster_than("torch", 1)],
    )


def bits_row(channels: int, size: int) -> TimedRow:
    """Bits to bits, against the bound and PyTorch."""
    layouts = ("channels first", "channels last")
    return TimedRow(
        f"binary conv 3x3, C={channels} at {size}, bits to bits",
        {
            "tape": lambda: convolution(channels, size, "bits"),
            BOUND: lambda: popcount_bound(channels**2 * 9 * size**2),
            **{f"torch, {n}": lambda n=n: torch_convolution(channels, size, n) for n in layouts},
        },
        [faster_than(BOUND, 0.95), *(faster_than(f"torch, {name}", 18) for name in layouts)],
    )


def floats_row(channels: int, size: int) -> TimedRow:
    """Floats N C H W to floats N C H W, packing included."""
    layouts = ("channels first", "channels last")
    return TimedRow(
        f"binary conv 3x3, C={channels} at {size}, floats to floats",
        {
            "tape": lambda: convolution(channels, size, "floats"),
            **{f"torch, {n}": lambda n=n: torch_convolution(channels, size, n) for n in layouts},
        },
        [faster_than(f"torch, {name}", 14) for name in layouts],
    )


def dense_row(rows: int, limit: float) -> TimedRow:
    """A product with 4096 x 4096 weights, which as floats come from memory."""
    return TimedRow(
        f"binary dense 4096x4096, M={rows}",
        {"tape": lambda: dense(rows), "torch": lambda: torch_linear(rows)},
        [faster_than("torch", limit)],
    )


def isa_row(isa: str, limit: float) -> TimedRow:
    """One instruction set against AVX-512."""
    return TimedRow(
        f"binary conv 3x3, C=128 at 28, bits to bits, {isa}",
        {
            isa: lambda: convolution(128, 28, "bits", isa),
            "avx512": lambda: convolution(128, 28, "bits", "avx512"),
        },
        [faster_than("avx512", limit)],
    )


ROWS = [
    *(bits_row(*shape) for shape in SHAPES),
    *(floats_row(*shape) for shape in SHAPES),
    dense_row(1, 40),
    dense_row(64, 19),
    training_row(),
    isa_row("avx2", 0.45),
    isa_row("scalar", 0.15),
]
