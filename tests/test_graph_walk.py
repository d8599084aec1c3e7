"""Walking through recorded graphs and finding values by name."""

import time

import numpy as np
import pytest
from trees import Holder

import tape
from tape import nn


def leaf(name, *shape):
    return tape.tensor(np.ones(shape or (2,), "f")).named(name)


def names(outputs):
    return [t.name for t in tape.graph.walk(outputs)]


def test_case_23_walks_depth_first_and_finds_by_name():
    i1, c1, label, c2 = (leaf(name) for name in ("i1", "c1", "label", "c2"))
    p1 = nn.Parameter([1.0, 2.0]).named("p1")
    op1 = (i1 + c1).named("op1")
    op2 = (op1 + p1).named("op2")
    minus = (label - c2).named("minus")
    both = tape.stack(op2, minus).named("all")
    order = ["all", "op2", "op1", "i1", "c1", "p1", "minus", "label", "c2"]
    assert names(both) == order
    assert names([op2, minus]) == names({"a": op2, "b": minus}) == order[1:]
    for name in order:
        assert tape.graph.find(both, name).name == name
    assert tape.graph.find(both, "op3") is None
    assert tape.graph.find_all(both, "op3") == []
    twice = [(op2 * 2).named("op3"), (minus * 3).named("op3")]
    assert len(tape.graph.find_all(twice, "op3")) == 2
    with pytest.raises(tape.GraphError, match="2 tensors are named 'op3'"):
        tape.graph.find(twice, "op3")
    for wrong in (3, None, b"op3"):
        with pytest.raises(TypeError, match="a name is a string"):
            tape.graph.find(both, wrong)


def test_what_is_used_twice_comes_once():
    x = leaf("x")
    y = (x * x).named("y")
    assert names([y + x, y, y]) == [None, "y", "x"]


def test_outputs_are_tensors():
    with pytest.raises(TypeError, match="outputs are tensors, got a str"):
        list(tape.graph.walk(["x"]))
    assert list(tape.graph.walk([])) == []


def test_results_and_parameters_have_the_paths_of_their_modules():
    net = nn.Sequential(nn.Dense(4, 3), nn.Residual(nn.Dense(4, 4), tape.tanh), nn.LayerNorm(4))
    y = net(leaf("x", 5, 3))
    assert tape.graph.find(y, "0").shape == (5, 4)
    assert tape.graph.find(y, "1.0").op.name == "linear"
    assert tape.graph.find(y, "1").op.name == "add"
    assert tape.graph.find(y, "Sequential").serial == tape.graph.find(y, "2").serial == y.serial
    assert tape.graph.find(y, "1.0.bias").tolist() == net[1][0].bias.tolist()
    for missing in ("", "3", "0.gain", "1.1"):
        assert tape.graph.find(y, missing) is None


def test_parameters_are_found_after_they_moved_on_and_when_frozen():
    net = nn.Sequential(nn.Dense(4, 3), nn.Dense(2, 4).freeze())
    y = net(leaf("x", 5, 3))
    before = net[0].weight.tolist()
    with tape.no_grad():
        net[0].weight += 1.0
    assert tape.graph.find(y, "0.weight").tolist() == before
    assert tape.graph.find(y, "1.weight").tolist() == net[1].weight.tolist()


def test_a_leaf_comes_as_itself_while_it_stands_there():
    w = nn.Parameter([1.0, 2.0])
    y = w * leaf("x")
    assert list(tape.graph.walk(y))[1] is w
    with tape.no_grad():
        w += 1.0
    moved = list(tape.graph.walk(y))[1]
    assert moved is not w
    assert moved.tolist() == [1.0, 2.0]


def test_parameters_are_found_by_their_names_in_scopes():
    with nn.Root(), nn.scope("FC"):
        net, scale = nn.Dense(2, 3), nn.parameter("scale", (2,))
    y = net(leaf("x", 5, 3)) * scale
    assert tape.graph.find(y, "FC/scale") is scale
    assert tape.graph.find(y, "FC/dense/weight") is tape.graph.find(y, "weight") is net.weight
    assert tape.graph.find(y, "FC") is None
    with pytest.raises(tape.GraphError, match="there are 'FC/scale'"):
        tape.clone_function("FC/scales", y)


def test_shared_parts_are_found_by_each_of_their_paths():
    inner, table = nn.Dense(3, 3), nn.Embedding(7, 3)
    decoder = nn.Dense(7, 3, bias=False)
    decoder.weight = table.weight
    net = nn.Sequential(table, inner, inner, decoder)
    y = net(tape.tensor([1, 2]))
    assert len(tape.graph.find_all(y, "1")) == len(tape.graph.find_all(y, "2")) == 2
    assert tape.graph.find(y, "0.weight").serial == tape.graph.find(y, "3.weight").serial


def test_a_model_can_be_named_whose_paths_are_meant():
    class Both(nn.Module):
        def __init__(self):
            self.left, self.right = nn.Dense(2, 3), nn.Dense(2, 3)

        def forward(self, x):
            return self.left(x), self.right(x)

    both = Both()
    outputs = both(leaf("x", 1, 3))
    assert tape.graph.find(outputs, "left") is None  # its caller gave no tensor
    assert tape.graph.find(outputs, "left", both).serial == outputs[0].serial
    assert tape.graph.find(outputs, "m.right.weight", Holder(m=both)) is not None
    assert len(tape.graph.find_all(outputs, "Dense")) == 2


def test_the_names_most_like_a_missing_one_are_listed():
    net = nn.Sequential(nn.Dense(4, 3))
    y = net(leaf("features", 5, 3))
    with pytest.raises(tape.GraphError, match=r"named 'feature'; there are 'features'"):
        tape.clone_function("feature", y)
    with pytest.raises(tape.GraphError, match=r"there are '0\.weight'"):
        tape.clone_function("0.weigth", y)


def test_ten_thousand_nodes_take_moments():
    x = tape.tensor([1.0], requires_grad=True)
    y = x
    for i in range(10_000):
        y = y * 1.5 if i % 2 else y + x
    net = nn.Sequential([nn.Dense(1, 1) for _ in range(5_000)])
    out = net(x)
    start = time.perf_counter()
    assert len(list(tape.graph.walk(y))) == 10_001
    assert tape.graph.find(y, "none") is None
    assert tape.graph.find(out, "4999").serial == out.serial
    assert tape.graph.find(out, "3.bias") is not None
    assert len(tape.graph.plot(out).dot()) > 100_000
    assert time.perf_counter() - start < 3


def test_a_module_in_place_of_what_it_gives_is_refused():
    net = nn.Sequential(nn.Dense(2, 3))
    for look in (tape.graph.plot, tape.graph.find_all, tape.graph.walk):
        with pytest.raises(TypeError, match="a Sequential is recorded as it runs"):
            list(look(net, "0")) if look is tape.graph.find_all else list(look(net))
