"""Fine-tune a head on a frozen trunk that runs once for each image, and compare: the same bits.

A convolutional network learns the digits 0 to 4. Then its trunk is frozen, and a new head learns
all ten from what the trunk gives: computed for every batch, and kept by `nn.cache`.
"""

import time
from argparse import Namespace
from pathlib import Path

import mnist_cnn
import numpy as np
from training import Run, arguments

import tape
from tape import nn

SEEN = 5  # classes that the trunk learns from


class Tuned(nn.Module):
    """A head on a frozen trunk, which may be cached."""

    def __init__(self, trunk: nn.Module, is_cached: bool) -> None:
        self.trunk = nn.cache(trunk) if is_cached else trunk
        self.head, self.is_cached = nn.Dense(mnist_cnn.CLASSES, 96), is_cached

    def forward(self, x: tape.Tensor, ids: tape.Tensor) -> tape.Tensor:
        """Shapes: x (n, 1, 28, 28), ids (n) -> logits (n, 10)."""
        return self.head(self.trunk(x, key=ids) if self.is_cached else self.trunk(x))


def trained_trunk(x: np.ndarray, y: np.ndarray) -> nn.Module:
    """All but the last two layers of a network that has learned some of the classes."""
    net = mnist_cnn.network()
    net(tape.zeros((1, 1, 28, 28)))  # the first call tells the layers their input sizes
    optimizer = tape.optim.Adam(net.parameters(), lr=1e-3)
    known = tape.data.ArrayDataset(x[y < SEEN], y[y < SEEN])
    for batch in tape.data.DataLoader(known, 64, shuffle=True, rng=0):
        mnist_cnn.step(net, optimizer, *batch)
    return net[:-2].freeze()


def build(args: Namespace, is_cached: bool = True):
    """The network, the head's optimizer, batches of (images, labels, ids), and what is held out."""
    tape.random.seed(args.seed)
    x, y, *held_out = mnist_cnn.prepared(args, np.random.default_rng(args.seed))
    net = Tuned(trained_trunk(x, y), is_cached)
    optimizer = tape.optim.Adam(net.head.parameters(), lr=5e-3)
    digits = tape.data.ArrayDataset(x, y, np.arange(len(x)))
    loader = tape.data.DataLoader(digits, args.batch_size, shuffle=True, rng=args.seed)
    return net, optimizer, loader, held_out


def step(net: Tuned, optimizer: tape.optim.Optimizer, images, labels, ids) -> float:
    """Follow the gradient of one batch; its loss."""
    optimizer.zero_grad()
    loss = tape.cross_entropy(net(images, ids), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    """Train the head twice and hold losses and times against each other."""
    folder = {"type": Path, "metavar": "DIR", "help": "a folder of IDX files, gzipped or not"}
    args = arguments(__doc__, "frozen_trunk", epochs=20, batch_size=64, more={"--data": folder})
    curves, times = [], []
    for is_cached in (False, True):
        net, optimizer, loader, (held_x, held_y) = build(args, is_cached)
        run, curve, start = Run(args.out), [], time.perf_counter()
        for epoch, batches in run.epochs(args.epochs, loader):
            curve.append([step(net, optimizer, *batch) for batch in batches])
            run.log(epoch=epoch, loss=np.mean(curve[-1]))
        times.append(time.perf_counter() - start)
        curves.append(curve)
    assert curves[0] == curves[1], "a kept row differs from a computed one"
    run.save(net)
    run.curve(["loss"])
    print(net.trunk.report())
    right = mnist_cnn.accuracy(net.trunk.module >> net.head, held_x, held_y)
    print(f"held-out accuracy {right:.2%} on {len(held_y)} images, losses equal to the bit")
    print(f"{times[0]:.2f} s, cached {times[1]:.2f} s: {times[0] / times[1]:.1f} times the speed")


if __name__ == "__main__":
    main()
