"""Small modules that tests of `tape.nn` put trees together with."""

import numpy as np

import tape
from tape import nn


class Scale(nn.Module):
    """y = x * gain + shift, with an own buffer; a module without super().__init__()."""

    def __init__(self, gain=1.0, shift=0.0):
        self.gain, self.shift = nn.Parameter(gain), nn.Parameter(shift)
        self.register_buffer("calls", tape.tensor(0))

    def forward(self, x):
        return x * self.gain + self.shift


class Holder(nn.Module):
    """Holds what it is given, under names."""

    def __init__(self, **parts):
        vars(self).update(parts)

    def forward(self, x):
        return x


def ones(shape):
    return tape.tensor(np.ones(shape, "f"))


def paths(module):
    return [path for path, _ in module.named_parameters()]


def values(module):
    return {path: array.tolist() for path, array in module.state_dict().items()}


class Fails(nn.Module):
    def __init__(self, error):
        self.error = error

    def forward(self, x):
        raise self.error
