"""Ranks, sizes and amounts by path: those of paths that are no layer's are refused."""

import numpy as np
import pytest

import tape
from tape import nn
from tape.errors import SettingError
from tape.netopt import frequency, sparsification
from tape.netopt.factorization import factor_convolution, factor_dense


@pytest.mark.parametrize(
    "call",
    [
        lambda net, at: factor_dense(net, rank=at),
        lambda net, at: factor_convolution(net, rank=at),
        lambda net, at: frequency.circulant_dense(net, at),
        lambda net, at: sparsification.lookup_convolution(net, at),
        lambda net, at: sparsification.prune_structured(net, at, np.ones((2, 3, 3, 3), "f")),
        lambda net, at: sparsification.prune_magnitude(net, at),
    ],
)
def test_settings_by_a_path_that_is_no_layers_are_refused(call):
    shared = nn.Dense(20, 20)
    net = nn.Sequential(nn.Conv2d(20, 3, n_in=3), nn.Flatten(), shared, tape.tanh, shared)
    for path in ("5", "2.weight", "3", 2):
        with pytest.raises(SettingError, match=repr(path)):
            call(net, {path: 2})
    with pytest.raises(SettingError, match="'4'"):
        call(net, {"4": 2})
    with pytest.raises(SettingError, match=r"'4', .*; it is 2 too, which is its first path"):
        factor_dense(net, rank={"4": 2})


def test_a_rank_by_path_must_be_there():
    with pytest.raises(TypeError, match=r"0 \(20, 30\): the rank must be a whole number, got None"):
        factor_dense(nn.Sequential(nn.Dense(30, 20)), rank={"0": None}, only_cheaper=False)
