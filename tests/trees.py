"""Small modules that tests of `tape.nn` put trees together with, and what is compared of trees."""

import numpy as np
from hypothesis import strategies as st

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


def normal(*shape, seed=0):
    return tape.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


@st.composite
def graphs(draw):
    """A tree with modules and parameters shared at random, some of which do not learn."""
    parts = [nn.Dense(1, 1), Scale(), nn.BatchNorm1d(1), nn.Dropout(), nn.Dense(2)]
    for _ in range(draw(st.integers(1, 6))):
        chosen = [parts[i] for i in draw(st.lists(st.integers(0, len(parts) - 1), max_size=3))]
        made = draw(
            st.sampled_from(
                [
                    lambda c: Holder(**{f"a{i}": part for i, part in enumerate(c)}),
                    lambda c: nn.Sequential(*c, tape.exp),
                    lambda c: Holder(parts={"x": c}, p=parts[1].gain),
                    lambda c: nn.Residual(*c),
                ]
            )
        )(chosen)
        parts.append(made)
    parts[0].bias.requires_grad_(draw(st.booleans()))
    return Holder(body=parts[-1], rest=parts[:-1])


def learning(model):
    return [
        entry.requires_grad
        for _, entry, _, _ in model.walk(again=True)
        if isinstance(entry, tape.Tensor)
    ]


def modes(model):
    return [module.training for module in model.modules()]


def partition(model):
    """Which paths are one object: sharing as something that can be compared."""
    first = {}
    return [
        (path, first.setdefault(id(entry), path)) for path, entry, _, _ in model.walk(again=True)
    ]


def values_of(model):
    return [entry.tolist() for _, entry, _, _ in model.walk() if isinstance(entry, tape.Tensor)]
