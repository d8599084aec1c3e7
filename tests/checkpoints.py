"""Models, training and headers that tests of checkpoints share."""

import os

import numpy as np
from trees import ones

import tape
from tape import nn
from tape.serialize import format as form


def network(seed=0, dtype=np.float32):
    """A small network with buffers."""
    rng = np.random.default_rng(seed)
    dense = [nn.Dense(n, m, rng=rng, dtype=dtype) for n, m in ((4, 3), (2, 4))]
    return nn.Sequential(dense[0], nn.BatchNorm1d(4, dtype=dtype), tape.tanh, dense[1])


def trained(net, optimizer, n=3):
    for _ in range(n):
        optimizer.zero_grad()
        (net(ones((5, 3)) + tape.random.normal((5, 3))) ** 2).sum().backward()
        optimizer.step()


def arrays_of(state):
    return {name: array.tobytes() for name, array in state.items()}


def header_of(path):
    with open(path, "rb") as file:
        return form.read_header(file, os.path.getsize(path), str(path))
