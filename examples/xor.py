"""Learn exclusive or, the smallest problem that a network without a hidden layer cannot solve."""

from argparse import Namespace

import numpy as np
from training import Run, arguments

import tape
from tape import nn

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
LABELS = np.array([0, 1, 1, 0])


def build(args: Namespace):
    """The network, its optimizer and the batches."""
    tape.random.seed(args.seed)
    net = nn.Sequential(nn.Dense(8, activation=tape.tanh), nn.Dense(2))
    net(tape.tensor(INPUTS))  # the first call tells the layers their input sizes
    optimizer = tape.optim.Adam(net.parameters(), lr=0.05)
    data = tape.data.ArrayDataset(INPUTS, LABELS)
    return net, optimizer, tape.data.DataLoader(data, args.batch_size, shuffle=True, rng=args.seed)


def step(net: nn.Module, optimizer: tape.optim.Optimizer, x: tape.Tensor, y: tape.Tensor) -> float:
    """Follow the gradient of one batch; its loss."""
    optimizer.zero_grad()
    loss = tape.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    """Train on the four points, then print what the network makes of them."""
    args = arguments(__doc__, "xor", epochs=300, tiny_epochs=150, batch_size=4)
    net, optimizer, loader = build(args)
    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        run.log(epoch=epoch, loss=np.mean([step(net, optimizer, *batch) for batch in batches]))
    run.save(net)
    run.curve(["loss"])

    with tape.no_grad():
        chances = tape.softmax(net(tape.tensor(INPUTS)), axis=1).numpy()
    for (a, b), chance in zip(INPUTS.astype(int), chances, strict=True):
        print(f"{a} xor {b} = {chance.argmax()}   ({chance.max():.1%} sure)")
    print(f"{np.sum(chances.argmax(axis=1) == LABELS)} of 4 right")


if __name__ == "__main__":
    main()
