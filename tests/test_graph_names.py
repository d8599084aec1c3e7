"""Names in clones of recorded sections: those of the network that was cut."""

import numpy as np
import pytest

import tape
from tape import nn


def data(*shape):
    return tape.tensor(np.random.default_rng(0).standard_normal(shape).astype("f"))


def test_parameters_of_parts_that_their_layer_uses_keep_their_paths(tmp_path):
    layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    net = nn.Sequential(nn.Dense(8, 3), layer)
    net(data(2, 3, 3))
    x = data(2, 3, 3).named("x")
    net.eval()
    clone = tape.clone_function(x, net(x))
    assert {n for n, _ in clone.named_parameters()} == {n for n, _ in net.named_parameters()}
    tape.save(tmp_path / "clone", clone)
    tape.load(tmp_path / "clone", net.clone())


def test_an_input_that_moved_statistics_before_it_had_a_name_needs_a_copy():
    net = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm1d())
    x = data(5, 3)
    net(x)
    net.eval()
    y = net(x.named("x"))
    with pytest.raises(tape.GraphError, match=r"used already needs a copy, tape.tensor\(x.numpy"):
        tape.clone_function(x, y)
    copied = tape.tensor(x.numpy()).named("x")
    clone = tape.clone_function(copied, net(copied))
    assert clone(x).tolist() == y.tolist()
