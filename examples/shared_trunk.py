"""Two heads that each call one trunk, and a tape that computes the trunk once all the same.

One head predicts the mean of a target, the other the spread around it. Neither knows of the other:
both start from the input. Frameworks that record every call run the trunk twice. The picture of
what was computed, dual.svg, has the trunk once.
"""

from argparse import Namespace

import numpy as np
from training import Run, arguments

import tape
from tape import nn

N_INPUTS = 70


def dense_layers(sizes: list[int]) -> nn.Sequential:
    """Dense layers of these sizes with tanh."""
    return nn.Sequential(*(nn.Dense(n, activation=tape.tanh) for n in sizes))


class TwoHeads(nn.Module):
    """A normal distribution for each row of x, as (mean, logarithm of the deviation)."""

    def __init__(self) -> None:
        """Make the trunk and the two heads."""
        super().__init__()
        self.trunk = dense_layers([50, 25])
        self.mean_head = nn.Sequential(dense_layers([25, 10]), nn.Dense(1))
        self.spread_head = nn.Sequential(dense_layers([25, 10]), nn.Dense(1))

    def mean(self, x: tape.Tensor) -> tape.Tensor:
        """Shapes: x (n, 70) -> (n, 1)."""
        return self.mean_head(self.trunk(x))

    def log_spread(self, x: tape.Tensor) -> tape.Tensor:
        """Shapes: x (n, 70) -> (n, 1)."""
        return self.spread_head(self.trunk(x))

    def forward(self, x: tape.Tensor) -> tuple[tape.Tensor, tape.Tensor]:
        """Both heads, each from the input."""
        return self.mean(x), self.log_spread(x)


def loss_of(net: TwoHeads, x: tape.Tensor, y: tape.Tensor) -> tape.Tensor:
    """The negative log-likelihood of y, up to a constant."""
    mean, log_spread = net(x)
    return tape.mean(log_spread + 0.5 * tape.square((y - mean) * tape.exp(-log_spread)))


def build(args: Namespace):
    """The network, its optimizer, the batches, and all inputs and targets."""
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    x = rng.standard_normal((500 if args.tiny else 4000, N_INPUTS)).astype(np.float32)
    spread = np.exp(0.5 * x[:, 1:2])
    y = np.sin(x[:, :1]) + spread * rng.standard_normal((len(x), 1), dtype=np.float32)

    net = TwoHeads()
    net(tape.tensor(x[:1]))  # the first call tells the layers their input sizes
    optimizer = tape.optim.Adam(net.parameters(), lr=3e-3)
    data = tape.data.ArrayDataset(x, y)
    loader = tape.data.DataLoader(data, batch_size=args.batch_size, shuffle=True, rng=rng)
    return net, optimizer, loader, x, y


def step(net: TwoHeads, optimizer: tape.optim.Optimizer, x: tape.Tensor, y: tape.Tensor) -> float:
    """Follow the gradient of one batch; its loss."""
    optimizer.zero_grad()
    loss = loss_of(net, x, y)
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    """Train both heads, then say what reuse saves in one loss."""
    args = arguments(__doc__, "shared_trunk", epochs=30, tiny_epochs=3, batch_size=64)
    net, optimizer, loader, x, y = build(args)
    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        run.log(epoch=epoch, loss=np.mean([step(net, optimizer, *batch) for batch in batches]))
    run.save(net)
    run.curve(["loss"])

    inputs, targets = tape.tensor(x[:64]), tape.tensor(y[:64])
    with tape.Tape() as shared:
        loss_of(net, inputs, targets)
    with tape.Tape() as apart, tape.reuse(False):
        loss_of(net, inputs, targets)
    print(f"one loss: {shared.evaluations} evaluations and {shared.hits} reused;", end=" ")
    print(f"{apart.evaluations} without reuse")
    print(net.summary(inputs))
    tape.graph.plot(net(inputs), run.folder / "dual.svg", model=net)
    print(shared.report())


if __name__ == "__main__":
    main()
