"""Four small networks on four sensors: three share their layers by name, the fourth does not.

Nobody passes a layer around: who opens the scope "fc0" finds what the first one made there. The
first three sensors measure the same thing, so that what one of them learns serves all three.
"""

from argparse import Namespace

import numpy as np
from training import Run, arguments

import tape
from tape import nn

N_INPUTS = 8


def fc(x: tape.Tensor, size: int, name: str | None = None) -> tape.Tensor:
    """A layer with a name, the same in every call, or a new one without."""
    with nn.scope(name, reuse="auto", default_name="fc"):
        return nn.Dense(size, activation=tape.sigmoid)(x)


def two_level_fc(prefix: str | None = None) -> nn.Sequential:
    """Two layers, which all networks with this prefix share."""
    with nn.scope(prefix, reuse="auto", default_name="fc"):
        return nn.Sequential(nn.Dense(16, activation=tape.tanh), nn.Dense(1))


def measured(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, 4, N_INPUTS) of the sensors, and what each should say of them, (n, 4, 1)."""
    x = rng.standard_normal((n, 4, N_INPUTS)).astype(np.float32)
    y = np.tanh(x @ rng.standard_normal((N_INPUTS, 1)).astype(np.float32))
    y[:, 3] = np.cos(x[:, 3, :1])
    return x, y


def show(nets: nn.Sequential) -> None:
    """Say which networks each parameter belongs to, and how many tensors there are."""
    users: dict[str, list[int]] = {}
    for number, net in enumerate(nets):
        for parameter in net.parameters():
            users.setdefault(parameter.name, []).append(number)
    for name, numbers in users.items():
        print(f"{name:20} networks {numbers}")
    shared = sum(len(numbers) > 1 for numbers in users.values())
    print(f"{shared} tensors shared, {len(users)} in all", end="; ")


def loss_of(nets: nn.Sequential, inputs: tape.Tensor, targets: tape.Tensor) -> tape.Tensor:
    """How far the networks are from their targets, all together."""
    outputs = [net(inputs[:, i]) for i, net in enumerate(nets)]
    return tape.mse_loss(tape.stack(*outputs, axis=1), targets)


def build(args: Namespace):
    """The networks, their optimizer, the batches, and the inputs."""
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    x, y = measured(rng, 256 if args.tiny else 2000)
    nets = nn.Sequential(*[two_level_fc("fc0") for _ in range(3)], two_level_fc())
    loss_of(
        nets, tape.tensor(x[:1]), tape.tensor(y[:1])
    )  # the first call tells the layers their sizes
    optimizer = tape.optim.Adam(nets.parameters(), lr=1e-2)
    data = tape.data.ArrayDataset(x, y)
    loader = tape.data.DataLoader(data, batch_size=args.batch_size, shuffle=True, rng=rng)
    return nets, optimizer, loader, x


def step(nets: nn.Sequential, optimizer: tape.optim.Optimizer, x, y) -> float:
    """Follow the gradient of one batch; its loss."""
    optimizer.zero_grad()
    loss = loss_of(nets, x, y)
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    """Train the four networks together, then say what they share."""
    args = arguments(__doc__, "shared_names", epochs=20, tiny_epochs=3, batch_size=64)
    nets, optimizer, loader, x = build(args)
    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        run.log(epoch=epoch, loss=np.mean([step(nets, optimizer, *batch) for batch in batches]))
    run.save({parameter.name: parameter for parameter in nets.parameters()})
    run.curve(["loss"])

    show(nets)
    z = tape.tensor(x[0])
    named, unnamed = fc(z, 3, "FC") - fc(z, 3, "FC"), fc(z, 3) - fc(z, 3)
    print(f"two calls of fc differ by {abs(named).max().item():.2g} with a name", end=", ")
    print(f"by {abs(unnamed).max().item():.2g} without")


if __name__ == "__main__":
    main()
