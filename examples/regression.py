"""Predict the progress of diabetes from ten measurements: a network beside a straight line."""

from argparse import Namespace

import numpy as np
from sklearn.datasets import load_diabetes
from training import Run, arguments

import tape
from tape import nn


def r_squared(predicted: np.ndarray, wanted: np.ndarray) -> float:
    """1 - residual sum of squares / total sum of squares."""
    return float(1 - np.sum((wanted - predicted) ** 2) / np.sum((wanted - wanted.mean()) ** 2))


def standardised_parts(rng: np.random.Generator):
    """(x, y, held_x, held_y): a quarter held out, mean 0 and deviation 1 on the rest."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    order = rng.permutation(len(x))
    train, held_out = order[len(x) // 4 :], order[: len(x) // 4]
    table = np.column_stack([x, y])
    table = (table - table[train].mean(axis=0)) / table[train].std(axis=0)
    table = table.astype(np.float32)
    return table[train, :-1], table[train, -1:], table[held_out, :-1], table[held_out, -1:]


def build(args: Namespace):
    """The network, its optimizer, the batches, and the parts of the data."""
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    x, y, held_x, held_y = standardised_parts(rng)
    net = nn.Sequential(nn.Dense(16, activation=tape.tanh), nn.Dropout(0.1), nn.Dense(1))
    net(tape.tensor(x))  # the first call tells the layers their input sizes
    optimizer = tape.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.1)
    data = tape.data.ArrayDataset(x, y)
    loader = tape.data.DataLoader(data, batch_size=args.batch_size, shuffle=True, rng=rng)
    return net, optimizer, loader, (x, y, held_x, held_y)


def step(net: nn.Module, optimizer: tape.optim.Optimizer, x: tape.Tensor, y: tape.Tensor) -> float:
    """Follow the gradient of one batch; its loss."""
    optimizer.zero_grad()
    loss = tape.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    """Train the network, fit the line, print both R^2 on the patients held out."""
    args = arguments(__doc__, "regression", epochs=60, tiny_epochs=15, batch_size=32)
    net, optimizer, loader, (x, y, held_x, held_y) = build(args)
    line = np.linalg.lstsq(np.insert(x, 0, 1, axis=1), y, rcond=None)[0]
    line_fit = r_squared(np.insert(held_x, 0, 1, axis=1) @ line, held_y)

    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        losses = [step(net, optimizer, *batch) for batch in batches]
        net.eval()
        with tape.no_grad():
            fit = r_squared(net(tape.tensor(held_x)).numpy(), held_y)
        net.train()
        run.log(epoch=epoch, loss=np.mean(losses), held_out_r2=fit)
    run.save(net)
    run.curve(["loss"], ["held_out_r2"])
    print(f"held-out R^2: network {fit:.3f}, straight line {line_fit:.3f}")


if __name__ == "__main__":
    main()
