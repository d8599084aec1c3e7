"""An optimisation for tests: dense layers with whole weights, which trains and is lowered."""

import numpy as np

import tape
from tape import netopt, nn


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


class Rounded(nn.Module):
    """A dense layer that computes with rounded weights, and trains the others."""

    def __init__(self, weight, bias):
        self.weight, self.bias, self.activation = weight, bias, None

    def forward(self, x):
        rounded = self.weight + (tape.round(self.weight) - self.weight).detach()
        y = x @ rounded.T + self.bias
        return y if self.activation is None else self.activation(y)


class Whole(netopt.Lowered):
    """The same with the rounded weights as bytes."""

    def __init__(self, weight, bias, activation):
        self.register_buffer("weight", np.round(weight.numpy()).astype(np.int8))
        self.register_buffer("bias", bias.numpy())
        self.activation = activation

    def run(self, x):
        y = x @ self.weight.astype("float32").T + self.bias
        return y if self.activation is None else self.activation(y)


class Round(netopt.Optimization):
    """Dense layers with whole weights.

    For tests.
    """

    kinds = (nn.Dense,)

    def transform(self, layer, at):
        if layer.n_out == 1:
            return netopt.Kept("has one output")
        return Rounded(layer.weight, layer.bias)

    def lower(self, layer, at):
        if isinstance(layer, Rounded):
            return Whole(layer.weight, layer.bias, layer.activation)
        return None


def network():
    rng = np.random.default_rng(3)
    options = {"init": nn.init.normal(std=2.0), "rng": rng}
    return nn.Sequential(
        nn.Dense(4, 3, tape.tanh, **options), nn.BatchNorm1d(4, 4), nn.Dense(1, 4, **options)
    )
