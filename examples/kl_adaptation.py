"""Adapt a trained network to slanted digits, and keep what it knew by a term to the old network.

A section of the network is cut out of what one call of it has recorded, from its features to its
logits `z`, and cloned twice: one clone learns from a few slanted digits, the other is constant. The
labels it learns from are a mixture of the true ones and of what the constant clone says (Yu, Yao,
Su, Li and Seide 2013, KL-divergence regularized deep neural network adaptation).
"""

from argparse import Namespace

import numpy as np
from mnist_cnn import CLASSES, accuracy, bundled_digits, step
from training import Run, arguments

import tape
from tape import nn


def slanted(images: np.ndarray) -> np.ndarray:
    """The rows of (n, 784) images moved sideways: the higher, the farther to the right."""
    squares = images.reshape(-1, 28, 28)
    rows = [np.roll(squares[:, i], (14 - i) // 2, axis=1) for i in range(28)]
    return np.stack(rows, axis=1).reshape(images.shape)


def network() -> nn.Sequential:
    """784 -> 128 -> 64 -> 10."""
    relu = tape.relu
    return nn.Sequential(
        nn.Dense(128, activation=relu), nn.Dense(64, activation=relu), nn.Dense(CLASSES)
    )


def error(net: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose class is not recognised, in percent."""
    return 100 * (1 - accuracy(net, images, labels))


def adapted(net: nn.Module, images: np.ndarray, labels: np.ndarray, weight: float, steps: int):
    """A clone of the network that has learned a few images; `weight` is the reference's share."""
    features = tape.tensor(images[:1]).named("features")
    z = net(features).named("z")
    learned = tape.clone_function(features, z, "learnable")
    reference = tape.clone_function(features, z, "constant")

    x, onehot = tape.tensor(images), tape.one_hot(labels, CLASSES)
    soft = onehot * (1 - weight) + tape.softmax(reference(x), axis=1) * weight
    optimizer = tape.optim.Adam(learned.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        tape.cross_entropy(learned(x), soft).backward()
        optimizer.step()
    return learned


def build(args: Namespace):
    """The network, its optimizer, the batches, the digits and those held out, and a generator."""
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    parts = bundled_digits(rng)
    images, held_images = (p.astype(np.float32) / 255 for p in (parts[0], parts[2]))
    labels, held_labels = (p.astype(np.int64) for p in (parts[1], parts[3]))
    if args.tiny:
        chosen = rng.permutation(len(images))[:512]
        images, labels = images[chosen], labels[chosen]

    net = network()
    net(tape.zeros((1, 784)))  # the first call tells the layers their input sizes
    optimizer = tape.optim.Adam(net.parameters(), lr=1e-3)
    loader = tape.data.DataLoader(
        tape.data.ArrayDataset(images, labels), batch_size=args.batch_size, shuffle=True, rng=rng
    )
    return net, optimizer, loader, (images, labels, held_images, held_labels), rng


def main() -> None:
    """Train on upright digits, then adapt to a few slanted ones with and without the term."""
    args = arguments(__doc__, "kl_adaptation", epochs=12, tiny_epochs=2, batch_size=64)
    net, optimizer, loader, (images, labels, held_images, held_labels), rng = build(args)
    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        run.log(epoch=epoch, loss=np.mean([step(net, optimizer, *batch) for batch in batches]))
    run.save(net)
    run.curve(["loss"])

    few = rng.permutation(len(images))[:200]
    x, y, held_slanted = slanted(images[few]), labels[few], slanted(held_images)
    print("                     error on slanted   on upright digits")
    rows = {"not adapted": net}
    for weight in (0.0, 0.5):
        rows[f"adapted, weight {weight}"] = adapted(net, x, y, weight, 20 if args.tiny else 100)
    for name, model in rows.items():
        errors = [error(model, part, held_labels) for part in (held_slanted, held_images)]
        print(f"{name:20} {errors[0]:14.1f} % {errors[1]:16.1f} %")


if __name__ == "__main__":
    main()
