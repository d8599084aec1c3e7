"""The optimizers that tests run over, and a parameter for them."""

import numpy as np
import pytest

import tape
from tape import optim


def parameter(value, dtype="float64"):
    return tape.tensor(np.asarray(value, dtype), requires_grad=True)


EVERY = [
    lambda params: optim.SGD(params, lr=0.1),
    lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    lambda params: optim.Adam(params, lr=0.1, amsgrad=True),
    lambda params: optim.AdamW(params, lr=0.1),
    lambda params: optim.RMSprop(params, lr=0.1, momentum=0.5, centered=True),
]
every = pytest.mark.parametrize("make", EVERY, ids=["sgd", "nesterov", "adam", "adamw", "rmsprop"])
