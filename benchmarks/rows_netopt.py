"""Rows about lowered layers: of bits, by way of frequencies, by lookups; against floats.

Numbers go in and numbers come out: packing the signs of x is part of every call, and so are scale,
bias and the layer's Python. Weights do not matter for the time, so nothing is trained.
"""

from __future__ import annotations

import numpy as np

from .row import Contender, TimedRow, faster_than
from .rows_bits import SHAPES, torch_convolution


def drawn(*shape: int) -> np.ndarray:
    """Standard normal numbers, float32."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def called(model, x: np.ndarray) -> Contender:
    """One call of a model in evaluation mode."""
    import tape

    x = tape.tensor(x)
    return Contender("model(x)", {"model": model, "x": x}, scope=tape.no_grad, comparable=False)


def layer(channels: int, size: int, kind: str) -> Contender:
    """A convolution 3 x 3 with padding 1, as floats or lowered."""
    import tape
    from tape.netopt import quantization

    net = tape.nn.Sequential(tape.nn.Conv2d(channels, 3, padding=1, n_in=channels)).eval()
    if kind == "lowered":
        net = quantization.convert_to_binary_convolution(net)
        net = quantization.convert_to_native_binary_convolution(net)
    return called(net[0], drawn(1, channels, size, size))


def digits(kind: str) -> Contender:
    """The network of CNTK 103D, as floats or lowered, its first convolution as floats in both."""
    import tape
    from tape import nn
    from tape.netopt import quantization

    net = nn.Sequential(
        nn.Conv2d(32, 5, padding=2, activation=tape.relu),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(48, 3, activation=tape.relu),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 3, activation=tape.relu),
        nn.Flatten(),
        nn.Dense(96, activation=tape.relu),
        nn.Dense(10),
    ).eval()
    net(tape.zeros((1, 1, 28, 28)))
    if kind == "lowered":
        net = quantization.convert_to_binary_convolution(net, lambda conv: conv is not net[0])
        net = quantization.convert_to_native_binary_convolution(net)
    return called(net, drawn(1, 1, 28, 28))


def torch_digits() -> Contender:
    """The same network of floats in PyTorch."""
    import torch
    from torch import nn

    net = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(32, 48, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(48, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(576, 96),
        nn.ReLU(),
        nn.Linear(96, 10),
    ).eval()
    names = {"model": net, "x": torch.from_numpy(drawn(1, 1, 28, 28))}
    return Contender("model(x)", names, scope=torch.no_grad, comparable=False)


def layer_row(channels: int, size: int) -> TimedRow:
    """One lowered layer, numbers to numbers."""
    layouts = ("channels first", "channels last")
    return TimedRow(
        f"netopt binary conv 3x3, C={channels} at {size}",
        {
            "lowered": lambda: layer(channels, size, "lowered"),
            "floats": lambda: layer(channels, size, "floats"),
            **{f"torch, {n}": lambda n=n: torch_convolution(channels, size, n) for n in layouts},
        },
        [faster_than("floats", 10), *(faster_than(f"torch, {name}", 10) for name in layouts)],
    )


def spectral(kind: str, window: int, channels: int, size: int, groups: int) -> Contender:
    """A convolution of that window that keeps the size, as it is or by FFT."""
    import tape
    from tape.netopt import frequency

    net = tape.nn.Sequential(
        tape.nn.Conv2d(channels, window, padding="same", groups=groups, n_in=channels)
    ).eval()
    if kind == "lowered":
        net = frequency.fft_convolution(net, only_cheaper=False)
    return called(net[0], drawn(1, channels, size, size))


def torch_spectral(window: int, channels: int, size: int, groups: int) -> Contender:
    """The same convolution in PyTorch, directly."""
    import torch

    net = torch.nn.Conv2d(channels, channels, window, padding="same", groups=groups).eval()
    names = {"model": net, "x": torch.from_numpy(drawn(1, channels, size, size))}
    return Contender("model(x)", names, scope=torch.no_grad, comparable=False)


def spectral_row(window: int, channels: int, size: int, groups: int, limit: float) -> TimedRow:
    """One convolution with a large window."""
    kind = "depthwise " if groups > 1 else ""
    arguments = window, channels, size, groups
    return TimedRow(
        f"netopt fft conv {kind}{window}x{window}, C={channels} at {size}",
        {
            "lowered": lambda: spectral("lowered", *arguments),
            "floats": lambda: spectral("floats", *arguments),
            "torch": lambda: torch_spectral(*arguments),
        },
        [faster_than("floats", limit), faster_than("torch", limit)],
    )


def circulant(kind: str, size: int, block: int, rows: int) -> Contender:
    """A square dense layer, as it is or of circulant blocks."""
    import tape
    from tape.netopt import frequency

    net = tape.nn.Sequential(tape.nn.Dense(size, size)).eval()
    if kind == "lowered":
        net = frequency.circulant_dense(net, block)
    return called(net[0], drawn(rows, size))


def torch_dense(size: int, rows: int) -> Contender:
    """A square dense layer in PyTorch."""
    import torch

    names = {"model": torch.nn.Linear(size, size).eval(), "x": torch.from_numpy(drawn(rows, size))}
    return Contender("model(x)", names, scope=torch.no_grad, comparable=False)


def circulant_row(size: int, block: int, rows: int, limit: float) -> TimedRow:
    """One dense layer of circulant blocks."""
    return TimedRow(
        f"netopt circulant dense {size}x{size}, blocks of {block}, batch {rows}",
        {
            "lowered": lambda: circulant("lowered", size, block, rows),
            "floats": lambda: circulant("floats", size, block, rows),
            "torch": lambda: torch_dense(size, rows),
        },
        [faster_than("floats", limit), faster_than("torch", limit)],
    )


def lookup(kind: str, channels: int, size: int, entries: int, lookups: int) -> Contender:
    """A convolution 3 x 3 with padding 1, as it is or by lookups."""
    import tape
    from tape.netopt import sparsification

    net = tape.nn.Sequential(tape.nn.Conv2d(channels, 3, padding=1, n_in=channels)).eval()
    if kind == "lowered":
        net = sparsification.lookup_convolution(net, entries, lookups)
    return called(net[0], drawn(1, channels, size, size))


def lookup_row(channels: int, size: int, entries: int, lookups: int, limit: float) -> TimedRow:
    """One convolution by lookups."""
    arguments = channels, size, entries, lookups
    return TimedRow(
        f"netopt lookup conv 3x3, C={channels} at {size}, {lookups} of {entries}",
        {
            "lowered": lambda: lookup("lowered", *arguments),
            "floats": lambda: lookup("floats", *arguments),
            "torch": lambda: torch_convolution(channels, size, "channels first"),
        },
        [faster_than("floats", limit), faster_than("torch", limit)],
    )


ROWS = [
    *(layer_row(*shape) for shape in SHAPES),
    TimedRow(
        "netopt binary CNTK 103D, batch 1",
        {
            "lowered": lambda: digits("lowered"),
            "floats": lambda: digits("floats"),
            "torch": torch_digits,
        },
        [faster_than("floats", 3), faster_than("torch", 3)],
    ),
    spectral_row(15, 64, 32, 1, 3),
    spectral_row(31, 64, 56, 1, 10),
    spectral_row(31, 64, 56, 64, 1.5),
    circulant_row(4096, 64, 1, 30),
    circulant_row(4096, 64, 64, 8),
    lookup_row(64, 56, 32, 3, 1.5),
    lookup_row(256, 14, 64, 3, 6),
]
