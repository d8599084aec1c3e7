"""Rows about sequences: training steps of recurrent layers and of attention."""

from __future__ import annotations

import numpy as np

from .row import Contender, TimedRow, faster_than

LEARNING_RATE = 1e-3
# Axes of x: time, batch, numbers for recurrent layers; batch, time, numbers for attention.
RECURRENT, ATTENDING = (32, 32, 128), (16, 64, 128)


def layers_of(library, kind: str, n: int, settings: dict):
    """The network of a row, in a library whose `nn` has PyTorch's names."""
    nn = library.nn
    if kind == "transformer":
        layer = nn.TransformerEncoderLayer(n, 4, dropout=0.0, batch_first=True, **settings)
        return nn.TransformerEncoder(layer, 2)
    return getattr(nn, kind)(n, n, **settings)  # as many inputs as outputs


def first_values(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Small numbers for parameters by name, the same in each library."""
    rng = np.random.default_rng(1)
    return {
        name: (rng.standard_normal(shapes[name]) / np.sqrt(shapes[name][-1])).astype(np.float32)
        for name in sorted(shapes)
    }


def training_step(library: str, kind: str, fused: bool = False, **settings) -> Contender:
    """One step of Adam on the squared error of what the layers give; gives the loss."""
    shape = ATTENDING if kind == "transformer" else RECURRENT
    rng = np.random.default_rng(0)
    x, target = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    if library == "torch":
        import torch

        net = layers_of(torch, kind, shape[-1], settings)
        state = first_values({name: tuple(p.shape) for name, p in net.named_parameters()})
        net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        make, mse = torch.from_numpy, torch.nn.functional.mse_loss
        opt = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=fused or None)
    else:
        import tape

        net = layers_of(tape, kind, shape[-1], settings)
        net.load_state_dict(first_values({name: p.shape for name, p in net.named_parameters()}))
        make, mse = tape.tensor, tape.mse_loss
        opt = tape.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    x, target = make(x), make(target)

    def step():
        opt.zero_grad()
        y = net(x)
        loss = mse(y if kind == "transformer" else y[0], target)
        loss.backward()
        opt.step()
        return loss

    return Contender("step()", {"step": step})


def row(name: str, kind: str, limit: float | None, **settings) -> TimedRow:
    """A step in tape beside PyTorch's, as it is usually written and with its fused optimizer."""
    return TimedRow(
        f"train step, {name}, Adam",
        {
            "tape": lambda: training_step("tape", kind, **settings),
            "torch": lambda: training_step("torch", kind, **settings),
            "torch, fused optimizer": lambda: training_step("torch", kind, fused=True, **settings),
        },
        [faster_than("torch", limit), faster_than("torch, fused optimizer")],
        tolerance=1e-3,  # Adam divides by square roots of tiny numbers
    )


ROWS = [
    row("LSTM 128-128, batch 32, time 32", "LSTM", 1.2),
    row("GRU 128-128, batch 32, time 32", "GRU", None),
    row(
        "2 transformer layers 128, 4 heads, feed-forward 512, batch 16, time 64",
        "transformer",
        1.2,
        dim_feedforward=512,
    ),
    row(
        "2 transformer layers 128, 4 heads, feed-forward 2048, batch 16, time 64",
        "transformer",
        1.2,
        dim_feedforward=2048,
    ),
]
