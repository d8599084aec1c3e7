"""Layers that tests of scopes make by name."""

import tape
from tape import nn


def fc(x, n, name=None, reuse="auto"):
    with nn.scope(name, reuse=reuse, default_name="fc"):
        return nn.Dense(n, activation=tape.sigmoid)(x)


def dense(name="fc", reuse=None, n=3, n_in=2, **kwargs):
    with nn.scope(name, reuse=reuse):
        return nn.Dense(n, n_in, **kwargs)
