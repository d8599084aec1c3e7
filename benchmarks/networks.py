"""The same training programs in tape, PyTorch and JAX: same weights, same batch, same update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from .row import Contender

MOMENTUM = 0.9
LEARNING_RATE = {"sgd": 0.01, "adam": 1e-3}


def weights(sizes: Sequence[int], seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight (n_out, n_in), bias (n_out,)) of each dense layer, float32."""
    rng = np.random.default_rng(seed)
    return [
        (
            (rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)).astype(np.float32),
            rng.standard_normal(n_out).astype(np.float32) * np.float32(0.1),
        )
        for n_in, n_out in pairwise(sizes)
    ]


def batch(rows: int, columns: int, classes: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal inputs (rows, columns) in float32 and labels (rows,) in int64."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((rows, columns)).astype(np.float32)
    return inputs, rng.integers(0, classes, rows)


def tape_mlp(sizes: Sequence[int], activation: str, seed: int = 0, last: str | None = None):
    """A `tape.nn.Sequential` of dense layers holding `weights(sizes, seed)`."""
    import tape

    names = [activation] * (len(sizes) - 2) + [last]
    net = tape.nn.Sequential(
        *(
            tape.nn.Dense(n, activation=getattr(tape, name) if name else None)
            for n, name in zip(sizes[1:], names, strict=True)
        )
    )
    net(tape.tensor(np.zeros((1, sizes[0]), np.float32)))  # sizes are inferred by the first call
    state = {}
    for i, (weight, bias) in enumerate(weights(sizes, seed)):
        state |= {f"{i}.weight": weight, f"{i}.bias": bias}
    net.load_state_dict(state)
    return net


def torch_mlp(sizes: Sequence[int], activation: str, seed: int = 0, last: str | None = None):
    """A `torch.nn.Sequential` of linear layers holding `weights(sizes, seed)`."""
    import torch

    kinds = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    names = [activation] * (len(sizes) - 2) + [last]
    layers = []
    for (weight, bias), name in zip(weights(sizes, seed), names, strict=True):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, kinds[name]()] if name else [layer]
    return torch.nn.Sequential(*layers)


def tape_step(sizes: Sequence[int], rows: int, activation: str, optimizer: str) -> Contender:
    """One training step in tape; gives the loss before the update."""
    import tape

    net = tape_mlp(sizes, activation)
    make = {
        "sgd": lambda p: tape.optim.SGD(p, lr=LEARNING_RATE["sgd"], momentum=MOMENTUM),
        "adam": lambda p: tape.optim.Adam(p, lr=LEARNING_RATE["adam"]),
    }
    opt = make[optimizer](net.parameters())
    inputs, labels = batch(rows, sizes[0], sizes[-1])
    x, y = tape.tensor(inputs), tape.tensor(labels)

    def step():
        opt.zero_grad()
        loss = tape.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    return Contender("step()", {"step": step})


def torch_step(sizes, rows: int, activation: str, optimizer: str, fused: bool = False) -> Contender:
    """The same step in PyTorch, eager; `fused` asks for the optimizer that is one kernel."""
    import torch

    net = torch_mlp(sizes, activation)
    make = {
        "sgd": lambda p: torch.optim.SGD(
            p, lr=LEARNING_RATE["sgd"], momentum=MOMENTUM, fused=fused or None
        ),
        "adam": lambda p: torch.optim.Adam(p, lr=LEARNING_RATE["adam"], fused=fused or None),
    }
    opt = make[optimizer](net.parameters())
    inputs, labels = batch(rows, sizes[0], sizes[-1])
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    cross_entropy = torch.nn.functional.cross_entropy

    def step():
        opt.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    return Contender("step()", {"step": step})


def jax_step(sizes, rows: int, activation: str, optimizer: str, donate: bool = False) -> Contender:
    """The same step in JAX, gradient and update in one jitted function, waited for.

    `donate` lets the update write over the old parameters and state.
    """
    import jax
    import jax.numpy as jnp

    act = {"relu": jax.nn.relu, "tanh": jnp.tanh}[activation]
    update = {"sgd": jax_sgd, "adam": jax_adam}[optimizer]
    inputs, labels = batch(rows, sizes[0], sizes[-1])
    x, y = jnp.asarray(inputs), jnp.asarray(labels.astype(np.int32))

    def loss_of(params, x, y):
        for i, (weight, bias) in enumerate(params):
            x = x @ weight.T + bias
            x = act(x) if i + 1 < len(params) else x
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))

    @partial(jax.jit, donate_argnums=(0, 1) if donate else ())
    def jitted(params, state, x, y):
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        return loss, *update(params, grads, state)

    zeros_like = partial(jax.tree.map, jnp.zeros_like)
    params = jax.tree.map(jnp.asarray, weights(sizes))
    state = zeros_like(params)
    if optimizer == "adam":
        state = state, zeros_like(params), jnp.zeros((), jnp.int32)

    def step():
        nonlocal params, state
        loss, params, state = jitted(params, state, x, y)
        return loss.block_until_ready()

    return Contender("step()", {"step": step})


def jax_sgd(params, grads, state):
    """Momentum SGD as PyTorch defines it: v = m v + g, p = p - lr v."""
    import jax

    v = jax.tree.map(lambda v, g: MOMENTUM * v + g, state, grads)
    return jax.tree.map(lambda p, v: p - LEARNING_RATE["sgd"] * v, params, v), v


def jax_adam(params, grads, state):
    """Adam with its usual constants (Kingma and Ba 2015, algorithm 1)."""
    import jax
    import jax.numpy as jnp

    m, v, count = state
    count = count + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    bias1, bias2 = 1 - 0.9**count, 1 - 0.999**count

    def moved(p, m, v):
        return p - LEARNING_RATE["adam"] * (m / bias1) / (jnp.sqrt(v / bias2) + 1e-8)

    return jax.tree.map(moved, params, m, v), (m, v, count)


def in_each_library(
    sizes: Sequence[int], rows: int, activation: str, optimizer: str
) -> dict[str, Callable[[], Contender]]:
    """The training step as the contenders of a row: as it is usually written, and at its best."""
    spec = (sizes, rows, activation, optimizer)
    return {
        "tape": lambda: tape_step(*spec),
        "torch": lambda: torch_step(*spec),
        "jax": lambda: jax_step(*spec),
        "torch, fused optimizer": lambda: torch_step(*spec, fused=True),
        "jax, donated buffers": lambda: jax_step(*spec, donate=True),
    }
