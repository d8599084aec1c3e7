"""Rows about networks: training steps, shared trunks, gradients asked for one by one."""

from __future__ import annotations

import dataclasses

from .networks import batch, in_each_library, tape_mlp, tape_step, torch_mlp
from .row import Contender, TimedRow, cost_over, faster_than

SMALL = ((2, 16, 16, 2), 32, "tanh", "sgd")
DIGITS = ((784, 128, 10), 64, "relu", "adam")
AT_THEIR_BEST = (faster_than("torch, fused optimizer"), faster_than("jax, donated buffers"))


def never_reusing() -> Contender:
    """The small training step with reuse switched on, in which no node is ever asked for twice."""
    import tape

    with tape.Tape() as counts:
        tape_step(*SMALL).names["step"]()
    if counts.hits:
        raise AssertionError(f"the step reuses {counts.hits} nodes: it does not measure the cost")
    return tape_step(*SMALL)


def without_reuse() -> Contender:
    """The small training step with reuse switched off."""
    import tape

    return dataclasses.replace(tape_step(*SMALL), scope=lambda: tape.reuse(False))


TRUNK, HEAD, BATCH = (256, 256, 256, 256), (256, 1), 64


def two_heads(library: str) -> Contender:
    """Two regression heads, each calling the trunk itself: loss and all gradients."""
    if library == "torch":
        import torch

        mlp, make, mse = torch_mlp, torch.tensor, torch.nn.functional.mse_loss
    else:
        import tape

        mlp, make, mse = tape_mlp, tape.tensor, tape.mse_loss
    trunk = mlp(TRUNK, "relu", seed=0, last="relu")
    heads = [mlp(HEAD, "relu", seed=seed) for seed in (1, 2)]
    params = [p for net in (trunk, *heads) for p in net.parameters()]
    inputs, _ = batch(BATCH, TRUNK[0], 2)
    x = make(inputs)
    targets = [make(inputs[:, i : i + 1]) for i in range(2)]

    def forward_and_backward():
        for p in params:
            p.grad = None
        a, b = (head(trunk(x)) for head in heads)
        loss = mse(a, targets[0]) + mse(b, targets[1])
        loss.backward()
        return [loss, *(p.grad for p in params)]

    return Contender("forward_and_backward()", {"forward_and_backward": forward_and_backward})


DEEP, DEEP_BATCH = (256,) * 6, 256
ORDER = (2, 0, 4, 1, 3)  # neither first to last nor last to first


def five_gradients(library: str, expression: str) -> Contender:
    """The gradients of five layers' weights of one loss; the loss is built outside the clock."""
    inputs, labels = batch(DEEP_BATCH, DEEP[0], DEEP[-1])
    if library == "torch":
        import torch

        net, make = torch_mlp(DEEP, "tanh"), torch.tensor
        cross_entropy, grad = torch.nn.functional.cross_entropy, torch.autograd.grad
    else:
        import tape

        net, make = tape_mlp(DEEP, "tanh"), tape.tensor
        cross_entropy, grad = tape.cross_entropy, tape.grad
    x, y = make(inputs), make(labels)
    matrices = [p for p in net.parameters() if p.ndim == 2]
    names = {
        "forward": lambda: cross_entropy(net(x), y),
        "grad": grad,
        "weights": [matrices[i] for i in ORDER],
    }
    return Contender(expression, names, prepare="loss = forward()")


JOINT = "grad(loss, weights)"


ROWS = [
    TimedRow(
        "train step, MLP 2-16-16-2, batch 32, SGD momentum",
        in_each_library(*SMALL),
        [faster_than("torch", 5), faster_than("jax", 1), *AT_THEIR_BEST],
    ),
    TimedRow(
        "train step, MLP 784-128-10, batch 64, Adam",
        in_each_library(*DIGITS),
        [faster_than("torch", 1.5), faster_than("jax"), *AT_THEIR_BEST],
        tolerance=1e-3,  # Adam divides by square roots of tiny numbers
    ),
    TimedRow(
        "reuse switched on where nothing is ever reused",
        {"on": never_reusing, "the step, reuse off": without_reuse},
        [cost_over("the step, reuse off", 1.1)],
    ),
    TimedRow(
        "two heads that each call the trunk, forward + backward",
        {"tape": lambda: two_heads("tape"), "torch": lambda: two_heads("torch")},
        [faster_than("torch", 1.8)],
    ),
    TimedRow(
        "five separate grad calls on one loss, 5 layers",
        {
            "separate": lambda: five_gradients("tape", "[grad(loss, [w])[0] for w in weights]"),
            "one joint call": lambda: five_gradients("tape", JOINT),
        },
        [cost_over("one joint call", 1.1)],
        tolerance=0.0,
    ),
    TimedRow(
        "five separate grad calls, beside PyTorch's five",
        {
            "tape": lambda: five_gradients("tape", "[grad(loss, [w])[0] for w in weights]"),
            "torch": lambda: five_gradients(
                "torch", "[grad(loss, [w], retain_graph=True)[0] for w in weights]"
            ),
        },
        [faster_than("torch")],
        tolerance=1e-3,
    ),
]
